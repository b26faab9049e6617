"""Decode images of one size to a uint8 tensor, all at once or on demand, and count their pixels."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import get_worker_info

from common.data.listing import Listing
from common.data.pictures import Frame, read_picture
from common.system.cores import cores
from common.system.errors import UserError

CHUNK = 1024  # images at a time where all of them are read once
A_TASK = 32  # images that a thread decodes at a time


class Undecoded:
    """Stand for images that do not fit in memory together; each batch is decoded when it is asked for.

    ``shape`` (N, 3, H, W) is that of the tensor that it stands for.
    """

    def __init__(self, paths: Sequence[Path], frame: Frame | None = None) -> None:
        height, width, channels = _decode_one(paths[0], frame).shape
        self.paths = paths
        self.frame = frame
        self.rows = torch.arange(len(paths))
        self.shape = (len(paths), channels, height, width)

    def index_select(self, dim: int, rows: torch.Tensor) -> torch.Tensor:
        """Give images by their rows, as a tensor does along its first dimension."""
        assert dim == 0
        return self[rows]

    def __getitem__(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Decode images, uint8 (B, 3, H, W)."""
        chosen = [self.paths[row] for row in self.rows[rows].tolist()]
        return decode(chosen, like=self.paths[0], frame=self.frame)


def count_pixels(images: torch.Tensor | Undecoded, rows: torch.Tensor) -> torch.Tensor:
    """Count how often each channel has each of the 256 values in some of the images, int64 (3, 256)."""
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for chunk in rows.split(CHUNK):
        counts += value_counts(images[chunk])
    return counts


def pixel_statistics(counts: torch.Tensor) -> tuple[list[float], list[float]]:
    """Compute mean and standard deviation of each channel, of pixels scaled to 0..1.

    Exact, from how often each of the 256 values occurs: ``counts`` int64 (3, 256).
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    share = counts.double() / counts.sum(1, keepdim=True)  # (3, 256)
    mean = share @ values
    variance = share @ values.square() - mean.square()
    # A channel without variance is centred only.
    std = torch.where(
        variance > 1e-12, variance.clamp_min(1e-12).sqrt(), torch.ones(3, dtype=torch.float64)
    )
    return mean.tolist(), std.tolist()


def decode(
    paths: Sequence[Path], *, like: Path | None = None, frame: Frame | None = None
) -> torch.Tensor:
    """Decode images of one size to uint8 (N, 3, H, W); other colour modes are converted to RGB.

    Args:
        paths: N files.
        like: an image of the size that all must have; None: the first one.
        frame: the size that they are brought to; None: they have one already.

    Raises:
        UserError: a damaged image or one of another size, by its name.
    """
    like = like or paths[0]
    first = _decode_one(like, frame)
    images = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for index, path in enumerate(paths[start : start + A_TASK], start):
            image = _decode_one(path, frame)
            if image.shape != first.shape:
                (h, w, _), (height, width, _) = image.shape, first.shape
                raise UserError(
                    f"{path} is {w} x {h} pixels, but {like.name} is {width} x {height}: "
                    "all images of a folder must have one size: data_scripts/prepare_folders.py brings pictures to one."
                )
            images[index] = image

    # A worker process of a DataLoader is one of several at the same work.
    threads = 1 if get_worker_info() else min(16, cores())
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(paths), A_TASK)):
            pass
    # (N, H, W, 3) -> (N, 3, H, W)
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def _decode_one(path: Path, frame: Frame | None) -> np.ndarray:
    """Decode one image to uint8 (H, W, 3)."""
    try:
        return np.asarray(read_picture(path, of_a_set=True, frame=frame))
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}: put it back, or delete it and prepare the data set again."
        ) from error


def summarise(images: torch.Tensor | Undecoded, listing: Listing) -> tuple[str, torch.Tensor]:
    """Compute digest and pixel counts of a folder; each image is read once."""
    state = hashlib.blake2b(digest_size=16)
    state.update(repr(tuple(images.shape)).encode())
    counts = torch.zeros(3, 256, dtype=torch.int64)
    for start in range(0, images.shape[0], CHUNK):
        chunk = images[start : start + CHUNK]
        state.update(chunk.numpy().reshape(-1).data)
        counts += value_counts(chunk)
    state.update(listing.labels.tobytes())
    state.update("\n".join(listing.names).encode("utf-8", "surrogateescape"))
    return state.hexdigest(), counts


def value_counts(images: torch.Tensor) -> torch.Tensor:
    """Count each value of each channel of uint8 images (B, 3, H, W): int64 (3, 256)."""
    channels = images.transpose(0, 1).flatten(1)  # (3, B * H * W)
    return torch.stack([torch.bincount(values, minlength=256) for values in channels])
