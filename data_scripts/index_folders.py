"""Describe labelled folders of your own, so that the networks can be trained on them.

    python data_scripts/index_folders.py datasets/MYSET

The folder must hold {train,test}/{fine,coarse}/<label id>/<image>, with the same images in both
trees. This writes index.csv and hierarchy.yaml into it and changes nothing else. Classes are
named after their ids; names that stand in an earlier hierarchy.yaml are kept, and so is which
images an earlier index.csv holds out. With --independent fine and coarse are two labels of an
image that say nothing about each other.
"""

import argparse
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.data.folders.problems import absent_classes, repeated_pictures
from common.data.held_out import held_out
from common.data.hierarchy import (
    HIERARCHY_FILE,
    Hierarchy,
    names_of_levels,
    read_hierarchy,
    write_hierarchy,
)
from common.data.index import INDEX_FILE, SPLITS, Index, parents, read_index, write_index
from common.data.listing import list_folder
from common.data.pictures import read_picture, refuse_narrow_set
from common.data.prepared import SCRIPT, read_made
from common.settings.levels import LEVEL_NAMES, LEVELS
from common.system.errors import UserError, run_script

FOLDER_DIGEST = "folders-sha256:"


def index_folders(
    dataset_dir: Path,
    split_seed: int | None,
    *,
    independent: bool = False,
    levels: Sequence[str] | None = None,
) -> Hierarchy:
    """Scan both trees of both splits, check that they agree, write the two files, and print what looks wrong.

    Args:
        dataset_dir: the folder that holds train and test.
        split_seed: of the held-out tenth, which another one than before draws anew; None: as before, or 0.
        independent: whether fine and coarse are independent labels; so they are, too, where an earlier hierarchy.yaml
            says it.
        levels: what people read in place of fine and coarse; None: what an earlier hierarchy.yaml says.

    Raises:
        UserError: a folder is missing or empty, a file is stray, the trees disagree, classes were renumbered, or images
            of a grouped set would have to be drawn.
    """
    if split_seed is not None and split_seed < 0:
        raise UserError(f"--split-seed {split_seed}: allowed are whole numbers from 0")
    there = (dataset_dir / HIERARCHY_FILE).exists()
    earlier = read_hierarchy(dataset_dir) if there else None
    nested = not independent and (earlier is None or earlier.nested)
    # Not as nested: an index in which a class has two coarse ones is what this mends.
    before = read_index(dataset_dir, nested=False) if (dataset_dir / INDEX_FILE).exists() else None
    index, contents = _images(dataset_dir)
    _refuse_moved_names(index, before, earlier, dataset_dir)
    seed = split_seed if split_seed is not None else earlier.split_seed if earlier else 0
    kept = before.choice() if before and (earlier is None or seed == earlier.split_seed) else {}
    _hold_out(index, kept, seed, nested, dataset_dir)
    hierarchy = Hierarchy(
        fine=_named(index.fine, earlier.fine if earlier else {}),
        coarse=_named(index.coarse, earlier.coarse if earlier else {}),
        parent=parents(index.fine, index.coarse, dataset_dir) if nested else {},
        split_seed=seed,
        digest=_digest(index, contents),
        counts=index.counts(),
        nested=nested,
        level_names=_level_names(levels, earlier),
    )
    write_index(index, dataset_dir)
    write_hierarchy(hierarchy, dataset_dir)
    digests = [content.hex() for content in contents]
    for sentence in [*repeated_pictures(index, digests), *absent_classes(index, hierarchy)]:
        print(f"Problem: {sentence}")
    return hierarchy


def _images(dataset_dir: Path) -> tuple[Index, list[bytes]]:
    """Give the images, none of them held out, and a digest of each one's file.

    Raises:
        UserError: see `index_folders`.
    """
    rows: list[tuple[str, str, int, int]] = []
    contents: list[bytes] = []
    for split in SPLITS:
        trees = [list_folder(dataset_dir / split / level) for level in LEVELS]
        fine, coarse = (dict(zip(t.names, t.labels.tolist(), strict=True)) for t in trees)
        if alone := sorted(fine.keys() ^ coarse.keys()):
            level, labels = ("fine", fine) if alone[0] in fine else ("coarse", coarse)
            path = dataset_dir / split / level / str(labels[alone[0]]) / alone[0]
            raise UserError(
                f"{path} is in the {level} tree only: every image must be in both trees under the "
                "same name"
            )
        _refuse_other_pictures(dataset_dir / split, fine, coarse)
        images = sorted(fine, key=lambda image: (fine[image], image))
        rows += [(split, image, fine[image], coarse[image]) for image in images]
        paths = [dataset_dir / split / "fine" / str(fine[image]) / image for image in images]
        refuse_narrow_set(paths, dataset_dir / split / "fine")
        contents += [hashlib.sha256(path.read_bytes()).digest() for path in paths]
    columns = list(zip(*rows, strict=True))
    index = Index(
        split=list(columns[0]),
        image=list(columns[1]),
        fine=np.array(columns[2], np.int64),
        coarse=np.array(columns[3], np.int64),
        held_out=np.zeros(len(rows), bool),
    )
    return index, contents


def _digest(index: Index, contents: Sequence[bytes]) -> str:
    """Give a digest of all labels, names and files."""
    sha = hashlib.sha256()
    rows = zip(index.split, index.image, index.fine.tolist(), index.coarse.tolist(), strict=True)
    for (split, image, label, above), content in zip(rows, contents, strict=True):
        sha.update(f"{split}/{label}/{above}/{image}\n".encode())
        sha.update(content)
    return FOLDER_DIGEST + sha.hexdigest()


def _hold_out(
    index: Index, kept: Mapping[str, bool], seed: int, nested: bool, dataset_dir: Path
) -> None:
    """Fill in which images are held out: those that were before, and of new ones those that are drawn.

    Raises:
        UserError: there are new ones, and pictures of one group, which nothing says here, must stay together.
    """
    train = index.split.count("train")
    names = index.image[:train]
    made = read_made(dataset_dir)
    new = [name for name in names if name not in kept]
    if new and made and made.grouped:
        raise UserError(
            f"{dataset_dir} keeps groups of pictures together, and which picture is of which group stands nowhere "
            f"here: to add pictures ({new[0]}) or to draw the held-out ones anew, run {SCRIPT} on your own pictures"
        )
    coarse = None if nested else index.coarse[:train].tolist()
    drawn = held_out(index.fine[:train].tolist(), names, seed, coarse=coarse).tolist()
    index.held_out[:train] = [kept.get(name, out) for name, out in zip(names, drawn, strict=True)]


def _refuse_other_pictures(split_dir: Path, fine: dict[str, int], coarse: dict[str, int]) -> None:
    """Refuse trees in which two images of one name are not one picture; ``fine`` and ``coarse`` are their labels.

    Raises:
        UserError: names both files.
    """
    for image, label in fine.items():
        one = split_dir / "fine" / str(label) / image
        other = split_dir / "coarse" / str(coarse[image]) / image
        if os.path.samefile(one, other) or one.read_bytes() == other.read_bytes():
            continue
        # The same picture may be stored in two ways.
        pictures = [read_picture(path, of_a_set=True) for path in (one, other)]
        if len({(picture.size, picture.tobytes()) for picture in pictures}) > 1:
            raise UserError(
                f"{other} is another picture than {one}: an image must be the same in both trees"
            )


def _named(labels: np.ndarray, names: Mapping[int, str]) -> dict[int, str]:
    """Give the classes that occur, by label id, under their earlier names if any."""
    return {label: names.get(label, str(label)) for label in np.unique(labels).tolist()}


def _level_names(levels: Sequence[str] | None, earlier: Hierarchy | None) -> dict[str, str]:
    """Give what people read in place of fine and coarse."""
    if levels is not None:
        return names_of_levels([*levels], "--levels")
    return earlier.level_names if earlier else LEVEL_NAMES


def _refuse_moved_names(
    index: Index, before: Index | None, earlier: Hierarchy | None, dataset_dir: Path
) -> None:
    """Refuse class folders that got other numbers since their names were written: a name would stay on its number.

    Raises:
        UserError: all images that a named class had are in another one now.
    """
    if earlier is None or before is None:
        return
    images = zip(index.split, index.image, strict=True)
    now = dict(zip(images, index.fine.tolist(), strict=True))
    moved: dict[int, set[int]] = {}
    for split, image, label in zip(before.split, before.image, before.fine.tolist(), strict=True):
        if (split, image) in now:
            moved.setdefault(label, set()).add(now[split, image])
    there = set(index.fine.tolist())
    for label, labels in sorted(moved.items()):
        name = earlier.fine.get(label, str(label))
        if label in there and label not in labels and name != str(label):
            raise UserError(
                f"{dataset_dir}: the images of fine class {label} ({name}) are in class {min(labels)} now, so that the "
                f"names in {HIERARCHY_FILE} no longer fit: number the folders as before, new classes last, or correct "
                f"the names and delete {INDEX_FILE}, which is then written and its held-out images drawn anew"
            )


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset_dir", type=Path, help="the folder that holds train and test")
    parser.add_argument(
        "--split-seed",
        type=int,
        help="of the held-out tenth (default: as before, or 0); another one draws all of it anew",
    )
    parser.add_argument(
        "--independent", action="store_true", help="fine and coarse are two independent labels"
    )
    parser.add_argument(
        "--levels",
        nargs=2,
        metavar=("FINE", "COARSE"),
        help="what people read in place of fine and coarse, such as: colour shape",
    )
    args = parser.parse_args(argv)

    def script() -> None:
        found = index_folders(
            args.dataset_dir, args.split_seed, independent=args.independent, levels=args.levels
        )
        print(
            f"{args.dataset_dir}: wrote {INDEX_FILE} and {HIERARCHY_FILE}: "
            f"{found.counts['train']:,} training images ({found.counts['held_out']:,} of them held "
            f"out for validation), {found.counts['test']:,} test images, "
            f"{len(found.fine)} fine and {len(found.coarse)} coarse classes"
        )

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
