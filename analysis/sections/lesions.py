"""How accurate heads are without some features: these are silenced, that is set to their mean over training images."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.networks import classify, halves_of, side_by_side
from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import COLOURS, legend_above, percent, percent_beside_zero
from analysis.report.part import Part
from analysis.report.svg import picture
from analysis.section import Findings, Section
from analysis.seed import Seed
from analysis.values import SHARE, Summary
from common.settings.levels import LEVELS, SIDES

OF = "accuracy with a share silenced"
LOST = "accuracy lost when silenced"
# Training images over which the slopes of logits are averaged; where the join is linear, all have the same.
SLOPE_IMAGES = 64
SHARES = tuple(i / 10 for i in range(11))  # of a hemisphere's features


class Lesions(Section):
    """Accuracy of both heads while more and more features of one hemisphere are silenced."""

    order = 30

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the accuracy of each head for each share of either hemisphere, and what all of it costs."""
        joined, trained = seed.test.of("both"), seed.train.of("both")
        mean = trained.mean(0)
        # A single image says nothing of the spread.
        spread = trained.std(0) if len(trained) > 1 else torch.ones_like(mean)
        slopes = halves_of(seed.network, trained[:SLOPE_IMAGES])
        weights = [side_by_side([*halves.values()]) for halves in slopes.values()]
        used = use(weights, spread)
        is_left = torch.arange(joined.shape[1]) < seed.test.features["left"].shape[1]
        for side, half in zip(SIDES, (is_left, ~is_left), strict=True):
            found_right: dict[str, list[float]] = {level: [] for level in LEVELS}
            for part in SHARES:
                silenced = silence(joined, mean, most_used(used, half, part))
                logits = classify(seed.module, seed.network, silenced)
                for level in LEVELS:
                    right = accuracy(logits[level], seed.test.labels[level])
                    found_right[level].append(right)
                    found.values.add(
                        OF,
                        right,
                        level=level,
                        side=side,
                        item=f"{part:.1f}",
                        seed=seed.number,
                        within=SHARE,
                    )
            for level, (whole, *_, without) in found_right.items():
                found.values.add(LOST, whole - without, level=level, side=side, seed=seed.number)

    def render(self, found: Findings) -> Part | None:
        """A curve for each hemisphere and head."""
        curves = {
            level: {side: found.values.items(OF, level, side) for side in SIDES} for level in LEVELS
        }
        if not curves["fine"]["left"]:
            return None
        part = Part(
            id="lesions",
            title="What is lost when a hemisphere falls silent?",
            nav="Lesions",
            text=[
                "How to read it: from left to right more and more features of one hemisphere are silenced, those "
                "that the heads use most first. At 100 % that whole hemisphere is silent. Where a curve stays "
                "up, its features were not needed, or others replace them. Thin lines are seeds.",
            ],
            tables=[lesion_table(curves)],
            notes=[
                "A silenced feature has its mean over training images for every image; nothing is trained again. "
                "Its use is its absolute weight times its standard deviation; both heads count equally. "
                "(Where the join is not linear, a weight is the mean slope of a logit over some training images.)"
            ],
        )
        for level in LEVELS:
            svg = picture(
                f"lesions-{level}",
                f"Accuracy of the {level} head with features silenced",
                lesion_curves,
                f"{level} head",
                curves[level],
                {side: found.values.by_seed(OF, level, side) for side in SIDES},
            )
            part.figures.append((svg, ""))
        return part


def silence(features: Tensor, mean: Tensor, which: Tensor) -> Tensor:
    """Set the features in ``which`` (bool (F,)) of features (N, F) to their ``mean`` (F,) in every image."""
    return torch.where(which, mean, features)


def use(weights: Sequence[Tensor], spread: Tensor) -> Tensor:
    """Compute how much the heads use each feature, (F,).

    For each head: the mean absolute weight, minus what is the same for all classes, times the feature's standard
    deviation, as a share of the head's sum; then the sum over heads, so that all heads count equally.

    Args:
        weights: of each head (C, F).
        spread: standard deviation of the features over training images (F,).
    """
    total = torch.zeros_like(spread)
    for weight in weights:
        one = (weight - weight.mean(0)).abs().mean(0) * spread
        total += one / one.sum().clamp_min(torch.finfo(one.dtype).tiny)
    return total


def most_used(use: Tensor, half: Tensor, share: float) -> Tensor:
    """The most-used ``share`` (0 to 1) of the features in ``half`` (bool (F,)), as bool (F,)."""
    candidates = half.nonzero()[:, 0]
    count = round(share * len(candidates))
    order = use[candidates].argsort(descending=True, stable=True)
    chosen = torch.zeros_like(half)
    chosen[candidates[order[:count]]] = True
    return chosen


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images (N, C) whose highest logit is that of their label (N,)."""
    return float((logits.argmax(1) == labels).double().mean())


def lesion_curves(
    figure: Figure,
    title: str,
    curves: Mapping[str, Mapping[str, Summary]],
    seeds: Mapping[str, Mapping[int, Mapping[str, float]]],
) -> None:
    """Draw accuracy while features of either hemisphere are silenced, the most used first."""
    axes = figure.subplots()
    for side, points in curves.items():
        shares = [float(share) for share in points]
        axes.plot(
            shares,
            [point.mean for point in points.values()],
            color=COLOURS[side],
            marker="o" if side == "left" else "s",
            ms=4,
            label=f"of the {side} silenced",
        )
        for numbers in seeds[side].values() if len(seeds[side]) > 1 else ():
            x = [float(share) for share in numbers]
            axes.plot(x, [*numbers.values()], color=COLOURS[side], lw=0.8, alpha=0.6)
    legend_above(axes, title, 2)
    axes.set_xlabel("share of that hemisphere's features silenced")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(percent_beside_zero)
    axes.yaxis.set_major_formatter(percent)


def lesion_table(curves: Mapping[str, Mapping[str, Mapping[str, Summary]]]) -> Sheet:
    """Accuracy with nothing and with either whole hemisphere silenced; ``curves`` by level, side and share."""
    none, all_ = f"{SHARES[0]:.1f}", f"{SHARES[-1]:.1f}"
    silenced = {
        "nothing": ("left", none),
        "the left hemisphere": ("left", all_),
        "the right hemisphere": ("right", all_),
    }
    rows = [
        [
            Cell(level, level, True),
            Cell(label, label, True),
            *summary_cells(curves[level][side][item]),
        ]
        for level in LEVELS
        for label, (side, item) in silenced.items()
    ]
    return Sheet(
        "lesions",
        "Test accuracy of the bilateral network, %",
        word_columns(("head", "silenced"), ("mean", "95 % interval")),
        rows,
    )
