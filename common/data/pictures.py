"""Find pictures, read them as RGB whatever their format and colour mode, and bring them to a network's size."""

import contextlib
import io
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
HEIC = (".heic", ".heif", ".hif")
NO_HEIC = "HEIC needs pillow-heif: pip install pillow-heif"
# Pictures all the same, so that they are named: of cameras, of drawing, and of kinds that Pillow does not decode.
UNREAD = (
    *(".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf"),
    *(".exr", ".jp2", ".jxl", ".psd", ".svg"),
)
JUNK = {"thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin", "icon\r"}
# A tag of TIFF files, and its value where the largest number is black.
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
TWELVE_BITS = 0xFFF  # what cameras of microscopes give, in files of 16 bits

# Pillow warns from half of its limit. Once for all: threads decode at a time, and catch_warnings is not made for them.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Frame:
    """The size that the pictures of a set are brought to, and whether bars are added (``pad``) or edges cut off."""

    width: int
    height: int
    pad: bool = False

    def around(self, image: Image.Image) -> Image.Image:
        """Bring an image to this size with Pillow's Lanczos filter; one that has it already is not changed."""
        size = (self.width, self.height)
        if image.size == size:
            return image
        bring = ImageOps.pad if self.pad else ImageOps.fit
        return bring(image, size, method=Image.Resampling.LANCZOS)

    @property
    def near(self) -> int:
        """Give the side in pixels below which no picture may be decoded: see `read_upright`."""
        return max(self.width, self.height)


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


def is_junk(name: str) -> bool:
    """Say whether a file or folder is one that a computer leaves behind, not a person."""
    return name.startswith(".") or name.lower() in JUNK


class Walked(NamedTuple):
    """A folder and all below it: the files of each, why others cannot be read, and which are one that is listed."""

    files: dict[Path, list[Path]]
    unread: dict[Path, str]
    again: dict[Path, Path]


def walk_links(root: Path) -> Walked:
    """List a folder and all below it in the order of names, without junk.

    Links are followed once all real folders are listed, which so keep their own places, and no folder is listed twice:
    links may stand in a circle, or each in all others.
    """
    found, places = Walked({}, {}, {}), dict[str, Path]()

    def fail(error: OSError) -> None:
        found.unread[Path(error.filename)] = error.strerror or str(error)

    links = [root]
    for start in links:  # which grows on the way
        for name, folders, files in os.walk(start, onerror=fail):
            place = Path(name)
            first = places.setdefault(os.path.realpath(place), place)
            if first != place:
                found.again[place] = first
                folders.clear()
                continue
            folders[:] = sorted(one for one in folders if not is_junk(one))
            links += [place / one for one in folders if (place / one).is_symlink()]
            found.files[place] = [place / one for one in sorted(files) if not is_junk(one)]
    return found


class Found(NamedTuple):
    """Pictures, and why other ones, or those of a whole folder, are not among them: a sentence each."""

    pictures: list[Path]
    others: dict[Path, str]


def look_for_pictures(path: Path) -> Found:
    """Find the pictures in a folder and those below it, by their suffixes; a file counts whatever its name.

    Passed over are names that a computer leaves behind (`is_junk`), what is no picture, and what is not a regular file
    once links are followed: a device may have no end. A folder that cannot be read is named.

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
    walked = walk_links(path)
    for folder, why in walked.unread.items():
        found.others[folder] = f"{folder} cannot be read: {why}"
    for files in walked.files.values():
        for file in files:
            if not file.name.lower().endswith((*SUFFIXES, *HEIC, *UNREAD)):
                continue
            if reason := not_read(file.suffix):
                found.others[file] = f"{file} is no picture that is read: {reason}"
            elif file.is_file():
                found.pictures.append(file)
    found.pictures.sort()
    return found


def read_picture(path: Path, *, of_a_set: bool = False, frame: Frame | None = None) -> Image.Image:
    """Read the first frame of an image file in RGB.

    Args:
        path: the file.
        of_a_set: whether it is one of many whose range is judged together; alone, 12 bits in a file of 16 are refused.
        frame: the size that it is brought to; None: its own.

    Raises:
        UserError: not an image of one of `FORMATS`, damaged, or of pixels without a known range; by the file's name.
    """
    with naming(path):
        image = read_upright(path, near=frame.near if frame else None)
        if not of_a_set:
            refuse_narrow_range(image)
        return frame.around(as_rgb(image)) if frame else as_rgb(image)


def not_read(suffix: str) -> str | None:
    """Say why pictures of a suffix are not read, and what helps; None where nothing speaks against them."""
    suffix = suffix.lower()
    if suffix in HEIC:
        return None if find_spec("pillow_heif") else NO_HEIC
    return f"{suffix} is not read: export it as JPEG, PNG or TIFF" if suffix in UNREAD else None


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what a file that is no image, or a damaged one, makes Pillow raise into one sentence with its name."""
    try:
        yield
    except UnidentifiedImageError as error:  # its own words name an object in memory
        kind = "it is empty"
        if path.stat().st_size:
            kind = not_read(path.suffix) or "of an unknown kind"
        raise UserError(f"{path} cannot be read as an image ({kind}).") from error
    except Image.DecompressionBombError as error:
        # The only place where Pillow tells the size, and the limit.
        size, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        raise UserError(
            f"{path} cannot be read as an image (it has {size:,} pixels; allowed are {limit:,}: scale it down)."
        ) from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        RuntimeError,  # of a damaged AVIF file
    ) as error:
        raise UserError(f"{path} cannot be read as an image ({error}).") from error


def read_upright(path: Path, *, near: int | None = None) -> Image.Image:
    """Read the first frame of an image file in its own colour mode, turned as its EXIF data says.

    Args:
        path: the file, of one of `FORMATS`, or HEIC where pillow-heif is installed.
        near: the side in pixels that is needed; a larger JPEG is decoded at a half, a quarter or an eighth of its
            size, which is much faster, but never below twice this one.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(
            "it is a folder, no regular file" if path.is_dir() else "it is no regular file"
        )
    content, formats = io.BytesIO(path.read_bytes()), _formats(path)
    with Image.open(content, formats=formats) as image:
        image.verify()  # the checksums of a PNG; decoding alone overlooks some damage
    with Image.open(content, formats=formats) as image:
        if near is not None:
            image.draft(None, (2 * near, 2 * near))
        image.load()
        turn(image)
        # Pillow inverts those of 8 bits alone.
        if is_wide(image) and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
            return Image.fromarray(0xFFFF - wide_pixels(image))
        return image.copy()


def _formats(path: Path) -> tuple[str, ...]:
    """Name what a file may be, in Pillow's words."""
    if path.suffix.lower() not in HEIC or not find_spec("pillow_heif"):
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def turn(image: Image.Image) -> None:
    """Turn an image upright in place, as its EXIF data says; where that says nothing, it is not changed."""
    # Damaged EXIF data says nothing about the orientation, and is no reason to refuse the pixels.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, struct.error):
        ImageOps.exif_transpose(image, in_place=True)


def as_rgb(image: Image.Image) -> Image.Image:
    """Turn an image upright, as its EXIF data says, and convert it to 8 bits a channel, on white.

    What lies under transparent pixels is not meant to be seen, and often black: a black figure would be lost in it.

    Raises:
        ValueError: the range of its pixels is not known.
    """
    turn(image)
    if is_wide(image):
        image = Image.fromarray(_high_byte(wide_pixels(image)))
    # By way of LA, because Pillow converts premultiplied grey to that alone.
    image = image.convert("LA") if image.mode == "La" else image
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def fit(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Scale an image until it covers height x width, and cut what sticks out off both ends alike.

    An image of that size is not changed; others are resampled with Pillow's bicubic filter, which averages
    when it shrinks.
    """
    if image.size == (width, height):
        return image
    return ImageOps.fit(image, (width, height), method=Image.Resampling.BICUBIC)


def is_wide(image: Image.Image) -> bool:
    """Say whether the pixels of an image are wider than 8 bits."""
    return image.mode.startswith(("I", "F"))


def wide_pixels(image: Image.Image) -> np.ndarray:
    """Give the pixels of a wide grey image, uint16 (H, W).

    Raises:
        ValueError: the range of its pixels is not known.
    """
    pixels = np.asarray(image)
    if pixels.dtype.kind == "f" or pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ValueError("its pixels are neither 8 nor 16 bits wide")
    return pixels.astype(np.uint16)


def refuse_narrow_range(image: Image.Image) -> None:
    """Refuse a 16-bit image that uses 12 bits at most: of its 256 grey levels 16 would remain.

    Raises:
        ValueError: says what helps.
    """
    if is_wide(image) and wide_pixels(image).max() <= TWELVE_BITS:
        raise ValueError(
            f"its 16-bit pixels hold no value above {TWELVE_BITS}, so that it would become nearly black: scale it, "
            "or let data_scripts/prepare_folders.py scale a whole set"
        )


def refuse_narrow_set(paths: Iterable[Path], where: Path) -> None:
    """Refuse a set of 16-bit images none of which uses more than 12 bits.

    Raises:
        UserError: says what helps; or names an image that cannot be read.
    """
    for path in paths:
        with naming(path):
            image = read_upright(path)
            if not is_wide(image) or wide_pixels(image).max() > TWELVE_BITS:
                return
    raise UserError(
        f"{where} holds 16-bit images without any value above {TWELVE_BITS}, which would become nearly black: prepare "
        "them with data_scripts/prepare_folders.py, which scales them over the set."
    )


def _high_byte(pixels: np.ndarray) -> np.ndarray:
    """Convert 16-bit grey (H, W) to uint8 (H, W); Pillow would cut off everything above 255."""
    return (pixels >> 8).astype(np.uint8)
