"""Find pictures, read them as RGB whatever their format and colour mode, and bring them to a network's size."""

import contextlib
import io
import stat
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.data.index import SUFFIXES
from common.system.errors import UserError

# The formats of those suffixes, which Pillow decodes itself; it would start Ghostscript for an EPS file of any name.
# What cameras write for several pictures in one .jpg (MPO) is opened as JPEG. Pillow before 11.3 knows no AVIF.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM") + (
    ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()
)


def find_pictures(path: Path) -> list[Path]:
    """Find the pictures in a folder by their suffixes, in the order of names; a file counts whatever its name.

    Names that begin with a dot are left out: some systems keep notes about pictures there. So is what is not a regular
    file once links are followed: a device may have no end.

    Raises:
        UserError: nothing is there, or something else than a file or a folder, or the folder holds no pictures (those
            in folders below it do not count).
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise UserError(f"There is no picture at {path}.")
    if not path.is_dir():
        raise UserError(f"{path} is no picture: it is neither a regular file nor a folder.")
    found = sorted(
        one
        for one in path.iterdir()
        if one.name.lower().endswith(SUFFIXES) and not one.name.startswith(".") and one.is_file()
    )
    if not found:
        raise UserError(f"{path} holds no pictures; allowed are {', '.join(SUFFIXES)}.")
    return found


def read_picture(path: Path) -> Image.Image:
    """Read the first frame of an image file in RGB.

    Raises:
        UserError: not an image of one of `FORMATS`, damaged, or of pixels without a known range; by the file's name.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        content = io.BytesIO(path.read_bytes())
        with Image.open(content, formats=FORMATS) as image:
            image.verify()  # the checksums of a PNG; decoding alone overlooks some damage
        with Image.open(content, formats=FORMATS) as image:
            return as_rgb(image)
    except UnidentifiedImageError as error:  # its own words name an object in memory
        raise UserError(f"{path} cannot be read as an image (of an unknown kind).") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        RuntimeError,  # of a damaged AVIF file
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"{path} cannot be read as an image ({error}).") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Turn an image upright, as its EXIF data says, and convert it to 8 bits a channel without transparency.

    Raises:
        ValueError: the range of its pixels is not known.
    """
    # Damaged EXIF data says nothing about the orientation, and is no reason to refuse the pixels.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_high_byte(np.asarray(image)))
    # By way of LA, because Pillow converts premultiplied grey to that alone.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGB")


def fit(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Scale an image until it covers height x width, and cut what sticks out off both ends alike.

    An image of that size is not changed; others are resampled with Pillow's bicubic filter, which averages
    when it shrinks.
    """
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def _high_byte(pixels: np.ndarray) -> np.ndarray:
    """Convert 16-bit grey (H, W) to uint8 (H, W); Pillow would cut off everything above 255."""
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels are neither 8 nor 16 bits wide")
    return (pixels.astype(np.uint16) >> 8).astype(np.uint8)
