"""Files that are either complete or absent: written beside their target, flushed, moved into place."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target``; on success flush it to disk and move it onto ``target``.

    A failure or an interrupt leaves the earlier ``target`` as it was.
    """
    make_folder(target.parent)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files that only their owner can read; results are to be shared.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        # A write to a full disk does not know its file's name.
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush their entries."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync_folder(one.parent)


def second_name(source: Path, target: Path) -> None:
    """Give a file another name in one step, which replaces what has it; a copy where links are impossible."""
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_text(target: Path, text: str) -> None:
    """Write a text file in one step."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_yaml(target: Path, content: Any) -> None:
    """Write plain containers as YAML in one step."""
    write_text(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_yaml(source: Path) -> Any:
    """Plain containers from a YAML file."""
    return yaml.safe_load(source.read_text(encoding="utf-8"))


def read_mapping(source: Path) -> dict[str, Any]:
    """What a stage's YAML file says by name.

    Raises:
        UserError: names the file, which is damaged.
    """
    try:
        content = read_yaml(source)
    # A date that no calendar has is ValueError, as is what is not UTF-8; brackets may nest too deep.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        content = error
    if not isinstance(content, dict):
        raise UserError(
            f"{source} is damaged: restore it, or delete {source.parent} to train that stage anew."
        )
    return content


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries: without it a rename may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
