"""index.csv of a labelled tree: its images, the labels of each, and which are held out."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.hierarchy import HIERARCHY_FILE
from common.data.names import check_name
from common.data.set_files import read_text
from common.system.atomic_files import write_text
from common.system.csv_text import csv_text
from common.system.errors import UserError, shown

SPLITS = ("train", "test")
SUFFIXES = (  # of images, in either case
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".jpe",
    ".bmp",
    ".webp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".avif",
)
INDEX_FILE = "index.csv"
COLUMNS = ["split", "image", "fine", "coarse", "held_out"]


@dataclass
class Index:
    """The images of a data set, one per row, ordered by split (train first), fine label, name."""

    split: list[str]  # "train" or "test"
    image: list[str]  # file name, the same in both trees, with its suffix
    fine: np.ndarray  # int64 (N,)
    coarse: np.ndarray  # int64 (N,)
    held_out: np.ndarray  # bool (N,), the validation images; false for test images

    def __len__(self) -> int:
        return len(self.image)

    def counts(self) -> dict[str, int]:
        """Return the numbers of images: train (held out ones included), held_out and test."""
        train = self.split.count("train")
        return {
            "train": train,
            "held_out": int(self.held_out.sum()),
            "test": len(self) - train,
        }

    def choice(self) -> dict[str, bool]:
        """Say by name which of the training images are held out."""
        rows = zip(self.split, self.image, self.held_out.tolist(), strict=True)
        return {image: out for split, image, out in rows if split == "train"}


def parents(fine: np.ndarray, coarse: np.ndarray, where: object) -> dict[int, int]:
    """Return the coarse label of each fine label that occurs, sorted by fine label.

    Raises:
        UserError: a fine class has two coarse parents.
    """
    parent: dict[int, int] = {}
    for child, above in np.unique(np.stack([fine, coarse], 1), axis=0).tolist():
        if child in parent:
            raise UserError(
                f"{where}: images of fine class {child} have coarse classes {parent[child]} and "
                f"{above}; a fine class has exactly one coarse class (of two independent labels, "
                f"{HIERARCHY_FILE} says nested: false)"
            )
        parent[child] = above
    return parent


def write_index(index: Index, dataset_dir: Path) -> None:
    """Write index.csv into the data set's folder."""
    rows = zip(
        index.split,
        index.image,
        index.fine.tolist(),
        index.coarse.tolist(),
        index.held_out.astype(int).tolist(),
        strict=True,
    )
    write_text(dataset_dir / INDEX_FILE, csv_text(COLUMNS, rows))


def read_index(dataset_dir: Path, *, nested: bool = True) -> Index:
    """Read and check index.csv.

    Args:
        dataset_dir: the data set's folder.
        nested: whether every fine class must have one coarse parent, as hierarchy.yaml says.

    Raises:
        UserError: it is missing, a line is malformed, an image is listed twice, or a fine class
            has two coarse parents.
    """
    path = dataset_dir / INDEX_FILE
    try:
        lines = list(csv.reader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:  # a field of more than 131,072 characters
        raise UserError(f"{path} is not a table of fields with commas between: {error}") from None
    if not lines or lines[0] != COLUMNS:
        raise UserError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}")
    rows = [_row(line, f"{path}, line {n}") for n, line in enumerate(lines[1:], start=2)]
    if not rows:
        raise UserError(f"{path} lists no image")
    split, image, fine, coarse, chosen = zip(*rows, strict=True)
    if len(set(zip(split, image, strict=True))) < len(rows):
        seen: set[tuple[str, str]] = set()
        for n, row in enumerate(rows, start=2):
            if row[:2] in seen:
                raise UserError(f"{path}, line {n}: {row[0]} image {row[1]} is listed twice")
            seen.add(row[:2])
    index = Index(
        split=list(split),
        image=list(image),
        fine=np.array(fine, np.int64),
        coarse=np.array(coarse, np.int64),
        held_out=np.array(chosen, bool),
    )
    if nested:
        parents(index.fine, index.coarse, path)
    return index


def _row(line: list[str], where: str) -> tuple[str, str, int, int, bool]:
    try:
        split, image, fine, coarse, chosen = line
    except ValueError:
        raise UserError(
            f"{where}: {len(line)} fields where {len(COLUMNS)} are expected ({','.join(COLUMNS)})"
        ) from None
    if split not in SPLITS:
        raise UserError(f"{where}: split is {shown(split)}; allowed are train and test")
    if chosen not in ("0", "1") or (chosen == "1" and split == "test"):
        raise UserError(
            f"{where}: held_out of a {split} image is {shown(chosen)}; allowed are 0, and 1 in train"
        )
    check_name(image, where)
    return split, image, label_id(fine, where), label_id(coarse, where), chosen == "1"


def label_id(text: str, where: object) -> int:
    """Read a label id as it stands in files and folder names: '0', '7', '10'; not '07'.

    Raises:
        UserError: anything else.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text):
        raise UserError(
            f"{where}: {shown(text)} is not a label id, a whole number from 0 to 999999999 such as 7, without a zero "
            "before it"
        )
    return int(text)
