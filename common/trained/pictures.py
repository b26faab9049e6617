"""Whatever a caller gives as pictures, as a network is shown them."""

from collections.abc import Iterable, Sequence
from io import IOBase
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.checkpoints.record import Record
from common.data.pictures import (
    Frame,
    as_rgb,
    find_pictures,
    fit,
    read_picture,
    refuse_narrow_range,
)
from common.data.preparation import Preparation
from common.settings.paths import matching
from common.system.errors import UserError, shown

Picture = str | Path | Image.Image | Tensor | np.ndarray
Pictures = Picture | Sequence[Picture]


def read_pixels(pictures: Pictures, record: Record) -> Tensor:
    """Read pictures as they are shown to a network: uint8 (B, 3, H, W), of the size of its training images.

    Args:
        pictures: one, a list, or a batch in one tensor or array; a path may be a pattern, and begin with ~.
        record: of the network's checkpoint.

    Raises:
        UserError: what is no picture, a file that is no image, or a tensor or an array of another type or shape.
    """
    if isinstance(pictures, str | Path | Image.Image):
        pictures = [pictures]
    elif isinstance(pictures, np.ndarray) and pictures.dtype.kind in "UO" and pictures.ndim:
        pictures = [*pictures]  # paths
    elif isinstance(pictures, Tensor | np.ndarray):
        _refuse_other_pixels(pictures, batch=pictures.ndim == 4)
        pictures = [*pictures] if pictures.ndim == 4 else [pictures]
    elif isinstance(pictures, bytes | IOBase) or not isinstance(pictures, Iterable):
        raise _no_picture(pictures)
    found: list[Picture] = []
    for picture in pictures:
        if isinstance(picture, str | Path) and picture != "":
            for name in matching(str(picture)) or [str(picture)]:
                found += find_pictures(Path(name))
        elif isinstance(picture, Image.Image | Tensor | np.ndarray):
            found.append(picture)
        else:
            raise _no_picture(picture)
    if not found:
        raise UserError("There are no pictures to show to the network.")
    return torch.stack([_read(picture, record) for picture in found])


def _read(picture: Picture, record: Record) -> Tensor:
    """Read one picture as uint8 (3, H, W)."""
    if isinstance(picture, Tensor | np.ndarray):
        _refuse_other_pixels(picture)
        if isinstance(picture, Tensor):
            if picture.shape[1:] == torch.Size(record.image_size):
                return picture.cpu()
            picture = picture.permute(1, 2, 0).cpu().numpy()
        picture = Image.fromarray(np.ascontiguousarray(picture))
    # (H, W, 3) -> (3, H, W)
    return torch.from_numpy(np.array(_fitted(picture, record))).permute(2, 0, 1)


def _fitted(picture: str | Path | Image.Image, record: Record) -> Image.Image:
    """Bring a picture to RGB and to the network's size, as those of its set were.

    Raises:
        UserError: a file that is no image, or an image of pixels without a known range.
    """
    height, width = record.image_size
    how = None
    if record.fit:
        how = Preparation(Frame(width, height, pad=record.fit == "pad"), record.peak)
    if not isinstance(picture, Image.Image):
        file = Path(picture)
        return how.read(file) if how else fit(read_picture(file), height=height, width=width)
    own = picture.copy()  # because the caller's image must not be turned
    try:
        if not (how and how.peak):
            refuse_narrow_range(own)
        return how.bring(own) if how else fit(as_rgb(own), height=height, width=width)
    except ValueError as error:
        raise UserError(f"An image of mode {picture.mode} is no picture: {error}.") from error


def _refuse_other_pixels(pixels: Tensor | np.ndarray, *, batch: bool = False) -> None:
    """Refuse all but uint8 (3, H, W) of a tensor and (H, W, 3) of an array (OpenCV: in BGR), or a batch of them."""
    shape = tuple(pixels.shape[1:] if batch else pixels.shape)
    tensor = isinstance(pixels, Tensor)
    colours = shape[0 if tensor else 2] if len(shape) == 3 else 0
    if pixels.dtype == (torch.uint8 if tensor else np.uint8) and colours == 3 and 0 not in shape:
        return
    kind, dtype, one = (
        ("A tensor", "torch.uint8", "3, H, W") if tensor else ("An array", "uint8", "H, W, 3")
    )
    raise UserError(
        f"{kind} of {pixels.dtype} and shape {tuple(pixels.shape)} is no picture; allowed: {dtype} and shape "
        f"({one}), or (B, {one}) for all of them."
    )


def _no_picture(given: object) -> UserError:
    """Say what pictures are, of something else."""
    return UserError(
        "Pictures are paths, folders, images, arrays or tensors, one or a list of them, not "
        f"{shown(given)}."
    )
