"""Read labelled folders, as this project trains on them, so that their pictures can be brought to a size and scaled."""

from pathlib import Path

from common.data.folders.collection import Collection, Picture, Skipped
from common.data.index import HIERARCHY_FILE, INDEX_FILE, SPLITS, read_hierarchy, read_index
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
    known = read_hierarchy(root) if (root / HIERARCHY_FILE).is_file() else None
    names = (known.fine, known.coarse) if known else ({}, {})
    held = set()
    if known and (root / INDEX_FILE).is_file():
        index = read_index(root, nested=known.nested)
        held = {image for image, out in zip(index.image, index.held_out, strict=True) if out}
    layout = f"{root}: labelled folders, fine and coarse"
    found = Collection(layout, [], described=known, made=read_made(root))
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
            found.pictures.append(
                Picture(
                    path,
                    shown,
                    path.name,
                    names[0].get(label, str(label)),
                    names[1].get(parent, str(parent)),
                    part,
                )
            )
    return found
