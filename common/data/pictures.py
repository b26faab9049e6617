"""Find pictures, read them as RGB whatever their format and colour mode, and bring them to a network's size."""

import contextlib
import io
import os
import stat
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.data.index import SUFFIXES
from common.system.errors import UserError

# The formats of those suffixes, which Pillow decodes itself; it would start Ghostscript for an EPS file of any name.
# What cameras write for several pictures in one .jpg (MPO) is opened as JPEG. Pillow before 11.3 knows no AVIF.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM") + (
    ("AVIF",) if find_spec("PIL.AvifImagePlugin") else ()
)

KINDS = ", ".join(SUFFIXES)
# Pictures all the same: of cameras, of drawing, and of kinds that Pillow does not decode.
UNREAD = (
    *(".heic", ".heif", ".hif", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf"),
    *(".exr", ".jp2", ".jxl", ".psd", ".svg"),
)
NOTES = ("@eaDir", "__MACOSX")


def find_pictures(path: Path) -> list[Path]:
    """Find the pictures in a folder and those below it, in the order of names; a file counts whatever its name.

    Raises:
        UserError: nothing is there, or something else than a file or a folder, or the folder holds no pictures.
    """
    found = look_for_pictures(path)
    if not found.pictures:
        reason = next(iter(found.others.values()), f"{path} holds no pictures; allowed are {KINDS}")
        raise UserError(f"{reason}.")
    return found.pictures


class Found(NamedTuple):
    """Pictures, and why other files that are pictures too are not among them: a sentence each."""

    pictures: list[Path]
    others: dict[Path, str]


def look_for_pictures(path: Path) -> Found:
    """Find the pictures in a folder and those below it, by their suffixes; a file counts whatever its name.

    Passed over are names that begin with a dot and folders that some systems keep notes about pictures in, what is no
    picture, and what is not a regular file once links are followed: a device may have no end.

    Raises:
        UserError: nothing is there, or something else than a file or a folder.
    """
    if path.is_file():
        return Found([path], {})
    if not path.exists():
        raise UserError(f"There is no picture at {path}.")
    if not path.is_dir():
        raise UserError(f"{path} is no picture: it is neither a regular file nor a folder.")
    found = Found([], {})
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOTES]
        for file in (Path(place, name) for name in names if not name.startswith(".")):
            if file.name.lower().endswith(SUFFIXES) and file.is_file():
                found.pictures.append(file)
            elif file.name.lower().endswith(UNREAD):
                found.others[file] = (
                    f"{file} is of a kind that is not read ({file.suffix}): export it as JPEG or PNG"
                )
    found.pictures.sort()
    return found


def read_picture(path: Path) -> Image.Image:
    """Read the first frame of an image file in RGB.

    Raises:
        UserError: not an image of one of `FORMATS`, damaged, or of pixels without a known range; by the file's name.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(
                "it is a folder, no regular file" if path.is_dir() else "it is no regular file"
            )
        content = io.BytesIO(path.read_bytes())
        with Image.open(content, formats=FORMATS) as image:
            image.verify()  # the checksums of a PNG; decoding alone overlooks some damage
        with Image.open(content, formats=FORMATS) as image:
            return as_rgb(image)
    except UnidentifiedImageError as error:  # its own words name an object in memory
        kind = "of an unknown kind" if path.stat().st_size else "it is empty"
        raise UserError(f"{path} cannot be read as an image ({kind}).") from error
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
