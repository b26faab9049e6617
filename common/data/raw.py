"""Raw data in the python format of CIFAR-100: read it without trusting it, and write it.

A folder in this format holds three pickles. `train` and `test` are dictionaries with `data`
(uint8, (N, 3*H*W), channel by channel), `fine_labels`, `coarse_labels` and `filenames`; `meta`
has `fine_label_names` and `coarse_label_names`. An ordinary unpickler would run whatever such a
file asks for. The one below knows five names, and each of them leads to an inert object of this
module, so reading a file can run nothing, NumPy's own unpickling included.
"""

import math
import pickle
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from common.system.atomic_files import replacing
from common.system.errors import UserError, shown

MAX_NAME = 200  # characters; leaves room for a suffix within the 255 of common file systems


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

    def splits(self) -> Iterator[tuple[str, RawSplit]]:
        """Yield both splits with their names, train first."""
        yield "train", self.train
        yield "test", self.test


# ---------------------------------------------------------------- names


def check_name(name: str, where: object) -> str:
    """Return the name of an image file, if it is a plain name that stays inside its folder.

    Raises:
        UserError: a separator, a drive, a leading dot, a control character, empty or too long.
    """
    plain = name.isprintable() and not any(c in name for c in "/\\:") and not name.startswith(".")
    if not plain or not 0 < len(name) <= MAX_NAME:
        raise UserError(
            f"{where}: {name[:80]!r} is not allowed as the name of an image: it must be a plain "
            f"file name of at most {MAX_NAME} printable characters, without '/', '\\', ':' or a "
            "leading dot"
        )
    return name


def unique_names(names: Sequence[str], fine: Sequence[int]) -> list[str]:
    """Give every image of one split a file name of its own, ending in .png.

    A name that occurs once stays. One that occurs more often gets the suffix `_fine<label id>`
    in each place, whatever the order, and a counter where even that is not enough. Upper and
    lower case count as equal, because some file systems cannot tell them apart.
    """
    stems = [name[:-4] if name.lower().endswith(".png") else name for name in names]
    repeated = _repeated(stems)
    stems = [
        f"{stem}_fine{label}" if _key(stem) in repeated else stem
        for stem, label in zip(stems, fine, strict=True)
    ]
    clashing = _repeated(stems)
    taken = {_key(stem) for stem in stems}
    for i, stem in enumerate(stems):
        if _key(stem) not in clashing:
            continue
        counter = 1
        while _key(f"{stem}_{counter}") in taken:
            counter += 1
        stems[i] = f"{stem}_{counter}"
        taken.add(_key(stems[i]))
    return [f"{stem}.png" for stem in stems]


def _key(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _repeated(stems: Sequence[str]) -> set[str]:
    return {key for key, count in Counter(map(_key, stems)).items() if count > 1}


# ---------------------------------------------------------------- unpickling


class _Inert:
    """Stands in for a name inside a pickle; a pickle can call it but not change it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("a state for something that has none")


class _Dtype:
    """Stands in for numpy.dtype: remembers the type's name and ignores its byte order."""

    __slots__ = ("name",)

    def __init__(self, name: Any, *flags: Any) -> None:
        self.name = _text(name, "the type of an array")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands in for numpy.ndarray: keeps what the pickle declares, to be checked afterwards."""

    __slots__ = ("buffer", "dtype", "fortran", "shape")

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.buffer = state


def _reconstruct(*args: Any) -> _Array:
    return _Array()


def _encode(text: Any, encoding: Any) -> bytes:
    """Python 3 spells a byte string of a protocol-2 pickle as a str to be encoded in latin1."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("_codecs.encode of something else than latin1 text")
    return text.encode("latin1")


def _refuse_call(*args: Any) -> NoReturn:
    raise pickle.UnpicklingError("a call of numpy.ndarray")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Inert(_reconstruct),  # NumPy 1, Python 2
    ("numpy._core.multiarray", "_reconstruct"): _Inert(_reconstruct),  # NumPy 2
    ("numpy", "ndarray"): _Inert(_refuse_call),  # only named, as an argument of _reconstruct
    ("numpy", "dtype"): _Inert(_Dtype),
    ("_codecs", "encode"): _Inert(_encode),
}


class _Unpickler(pickle._Unpickler):
    """Knows the names in _KNOWN and refuses every other one.

    The unpickler written in Python: that in C sets aside as much memory as a damaged file asks for.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise UserError(
                f"it asks for {module:.80}.{name:.80}, which data in the CIFAR-100 python format does not "
                "need; nothing of it was run"
            ) from None


def _unpickle(path: Path) -> dict[str, Any]:
    """Read one pickled dictionary; its keys come back as str."""
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: a raw folder holds the files train, test and meta"
        ) from None
    except UserError as error:
        raise UserError(f"{path} was refused: {error}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (Exception, MemoryError) as error:  # a damaged pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} is truncated, damaged or not a pickle ({reason}): get it again"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no dictionary, so it is not in the CIFAR-100 python format")
    return {_text(key, f"{path}: a key"): value for key, value in content.items()}


def _text(value: Any, where: str) -> str:
    """Read a text. Nothing else is turned into one: lists within lists double with each level."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")  # not printable, so refused later
    if not isinstance(value, str):
        raise UserError(f"{where} is {shown(value)}; it must be a text")
    return value


# ---------------------------------------------------------------- reading


def read_raw(directory: Path) -> Raw:
    """Read and check the files `train`, `test` and `meta`.

    Raises:
        UserError: a file is missing, damaged, asks for anything to be run, or does not agree
            with itself or the others.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is missing: there should be a folder with train, test, meta")
    meta_path = directory / "meta"
    meta = _unpickle(meta_path)
    fine_names = _class_names(meta, "fine_label_names", meta_path)
    coarse_names = _class_names(meta, "coarse_label_names", meta_path)
    raw = Raw(
        train=read_split(directory / "train"),
        test=read_split(directory / "test"),
        fine_names=fine_names,
        coarse_names=coarse_names,
    )
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
    content = _unpickle(path)
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
    return [_text(value, f"{path}: one of {key!r}") for value in _list(content, key, path)]


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
    if dtype != "u1" or not isinstance(buffer, bytes):
        raise UserError(f"{path}: 'data' is of type {dtype:.20}; only u1 (uint8) is allowed")
    if rows < 1 or columns < 1 or fortran or rows * columns != len(buffer):
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
        },
        directory / "meta",
    )


def _pickle(content: dict[bytes, Any], path: Path) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(content, file, protocol=2)
