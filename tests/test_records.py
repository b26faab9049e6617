"""What a file says of itself: damage is told from a passing fault, and nothing in it is taken on trust."""

import errno
import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from common.checkpoints import RECORD, load
from common.continuing import point
from common.errors import UserError

# A file that cannot be read now


def saved(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"network.w": torch.zeros(4096)}, RECORD: {}}, file)
    return file


class Failing(io.BufferedReader):
    """A file whose later parts cannot be read."""

    def __init__(self, file: Path, error: Exception, *, after: int) -> None:
        super().__init__(io.FileIO(file))
        self.error, self.left = error, after

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error

    def read(self, *size):
        self._count()
        return super().read(*size)

    def readinto(self, buffer):
        self._count()
        return super().readinto(buffer)


PASSING = [
    (OSError(errno.EIO, "Input/output error"), errno.EIO),
    (OSError(errno.ESTALE, "Stale file handle"), errno.ESTALE),
    (OSError(errno.EMFILE, "Too many open files"), errno.EMFILE),
    (MemoryError(), errno.ENOMEM),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        errno.ENOMEM,
    ),
]


@pytest.mark.parametrize("after", [0, 3, 16, 24])
@pytest.mark.parametrize(("error", "number"), PASSING)
def test_a_fault_that_passes_is_no_damage(error, number, after, tmp_path, monkeypatch):
    file = saved(tmp_path / "checkpoints/last.ckpt")
    monkeypatch.setattr(Path, "open", lambda path, mode: Failing(path, error, after=after))
    with pytest.raises(OSError, match="last.ckpt") as caught:
        load(file)
    assert caught.value.errno == number
    with pytest.raises(OSError, match="last.ckpt"):
        point("fine/seed0", file.parent, "")
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_too_many_open_files_is_no_damage(tmp_path, monkeypatch):
    file = saved(tmp_path / "last.ckpt")

    def refused(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(file))

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OSError, match="Too many open files"):
        load(file)


def test_a_table_of_contents_that_leads_nowhere_is_damage(tmp_path):
    file = tmp_path / "last.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", bytes(64))
    content = bytearray(file.read_bytes())
    # The size of the table, which stands 12 bytes after the mark of its end: it would begin before the file does.
    place = content.rfind(b"PK\x05\x06") + 12
    content[place : place + 4] = b"\xff\xff\x00\x00"
    file.write_bytes(content)
    with pytest.raises(UserError, match="last.ckpt is"):
        load(file)


def test_a_part_that_is_listed_many_times_is_refused_unread(tmp_path, monkeypatch):
    file = tmp_path / "many.ckpt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", bytes(2**16))
        archive.filelist *= 1000
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("it was read"))
    with pytest.raises(UserError, match="many.ckpt is refused"):
        load(file)
