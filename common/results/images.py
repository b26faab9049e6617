"""Contrasts with the reference arm image by image, from what each tested stage answered: rows of images.csv."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.results.agreement import error_consistency, mcnemar, outperformance
from common.results.bootstrap import images_and_seeds, seeds_with_their_images
from common.results.contrasts import LEVEL
from common.results.intervals import FEWEST
from common.results.predictions import PREDICTIONS, read_right
from common.results.rows import Row
from common.results.sharing import pairs, widening
from common.settings.levels import LEVELS
from common.system.atomic_files import read_mapping


@dataclass(frozen=True)
class ImageRow:
    """Test accuracy of ``arm`` minus that of ``minus`` over the same seeds and images, shares as fractions.

    ``images`` counts different ones: where each seed has a set of its own, those of all seeds. ``ci95_low`` and
    ``ci95_high`` of a bootstrap over seeds and images; ``ahead``, the share of seeds in which ``arm`` is ahead, with
    its interval; ``mcnemar``, the share of seeds in which the two networks differ (p below 0.05); ``kappa``, mean
    error consistency over the ``kappa_seeds`` that have one. Intervals take three seeds or more that share no networks.
    """

    arm: str
    minus: str
    level: str
    seeds: int
    images: int
    mean: float
    ci95_low: float | None = None
    ci95_high: float | None = None
    ahead: float | None = None
    ahead_ci95_low: float | None = None
    ahead_ci95_high: float | None = None
    mcnemar: float | None = None
    kappa: float | None = None
    kappa_seeds: int = 0
    level_name: str = ""


class Answers(NamedTuple):
    """A stage's test images, and for each level whether its answer is right, (images,).

    ``images`` is a digest of their names, empty without any; ``digest`` is that of the folder of images, None if the
    stage does not say.
    """

    images: str
    digest: str | None
    right: dict[str, NDArray[np.bool_]]


def image_contrasts(experiment: Path, rows: Sequence[Row], *, reference: str) -> list[ImageRow]:
    """Compare each arm with the reference, per level, wherever both left answers to the same images for each seed.

    All seeds share their images, or each has images of its own: a mixture of both is left out.

    Args:
        experiment: its folder.
        rows: of results.csv.
        reference: the arm that each other one is compared with.

    Raises:
        UserError: names the file, which is damaged.
    """
    read = cache(read_answers)

    def answers(row: Row) -> Answers | None:
        """The answers of a row's stage."""
        return read(experiment / row.arm / f"seed{row.seed}" / PREDICTIONS)

    tested = [row for row in rows if row.accuracy is not None]
    found = []
    for arm in dict.fromkeys(row.arm for row in tested if row.arm != reference):
        for level in LEVELS:
            ours, theirs = (
                [row for row in tested if (row.arm, row.level) == (name, level)]
                for name in (arm, reference)
            )
            compared = [a + b for a, b in pairs(ours, theirs) if len(a) == len(b) == 1]
            seeds = [_compared(answers(one), answers(other), level) for one, other in compared]
            known = [one for one in seeds if one is not None]
            sets = len({one.images for one in known})
            if known and len(known) == len(seeds) and sets in (1, len(seeds)):
                row = _row((arm, reference, level), known, widening(compared) == 1)
                found.append(replace(row, level_name=ours[0].level_name))
    return found


class Compared(NamedTuple):
    """What identifies the test images of a seed, and whether each answer of two arms is right, (images,)."""

    images: tuple[str, str | None]
    ours: NDArray[np.bool_]
    theirs: NDArray[np.bool_]


def _compared(ours: Answers | None, theirs: Answers | None, level: str) -> Compared | None:
    """Put the answers of two stages of a seed side by side; None if some are missing or of other images."""
    if ours is None or theirs is None or not ours.images or ours.images != theirs.images:
        return None
    if level not in ours.right or level not in theirs.right:
        return None
    # Names alone may be those of another set.
    return Compared((ours.images, ours.digest), ours.right[level], theirs.right[level])


def _row(names: tuple[str, str, str], seeds: Sequence[Compared], independent: bool) -> ImageRow:
    """Compare two arms; ``independent``: no network shaped two seeds."""
    ours, theirs = [one.ours for one in seeds], [one.theirs for one in seeds]
    shared = len({one.images for one in seeds}) == 1
    one, other = (np.array([right.mean() for right in arm]) for arm in (ours, theirs))

    def over_seeds(measure: Callable[..., NDArray[np.float64]]) -> NDArray[np.float64]:
        """Give a measure of two networks on the same images for each seed."""
        return np.array([measure(a[None], b[None])[0] for a, b in zip(ours, theirs, strict=True)])

    mean = (one - other).mean()
    if shared:  # the same but for rounding
        mean = np.stack(ours).mean() - np.stack(theirs).mean()
    kappas = over_seeds(error_consistency)
    kappas = kappas[~np.isnan(kappas)]  # of a seed in which both are right everywhere
    row = ImageRow(
        *names,
        seeds=len(seeds),
        images=len(ours[0]) if shared else sum(map(len, ours)),
        mean=float(mean),
        mcnemar=float((over_seeds(mcnemar) < LEVEL).mean()),
        kappa=float(kappas.mean()) if len(kappas) else None,
        kappa_seeds=len(kappas),
    )
    if not independent or len(seeds) < FEWEST:
        return row
    drawn = (
        images_and_seeds(np.stack(ours), np.stack(theirs))
        if shared
        else seeds_with_their_images(ours, theirs)
    )
    ahead = outperformance(one, other)
    return replace(
        row,
        ci95_low=drawn.ci95_low,
        ci95_high=drawn.ci95_high,
        ahead=ahead.share,
        ahead_ci95_low=ahead.ci95_low,
        ahead_ci95_high=ahead.ci95_high,
    )


def read_answers(file: Path) -> Answers | None:
    """Read which answers of a stage are right; None if it left none.

    Raises:
        UserError: names the file, which is damaged.
    """
    if not file.is_file():
        return None
    images, right = read_right(file)
    names = hashlib.sha256("\n".join(images).encode()).hexdigest() if images else ""
    return Answers(names, _digest(file.parent), right)


def _digest(place: Path) -> str | None:
    """Read what identifies a stage's test images; the folders of two levels have different digests."""
    file = place / "fingerprint.yaml"
    data = read_mapping(file).get("data") if file.is_file() else None
    return data.get("test") if isinstance(data, dict) else None
