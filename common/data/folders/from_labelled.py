"""Read labelled folders, as this project trains on them, so that their pictures can be brought to a size and scaled."""

from dataclasses import replace
from pathlib import Path

from common.data.folders.collection import Collection, Picture, Skipped
from common.data.hierarchy import HIERARCHY_FILE, Hierarchy, read_hierarchy
from common.data.index import INDEX_FILE, SPLITS, read_index
from common.data.listing import list_folder
from common.data.prepared import read_made


def is_labelled(root: Path) -> bool:
    """Say whether a folder holds train/fine/<label id> and train/coarse/<label id>."""
    trees = [root / "train" / level for level in ("fine", "coarse")]
    return all(
        tree.is_dir() and all(one.name.isdigit() for one in tree.iterdir() if one.is_dir())
        for tree in trees
    )


def from_labelled(root: Path) -> Collection:
    """Read both trees of each split.

    Names of classes and levels, and whether labels are independent, come from hierarchy.yaml, held-out images from
    index.csv, and what was done to the pictures before from prepared.yaml.

    Raises:
        UserError: something in a tree does not belong there, or a file of these is damaged.
    """
    there = (root / HIERARCHY_FILE).is_file()
    known = read_hierarchy(root) if there else Hierarchy({}, {}, {}, split_seed=0, digest="")
    # Classes that the file does not name are called by their numbers.
    named = replace(known, fine={**known.fine}, coarse={**known.coarse}, parent={**known.parent})
    held = set()
    if there and (root / INDEX_FILE).is_file():
        index = read_index(root, nested=known.nested)
        held = {image for image, out in zip(index.image, index.held_out, strict=True) if out}
    layout = f"{root}: labelled folders, fine and coarse"
    found = Collection(layout, [], described=named, made=read_made(root))
    for split in SPLITS:
        if not (root / split / "fine").is_dir():
            continue
        fine, coarse = list_folder(root / split / "fine"), list_folder(root / split / "coarse")
        above = dict(zip(coarse.names, coarse.labels.tolist(), strict=True))
        for path, label in zip(fine.paths, fine.labels.tolist(), strict=True):
            shown = path.relative_to(root).as_posix()
            if path.name not in above:
                found.skipped.append(Skipped(shown, "it is in the fine tree alone"))
                continue
            parent = above[path.name]
            part = "val" if split == "train" and path.name in held else split
            species = named.fine.setdefault(label, str(label))
            family = named.coarse.setdefault(parent, str(parent))
            named.parent.setdefault(label, parent)
            found.pictures.append(Picture(path, shown, path.name, species, family, part))
    return found
