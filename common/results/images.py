"""Contrasts with the reference arm image by image, from what each tested stage answered: rows of images.csv."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.results.agreement import error_consistency, mcnemar, outperformance
from common.results.bootstrap import images_and_seeds
from common.results.contrasts import LEVEL
from common.results.intervals import FEWEST
from common.results.predictions import PREDICTIONS, read_predictions
from common.results.rows import Row
from common.results.sharing import pairs, widening
from common.settings.levels import LEVELS


@dataclass(frozen=True)
class ImageRow:
    """Test accuracy of ``arm`` minus that of ``minus`` over the same seeds and images, shares as fractions.

    ``ci95_low`` and ``ci95_high`` of a bootstrap over seeds and images; ``ahead``, the share of seeds in which ``arm``
    is ahead, with its interval; ``mcnemar``, the share of seeds in which the two networks differ (p below 0.05);
    ``kappa``, mean error consistency. Intervals take three seeds or more that share no networks.
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


class Answers(NamedTuple):
    """The names of a stage's test images, and for each level whether its answer is right, (images,)."""

    images: list[str]
    right: dict[str, NDArray[np.bool_]]


def image_contrasts(experiment: Path, rows: Sequence[Row], *, reference: str) -> list[ImageRow]:
    """Compare each arm with the reference, per level, wherever all stages left answers to the same images.

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
            right = [_right([answers(both[side]) for both in compared], level) for side in (0, 1)]
            if right[0] and right[1] and right[0].images == right[1].images:
                names = (arm, reference, level)
                found.append(_row(names, right[0], right[1], widening(compared) == 1))
    return found


class Right(NamedTuple):
    """The names of the test images, and whether each answer of an arm is right, (seeds, images)."""

    images: list[str]
    table: NDArray[np.bool_]


def _right(stages: Sequence[Answers | None], level: str) -> Right | None:
    """Put the answers of an arm's seeds into one table; None if some are missing or of other images."""
    known = [stage for stage in stages if stage is not None and level in stage.right]
    images = known[0].images if known else []
    if not images or len(known) < len(stages) or any(one.images != images for one in known):
        return None
    return Right(images, np.stack([one.right[level] for one in known]))


def _row(names: tuple[str, str, str], ours: Right, theirs: Right, independent: bool) -> ImageRow:
    """Compare two arms; ``independent``: no network shaped two seeds."""
    one, other = ours.table, theirs.table
    kappa = float(error_consistency(one, other).mean())
    row = ImageRow(
        *names,
        seeds=len(one),
        images=len(ours.images),
        mean=float(one.mean() - other.mean()),
        mcnemar=float((mcnemar(one, other) < LEVEL).mean()),
        kappa=None if np.isnan(kappa) else kappa,
    )
    if not independent or len(one) < FEWEST:
        return row
    drawn = images_and_seeds(one, other)
    ahead = outperformance(one.mean(axis=1), other.mean(axis=1))
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
    found = read_predictions(file)
    right = {
        level: np.array([one.label[level] == one.answer[level] for one in found])
        for level in (found[0].label if found else ())
    }
    return Answers([one.image for one in found], right)
