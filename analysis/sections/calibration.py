"""Is a head correct as often as it is sure? Calibration error, Brier score, reliability curve, also after scaling."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import (
    COLOURS,
    INTERVALS,
    intervals,
    legend_above,
    percent,
    percent_beside_zero,
)
from analysis.report.part import Part
from analysis.report.svg import BOTH, FAINT, OTHER, Frame, picture
from analysis.section import Findings, Section
from analysis.sections.temperature import HIGHEST, LOWEST, fit_temperature, validation_logits
from analysis.seed import VALIDATION_IMAGES, Seed
from analysis.values import SHARE, Bounds, Item, Summary
from common.settings.levels import LEVELS
from common.system.randomness import derive
from study.arms import REFERENCE, plain_name

ERROR, BRIER, TEMPERATURE = "calibration error", "Brier score", "temperature"
IF_CALIBRATED = "calibration error if calibrated"
SCALED = "after temperature"  # behind a name: of the logits divided by the temperature
CONFIDENCE, RELIABILITY = "confidence", "reliability"
IMAGES = "images of a confidence"
# What they can be, where it is not a share.
BOUNDS = {BRIER: Bounds(0, 2), TEMPERATURE: Bounds(LOWEST, HIGHEST)}
BINS = 15
DRAWS = 100  # of right and wrong answers
RARE = 0.002  # share of images below which a bin of confidence is not drawn


class Calibration(Section):
    """Calibration of the bilateral network's heads, and of the networks that were trained on one level."""

    order = 70

    def __init__(self) -> None:
        self.smoothing: dict[str, float] = {}  # of labels in training, by arm

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the scores of each head, raw and after one temperature, and its reliability curve."""
        held_out = validation_logits(seed)
        for level in LEVELS:
            if seed.images.classes[level] < 2:
                found.leave_out(
                    f"how sure the {level} head is; the set has one {level} class only."
                )
                continue
            labels = seed.test.labels[level]
            networks = {"bilateral": seed.logits[level]}
            if level in seed.alone:
                networks[level] = seed.alone[level]
            for arm, logits in networks.items():
                self._note_smoothing(seed, arm)
                temperature = fit_temperature(held_out[arm, level], seed.validation.labels[level])
                raw, scaled = (scores(one, labels) for one in (logits, logits / temperature))
                columns = raw | {f"{of} {SCALED}": items for of, items in scaled.items()}
                for of, items in (columns | {TEMPERATURE: {"": temperature}}).items():
                    for item, value in items.items():
                        found.values.add(
                            of,
                            value,
                            level=level,
                            side=arm,
                            item=item,
                            seed=seed.number,
                            within=BOUNDS.get(of.removesuffix(f" {SCALED}"), SHARE),
                            means=Item(seed.arm if arm == "bilateral" else arm, bin=bin_of(item)),
                        )

    def _note_smoothing(self, seed: Seed, arm: str) -> None:
        """Keep the label smoothing with which an arm was trained, where its stage says so."""
        stage = seed.study.of(seed.arm if arm == "bilateral" else arm).get(seed.number)
        hparams = stage.yaml("config.yaml").get("hparams") if stage else None
        value = hparams.get("label_smoothing") if isinstance(hparams, dict) else None
        if isinstance(value, int | float):
            self.smoothing[arm] = float(value)

    def _alike(self, arms: Sequence[str]) -> list[str]:
        """Those of some arms that were trained with the smoothing of the first; where it is not known, the first."""
        first, *others = arms
        known = self.smoothing
        return [
            first,
            *(arm for arm in others if first in known and known.get(arm) == known[first]),
        ]

    def render(self, found: Findings) -> Part | None:
        """The reliability curve of each head, and a table."""
        figures, heads = [], []
        for level in LEVELS:
            arms = [arm for arm in ("bilateral", level) if found.values.get(ERROR, level, arm)]
            if not arms:
                continue
            heads += [(level, arm) for arm in arms]
            for behind in ("", f" {SCALED}"):
                shown = arms if behind else self._alike(arms)
                curves = {arm: filled(found, level, arm, behind) for arm in shown}
                svg = picture(
                    Frame(
                        f"reliability-{level}{behind.replace(' ', '-')}",
                        f"Reliability of the {level} head{behind}",
                        height=3.5,
                    ),
                    reliability_curve,
                    title=f"{level} head{behind or ', raw'}",
                    curves=curves,
                    names={arm: _called(found, arm) for arm in shown},
                )
                caption = INTERVALS
                if len(shown) < len(arms):
                    caption += (
                        f" {_called(found, arms[-1]).capitalize()} was trained with another label smoothing: it is "
                        "compared after the temperature."
                    )
                figures.append((svg, caption))
        if not heads:
            return None
        return Part(
            id="calibration",
            title="Is it correct as often as it is sure?",
            nav="Calibration",
            text=[
                "How to read it: on the dashed line a network that is 80 % sure is correct 80 % of the time. "
                "Below the line it is too sure (overconfident), above it not sure enough. Beside it stands what one "
                "temperature mends: all logits are divided by the number that suits the validation images best, which "
                "changes no answer, only how sure the network is.",
            ],
            figures=figures,
            tables=score_tables(found, heads, self.smoothing),
            notes=[
                f"Calibration error: {BINS} bins of equal width (Naeini et al. 2015); bins with less than "
                f"{percent(RARE)} of the images are not drawn. Of few images it is above 0 for a calibrated head too: "
                "if calibrated is what it would be if answers were right as often as they are sure after the "
                "temperature. Brier score: squared "
                "distance of probabilities and truth, summed over classes, 0 to 2 (Brier 1950). Temperature: of least "
                f"negative log-likelihood (Guo et al. 2017), from {LOWEST:g} to {HIGHEST:g}, on "
                f"up to {VALIDATION_IMAGES:,} validation images; above 1 a network was too sure. Label smoothing in "
                "training makes a network less sure, so networks trained with different ones are compared after it."
            ],
        )


def _network(found: Findings, arm: str) -> str:
    """The arm of a network: the study's own one with two hemispheres stands under the name of the reference."""
    return found.pairs[0] if arm == REFERENCE else arm


def _called(found: Findings, arm: str) -> str:
    return plain_name(_network(found, arm))


def score_tables(
    found: Findings, heads: Sequence[tuple[str, str]], smoothing: Mapping[str, float]
) -> list[Sheet]:
    """Calibration error and Brier score, raw and after a temperature, and that temperature; a row for each head.

    Args:
        found: holds the numbers.
        heads: level and network.
        smoothing: of labels in training, by network.
    """

    def rows(*quantities: str, percent: bool) -> list[list[Cell]]:
        scores = [[found.values.get(of, level, arm) for of in quantities] for level, arm in heads]
        return [
            [
                Cell(level, level, True),
                Cell(network := _network(found, arm), network, True),
                *(cell for score in row for cell in summary_cells(score, percent=percent)),
                _smoothing(smoothing.get(arm)),
            ]
            for (level, arm), row in zip(heads, scores, strict=True)
        ]

    columns = ("raw", "95 % interval", SCALED, "95 % interval")
    return [
        Sheet(
            "calibration",
            "Expected calibration error, % (less is better)",
            word_columns(
                ("head", "network"),
                (*columns, "if calibrated", "95 % interval", "label smoothing"),
            ),
            rows(ERROR, f"{ERROR} {SCALED}", f"{IF_CALIBRATED} {SCALED}", percent=True),
        ),
        Sheet(
            "brier",
            "Brier score (less is better), and the temperature",
            word_columns(
                ("head", "network"), (*columns, TEMPERATURE, "95 % interval", "label smoothing")
            ),
            rows(BRIER, f"{BRIER} {SCALED}", TEMPERATURE, percent=False),
        ),
    ]


def _smoothing(value: float | None) -> Cell:
    return Cell("–", "") if value is None else Cell(f"{value:g}", repr(value))


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


def calibrated_error(logits: Tensor) -> float:
    """The error that is left of logits (N, C) if answers are right as often as they are sure: the mean over draws."""
    confidence = logits.double().softmax(1).amax(1).cpu()
    generator = torch.Generator().manual_seed(derive(0, "calibrated"))
    right = torch.rand(DRAWS, len(confidence), generator=generator, dtype=torch.double) < confidence
    gaps = torch.zeros(DRAWS, BINS, dtype=torch.double)
    gaps.index_add_(1, _bins(confidence), right.double() - confidence)
    return float(gaps.abs().sum(1).mean()) / len(confidence)


def _bins(confidence: Tensor) -> Tensor:
    """The bins of confidences (N,), of equal width, int64 (N,)."""
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


def brier_score(logits: Tensor, labels: Tensor) -> float:
    """The score of Brier (1950) of logits (N, C): the mean squared distance of probabilities and truth, 0 to 2."""
    probabilities = logits.double().softmax(1)
    truth = functional.one_hot(labels, logits.shape[1])
    return float((probabilities - truth).square().sum(1).mean())


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Accuracy as a function of confidence, in `BINS` bins of equal width."""
    confidence, prediction = logits.double().softmax(1).max(1)
    place = _bins(confidence)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(BINS, dtype=torch.double).index_add_(0, place, values) / images

    images = torch.bincount(place, minlength=BINS)
    return Reliability(mean(confidence), mean((prediction == labels).double()), images)


def scores(logits: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Calibration error, Brier score and reliability curve of logits (N, C), by quantity and bin of confidence."""
    curve = reliability(logits, labels)
    shares = curve.images / len(labels)
    # One of few images would count as much in the mean over seeds as those of many.
    common = shares >= RARE
    return {
        ERROR: {"": calibration_error(logits, labels)},
        IF_CALIBRATED: {"": calibrated_error(logits)},
        BRIER: {"": brier_score(logits, labels)},
        CONFIDENCE: _numbered(curve.confidence.where(common, math.nan)),
        RELIABILITY: _numbered(curve.accuracy.where(common, math.nan)),
        IMAGES: _numbered(shares),
    }


def bin_of(item: str) -> int | None:
    """The bin of confidence that an item names, if it names one."""
    return int(item) if item else None


def _numbered(values: Tensor) -> dict[str, float]:
    return {str(i): value for i, value in enumerate(values.tolist())}


Curve = tuple[Mapping[str, Summary], Mapping[str, Summary]]


def filled(found: Findings, level: str, arm: str, behind: str) -> Curve:
    """Confidence and accuracy by bin, without the bins that hold hardly any image.

    Args:
        found: holds the numbers.
        level: of the head.
        arm: of the network.
        behind: the end of the quantities' names: nothing, or ``SCALED`` after a blank.
    """
    images = found.values.items(f"{IMAGES}{behind}", level, arm)
    confidence, accuracy = (
        {
            item: summary
            for item, summary in found.values.items(f"{of}{behind}", level, arm).items()
            if images[item].mean >= RARE
        }
        for of in (CONFIDENCE, RELIABILITY)
    )
    return confidence, accuracy


def reliability_curve(
    figure: Figure,
    title: str,
    curves: Mapping[str, Curve],
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Draw accuracy against confidence; on the diagonal a head is correct as often as it is sure.

    Args:
        figure: to draw into.
        title: of the picture.
        curves: network → confidence and accuracy by bin.
        names: what each is called; empty: as it is.
    """
    axes = figure.subplots()
    axes.plot(
        [0, 1], [0, 1], color=FAINT, lw=0.9, ls=(0, (4, 3)), label="_correct as often as sure"
    )
    for arm, (confidence, accuracy) in curves.items():
        name = names.get(arm, arm)
        bins = sorted((item for item in confidence if item in accuracy), key=int)
        x = [confidence[item].mean for item in bins]
        colour = BOTH if arm == "bilateral" else COLOURS.get(arm, OTHER)
        intervals(axes, x, [accuracy[item] for item in bins], colour, of=name)
        axes.plot(
            x,
            [accuracy[item].mean for item in bins],
            color=colour,
            marker="o" if arm == "bilateral" else "s",
            ms=4,
            label=name,
        )
    legend_above(axes, title, 1)
    if len(curves) > 1:
        axes.set_title(title, pad=38)  # above two lines of legend
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence: probability of the answer")
    axes.set_ylabel("accuracy: share of correct answers")
    axes.xaxis.set_major_formatter(percent_beside_zero)
    axes.yaxis.set_major_formatter(percent)
