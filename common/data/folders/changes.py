"""Say what becomes of a set that stands there already, when it is prepared again in another way or of others."""

from pathlib import Path

from common.data.folders.assemble import Assembled
from common.data.folders.collection import counted
from common.data.folders.earlier import Earlier
from common.data.index import Index
from common.data.prepared import Made
from common.system.words import some


def changes(before: Earlier, tree: Assembled) -> list[str]:
    """Say in sentences what is other than before; nothing where all is the same."""
    return _other_making(before.made, tree.made) + _other_pictures(before, tree)


def _other_making(before: Made | None, now: Made) -> list[str]:
    """Say what becomes of images that were brought to another size, fitted otherwise, or kept, and of groups."""
    if before is None:
        return []
    found = []
    if before.grouped and not now.grouped:
        found.append(
            "Pictures of one group stayed together before, and are divided now: to keep them together, prepare again "
            "with --group COLUMN or --group-by-folder, as before."
        )
    ways = [(_shown(before), _shown(now)), (before.fit, now.fit), (before.keep, now.keep)]
    if all(one == other for one, other in ways):
        return found
    return [
        *found,
        f"All images are made anew, by {_way(now)} in place of {_way(before)}: classes keep their numbers, and a new "
        "study needs another exp_name.",
    ]


def _way(made: Made) -> str:
    """Give the options that made a set."""
    return f"--size {_shown(made)} --fit {made.fit}" + (" --keep" if made.keep else "")


def _shown(made: Made) -> str:
    return f"{made.frame.width}x{made.frame.height}"


def _other_pictures(before: Earlier, tree: Assembled) -> list[str]:
    """Count the pictures that are new, gone, or on the other side of the split, and name the classes that are gone."""
    old, new = _names(before.index), _names(tree.index)
    gone, added = dict(old - new), dict(new - old)
    moved = gone.keys() & added.keys()
    lost = sorted(gone.keys() - moved)
    said = []
    if more := len(added.keys() - moved):
        said.append(f"{counted(more, 'picture')} more")
    if lost:
        said.append(f"{len(lost):,} no longer there ({some(lost, 3)})")
    if moved:
        said.append(f"{len(moved):,} moved between training and test")
    found = [f"Since the set was last prepared: {', '.join(said)}."] if said else []
    classes = [
        name for label, name in before.hierarchy.fine.items() if label not in tree.hierarchy.fine
    ]
    if classes:
        found.append(f"Classes that are gone, whose numbers stay free: {some(classes)}.")
    return found


def _names(index: Index) -> set[tuple[str, str]]:
    """Give each image's name without suffix, which --keep changes, with its split."""
    return {
        (Path(image).stem, split) for image, split in zip(index.image, index.split, strict=True)
    }
