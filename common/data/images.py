"""Folders of labelled images to one uint8 tensor, decoded once and cached beside the data set; or decoded on demand."""

import hashlib
import logging
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.data import get_worker_info

from common.data.index import SUFFIXES
from common.data.pictures import read_picture
from common.system.atomic_files import read_yaml, replacing, write_yaml
from common.system.errors import UserError
from common.system.randomness import derive

log = logging.getLogger(__name__)
CHUNK = 1024  # images at a time where all of them are looked at once
STALE_S = 3600.0  # a file that another command still writes is younger


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


class Undecoded:
    """Images that are too large for memory together: what is asked for by its rows is decoded at that moment.

    ``shape`` (N, 3, H, W) is that of the tensor that it stands for.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        height, width, channels = _decode_one(paths[0]).shape
        self.paths = paths
        self.rows = torch.arange(len(paths))
        self.shape = (len(paths), channels, height, width)

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        """As a tensor's, along the images."""
        assert dim == 0
        return self[rows]

    def __getitem__(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Uint8 (B, 3, H, W)."""
        chosen = [self.paths[row] for row in self.rows[rows].tolist()]
        return decode(chosen, like=self.paths[0])


@dataclass(frozen=True)
class ImageFolder:
    """A folder's images, uint8 (N, 3, H, W) by rows, and all about them.

    ``labels`` int64 (N,), ``names`` (N of them), a ``digest`` of images, labels and names, and ``pixel_counts`` of
    all images.
    """

    images: torch.Tensor | Undecoded
    labels: np.ndarray
    names: list[str]
    digest: str
    pixel_counts: torch.Tensor


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
                        f"{file.path} does not belong there: allowed are images ({', '.join(SUFFIXES)}), "
                        "each a regular file or a link to one."
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


def load_folder(directory: Path, *, memory_gib: float = math.inf) -> ImageFolder:
    """The folder's images from its cache, or decoded and then cached; beyond ``memory_gib``, only looked through.

    The cache lies in ``.cache`` beside the train and test folders and is made anew when a file changed or the
    cache is damaged. A data set that cannot be written to is decoded each time, which is said.
    """
    listing = list_folder(directory)
    cache = directory.parent.parent / ".cache" / f"{directory.parent.name}-{directory.name}.pt"
    undecoded = Undecoded(listing.paths)
    if math.prod(undecoded.shape) > memory_gib * 2**30:
        return _look_through(undecoded, cache.with_suffix(".yaml"), listing)
    folder = _read_cache(cache, listing)
    if folder is None:
        images = decode(listing.paths)
        folder = ImageFolder(images, listing.labels, listing.names, *_summary(images, listing))
        _write_cache(cache, listing, folder)
    return folder


def count_pixels(images: torch.Tensor | Undecoded, rows: torch.Tensor) -> torch.Tensor:
    """How often each channel has each of the 256 values in some of the images, int64 (3, 256)."""
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for chunk in rows.split(CHUNK):
        counts += _counts(images[chunk])
    return counts


def decode(paths: Sequence[Path], *, like: Path | None = None) -> torch.Tensor:
    """Images of one size as uint8 (N, 3, H, W); other colour modes are converted to RGB.

    Args:
        paths: N files.
        like: an image of the size that all must have; None: the first one.

    Raises:
        UserError: a damaged image or one of another size, by its name.
    """
    like = like or paths[0]
    first = _decode_one(like)
    images = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def fill(index: int) -> None:
        image = _decode_one(paths[index])
        if image.shape != first.shape:
            (h, w, _), (height, width, _) = image.shape, first.shape
            raise UserError(
                f"{paths[index]} is {w} x {h} pixels, but {like.name} is {width} x {height}: "
                "all images of a folder must have one size."
            )
        images[index] = image

    # A worker process of a DataLoader is one of several at the same work.
    threads = 1 if get_worker_info() else min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(len(paths)), chunksize=256):
            pass
    # (N, H, W, 3) -> (N, 3, H, W)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode_one(path: Path) -> np.ndarray:
    """One image as uint8 (H, W, 3)."""
    return np.asarray(read_picture(path))


def _summary(images: torch.Tensor | Undecoded, listing: Listing) -> tuple[str, torch.Tensor]:
    """Digest and pixel counts of a folder; each image is looked at once."""
    state = hashlib.blake2b(digest_size=16)
    state.update(repr(tuple(images.shape)).encode())
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for start in range(0, images.shape[0], CHUNK):
        chunk = images[start : start + CHUNK]
        state.update(chunk.numpy().reshape(-1).data)
        counts += _counts(chunk)
    state.update(listing.labels.tobytes())
    state.update("\n".join(listing.names).encode("utf-8", "surrogateescape"))
    return state.hexdigest(), counts


def _counts(images: torch.Tensor) -> torch.Tensor:
    channels = images.transpose(0, 1).flatten(1)  # (3, B * H * W)
    return torch.stack([torch.bincount(values, minlength=256) for values in channels])


def _look_through(images: Undecoded, cache: Path, listing: Listing) -> ImageFolder:
    """The folder with its summary from the cache, or from decoding each image once, which checks them all."""
    signature = listing.signature
    try:
        held = read_yaml(cache) if cache.is_file() else {}
        digest, counts = held.get("digest"), held.get("pixel_counts")
        if held.get("check") != derive(0, signature, repr(digest), repr(counts)):
            digest = None
    # A date that no calendar has is ValueError, as is what is not UTF-8; brackets may nest too deep.
    except (OSError, ValueError, RecursionError, AttributeError, yaml.YAMLError):
        digest = None
    if digest is None:
        log.warning(
            "%s is too large for dataset.memory_gb: its images are decoded whenever they are needed.",
            listing.directory,
        )
        digest, found = _summary(images, listing)
        counts = found.tolist()
        check = derive(0, signature, repr(digest), repr(counts))
        try:
            _sweep(cache)
            write_yaml(cache, {"check": check, "digest": digest, "pixel_counts": counts})
        except OSError as error:
            log.warning(
                "%s cannot be written (%s): images are decoded at every start.", cache, error
            )
    return ImageFolder(images, listing.labels, listing.names, digest, torch.tensor(counts))


def _read_cache(cache: Path, listing: Listing) -> ImageFolder | None:
    if not cache.is_file():
        return None
    try:
        held = torch.load(cache, mmap=True, weights_only=True)
        if held["signature"] != listing.signature:
            return None
        digest, counts = _summary(held["images"], listing)
        if digest != held["digest"]:
            raise ValueError("its content has changed")
    except MemoryError:
        raise
    # A damaged archive can make torch raise nearly anything.
    except Exception as error:
        log.warning(
            "%s is damaged (%s) and is made anew.", cache, " ".join(str(error).split())[:100]
        )
        return None
    return ImageFolder(held["images"], listing.labels, listing.names, digest, counts)


def _write_cache(cache: Path, listing: Listing, folder: ImageFolder) -> None:
    try:
        _sweep(cache)
        with replacing(cache) as temporary:
            content = {
                "signature": listing.signature,
                "digest": folder.digest,
                "images": folder.images,
            }
            torch.save(content, temporary)
    except (OSError, RuntimeError) as error:  # torch's word for a full disk is RuntimeError
        log.warning("Images are decoded at every start: %s cannot be written (%s).", cache, error)


def _sweep(cache: Path) -> None:
    """Delete what killed commands left of this cache: it may take as much space as the images."""
    for left in cache.parent.glob(f".{cache.name}.*.tmp"):
        with suppress(FileNotFoundError):  # another command sweeps too
            if time.time() - left.stat().st_mtime > STALE_S:
                left.unlink()
