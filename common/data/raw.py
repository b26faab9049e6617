"""Read raw data in the python format of CIFAR-100 without trusting it, and write it.

A folder in this format holds three pickles. `train` and `test` are dictionaries with `data`
(uint8, (N, 3*H*W), channel by channel), `fine_labels`, `coarse_labels` and `filenames`; `meta`
has `fine_label_names` and `coarse_label_names`, and of two labels that are independent of each
other `level_names`, what these are called.
"""

import math
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.data.hierarchy import names_of_levels
from common.data.names import check_name
from common.data.unpickling import read_text, refuse_packed, unpickle
from common.system.atomic_files import replacing
from common.system.errors import UserError, shown


@dataclass
class RawSplit:
    """Images of one split with their labels; row i of every field is the same image."""

    images: np.ndarray  # uint8 (N, 3, H, W), H = W
    fine: list[int]
    coarse: list[int]
    names: list[str]  # file names as published: not always unique


@dataclass
class Raw:
    """A whole raw data set; a label id is a position in the list of names of its level."""

    train: RawSplit
    test: RawSplit
    fine_names: list[str]
    coarse_names: list[str]
    independent: list[str] = field(default_factory=list)  # names of the levels, if not nested

    def splits(self) -> Iterator[tuple[str, RawSplit]]:
        """Yield both splits with their names, train first."""
        yield "train", self.train
        yield "test", self.test


# ---------------------------------------------------------------- reading


def read_raw(directory: Path) -> Raw:
    """Read and check the files `train`, `test` and `meta`.

    Raises:
        UserError: a file is missing, damaged, asks for anything to be run, or does not agree
            with itself or the others.
    """
    refuse_packed(directory)
    if not directory.is_dir():
        raise UserError(f"{directory} is missing: there should be a folder with train, test, meta")
    meta_path = directory / "meta"
    meta = unpickle(meta_path)
    fine_names = _class_names(meta, "fine_label_names", meta_path)
    coarse_names = _class_names(meta, "coarse_label_names", meta_path)
    raw = Raw(
        train=read_split(directory / "train"),
        test=read_split(directory / "test"),
        fine_names=fine_names,
        coarse_names=coarse_names,
        independent=_texts(meta, "level_names", meta_path) if "level_names" in meta else [],
    )
    if raw.independent:
        names_of_levels(raw.independent, f"{meta_path}: 'level_names'")
    for name, split in raw.splits():
        for level, labels, known in (
            ("fine", split.fine, fine_names),
            ("coarse", split.coarse, coarse_names),
        ):
            if max(labels) >= len(known):
                raise UserError(
                    f"{directory / name}: {level} label {max(labels)} has no name: {meta_path} "
                    f"names 0 to {len(known) - 1}"
                )
    if raw.train.images.shape[1:] != raw.test.images.shape[1:]:
        raise UserError(
            f"{directory}: images of train are {raw.train.images.shape[2]} pixels wide and those "
            f"of test {raw.test.images.shape[2]}; they must be equal"
        )
    return raw


def read_split(path: Path) -> RawSplit:
    """Read and check one pickled split; images come back as uint8 (N, 3, H, W).

    Raises:
        UserError: see `read_raw`.
    """
    content = unpickle(path)
    images = _images(_value(content, "data", path), path)
    fine = _labels(content, "fine_labels", path)
    coarse = _labels(content, "coarse_labels", path)
    names = _texts(content, "filenames", path)
    for name in names:
        check_name(name, path)
    lengths = {
        "data": len(images),
        "fine_labels": len(fine),
        "coarse_labels": len(coarse),
        "filenames": len(names),
    }
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} {key}" for key, length in lengths.items())
        raise UserError(f"{path} does not agree with itself: {found}")
    return RawSplit(images, fine, coarse, names)


def _value(content: dict[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise UserError(f"{path} has no {key!r}; it has {', '.join(sorted(content)) or 'nothing'}")
    return content[key]


def _list(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    value = _value(content, key, path)
    if not isinstance(value, list) or not value:
        raise UserError(f"{path}: {key!r} must be a list with at least one element")
    return value


def _texts(content: dict[str, Any], key: str, path: Path) -> list[str]:
    return [read_text(value, f"{path}: one of {key!r}") for value in _list(content, key, path)]


def _labels(content: dict[str, Any], key: str, path: Path) -> list[int]:
    labels = _list(content, key, path)
    for label in labels:
        if type(label) is not int or not 0 <= label < 2**31:
            raise UserError(f"{path}: {key!r} holds {shown(label)}; a label is a whole number >= 0")
    return labels


def _class_names(meta: dict[str, Any], key: str, path: Path) -> list[str]:
    names = _texts(meta, key, path)
    for name in names:
        if not name.isprintable():
            raise UserError(f"{path}: {key!r} holds {name[:40]!r}; a class name must be printable")
    return names


def _images(array: Any, path: Path) -> np.ndarray:
    """Turn what a pickle declares about `data` into an array (N, 3, H, W), without a copy."""
    try:
        shape, buffer = array.shape, array.buffer
        rows, columns = (int(size) for size in shape)
        dtype, fortran = array.dtype.name, array.fortran
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{path}: 'data' must be an array of two dimensions") from None
    if dtype != "u1" or not isinstance(buffer, bytes | bytearray):
        raise UserError(f"{path}: 'data' is of type {dtype:.20}; only u1 (uint8) is allowed")
    if fortran:
        raise UserError(
            f"{path}: 'data' lies there column by column; only rows are allowed, as "
            "numpy.ascontiguousarray(data) has them"
        )
    if rows < 1 or columns < 1 or rows * columns != len(buffer):
        raise UserError(
            f"{path}: 'data' declares {shown(rows)} rows of {shown(columns)} bytes, but holds "
            f"{len(buffer)} bytes"
        )
    side = math.isqrt(columns // 3)
    if 3 * side * side != columns:
        raise UserError(
            f"{path}: a row of 'data' has {columns} bytes; a square RGB image has 3 x side x side"
        )
    return np.frombuffer(buffer, np.uint8).reshape(rows, 3, side, side)


# ---------------------------------------------------------------- writing


def write_raw(raw: Raw, directory: Path) -> None:
    """Write the files `train`, `test` and `meta`, so that `read_raw` reads the same data."""
    directory.mkdir(parents=True, exist_ok=True)
    # Written last: what a broken off command leaves is not read, with an earlier one's files among its own.
    (directory / "meta").unlink(missing_ok=True)
    for name, split in raw.splits():
        _pickle(
            {
                b"batch_label": f"{name} batch 1 of 1".encode(),
                b"data": np.ascontiguousarray(split.images.reshape(len(split.images), -1)),
                b"fine_labels": [int(label) for label in split.fine],
                b"coarse_labels": [int(label) for label in split.coarse],
                b"filenames": [name.encode() for name in split.names],
            },
            directory / name,
        )
    _pickle(
        {
            b"fine_label_names": [name.encode() for name in raw.fine_names],
            b"coarse_label_names": [name.encode() for name in raw.coarse_names],
        }
        | (
            {b"level_names": [name.encode() for name in raw.independent]} if raw.independent else {}
        ),
        directory / "meta",
    )


def _pickle(content: dict[bytes, Any], path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=2)
