"""Load a folder of labelled images: decoded once and cached beside the data set, or decoded on demand."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from common.data.images import Undecoded, decode, summarise
from common.data.index import SUFFIXES
from common.data.listing import Listing, list_folder
from common.data.pictures import Frame, refuse_narrow_set
from common.data.prepared import read_made
from common.system.atomic_files import read_yaml, remove_leftovers, replacing, write_yaml
from common.system.randomness import derive

log = logging.getLogger(__name__)
UNCACHED = "Images are decoded at every start: %s cannot be written (%s); make room there, or allow writing there."


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, uint8 (N, 3, H, W), with their labels, names and statistics.

    ``labels`` int64 (N,), ``names`` (N of them), a ``digest`` of images, labels and names, and ``pixel_counts`` of
    all images.
    """

    images: torch.Tensor | Undecoded
    labels: np.ndarray
    names: list[str]
    digest: str
    pixel_counts: torch.Tensor

    def has_images_of(self, other: "ImageFolder") -> bool:
        """Say whether both hold the same images, under whatever labels: by their names, and by all their pixels."""
        return self.pixel_counts.equal(other.pixel_counts) and sorted(self.names) == sorted(
            other.names
        )


def load_folder(directory: Path, *, memory_gib: float = math.inf) -> ImageFolder:
    """Load the folder's images from its cache, or decode and cache them; above ``memory_gib``, keep them on disk.

    The cache lies in ``.cache`` beside the train and test folders and is made anew when a file changed or the
    cache is damaged. Where it cannot be written, images are decoded each time, and a warning says so.
    """
    listing = list_folder(directory)
    cache = directory.parent.parent / ".cache" / f"{directory.parent.name}-{directory.name}.pt"
    refuse_narrow_set(listing.paths, directory)
    frame = _frame(directory)
    undecoded = Undecoded(listing.paths, frame)
    if math.prod(undecoded.shape) > memory_gib * 2**30:
        return _load_undecoded(undecoded, cache.with_suffix(".yaml"), listing)
    folder = _read_cache(cache, listing)
    if folder is None:
        images = decode(listing.paths, frame=frame)
        folder = ImageFolder(images, listing.labels, listing.names, *summarise(images, listing))
        _write_cache(cache, listing, folder)
    return folder


def size_of_images(directory: Path) -> tuple[int, int] | None:
    """Give height and width of a folder's images, which are all of one size, by its first; None where there is none.

    Raises:
        UserError: that one cannot be read.
    """
    files = (file for file in directory.glob("*/*") if file.name.lower().endswith(SUFFIXES))
    first = next((file for file in files if not file.name.startswith(".")), None)
    if first is None:
        return None
    _, _, height, width = Undecoded([first], _frame(directory)).shape
    return height, width


def _frame(directory: Path) -> Frame | None:
    """Give the size that images are brought to when they are read; None where they have one already."""
    made = read_made(directory.parent.parent)
    return made.frame if made and made.keep else None


def _load_undecoded(images: Undecoded, cache: Path, listing: Listing) -> ImageFolder:
    """Give the folder with its summary from the cache, or from decoding each image once, which checks them all."""
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
        digest, found = summarise(images, listing)
        counts = found.tolist()
        check = derive(0, signature, repr(digest), repr(counts))
        try:
            remove_leftovers(cache.parent, cache.name)
            write_yaml(cache, {"check": check, "digest": digest, "pixel_counts": counts})
        except OSError as error:
            log.warning(UNCACHED, cache, error.strerror or error)
    return ImageFolder(images, listing.labels, listing.names, digest, torch.tensor(counts))


def _read_cache(cache: Path, listing: Listing) -> ImageFolder | None:
    """Read the cached images; None where there is no cache, or an outdated or damaged one."""
    if not cache.is_file():
        return None
    try:
        held = torch.load(cache, mmap=True, weights_only=True)
        if held["signature"] != listing.signature:
            return None
        digest, counts = summarise(held["images"], listing)
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
    """Cache the images, or warn that this is impossible."""
    try:
        remove_leftovers(cache.parent, cache.name)
        with replacing(cache) as temporary, temporary.open("wb") as file:
            content = {
                "signature": listing.signature,
                "digest": folder.digest,
                "images": folder.images,
            }
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        # torch says of a full disk that a position is unexpected; what the system said stands behind it.
        behind = error if isinstance(error, OSError) else error.__context__
        log.warning(UNCACHED, cache, getattr(behind, "strerror", None) or error)
