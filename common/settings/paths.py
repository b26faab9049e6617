"""Paths that a person gives: in YAML files, on the command line, or from Python."""

import os
import re
from glob import glob
from pathlib import Path
from typing import Any

from common.system.errors import UserError


def absolute(value: Any, base: Path, unless: str | None = None) -> Any:
    """A path, or each path of a list, made absolute; what is no path, or matches `unless`, as it is."""
    if isinstance(value, list):
        return [_join(base, str(item)) for item in value]
    path = isinstance(value, str) and value and not value.startswith("${") and value != "???"
    path = path and not (unless and re.fullmatch(unless, value))
    return _join(base, value) if path else value


def _join(base: Path, path: str) -> str:
    # normpath, not resolve: a symbolic link in the user's path is the user's choice.
    return os.path.normpath(base / expanded(path))


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path in which ``~`` is the user's folder; a name that begins with ~ and is no user's is that of a file."""
    # Path.expanduser would raise for the latter.
    return Path(os.path.expanduser(path))


def path_of(value: object, name: str, allowed: str) -> Path:
    """The path that a caller from Python gives as an argument.

    Raises:
        UserError: another value, with the argument's name and what is allowed.
    """
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name} is {value!r}; allowed: {allowed}.")
    return expanded(value)


def matching(pattern: str) -> list[str]:
    """The file or folder of this name, or those that it matches as a pattern with ``*``, ``?``, ``[ab]`` or ``**``."""
    path = str(expanded(pattern))
    return [path] if os.path.exists(path) else sorted(glob(path, recursive=True))
