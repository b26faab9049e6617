"""Read a pickle in the python format of CIFAR-100 without trusting it.

An ordinary unpickler would run whatever a file asks for. This one knows seven names, and each of them leads to an inert
object of this module, so reading a file can run nothing, NumPy's own unpickling included.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from common.system.errors import UserError, nothing_in, shown

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tar.xz", ".gz", ".7z")


class _Inert:
    """Stand in for a name inside a pickle; a pickle can call it but not change it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise pickle.UnpicklingError("a state for something that has none")


class _Dtype:
    """Stand in for numpy.dtype: remember the type's name and ignore its byte order."""

    __slots__ = ("name",)

    def __init__(self, name: Any, *flags: Any) -> None:
        self.name = read_text(name, "the type of an array")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stand in for numpy.ndarray: keep what the pickle declares, to be checked afterwards."""

    __slots__ = ("buffer", "dtype", "fortran", "shape")

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.buffer = state


def _reconstruct(*args: Any) -> _Array:
    return _Array()


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Stand in for the function by which NumPy writes arrays from protocol 5 of pickle on."""
    array = _Array()
    array.shape, array.dtype, array.fortran, array.buffer = shape, dtype, order != "C", buffer
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    """Stand in for _codecs.encode: Python 3 writes bytes in a protocol-2 pickle as a str to encode in latin1."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("_codecs.encode of something else than latin1 text")
    return text.encode("latin1")


def _refuse_call(*args: Any) -> NoReturn:
    raise pickle.UnpicklingError("a call of numpy.ndarray")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Inert(_reconstruct),  # NumPy 1, Python 2
    ("numpy._core.multiarray", "_reconstruct"): _Inert(_reconstruct),  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _Inert(_frombuffer),
    ("numpy._core.numeric", "_frombuffer"): _Inert(_frombuffer),
    ("numpy", "ndarray"): _Inert(_refuse_call),  # only named, as an argument of _reconstruct
    ("numpy", "dtype"): _Inert(_Dtype),
    ("_codecs", "encode"): _Inert(_encode),
}


class _Unpickler(pickle._Unpickler):
    """Know the names in _KNOWN and refuse every other one.

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


def refuse_packed(directory: Path) -> None:
    """Refuse a file, such as an archive, in place of the folder of raw data.

    Raises:
        UserError: says what to do with it.
    """
    if not directory.is_file():
        return
    if directory.name.lower().endswith(ARCHIVES):
        raise UserError(
            f"{directory} is an archive: unpack it (tar -xf or unzip), and give the folder in it that holds the files "
            "train, test and meta"
        )
    raise UserError(f"{directory} is a file: give the folder that holds train, test and meta")


def unpickle(path: Path) -> dict[str, Any]:
    """Read one pickled dictionary; its keys come back as str."""
    refuse_packed(path.parent)
    if nothing := nothing_in(path):
        raise UserError(f"{path} {nothing}: a raw folder holds the files train, test and meta")
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
    return {read_text(key, f"{path}: a key"): value for key, value in content.items()}


def read_text(value: Any, where: str) -> str:
    """Read a text; refuse anything else, because writing out nested lists could take for ever."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="surrogateescape")  # not printable, so refused later
    if not isinstance(value, str):
        raise UserError(f"{where} is {shown(value)}; it must be a text")
    return value
