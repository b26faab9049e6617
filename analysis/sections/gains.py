"""On which classes the bilateral network is better than one hemisphere alone. A part of the section on agreement."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from analysis.report.cells import signed
from analysis.report.figures import INTERVALS, intervals
from analysis.report.part import Part, count_classes
from analysis.report.svg import BOTH, FAINT, INK, OTHER, Frame, labels, picture
from analysis.section import Findings
from analysis.sections.contributions import class_means
from analysis.seed import Seed
from analysis.values import Item, Summary
from common.settings.levels import LEVELS
from study.arms import plain_name

MOST = 8  # classes that gain, and that lose, most


def add_gains(seed: Seed, found: Findings) -> None:
    """Add the accuracy on each class minus that of the network that was trained on its level alone."""
    for level, alone in seed.alone.items():
        truth, classes = seed.test.labels[level], seed.images.classes[level]
        both, one = (
            accuracy_per_class(logits.argmax(1) == truth, truth, classes)
            for logits in (seed.logits[level], alone)
        )
        for name, gain in zip(seed.images.unique_names(level), (both - one).tolist(), strict=True):
            found.values.add(
                "gain",
                gain,
                level=level,
                item=name,
                seed=seed.number,
                means=Item(class_name=name),
            )


def accuracy_per_class(correct: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The share of each class's images that are in ``correct`` (bool (N,)): (C,), NaN without images."""
    return class_means(correct.double(), labels, classes)


def show_gains(part: Part, found: Findings) -> None:
    """Add a figure of the classes that gain and lose most, for each level."""
    for level in LEVELS:
        classes = found.values.items("gain", level)
        ordered = sorted(
            ((name, summary) for name, summary in classes.items() if abs(summary.mean) > 1e-9),
            key=lambda pair: -pair[1].mean,
        )
        if classes and not ordered:
            part.notes.append(f"No {level} class gains or loses against {plain_name(level)}.")
        if not ordered:
            continue
        count = min(MOST, (len(ordered) + 1) // 2)
        most = dict([*ordered[:count], *ordered[max(count, len(ordered) - count) :]])
        svg = picture(
            Frame(
                f"gain-{level}",
                f"{level} classes that gain and lose most",
                height=0.9 + 0.19 * len(most),
            ),
            gains,
            title=f"{level} classes",
            classes=most,
        )
        caption = (
            f"Classes that gain and lose most: both hemispheres against {plain_name(level)}. {INTERVALS} "
            "Extremes exaggerate: of "
            f"{count_classes(len(classes), level)}, some differ this much by chance."
        )
        part.figures.append((svg, caption))


def gains(figure: Figure, title: str, classes: Mapping[str, Summary]) -> None:
    """Draw a bar for each class: to the right, the bilateral network is better on it; to the left, worse."""
    axes = figure.subplots()
    places = np.arange(len(classes))[::-1]
    for place, point in zip(places, classes.values(), strict=True):
        axes.barh(place, point.mean, height=0.7, color=BOTH if point.mean >= 0 else OTHER)
    # A difference of two shares is at most 1; the interval of a few seeds may not.
    low, high = axes.get_xlim()
    intervals(axes, places.tolist(), [*classes.values()], INK, upright=False)
    drawn = axes.get_xlim()
    axes.set_xlim(max(drawn[0], -1, 3 * low - 2 * high), min(drawn[1], 1, 3 * high - 2 * low))
    axes.axvline(0, color=FAINT, lw=0.9)
    axes.set_yticks(places, labels([*classes], 22))
    axes.grid(False, axis="y")
    axes.set_title(title)
    axes.set_xlabel("both hemispheres minus one alone, percentage points")
    axes.xaxis.set_major_formatter(lambda x, _: signed(f"{100 * x:+.3g}") if abs(x) > 1e-9 else "0")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
