"""Put decoded pictures together: label ids, splits, names, and the held-out tenth."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.data.folders.classes import number_classes, number_independent
from common.data.folders.collection import Collection, Picture
from common.data.folders.decoding import Decoded, highest, is_kept
from common.data.folders.earlier import Earlier, held_out_digest
from common.data.folders.naming import image_names
from common.data.folders.split import Division, divide, hold_out
from common.data.held_out import strata
from common.data.hierarchy import Hierarchy
from common.data.index import Index, parents
from common.data.pictures import Frame
from common.data.prepared import Made
from common.settings.levels import LEVEL_NAMES

DIGEST = "pictures-sha256:"  # how the digest of a tree made of pictures begins


@dataclass(frozen=True)
class Options:
    """How pictures become a set.

    ``keep`` links the originals in place of writing images of ``frame``; ``test`` is the share of test pictures to
    draw, None where the collection has its own or a fifth is right. ``independent``: fine and coarse are two labels
    that say nothing about each other; ``level_names`` are what people read in place of these words, None where nobody
    said it. Where the pictures come from labelled folders, ``numbered`` gives the label ids of these, and ``grouped``
    and ``peak`` say what was done to them before, see `Made`.
    """

    frame: Frame
    keep: bool = False
    test: float | None = None
    split_seed: int = 0
    independent: bool = False
    level_names: Mapping[str, str] | None = None
    numbered: Hierarchy | None = None
    grouped: bool = False
    peak: int = 0

    def of(self, collection: Collection) -> "Options":
        """Add what a set says of itself that is prepared again."""
        known, made = collection.described, collection.made
        return replace(
            self,
            independent=self.independent or bool(known and not known.nested),
            level_names=self.level_names or (known.level_names if known else None),
            numbered=known,
            grouped=bool(made and made.grouped),
            peak=made.peak if made else 0,
        )


@dataclass(frozen=True)
class Assembled:
    """A set that is ready to be written; ``rows`` gives for each row of the index its place among the pictures."""

    index: Index
    hierarchy: Hierarchy
    rows: list[int]
    made: Made
    how: str


def assemble(
    pictures: Sequence[Picture],
    decoded: Sequence[Decoded],
    before: Earlier | None,
    options: Options,
) -> Assembled:
    """Describe the set that N pictures make.

    Args:
        pictures: all that could be decoded.
        decoded: what came of each.
        before: the set as it stands; its classes keep their label ids, and an edited choice of held-out images stays.
        options: how.

    Raises:
        UserError: they cannot be divided.
    """
    number = number_independent if options.independent else number_classes
    alike = before is not None and before.hierarchy.nested != options.independent
    classes = number(pictures, before.hierarchy if before and alike else options.numbered)
    labels, above = zip(*(classes.of(picture) for picture in pictures), strict=True)
    _, kinds = np.unique(
        strata(labels, above if options.independent else None), axis=0, return_inverse=True
    )
    division = divide(pictures, kinds.ravel().tolist(), test=options.test, seed=options.split_seed)
    stems = image_names(pictures, division.splits)
    names = [
        stem + (one.path.suffix.lower() if options.keep and is_kept(one.path, what) else ".png")
        for stem, one, what in zip(stems, pictures, decoded, strict=True)
    ]
    splits = division.splits
    rows = sorted(
        range(len(names)), key=lambda row: (splits[row] == "test", labels[row], names[row])
    )
    index = Index(
        split=[splits[row] for row in rows],
        image=[names[row] for row in rows],
        fine=np.array([labels[row] for row in rows], np.int64),
        coarse=np.array([above[row] for row in rows], np.int64),
        held_out=np.zeros(len(rows), bool),
    )
    edited = _hold_out(index, [pictures[row] for row in rows], rows, division, before, options)
    hierarchy = Hierarchy(
        fine=classes.fine,
        coarse=classes.coarse,
        parent={} if options.independent else parents(index.fine, index.coarse, "the pictures"),
        split_seed=options.split_seed,
        digest=_digest(index, classes.fine, classes.coarse, [decoded[row] for row in rows]),
        counts=index.counts(),
        nested=not options.independent,
        level_names=dict(options.level_names or LEVEL_NAMES),
    )
    made = _made(pictures, decoded, options, edited or held_out_digest(index))
    how = division.how + ("; but the held-out pictures stay as they were edited" if edited else "")
    return Assembled(index, hierarchy, rows, made, how)


def _made(
    pictures: Sequence[Picture], decoded: Sequence[Decoded], options: Options, held_out: str
) -> Made:
    """Describe what was done to the pictures, now or, where they are those of a prepared set, before."""
    grouped = options.grouped or any(picture.group is not None for picture in pictures)
    return Made(options.frame, options.keep, grouped, held_out, highest(decoded) or options.peak)


def _hold_out(
    index: Index,
    pictures: Sequence[Picture],
    rows: Sequence[int],
    division: Division,
    before: Earlier | None,
    options: Options,
) -> str | None:
    """Fill in which images are held out; give the digest of those that were drawn where an edited choice is kept."""
    train = index.split.count("train")
    names = index.image[:train]
    if division.validation is not None:
        drawn = division.validation[list(rows[:train])]
    else:
        labels = index.fine[:train].tolist()
        coarse = index.coarse[:train].tolist() if options.independent else None
        drawn = hold_out(pictures[:train], labels, names, options.split_seed, coarse)
    index.held_out[:train] = drawn
    edited = before.held_out(names, drawn) if before else None
    if edited is None:
        return None
    digest = held_out_digest(index)
    index.held_out[:train] = edited
    return digest


def _digest(
    index: Index, fine: dict[int, str], coarse: dict[int, str], decoded: Sequence[Decoded]
) -> str:
    """Give a digest of all that the tree holds: class names, labels, image names, pixels."""
    sha = hashlib.sha256(repr((sorted(fine.items()), sorted(coarse.items()))).encode())
    sha.update(np.stack([index.fine, index.coarse]).astype("<i8").tobytes())
    for split, image, one in zip(index.split, index.image, decoded, strict=True):
        sha.update(f"{split}/{image}/{one.digest}\n".encode())
    return DIGEST + sha.hexdigest()
