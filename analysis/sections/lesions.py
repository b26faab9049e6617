"""How accurate heads are without some features: these are silenced, that is set to their mean over training images."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.networks import classify, halves_of, side_by_side, silence
from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import (
    COLOURS,
    legend_above,
    percent,
    percent_beside_zero,
    reference,
)
from analysis.report.part import Part
from analysis.report.svg import Frame, picture
from analysis.section import Findings, Section
from analysis.seed import Seed
from analysis.values import SHARE, Item, Summary
from common.settings.levels import LEVELS, SIDES, side_of
from common.system.randomness import derive

OF = "accuracy with a share silenced"
OF_RANDOM = "accuracy with a random share silenced"
LOST = "accuracy lost when silenced"
LOST_MORE = "accuracy lost when silenced, left minus right"
ALONE = "accuracy of a hemisphere alone"
# Training images over which the slopes of logits are averaged; where the join is linear, all have the same.
SLOPE_IMAGES = 64
SHARES = tuple(i / 10 for i in range(11))  # of a hemisphere's features
DASHES = ((4, 3), (9, 3))  # of the lines across: chance, a hemisphere alone
ORDERS = 5  # random ones, over which accuracy is averaged


class Lesions(Section):
    """Accuracy of both heads while more and more features of one hemisphere are silenced."""

    order = 30

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the accuracy of each head for each share of either hemisphere, and what all of it costs."""
        if math.isnan(seed.network.join.silent):
            found.leave_out(
                "lesions; the surer of these hemispheres answers, and one whose features are at their mean in every "
                "image may still be it."
            )
            return
        # Where they are classified, more than a hundred times.
        joined, trained = seed.test.of("both").to(seed.module.device), seed.train.of("both")
        mean = trained.mean(0)
        # A single image says nothing of the spread.
        spread = trained.std(0) if len(trained) > 1 else torch.ones_like(mean)
        slopes = halves_of(seed.network, trained[:SLOPE_IMAGES])
        weights = [side_by_side([*halves.values()]) for halves in slopes.values()]
        used = use(weights, spread)
        is_left = torch.arange(joined.shape[1]) < seed.test.features["left"].shape[1]
        known: dict[bytes, dict[str, float]] = {}

        def without(chosen: Tensor) -> dict[str, float]:
            """The accuracies without these features: every order begins with none and ends with all."""
            key = chosen.numpy().tobytes()
            if key not in known:
                known[key] = accuracies(seed, silence(joined, mean, chosen))
            return known[key]

        costs: dict[str, list[float]] = {level: [] for level in LEVELS}
        for side, half in zip(SIDES, (is_left, ~is_left), strict=True):
            orders = random_orders(len(used), derive(seed.number, f"lesions {side}"))
            by_use, by_chance = (
                {
                    part: [without(most_used(order, half, part)) for order in tried]
                    for part in SHARES
                }
                for tried in (used[None], orders)
            )
            for of, found_right in ((OF, by_use), (OF_RANDOM, by_chance)):
                _add(found, of, found_right, side, seed.number)
            whole, silenced = (by_use[end][0] for end in (SHARES[0], SHARES[-1]))
            for level in LEVELS:
                costs[level].append(whole[level] - silenced[level])
                found.values.add(LOST, costs[level][-1], level=level, side=side, seed=seed.number)
        for level, (left, right) in costs.items():
            found.values.add(LOST_MORE, left - right, level=level, seed=seed.number)
        for level, logits in seed.alone.items():
            own = accuracy(logits, seed.test.labels[level])
            found.values.add(
                ALONE, own, level=level, side=side_of(level), seed=seed.number, within=SHARE
            )

    def render(self, found: Findings) -> Part | None:
        """A curve for each hemisphere and head."""
        curves = {
            level: {side: found.values.items(OF, level, side) for side in SIDES} for level in LEVELS
        }
        if not curves["fine"]["left"]:
            return None
        several = len(found.values.by_seed(OF, "fine", "left")) > 1
        part = Part(
            id="lesions",
            title="What is lost when a hemisphere falls silent?",
            nav="Lesions",
            text=[
                "How to read it: from left to right more and more features of one hemisphere are silenced, those "
                "that the heads use most first. At 100 % that whole hemisphere is silent. Where a curve stays "
                "up, its features were not needed, or others replace them. Dotted: the same share in a random order. "
                "Where both curves are alike, no feature matters more than another."
                f"{' Thin lines are seeds.' if several else ''}",
            ],
            tables=[lesion_table(curves)],
            notes=[
                "A silenced feature has its mean over training images for every image; nothing is trained again. "
                "Its use is its absolute weight times its standard deviation; both heads count equally. "
                f"Random: the mean of {ORDERS} random orders. "
                "Dashed: chance (always the most common class), and the hemisphere that learned this level alone, "
                "with its own head. "
                "(Where the join is not linear, a weight is the mean slope of a logit over some training images.)"
            ],
        )
        for level in LEVELS:
            svg = picture(
                Frame(
                    f"lesions-{level}",
                    f"Accuracy of the {level} head with features silenced",
                    height=3.3,
                ),
                lesion_curves,
                title=f"{level} head",
                curves=curves[level],
                seeds={side: found.values.by_seed(OF, level, side) for side in SIDES},
                random={side: found.values.items(OF_RANDOM, level, side) for side in SIDES},
                references=_references(found, level),
            )
            part.figures.append((svg, ""))
        return part


def _references(found: Findings, level: str) -> dict[str, float]:
    """Chance, and the accuracy of the network that was trained on this level alone."""
    side = side_of(level)
    known = {"chance": found.chance[level]} if level in found.chance else {}
    alone = found.values.get(ALONE, level, side)
    return known if alone is None else known | {f"{side} hemisphere alone": alone.mean}


def _add(
    found: Findings,
    of: str,
    right: Mapping[float, Sequence[Mapping[str, float]]],
    side: str,
    seed: int,
) -> None:
    """Add the mean accuracy over the orders in which a share of a hemisphere's features was silenced."""
    for part, orders in right.items():
        for level in LEVELS:
            found.values.add(
                of,
                fmean(one[level] for one in orders),
                level=level,
                side=side,
                item=f"{part:.1f}",
                seed=seed,
                within=SHARE,
                means=Item(share=part),
            )


def accuracies(seed: Seed, features: Tensor) -> dict[str, float]:
    """The accuracy of each head on test images of joined features (N, F)."""
    logits = classify(seed.module, seed.network, features)
    return {level: accuracy(logits[level], seed.test.labels[level]) for level in LEVELS}


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


def random_orders(features: int, seed: int) -> Tensor:
    """Draw `ORDERS` random orders of features, as the use of each, (`ORDERS`, F): the same at each call."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return torch.rand(ORDERS, features, generator=generator)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images (N, C) whose highest logit is that of their label (N,)."""
    return float((logits.argmax(1) == labels).double().mean())


def lesion_curves(
    figure: Figure,
    title: str,
    curves: Mapping[str, Mapping[str, Summary]],
    seeds: Mapping[str, Mapping[int, Mapping[str, float]]],
    random: Mapping[str, Mapping[str, Summary]],
    references: Mapping[str, float],
) -> None:
    """Draw accuracy while features of either hemisphere are silenced, the most used first, and in a random order.

    ``references`` are accuracies to compare with, each a line across.
    """
    axes = figure.subplots()
    for number, (side, points) in enumerate(curves.items()):
        shares = [float(share) for share in points]
        axes.plot(
            shares,
            [point.mean for point in points.values()],
            color=COLOURS[side],
            marker="o" if side == "left" else "s",
            ms=4,
            label=f"of the {side} silenced",
        )
        axes.plot(
            [float(share) for share in random[side]],
            [point.mean for point in random[side].values()],
            color=COLOURS[side],
            ls=(0, (1, 1.4)),
            label=f"{side}, random order",
        )
        for seed, numbers in seeds[side].items() if len(seeds[side]) > 1 else ():
            x = [float(share) for share in numbers]
            y, label = [*numbers.values()], f"_{side}, seed {seed}"
            axes.plot(x, y, color=COLOURS[side], lw=0.8, alpha=0.6, label=label)
        # One below each side's lines in the legend, which fills column by column.
        for words, place in [*references.items()][number : number + 1]:
            reference(axes, place, words, DASHES[number])
    legend_above(axes, title, 2)
    lines = 2 + bool(references)
    axes.set_title(title, pad=10 + 14 * lines)  # above the legend
    axes.set_xlabel("share of that hemisphere's features silenced")
    axes.set_xlim(0, 1)
    axes.set_ylabel("test accuracy")
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
