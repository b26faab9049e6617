"""Find the images of a folder of labelled images, and refuse what does not belong there."""

import hashlib
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from common.data.index import SUFFIXES, label_id
from common.data.names import check_name
from common.system.errors import UserError


@dataclass(frozen=True)
class Listing:
    """The images of a folder, ordered by name, so that the trees of both levels agree in order.

    ``labels`` int64 (N,) are the class folders' names; ``signature`` changes when a file does.
    """

    directory: Path
    paths: tuple[Path, ...]
    labels: np.ndarray
    signature: str

    @property
    def names(self) -> list[str]:
        """Give the file names, N of them."""
        return [path.name for path in self.paths]


def list_folder(directory: Path) -> Listing:
    """Find the images of ``directory/<label id>/<image>``.

    Raises:
        UserError: no such folder, no images, an empty class, or something that does not belong there.
    """
    if not directory.is_dir():
        raise UserError(
            f"No folder of labelled images at {directory}: prepare the data set (your own pictures: python "
            "data_scripts/prepare_folders.py PHOTOS --out-dir DIR; Navon figures: make navon; CIFAR-100: python "
            "data_scripts/prepare_cifar.py --download; others: datasets/README.md), or correct dataset.root or the "
            "dataset.*_dir keys."
        )
    entries: list[tuple[str, Path, int]] = []
    for folder in sorted(directory.iterdir(), key=lambda path: path.name):
        if folder.name.startswith("."):
            continue
        entries += _list_class(folder)
    if not entries:
        raise UserError(f"{directory} holds no class folders (0, 1, ...) with images.")
    entries.sort()
    for (name, path, _), (next_name, next_path, _) in pairwise(entries):
        if name == next_name:
            raise UserError(
                f"{path} and {next_path} have the same name; names must be unique within {directory}."
            )
    return Listing(
        directory=directory,
        paths=tuple(path for _, path, _ in entries),
        labels=np.array([label for _, _, label in entries], dtype=np.int64),
        signature=_signature(entries),
    )


def _list_class(folder: Path) -> list[tuple[str, Path, int]]:
    """List name, path and label of each image in a class folder, in no order."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder: here stand only folders named by label id (0, 1, ...)"
        )
    label = label_id(folder.name, folder)
    entries = []
    with os.scandir(folder) as files:
        for file in files:
            if file.name.startswith("."):
                continue
            if not file.is_file():  # a link to a device, say, whose content never ends
                raise UserError(f"{file.path} is not a regular file, nor a link to one")
            if not file.name.lower().endswith(SUFFIXES):
                raise UserError(f"{file.path} is not an image: allowed are {', '.join(SUFFIXES)}")
            entries.append((check_name(file.name, folder), Path(file.path), label))
    if not entries:
        raise UserError(f"{folder} holds no image: remove the empty class folder or fill it.")
    return entries


def _signature(entries: list[tuple[str, Path, int]]) -> str:
    """Give a digest of names, labels, sizes and times of change, without reading the files."""
    state = hashlib.blake2b(digest_size=16)
    for name, path, label in entries:
        stat = path.stat()
        state.update(
            f"{label}/{name}:{stat.st_size}:{stat.st_mtime_ns};".encode("utf-8", "surrogateescape")
        )
    return state.hexdigest()
