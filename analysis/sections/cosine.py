"""How alike images are within a representation: cosines of features. A part of the section on similarity."""

import math

import torch
from markupsafe import Markup
from torch import Tensor, nn

from analysis.networks import side_by_side
from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import grouped_bars
from analysis.report.svg import Frame, picture
from analysis.section import Findings
from analysis.seed import HALVES, Seed, sides_of
from analysis.values import CORRELATION, Item, Summary
from common.settings.levels import LEVELS

WITHIN, BETWEEN = "within classes", "between classes"


def add_cosines(seed: Seed, found: Findings) -> None:
    """Add the mean cosines within and between classes, for each hemisphere and for both."""
    for half in HALVES:
        centred = side_by_side(
            [seed.test.features[side] - seed.mean(side) for side in sides_of(half)]
        )
        for level in LEVELS:
            means = cosine_within_and_between(centred, seed.test.labels[level])
            for item, value in zip((WITHIN, BETWEEN), means, strict=True):
                if value != value:  # NaN: no such pair
                    found.leave_out(
                        f"how alike images of {_named(level)[item]} are; there are no two such test images."
                    )
                found.values.add(
                    "cosine",
                    value,
                    level=level,
                    side=half,
                    item=item,
                    seed=seed.number,
                    within=CORRELATION,
                    means=Item(case=item),
                )


def cosine_within_and_between(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cosine similarity of two images of one class, and of two classes.

    Over all pairs of images, from sums of unit vectors alone: no N x N matrix is made.

    Args:
        features: (N, F), centred.
        labels: (N,).

    Returns:
        Each of them NaN where there is no such pair.
    """
    unit = nn.functional.normalize(features.double(), dim=1)
    counts = torch.bincount(labels).double()
    sums = torch.zeros(len(counts), unit.shape[1], dtype=unit.dtype).index_add_(0, labels, unit)
    squared = unit.square().sum()  # N, but for images whose features are all zero
    within = sums.square().sum() - squared
    between = sums.sum(0).square().sum() - sums.square().sum()
    pairs_within = (counts * (counts - 1)).sum()
    pairs_between = counts.sum().square() - counts.square().sum()
    return _share(within, pairs_within), _share(between, pairs_between)


def _share(total: Tensor, pairs: Tensor) -> float:
    """Divide; NaN without pairs, where the total may be a rounding error in place of 0."""
    return float(total / pairs) if pairs else math.nan


def cosine_figure(found: Findings) -> list[tuple[Markup, str]]:
    """A bar for each hemisphere and for both, and the caption; nothing where no two images can be compared."""
    groups = _groups(found)
    if not groups:
        return []
    lowest = min(summary.mean for group in groups.values() for summary in group.values())
    svg = picture(
        Frame("cosine", "Cosine similarity of images within and between classes", height=3.3),
        grouped_bars,
        title="Cosine of two images …",
        groups=groups,
        label="cosine of centred features",
        limits=(min(0, lowest - 0.05), 1),
        shares=False,
    )
    return [(svg, "Cosine of centred features: 1 is the same direction, 0 unrelated.")]


def cosine_table(found: Findings) -> Sheet:
    """The same as a table."""
    return Sheet(
        "cosine",
        "Cosine similarity of two images",
        word_columns(("images of", "features"), ("mean", "95 % interval")),
        [
            [Cell(name, name, True), Cell(half, half, True), *summary_cells(one, percent=False)]
            for name, group in _groups(found).items()
            for half, one in group.items()
        ],
    )


def _named(level: str) -> dict[str, str]:
    """What two images within and between classes are images of."""
    return {WITHIN: f"one {level} class", BETWEEN: f"two {level} classes"}


def _groups(found: Findings) -> dict[str, dict[str, Summary]]:
    """Cosines by what the two images have in common, and by half; without what no two images have."""
    groups = {
        name: {
            half: summary
            for half in HALVES
            if (summary := found.values.get("cosine", level, half, item))
        }
        for level in LEVELS
        for item, name in _named(level).items()
    }
    return {name: group for name, group in groups.items() if len(group) == len(HALVES)}
