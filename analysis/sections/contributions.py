"""Whose features does each head use? The part of each half of the features in its logits.

A logit is a sum over features, so it splits exactly: for class c of a head with weights w and bias b,

    logit_c = b_c + w_c . mean  +  w_c,left . (f_left - mean_left)  +  w_c,right . (f_right - mean_right)

with the mean over training images. The last two terms are the halves' contributions. Silencing a half
(`analysis.sections.lesions`) sets its term to zero. Where the join does not concatenate, f is what a half adds to what
the heads see (`common.networks.join.Join.parts`); where there is no such sum, as of a product, nothing is said here.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.networks import parts_of
from analysis.report.cells import Cell, Sheet, decimal, interval_words, word_columns
from analysis.report.part import Part, Tile, count_classes
from analysis.report.svg import FAINT, HALO, LEFT, RIGHT, Frame, labels, picture, short
from analysis.section import Findings, Section
from analysis.sections.reliance import (
    EVIDENCE,
    MARGIN,
    MEANING,
    reliance_table,
    which_is_shown,
)
from analysis.seed import Seed
from analysis.specialisation.words import of_fewer
from analysis.values import SHARE, Item, Summary
from common.settings.levels import LEVELS, SIDES


class Contributions(Section):
    """For each head, the evidence and the margin that it takes from either hemisphere."""

    order = 20

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the evidence of each half for each class, and each half's share of all evidence and of the margin."""
        seen, known = (parts_of(seed.network, one.features) for one in (seed.test, seed.train))
        if seen is None or known is None:
            found.leave_out(
                "what each hemisphere contributes to a logit; the join of these hemispheres is not a sum over them."
            )
            return
        for level in LEVELS:
            if seed.images.classes[level] < 2:
                found.leave_out(
                    f"whose features the {level} head uses; the set has one {level} class only."
                )
                continue
            weight = seed.network.heads[level].linear.weight.detach().cpu()  # type: ignore[union-attr, operator]
            truth = seed.test.labels[level]
            rivals = strongest_other(seed.logits[level], truth)
            taken, ahead = {}, {}
            for side in SIDES:
                terms = contribution(seen[side], weight, known[side].mean(0))
                taken[side] = evidence(terms, truth)
                ahead[side] = margin(terms, truth, rivals)
                means = class_means(taken[side], truth, seed.images.classes[level]).tolist()
                for name, mean in zip(seed.images.unique_names(level), means, strict=True):
                    found.values.add(
                        "evidence",
                        mean,
                        level=level,
                        side=side,
                        item=name,
                        seed=seed.number,
                        means=Item(class_name=name),
                    )
            shares = {
                EVIDENCE: share(taken["left"], taken["right"]),
                MARGIN: share(ahead["left"], ahead["right"]),
            }
            for of, left in shares.items():
                if left != left:  # NaN
                    found.leave_out(
                        f"the {of} of the {level} head with seed {seed.number}; a hemisphere speaks against the "
                        "correct classes, so that there is nothing to share out."
                    )
                for side, part in (("left", left), ("right", 1 - left)):
                    found.values.add(
                        of, part, level=level, side=side, seed=seed.number, within=SHARE
                    )

    def render(self, found: Findings) -> Part | None:
        """One dot for each class, and tables."""
        shown = [level for level in LEVELS if found.values.items("evidence", level, "left")]
        if not shown:
            return None
        shares = {level: found.values.get(EVIDENCE, level, "left") for level in LEVELS}
        known = {level: share for level, share in shares.items() if share}
        sentence = " and ".join(
            f"the {level} head takes {interval_words(share)} of its evidence from the left hemisphere"
            f"{of_fewer(share, _seeds(found, level))}"
            for level, share in known.items()
        )
        part = Part(
            id="contributions",
            title="Whose features does each head use?",
            nav="Contributions",
            text=[
                *([f"{sentence[:1].upper()}{sentence[1:]}."] if sentence else []),
                "How to read it: one dot for each class. Below the dashed line the left hemisphere gives more "
                "evidence for the correct answer, above it the right hemisphere does.",
                MEANING,
                *which_is_shown(found),
            ],
            tables=[reliance_table(found)],
            notes=[
                "A logit is a sum over features, so it splits into the left half's part, the right half's part "
                "and a constant: weight × (feature − its mean over training images). Evidence is that part for "
                "the class of the image, against the mean of all classes, and the margin is that part against the "
                "class of the highest other logit; the shares are those of the sums over test images. There is no "
                "share of either where a half's sum is against the correct class: shares lie between 0 and 100 %."
            ],
            tiles=[
                evidence_tile(level, share.mean)
                for level, share in known.items()
                if share.seeds == _seeds(found, level)
            ],
        )
        for level in shown:
            left, right = (found.values.items("evidence", level, side) for side in SIDES)
            svg = picture(
                Frame(
                    f"evidence-{level}",
                    f"Evidence from either half for each {level} class",
                    height=3.9,
                ),
                evidence_dots,
                title=f"{level} head",
                left=left,
                right=right,
            )
            part.figures.append((svg, f"{count_classes(len(left), level)}, means over seeds."))
            part.add_table_of_classes(evidence_table(level, left, right))
        return part


def _seeds(found: Findings, level: str) -> int:
    """Of how many seeds the evidence of a head is known, with those in which a hemisphere speaks against the answer."""
    return max(one.seeds for one in found.values.items("evidence", level, "left").values())


def contribution(features: Tensor, weight: Tensor, mean: Tensor) -> Tensor:
    """Compute what one half of the features adds to each logit.

    Args:
        features: of one hemisphere, or what it adds to joined ones (N, F).
        weight: the head's columns for these (C, F).
        mean: of these over training images (F,).

    Returns:
        (N, C).
    """
    return (features - mean) @ weight.T


def evidence(contributions: Tensor, labels: Tensor) -> Tensor:
    """A half's contribution to the correct class, against its mean over all classes: (N, C), (N,) → (N,).

    A term that all logits share changes no prediction, so it is not evidence.
    """
    right = contributions.gather(1, labels[:, None])[:, 0]
    return right - contributions.mean(1)


def strongest_other(logits: Tensor, labels: Tensor) -> Tensor:
    """The class of the highest logit (N, C) but for that of the label (N,): int64 (N,)."""
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def margin(contributions: Tensor, labels: Tensor, rivals: Tensor) -> Tensor:
    """A half's contribution to the correct class, against that to another one: (N, C), (N,), (N,) → (N,)."""
    right, other = (contributions.gather(1, one[:, None])[:, 0] for one in (labels, rivals))
    return right - other


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of values (N,) over the images of each class, (C,); NaN for a class without images."""
    sums = torch.zeros(classes, dtype=values.dtype).index_add_(0, labels, values)
    return sums / torch.bincount(labels, minlength=classes)


def share(left: Tensor, right: Tensor) -> float:
    """The left half's part of a sum over images, 0 to 1; NaN if the sum of either half is against the true class.

    Where every class has as many images as every other, the mean of the features plays no part in that of the evidence:
    each image's is (w_c - mean of all w) . (f - mean), and over all classes the terms of ``mean`` sum to zero. With
    other counts, in `class_means` and in the share of the margin, whose rivals differ between images, it does.
    """
    ours, theirs = float(left.double().sum()), float(right.double().sum())
    if min(ours, theirs) < 0 or ours + theirs == 0:
        return math.nan
    return ours / (ours + theirs)


def evidence_dots(
    figure: Figure, title: str, left: Mapping[str, Summary], right: Mapping[str, Summary]
) -> None:
    """Draw one dot for each class: evidence from the left half against evidence from the right half."""
    axes = figure.subplots()
    names = [name for name in left if name in right]
    x = np.array([left[name].mean for name in names])
    y = np.array([right[name].mean for name in names])
    low, high = min(0, x.min(), y.min()), 1.06 * max(x.max(), y.max(), 1e-6)
    axes.plot([0, high], [0, high], color=FAINT, lw=0.9, ls=(0, (4, 3)), label="_equal")
    colour = [LEFT if a > b else RIGHT for a, b in zip(x, y, strict=True)]
    axes.scatter(x, y, s=24, color=colour, alpha=0.75, linewidths=0)
    axes.text(high, high * 0.985, "equal", ha="right", va="bottom", color=FAINT, fontsize=8)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_xlabel("evidence from the left hemisphere (logits)")
    axes.set_ylabel("evidence from the right hemisphere (logits)")
    # The classes that lean most to either side are named, on the side on which there are fewer others.
    most = {int((x - y).argmax()): "top", int((y - x).argmax()): "bottom"}
    for i, name in zip(most, labels([names[i] for i in most], 26), strict=True):
        ha = "right" if x[i] > 0.5 * high else "left"
        axes.annotate(
            name,
            (x[i], y[i]),
            xytext=(0, -4 if most[i] == "top" else 4),
            textcoords="offset points",
            ha=ha,
            va=most[i],
            fontsize=8,
            gid=HALO,
        )


def evidence_table(level: str, left: Mapping[str, Summary], right: Mapping[str, Summary]) -> Sheet:
    """Evidence from either half, a row for each class."""
    rows = [
        [
            Cell(short(name, 40), name, True),
            Cell(decimal(left[name].mean, 2), repr(left[name].mean)),
            Cell(decimal(right[name].mean, 2), repr(right[name].mean)),
        ]
        for name in left
        if name in right
    ]
    return Sheet(
        f"evidence-{level}",
        f"Evidence of the {level} head for the correct class, in units of a logit",
        word_columns((f"{level} class",), ("left", "right")),
        rows,
    )


def evidence_tile(level: str, left: float) -> Tile:
    """The left half's share, 0 to 1."""
    return Tile(
        f"Evidence of the {level} head",
        f"{decimal(100 * left, 0)} % left",
        f"{decimal(100 * (1 - left), 0)} % from the right hemisphere",
        f"{100 * left:.1f}",
    )
