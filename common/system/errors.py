"""Define the errors that a person can correct: exceptions whose text is one sentence, and how a script prints it."""

import errno
import os
import reprlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import Any

from common.system.output import replace_what_cannot_be_shown

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, or what one user may fill of it
LONGEST = 150  # characters of what an error of other code says
NOTE = "bilateral_note"


class UserError(Exception):
    """An error that a person can correct, in one sentence: what, where, and what is allowed.

    Commands print the sentence without a traceback and exit with status 1.
    """


class Unfinished(UserError):  # noqa: N818 - a study's state, as its name says
    """Some stages of a study could not be finished, or its analysis; the tables hold the others.

    ``score`` is the validation accuracy that a sweep goes by, 0 to 1; None where stages are missing.
    """

    def __init__(self, sentence: str, score: float | None = None) -> None:
        super().__init__(sentence)
        self.score = score


class StageFailed(UserError):  # noqa: N818 - a stage's state, as its name says
    """A stage that cannot be finished; the others may go on."""


class _Short(reprlib.Repr):
    """Stop early while writing a value: a few lines of a file may become endless when written out."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 3
        self.maxstring = 40

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of thousands of digits.
        return repr(x) if x.bit_length() < 128 else f"a number of {x.bit_length()} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring])


def shown(value: Any) -> str:
    """Quote a value from a file in a sentence: at most 40 characters, whatever it is."""
    return _Short().repr(value)[:40]


def place_of(code: Any) -> str:
    """Name a class, a function, or the class of an object, by its file."""
    named = _named(code)
    return f"{named.__qualname__} of {named.__module__.replace('.', '/')}.py"


@contextmanager
def blaming(code: Any) -> Iterator[None]:
    """Turn what a class or function that was added raises into one sentence, with the line of its file.

    Raises:
        UserError: of any error that does not say that memory is full; one that is a sentence stays as it is.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if "DefaultCPUAllocator" in str(error):
            raise
        raise UserError(_blame_part(code, error)) from error


@contextmanager
def noting(code: Any) -> Iterator[None]:
    """Note on what a class or function that was added raises where that was, and let it pass as it is.

    For steps: others may know better what an error there means, such as a GPU whose memory is full. `failing_part`
    reads the note.
    """
    try:
        yield
    except Exception as error:
        if failing_part(error) is None:
            error.__dict__[NOTE] = _blame_part(code, error)
        raise


def failing_part(error: BaseException) -> str | None:
    """Read what `noting` noted on an error, a sentence; None if it noted nothing."""
    return error.__dict__.get(NOTE)


@contextmanager
def importing(file: str) -> Iterator[None]:
    """Turn what stops the import of a file that was added into one sentence, with its line.

    Raises:
        UserError: of any error that does not say that memory is full, or that the file is no Python (`no_python`).
    """
    try:
        yield
    except (UserError, MemoryError, SyntaxError):
        raise
    except Exception as error:
        raise UserError(_blame(file, file, error)) from error


def _blame_part(code: Any, error: Exception) -> str:
    file = getattr(sys.modules.get(_named(code).__module__), "__file__", None)
    return _blame(place_of(code), file, error)


def _blame(place: str, file: str | None, error: Exception) -> str:
    """Say that a place fails, and in which line of its file."""
    lines = [one.lineno for one in extract_tb(error.__traceback__) if one.filename == file]
    where = f", line {lines[-1]}," if lines else ""
    text = " ".join(str(error).split())[:LONGEST].rstrip(".")
    return f"{place}{where} fails: {type(error).__name__}: {text}."


def _named(code: Any) -> Any:
    """Give the function within functools.partial, and the class of an object."""
    code = code.func if isinstance(code, partial) else code
    return code if hasattr(code, "__qualname__") else type(code)


def no_python(error: SyntaxError) -> str:
    """Say which line of which file is no Python."""
    return f"{error.filename}, line {error.lineno}, is no Python ({error.msg}): correct it."


def nothing_in(path: Path) -> str | None:
    """Say why a path holds nothing to read, as the end of a sentence: a folder, or an empty file; None otherwise."""
    if path.is_dir():
        return "is a folder"
    return "is empty" if path.is_file() and path.stat().st_size == 0 else None


def checkpoint_in(folder: Path) -> Path | None:
    """Find a best checkpoint in a folder of a stage, an arm, an experiment or several of these; None if it has none."""
    patterns = ["best.ckpt", *("*/" * depth + "checkpoints/best.ckpt" for depth in range(4))]
    found = (min(folder.glob(pattern), default=None) for pattern in patterns)
    return next((file for file in found if file), None)


def file_of(error: OSError) -> str:
    """Name the file that an error of the system is about; empty if it names none."""
    name = error.filename
    if error.errno in FULL and error.filename2 is not None:
        name = error.filename2  # of a copy, whose source fits
    if name is None:
        return ""
    # Libraries that open a file by its bytes, such as TensorBoard's, have these named.
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)


def remedy(error: OSError) -> str:
    """Say, as the end of a sentence, what to do about an error of the system; empty where that is plain."""
    full = error.errno in FULL and file_of(error)
    return "; make room there, and run the same command again" if full else ""


def run_script(script: Callable[[], None]) -> int:
    """Run a script's body and turn what a person can cause into one line on stderr.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C.
    """
    replace_what_cannot_be_shown()
    try:
        script()
    except UserError as error:
        message = str(error)
    except SyntaxError as error:  # of a file that was added, such as a backbone
        message = no_python(error)
    except OSError as error:  # full disk, no permission, a name that is too long
        where = f"{file_of(error)}: " if file_of(error) else ""
        message = f"cannot read or write {where}{error.strerror or error}{remedy(error)}"
    except MemoryError:
        message = "not enough memory for this data set"
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        return 130
    else:
        return 0
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 1
