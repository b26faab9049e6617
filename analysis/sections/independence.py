"""Do the hemispheres err on the same images? Against what independence would give. A part of the section on agreement.

Two networks, each correct on 90 % of the images, are both correct on 81 % of them if their errors have nothing to
do with each other. How much more often they agree says how many errors they share, and how little one can correct.
"""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import COLOURS, INTERVALS, intervals, legend_above, percent
from analysis.report.part import Part
from analysis.report.svg import BOTH, INK, OTHER, PAPER, Frame, picture
from analysis.section import Findings
from analysis.seed import Seed
from analysis.specialisation.measures import error_consistency
from analysis.values import CORRELATION, SHARE, Item, Summary
from common.settings.levels import SIDES

CASES = ("both", "left only", "right only", "neither")
OBSERVED, EXPECTED = "images in a case", "images in a case if independent"
CORRECTED = "share of errors that the other corrects"
IF_INDEPENDENT = f"{CORRECTED} if independent"
RELATED, KAPPA = "correlation of errors", "error consistency of left and right"
COLOUR = {
    "both": BOTH,
    "left only": COLOURS["left"],
    "right only": COLOURS["right"],
    "neither": OTHER,
}


def add_independence(seed: Seed, found: Findings, left: Tensor, right: Tensor) -> None:
    """Add how often both would be correct if they erred independently, how errors correlate, and what each corrects.

    Args:
        seed: whose numbers they are.
        found: where to add them.
        left: whether the left hemisphere alone is correct, bool (N,).
        right: whether the right one is.
    """
    number = seed.number
    for case, share in zip(CASES, shares_if_independent(left, right).tolist(), strict=True):
        means = Item(case=case)
        found.values.add(EXPECTED, share, item=case, seed=number, within=SHARE, means=means)
    for of, value in (
        (RELATED, correlation(left, right)),
        (KAPPA, error_consistency(left, right)),
    ):
        found.values.add(of, value, seed=number, within=CORRELATION)
    for side, erring, other in zip(SIDES, (left, right), (right, left), strict=True):
        for of, those in ((CORRECTED, other[~erring]), (IF_INDEPENDENT, other)):
            share = float(those.double().mean())
            found.values.add(of, share, side=side, seed=number, within=SHARE)


def shares_if_independent(left: Tensor, right: Tensor) -> Tensor:
    """The share of images in each of `CASES` if two networks were correct independently, (4,), of bool (N,) each."""
    a, b = left.double().mean(), right.double().mean()
    return torch.stack([a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)])


def correlation(left: Tensor, right: Tensor) -> float:
    """Pearson's correlation of being wrong (phi), of bool (N,) each; NaN where either is always right or wrong."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            float(np.corrcoef((~left).numpy(), (~right).numpy())[0, 1])
            if len(left) > 1
            else float("nan")
        )


def expected_cases(left: Tensor, right: Tensor, labels: Tensor, classes: int) -> Tensor:
    """`shares_if_independent` within each class, (C, 4); NaN of a class without images."""
    found = [
        shares_if_independent(left[labels == one], right[labels == one]) for one in range(classes)
    ]
    return torch.stack(found)


def show_independence(part: Part, found: Findings) -> None:
    """Add observed against expected cases as a figure, and a table of what each hemisphere corrects."""
    observed, expected = (found.values.items(of) for of in (OBSERVED, EXPECTED))
    if not expected:
        return
    part.text.append(
        "How alike are their errors? If these had nothing to do with each other, the hemispheres would agree by chance "
        "alone as often as the lines say. The longer the bars of both and of neither against that, the more errors "
        "they share, and the fewer one of them can correct."
    )
    svg = picture(
        Frame("independence", "Images in each case, and if the hemispheres erred independently"),
        against_independence,
        observed=observed,
        expected=expected,
    )
    part.figures.insert(
        0,
        (
            svg,
            f"Line across a bar: what independence would give. {INTERVALS}",
        ),
    )
    part.tables.append(correction_table(found))


def correction_table(found: Findings) -> Sheet:
    """What share of one hemisphere's errors the other corrects; correlation and consistency of errors."""
    names = {"left": "errors of the left that the right corrects, %"}
    names["right"] = "errors of the right that the left corrects, %"
    rows = [
        [
            Cell(words, words, True),
            *summary_cells(found.values.get(CORRECTED, side=side)),
            *summary_cells(found.values.get(IF_INDEPENDENT, side=side)),
        ]
        for side, words in names.items()
    ]
    for of, words in (
        (RELATED, "correlation of errors (phi)"),
        (KAPPA, "error consistency (kappa)"),
    ):
        nothing = [Cell("0", "0.0"), Cell("–", "")]
        rows.append(
            [
                Cell(words, words, True),
                *summary_cells(found.values.get(of), percent=False),
                *nothing,
            ]
        )
    return Sheet(
        "corrections",
        "Errors on the coarse class that two hemispheres share",
        word_columns(
            ("measure",), ("observed", "95 % interval", "if independent", "95 % interval")
        ),
        rows,
    )


def against_independence(
    figure: Figure, observed: Mapping[str, Summary], expected: Mapping[str, Summary]
) -> None:
    """Draw a bar for each case, and across it what independence would give."""
    axes = figure.subplots()
    for index, case in enumerate(CASES):
        share = observed[case]
        axes.bar(index, share.mean, 0.7, color=COLOUR[case], label=f"_{case}")
        intervals(axes, [index], [share], INK, of=case)
        label = "if independent" if index == 0 else "_if independent"
        ends = [index - 0.45, index + 0.45]
        axes.plot(ends, [expected[case].mean] * 2, color=PAPER, lw=3.2, label="_nolegend_")
        axes.plot(ends, [expected[case].mean] * 2, color=INK, lw=1.6, ls=(0, (4, 2)), label=label)
    axes.set_xticks(range(len(CASES)), CASES)
    axes.grid(False, axis="x")
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of test images")
    axes.set_xlabel("hemispheres that are correct about the coarse class")
    axes.yaxis.set_major_formatter(percent)
    legend_above(axes, "Do they err on the same images?", 1)
