"""Folders of labelled images to one uint8 tensor, decoded once and cached beside the data set."""

import hashlib
import logging
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from common.files import replacing
from common.pictures import SUFFIXES, read_picture

log = logging.getLogger(__name__)


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
        """File names, N of them."""
        return [path.name for path in self.paths]


@dataclass(frozen=True)
class ImageFolder:
    """A folder in memory: images uint8 (N, 3, H, W), labels int64 (N,), names, and a digest of all three."""

    images: torch.Tensor
    labels: np.ndarray
    names: list[str]
    digest: str


def list_folder(directory: Path) -> Listing:
    """Find the images of ``directory/<label id>/<image>``.

    Raises:
        UserError: no such folder, no images, an empty class, or something that does not belong there.
    """
    if not directory.is_dir():
        raise UserError(
            f"No folder of labelled images at {directory}: prepare the data set "
            f"(python data_scripts/prepare_cifar.py) or correct dataset.root or the dataset.*_dir keys."
        )
    entries: list[tuple[str, Path, int]] = []
    state = hashlib.blake2b(digest_size=16)
    for folder in sorted(directory.iterdir(), key=lambda path: path.name):
        if folder.name.startswith("."):
            continue
        number = (
            folder.name.isascii() and folder.name.isdigit() and str(int(folder.name)) == folder.name
        )
        if not (folder.is_dir() and number):
            raise UserError(
                f"{folder} does not belong there: allowed are class folders named by label id (0, 1, ...)."
            )
        before = len(entries)
        with os.scandir(folder) as files:
            for file in files:
                if file.name.startswith("."):
                    continue
                if not file.is_file() or not file.name.lower().endswith(SUFFIXES):
                    raise UserError(
                        f"{file.path} does not belong there: allowed are images ({', '.join(SUFFIXES)})."
                    )
                entries.append((file.name, Path(file.path), int(folder.name)))
        if len(entries) == before:
            raise UserError(f"{folder} holds no image: remove the empty class folder or fill it.")
    if not entries:
        raise UserError(f"{directory} holds no class folders (0, 1, ...) with images.")
    entries.sort()
    for (name, path, _), (next_name, next_path, _) in pairwise(entries):
        if name == next_name:
            raise UserError(
                f"{path} and {next_path} have the same name; names must be unique within {directory}."
            )
    for name, path, label in entries:
        stat = path.stat()
        state.update(
            f"{label}/{name}:{stat.st_size}:{stat.st_mtime_ns};".encode("utf-8", "surrogateescape")
        )
    return Listing(
        directory=directory,
        paths=tuple(path for _, path, _ in entries),
        labels=np.array([label for _, _, label in entries], dtype=np.int64),
        signature=state.hexdigest(),
    )


def load_folder(directory: Path) -> ImageFolder:
    """The folder's images from its cache, or decoded and then cached.

    The cache lies in ``.cache`` beside the train and test folders and is made anew when a file changed or the
    cache is damaged. A data set that cannot be written to is decoded each time, which is said.
    """
    listing = list_folder(directory)
    cache = directory.parent.parent / ".cache" / f"{directory.parent.name}-{directory.name}.pt"
    folder = _read_cache(cache, listing)
    if folder is None:
        images = decode(listing.paths)
        folder = ImageFolder(images, listing.labels, listing.names, _digest(images, listing))
        _write_cache(cache, listing, folder)
    return folder


def decode(paths: Sequence[Path]) -> torch.Tensor:
    """Images of one size as uint8 (N, 3, H, W); other colour modes are converted to RGB.

    Raises:
        UserError: a damaged image or one of another size, by its name.
    """
    first = _decode_one(paths[0])
    images = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def fill(index: int) -> None:
        image = _decode_one(paths[index])
        if image.shape != first.shape:
            (h, w, _), (height, width, _) = image.shape, first.shape
            raise UserError(
                f"{paths[index]} is {w} x {h} pixels, but {paths[0].name} is {width} x {height}: "
                "all images of a folder must have one size."
            )
        images[index] = image

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(len(paths)), chunksize=256):
            pass
    # (N, H, W, 3) -> (N, 3, H, W)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode_one(path: Path) -> np.ndarray:
    """One image as uint8 (H, W, 3)."""
    return np.asarray(read_picture(path))


def _digest(images: torch.Tensor, listing: Listing) -> str:
    state = hashlib.blake2b(digest_size=16)
    state.update(repr(tuple(images.shape)).encode())
    state.update(images.numpy().reshape(-1).data)
    state.update(listing.labels.tobytes())
    state.update("\n".join(listing.names).encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def _read_cache(cache: Path, listing: Listing) -> ImageFolder | None:
    if not cache.is_file():
        return None
    try:
        held = torch.load(cache, mmap=True, weights_only=True)
        if held["signature"] != listing.signature:
            return None
        if _digest(held["images"], listing) != held["digest"]:
            raise ValueError("its content has changed")
    except (
        OSError,
        RuntimeError,
        ValueError,
        AttributeError,
        KeyError,
        TypeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        log.warning(
            "%s is damaged (%s) and is made anew.", cache, " ".join(str(error).split())[:100]
        )
        return None
    return ImageFolder(held["images"], listing.labels, listing.names, held["digest"])


def _write_cache(cache: Path, listing: Listing, folder: ImageFolder) -> None:
    try:
        with replacing(cache) as temporary:
            content = {
                "signature": listing.signature,
                "digest": folder.digest,
                "images": folder.images,
            }
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch's word for a full disk is RuntimeError
        log.warning("Images are decoded at every start: %s cannot be written (%s).", cache, error)
