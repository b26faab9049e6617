"""One picture in any format and colour mode: as a person sees it, in RGB, and at a network's size."""

import contextlib
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.errors import UserError


def read_picture(path: Path) -> Image.Image:
    """The first frame of an image file in RGB.

    Raises:
        UserError: not an image, damaged, or of pixels without a known range; by the file's name.
    """
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except (
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path} cannot be read as an image ({error}).") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """An image as a viewer shows it: turned as its EXIF data says, transparent parts white, 8 bits a channel.

    Raises:
        ValueError: the range of its pixels is not known.
    """
    # Damaged EXIF data says nothing about the orientation, and is no reason to refuse the pixels.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_high_byte(np.asarray(image)))
    if "transparency" in image.info or image.mode.endswith(("A", "a")):
        # By way of LA, because Pillow converts premultiplied grey to that alone.
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Scale an image until it covers height x width, and cut what sticks out off both ends alike.

    An image of that size already is not touched; others are resampled with Pillow's bicubic filter, which averages
    when it shrinks.
    """
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def _high_byte(pixels: np.ndarray) -> np.ndarray:
    """16-bit grey (H, W) to uint8 (H, W); Pillow would cut off everything above 255."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels are neither 8 nor 16 bits wide")
    return (pixels.astype(np.uint16) >> 8).astype(np.uint8)
