"""Write files completely or not at all, read and write YAML, and lock; never follow a link out of a folder."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from common.system.errors import UserError

# libyaml's is eight times as fast, and a wheel without it has the other one alone.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
BLOCK = 4096  # bytes, the least that a file takes on most disks


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give the path of a new file beside ``target``; on success flush it to disk and rename it onto ``target``.

    A failure or an interrupt leaves the earlier ``target``. If ``target`` is a link, the link is
    replaced and what it points to stays: the new file has a name that nobody can foresee. It is locked meanwhile, so
    that `remove_leftovers` leaves it alone.
    """
    make_folder(target.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    temporary = Path(name)
    try:
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield temporary
        with temporary.open("rb") as written:
            # mkstemp makes files that only their owner can read; data and results are shared.
            os.fchmod(written.fileno(), 0o666 & ~_umask())
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        names = {str(one) for one in (error.filename, error.filename2) if one is not None}
        if error.errno is None or (names and name not in names):
            raise  # of something else, such as what is copied
        # A write to a full disk does not know its file's name.
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def remove_leftovers(folder: Path, target: str = "*") -> None:
    """Delete what killed processes left of `replacing` in a folder and below; what is being written is locked.

    Args:
        folder: where to look.
        target: name of the files that were to be replaced.
    """
    for file in folder.rglob(f".{target}.*.tmp"):
        # Another command deletes it too, or writes it, or it is another user's.
        with suppress(OSError), file.open("r+b") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush their entries."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def unwritable(folder: Path) -> str | None:
    """Say, in the system's words, why nothing can be written into a folder; None if it can, or is not there.

    A file without a name is tried, since permissions alone do not tell of a full disk; nothing is left behind.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(BLOCK))
    except OSError as error:
        # Some systems say of a folder such as /proc that it is not there.
        gone = isinstance(error, FileNotFoundError) and not folder.is_dir()
        return None if gone else error.strerror or str(error)
    return None


def refuse_unwritable(key: str, file: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed for it; folders are made where they lack.

    Args:
        key: that names it on the command line.
        file: where it is to be.

    Raises:
        UserError: names the key, the file and the reason.
    """
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if reason := "it is a folder" if file.is_dir() else unwritable(folder):
        raise UserError(
            f"{key}={file} cannot be written ({reason}): give a file in a folder that can be written."
        )


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries: without it a rename may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> BinaryIO:
    """Open a file to be locked; make it if it is missing, and keep what it holds.

    Raises:
        UserError: a link stands there, which may point to anything.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a link where a lock belongs: delete the link") from None
    return os.fdopen(handle, "rb")


@contextmanager
def only_one(place: Path) -> Iterator[None]:
    """Keep other processes out of the folder ``place`` while this one makes it, by a lock beside it.

    The kernel drops the lock with the process, however that ends.

    Raises:
        UserError: another process is making it.
    """
    if not os.access(place.parent, os.W_OK):
        # Where nothing can be written, no lock can be made, and there is nothing to keep apart.
        yield
        return
    path = place.with_name(f".{place.name}.lock")
    while True:
        with open_lock(path) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another command is preparing {place}: wait for it, or choose another folder"
                ) from None
            if not _is_at(lock, path):
                continue  # it was another process's, which deleted it at its end
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def link_or_copy(source: Path, target: Path) -> None:
    """Link or copy ``source`` to ``target`` in one step, replacing what is there."""
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
    """Read plain containers from a YAML file."""
    return yaml.load(source.read_text(encoding="utf-8"), Loader=LOADER)


def read_mapping(source: Path) -> dict[str, Any]:
    """Read the dictionary in a YAML file of a stage.

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
