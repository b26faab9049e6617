"""Read and write the two files that describe a labelled tree: index.csv (images) and hierarchy.yaml (classes)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.data.names import check_name
from common.settings.levels import LEVEL_NAMES, LEVELS
from common.system.atomic_files import replacing
from common.system.errors import UserError, nothing_in, shown

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
HIERARCHY_FILE = "hierarchy.yaml"
COLUMNS = ["split", "image", "fine", "coarse", "held_out"]
FEWEST_OF_A_PAIR = 10  # training images, for held-out ones of each pair of independent labels
LONGEST_NAME = 24  # characters of a level's name


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


@dataclass(frozen=True)
class Hierarchy:
    """The classes of both levels by label id, the coarse parent of each fine class, the origin.

    Where not ``nested``, fine and coarse are two independent labels of an image, and no class has a parent.
    """

    fine: dict[int, str]
    coarse: dict[int, str]
    parent: dict[int, int]  # fine label id -> coarse label id; empty if not nested
    split_seed: int
    digest: str  # "<kind>-sha256:<hex>" of what the tree was made from
    counts: dict[str, int] = field(default_factory=dict)  # see Index.counts
    nested: bool = True
    level_names: dict[str, str] = field(default_factory=LEVEL_NAMES.copy)  # where people read

    def above(self, fine: int) -> str:
        """Name the coarse class of a fine class; nothing where the two labels are independent."""
        return self.coarse[self.parent[fine]] if self.nested else ""

    def in_order(self) -> list[int]:
        """List the fine classes, those of one coarse class side by side."""
        return sorted(self.fine, key=lambda label: (self.parent.get(label, 0), label))


# ---------------------------------------------------------------- labels


def held_out(
    fine: Sequence[int],
    names: Sequence[str],
    split_seed: int,
    *,
    coarse: Sequence[int] | None = None,
) -> np.ndarray:
    """Choose the validation images among the training images, as bool (N,).

    A tenth of every fine class, rounded to nearest, at least one and never all of it; a class of
    one image keeps it for training. Within a class the images are sorted by name and drawn by a
    generator seeded with (split_seed, fine label), so the choice depends on the images' names and
    labels and on the seed, not on the order in which the images come or on other classes.

    Args:
        fine: label of each image.
        names: of the images.
        split_seed: see above.
        coarse: label of each image, where it is independent of the fine one: then the same of every pair of labels,
            if each pair that occurs has ten images or more; the generator is seeded with (split_seed, fine, coarse).
    """
    labels = strata(fine, coarse)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels, axis=0).tolist():
        found = np.flatnonzero((labels == label).all(axis=1)).tolist()
        rows = sorted(found, key=lambda row: names[row])
        count = min(max(1, (len(rows) + 5) // 10), len(rows) - 1)
        rng = np.random.default_rng([split_seed, *label])
        chosen[np.array(rows)[rng.permutation(len(rows))[:count]]] = True
    return chosen


def strata(fine: Sequence[int], coarse: Sequence[int] | None) -> np.ndarray:
    """Give what each image is counted as when some are drawn, int64 (N, 1) or (N, 2).

    That is its pair of labels, where ``coarse`` ones are given, being independent, and each pair that occurs has ten
    images or more; else its fine label.
    """
    labels = np.asarray(fine, np.int64)[:, None]
    if coarse is None:
        return labels
    pairs = np.concatenate([labels, np.asarray(coarse, np.int64)[:, None]], axis=1)
    counts = np.unique(pairs, axis=0, return_counts=True)[1]
    return pairs if (counts >= FEWEST_OF_A_PAIR).all() else labels


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


# ---------------------------------------------------------------- index.csv


def write_index(index: Index, dataset_dir: Path) -> None:
    """Write index.csv into the data set's folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        zip(
            index.split,
            index.image,
            index.fine.tolist(),
            index.coarse.tolist(),
            index.held_out.astype(int).tolist(),
            strict=True,
        )
    )
    _write(dataset_dir / INDEX_FILE, text.getvalue())


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
        lines = list(csv.reader(io.StringIO(_read(path), newline="")))
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
            f"{where}: {shown(text)} is not a label id (a whole number such as 0, 7 or 10)"
        )
    return int(text)


# ---------------------------------------------------------------- hierarchy.yaml


def write_hierarchy(hierarchy: Hierarchy, dataset_dir: Path) -> None:
    """Write hierarchy.yaml into the data set's folder."""
    fine = {
        label: {"name": name} | ({"coarse": hierarchy.parent[label]} if hierarchy.nested else {})
        for label, name in sorted(hierarchy.fine.items())
    }
    head: dict[str, Any] = {"split_seed": hierarchy.split_seed, "digest": hierarchy.digest}
    if not hierarchy.nested:
        head["nested"] = False
    if hierarchy.level_names != LEVEL_NAMES:
        head["levels"] = [hierarchy.level_names[level] for level in LEVELS]
    if hierarchy.counts:
        head["images"] = hierarchy.counts
    head["coarse"] = dict(sorted(hierarchy.coarse.items()))
    how = (
        "each fine class belongs to one coarse class"
        if hierarchy.nested
        else "two independent labels"
    )
    text = f"# Classes by label id; {how}.\n"
    for part, flow in ((head, False), ({"fine": fine}, None)):  # None: innermost on one line
        text += yaml.safe_dump(
            part, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=1000
        )
    _write(dataset_dir / HIERARCHY_FILE, text)


def read_hierarchy(dataset_dir: Path) -> Hierarchy:
    """Read and check hierarchy.yaml.

    Raises:
        UserError: it is missing, malformed, names a coarse class that it does not list, or one where nested is false.
    """
    path = dataset_dir / HIERARCHY_FILE
    return _hierarchy(_read(path), path)


def has_independent_labels(directory: Path) -> bool:
    """Say whether the data set of a folder of labelled images says nested: false; no if it is not there."""
    root = directory.parent.parent
    return (root / HIERARCHY_FILE).is_file() and not read_hierarchy(root).nested


@lru_cache(maxsize=8)
def _hierarchy(text: str, path: Path) -> Hierarchy:
    """Parse the text once: each stage of a study asks again, and YAML is slow to read."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates, say, raise ValueError
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {reason}") from None
    content = _mapping(content, f"{path}")
    coarse = {
        _whole(label, f"{path}, coarse"): _name(name, f"{path}, coarse.{shown(label)}")
        for label, name in _mapping(content.get("coarse"), f"{path}, coarse").items()
    }
    nested = content.get("nested", True)
    if type(nested) is not bool:
        raise UserError(f"{path}: nested is {shown(nested)}; allowed are true and false")
    fine: dict[int, str] = {}
    parent: dict[int, int] = {}
    for label, entry in _mapping(content.get("fine"), f"{path}, fine").items():
        where = f"{path}, fine.{shown(label)}"
        entry = _mapping(entry, where)
        fine[_whole(label, f"{path}, fine")] = _name(entry.get("name"), where)
        above = entry.get("coarse")
        if not nested:
            if above is not None:
                raise UserError(
                    f"{where}: its coarse class is {shown(above)}, but nested is false, so that no class belongs to "
                    "another one: leave out either"
                )
            continue
        if type(above) is not int or above not in coarse:
            raise UserError(
                f"{where}: its coarse class is {shown(above)}; it must be one label id that is "
                "listed under coarse"
            )
        parent[label] = above
    counts = _mapping(content.get("images", {}), f"{path}, images")
    return Hierarchy(
        fine=fine,
        coarse=coarse,
        parent=parent,
        split_seed=_whole(content.get("split_seed"), f"{path}, split_seed"),
        digest=_name(content.get("digest"), f"{path}, digest"),
        counts={
            _name(key, f"{path}, images"): _whole(count, f"{path}, images")
            for key, count in counts.items()
        },
        nested=nested,
        level_names=names_of_levels(content.get("levels", [*LEVELS]), f"{path}, levels"),
    )


def names_of_levels(value: Any, where: str) -> dict[str, str]:
    """Check the names of the fine and the coarse level that a data set chooses; give them by level.

    Raises:
        UserError: anything but two different short names; or the word of one level for the other.
    """
    names = value if isinstance(value, list) else []
    good = [
        isinstance(name, str)
        and name.replace(" ", "").replace("-", "").isalnum()
        and name == name.strip()
        and len(name) <= LONGEST_NAME
        for name in names
    ]
    if not all(good) or len({*names}) != len(LEVELS) or len(names) != len(LEVELS):
        raise UserError(
            f"{where}: {shown(value)} are no names of levels; allowed is a list of two different ones, fine and "
            f"coarse, of letters, digits, blanks and hyphens, at most {LONGEST_NAME} characters each"
        )
    found = dict(zip(LEVELS, names, strict=True))
    for level, name in found.items():
        if name in LEVELS and name != level:
            raise UserError(f"{where}: the {level} level cannot be called {name}")
    return found


def _read(path: Path) -> str:
    if nothing := nothing_in(path):
        raise UserError(f"{path} {nothing}: restore it, or prepare the data set anew")
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a mark
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: data_scripts/prepare_folders.py writes it for your own pictures, "
            "data_scripts/prepare_cifar.py for raw data, data_scripts/index_folders.py for folders of label ids"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8") from None


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected keys with values, found {shown(value)}")
    return value


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"{where}: expected a whole number >= 0, found {shown(value)}")
    return value


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: expected a text, found {shown(value)} (quote it if it is one)")
    return value
