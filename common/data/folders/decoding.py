"""Decode every picture once, bring it to its size, and write it as PNG, in as many processes as there are cores."""

import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.index import SUFFIXES
from common.data.pictures import Frame, as_rgb, is_wide, naming, read_upright, wide_pixels
from common.data.preparation import to_eight_bits, wide_around
from common.data.processes import in_processes
from common.data.tree import PNG_COMPRESSION
from common.system.errors import UserError

FEW = 64  # pictures for which the start of further processes takes longer than they save


@dataclass(frozen=True)
class Decoded:
    """A picture as it was written.

    ``digest`` is of its pixels; ``peak`` the highest value of one whose pixels are wider than 8 bits, which are then
    still to be scaled, else 0. ``problem`` says why it was not written.
    """

    digest: str = ""
    peak: int = 0
    problem: str | None = None


def decode_all(paths: Sequence[Path], folder: Path, frame: Frame, *, keep: bool) -> list[Decoded]:
    """Decode N pictures and write them to ``folder`` by their numbers; see `written_to`.

    Args:
        paths: the pictures.
        folder: is made.
        frame: the size that they are brought to.
        keep: whether those that training can read itself are checked, but not written.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    folder.mkdir(parents=True)
    jobs = [(path, written_to(folder, number)) for number, path in enumerate(paths)]
    work = partial(_decode, frame=frame, keep=keep)
    bar = (
        TextColumn("decoding pictures"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*bar) as progress:
        few = len(jobs) <= FEW
        decoded = map(work, jobs) if few else in_processes(work, jobs, at_once=8)
        done = progress.track(decoded, total=len(jobs))
        found = list(done)
    return _scaled(found, folder)


def written_to(folder: Path, number: int) -> Path:
    """Name the file of a decoded picture."""
    return folder / f"{number}.png"


def is_kept(path: Path, decoded: Decoded) -> bool:
    """Say whether training reads a picture's own file: one of a usual kind with 8 bits a channel."""
    return path.suffix.lower() in SUFFIXES and not decoded.peak


def highest(found: Iterable[Decoded]) -> int:
    """Give the highest value of pixels wider than 8 bits over the set; 0 where there are none."""
    return max((one.peak for one in found), default=0)


def _decode(job: tuple[Path, Path], *, frame: Frame, keep: bool) -> Decoded:
    path, target = job
    try:
        with naming(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damaged EXIF data, and palettes
            small, found = _bring(read_upright(path, near=frame.near), frame)
    except UserError as error:
        reason = str(error).removeprefix(f"{path} ").strip(".")
        return Decoded(problem=reason if path.stat().st_size else "an empty file")
    except MemoryError:
        return Decoded(problem="there is not enough memory to decode it")
    # A full disk is no problem of the picture.
    if not (keep and is_kept(path, found)):
        small.save(target, compress_level=PNG_COMPRESSION)
    return found


def _bring(image: Image.Image, frame: Frame) -> tuple[Image.Image, Decoded]:
    if is_wide(image):
        small = Image.fromarray(wide_around(image, frame))
        return small, Decoded(peak=max(1, int(wide_pixels(image).max())))
    small = frame.around(as_rgb(image))
    return small, Decoded(_digest(small))


def _scaled(found: list[Decoded], folder: Path) -> list[Decoded]:
    """Scale what is wider than 8 bits to 0..255, by one factor for the whole set."""
    peak = highest(found)
    scaled = []
    for number, one in enumerate(found):
        if one.peak:
            file = written_to(folder, number)
            with Image.open(file) as image:
                small = to_eight_bits(np.asarray(image), peak)
            small.save(file, compress_level=PNG_COMPRESSION)
            one = Decoded(_digest(small), one.peak)
        scaled.append(one)
    return scaled


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()
