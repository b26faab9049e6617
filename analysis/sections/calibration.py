"""Is a head right as often as it is sure? Expected calibration error and reliability curve."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import (
    COLOURS,
    intervals,
    legend_above,
    percent,
    percent_beside_zero,
)
from analysis.report.part import Part
from analysis.report.svg import BOTH, FAINT, OTHER, picture
from analysis.section import Findings, Section
from analysis.seed import Seed
from analysis.values import Summary
from common.settings.levels import LEVELS

BINS = 15
RARE = 0.002  # share of images below which a bin of confidence is not drawn


class Calibration(Section):
    """Calibration of the bilateral network's heads, and of the networks that were trained on one level."""

    order = 70

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the calibration error and the reliability curve of each head."""
        for level in LEVELS:
            labels = seed.test.labels[level]
            networks = {"bilateral": seed.logits[level]}
            if level in seed.alone:
                networks[level] = seed.alone[level]
            for arm, logits in networks.items():
                curve = reliability(logits, labels)
                columns = {
                    "calibration error": {"": calibration_error(logits, labels)},
                    "confidence": _numbered(curve.confidence),
                    "reliability": _numbered(curve.accuracy),
                    "images of a confidence": _numbered(curve.images / len(labels)),
                }
                for of, items in columns.items():
                    for item, value in items.items():
                        found.values.add(
                            of, value, level=level, side=arm, item=item, seed=seed.number
                        )

    def render(self, found: Findings) -> Part | None:
        """The reliability curve of each head, and a table."""
        figures, rows = [], []
        for level in LEVELS:
            errors = {
                arm: error
                for arm in ("bilateral", level)
                if (error := found.values.get("calibration error", level, arm))
            }
            if not errors:
                return None
            curves = {
                arm: tuple(filled(found, of, level, arm) for of in ("confidence", "reliability"))
                for arm in errors
            }
            svg = picture(
                f"reliability-{level}",
                f"Reliability of the {level} head",
                reliability_curve,
                f"{level} head",
                curves,
                height=3.5,
            )
            figures.append((svg, "Thin lines: 95 % intervals over seeds."))
            rows += [
                [Cell(level, level, True), Cell(arm, arm, True), *summary_cells(error)]
                for arm, error in errors.items()
            ]
        table = Sheet(
            "calibration",
            "Expected calibration error, % (less is better)",
            word_columns(("head", "network"), ("mean", "95 % interval")),
            rows,
        )
        return Part(
            id="calibration",
            title="Is it right as often as it is sure?",
            nav="Calibration",
            text=[
                "How to read it: on the dashed line a network that is 80 % sure is right 80 % of the time. Below "
                "the line it is too sure, above it not sure enough.",
            ],
            figures=figures,
            tables=[table],
            notes=[
                "15 bins of equal width (Naeini et al. 2015); bins with less than 0.2 % of the images are not "
                "drawn. Label smoothing in training makes a network less sure."
            ],
        )


class Reliability(NamedTuple):
    """Per bin of confidence: mean confidence, accuracy (NaN in an empty bin), number of images; (BINS,) each."""

    confidence: Tensor
    accuracy: Tensor
    images: Tensor


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error (Naeini et al. 2015) of logits (N, C), as torchmetrics computes it."""
    error = multiclass_calibration_error(
        logits.softmax(1), labels, num_classes=logits.shape[1], n_bins=BINS
    )
    return float(error)


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Accuracy as a function of confidence, in `BINS` bins of equal width."""
    confidence, prediction = logits.double().softmax(1).max(1)
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(BINS, dtype=torch.double).index_add_(0, place, values) / images

    images = torch.bincount(place, minlength=BINS)
    return Reliability(mean(confidence), mean((prediction == labels).double()), images)


def _numbered(values: Tensor) -> dict[str, float]:
    return {str(i): value for i, value in enumerate(values.tolist())}


def filled(found: Findings, of: str, level: str, arm: str) -> dict[str, Summary]:
    """A reliability curve without the bins that hold hardly any image."""
    images = found.values.items("images of a confidence", level, arm)
    return {
        item: summary
        for item, summary in found.values.items(of, level, arm).items()
        if images[item].mean >= RARE
    }


def reliability_curve(
    figure: Figure,
    title: str,
    curves: Mapping[str, tuple[Mapping[str, Summary], Mapping[str, Summary]]],
) -> None:
    """Draw accuracy against confidence; on the diagonal a head is right as often as it is sure.

    Args:
        figure: to draw into.
        title: of the picture.
        curves: arm → confidence and accuracy by bin.
    """
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.9, ls=(0, (4, 3)))
    for arm, (confidence, accuracy) in curves.items():
        bins = sorted((item for item in confidence if item in accuracy), key=int)
        x = [confidence[item].mean for item in bins]
        colour = BOTH if arm == "bilateral" else COLOURS.get(arm, OTHER)
        intervals(axes, x, [accuracy[item] for item in bins], colour)
        axes.plot(
            x,
            [accuracy[item].mean for item in bins],
            color=colour,
            marker="o" if arm == "bilateral" else "s",
            ms=4,
            label=arm if arm == "bilateral" else f"{arm} alone",
        )
    legend_above(axes, title, len(curves))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_formatter(percent_beside_zero)
    axes.yaxis.set_major_formatter(percent)
