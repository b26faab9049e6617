"""Figures that compare arms: differences from the reference, and accuracy against what it cost."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.report.cells import decimal, signed
from analysis.report.figures import INTERVAL, has_intervals, percent, reference
from analysis.report.result_figures import close_up
from analysis.report.svg import (
    BOTH,
    FAINT,
    GRID,
    HALO,
    INK,
    OTHER,
    PAPER,
    Drawing,
    Frame,
    picture,
    short,
)
from analysis.report.verdicts import BETTER, FEW, OPEN, SAME, WORSE, Verdict, groups, upper
from analysis.study import FinishedStudy
from common.results.statistics import SummaryRow
from common.settings.levels import LEVELS
from study.arms import REFERENCE, is_control, plain_name

Drawn = tuple[Markup, str]
COLOURS = {BETTER: BOTH, WORSE: OTHER, SAME: INK}
MEANINGS = {
    FEW: "grey: too few seeds to say",
    BETTER: "green: better after correction",
    WORSE: "purple: worse after correction",
    SAME: "black: the same within the margin",
    OPEN: "grey: not shown to differ after correction",
}
ARROWS = "◀▶"
FAR = 3  # times as far from 0 as is usual: beyond that, others decide about the scale


def forests(study: FinishedStudy) -> list[Drawn]:
    """For each level, the reference minus each other arm, the main one first, and the caption."""
    lines = [line for group in groups(study) for line in group.lines]
    found = []
    for level in LEVELS:
        verdicts = [line.verdicts[level] for line in lines if level in line.verdicts]
        # A card may say its comparison the other way round.
        verdicts = [one.swapped() if one.row.minus == REFERENCE else one for one in verdicts]
        if verdicts:
            svg = picture(
                Frame(
                    f"forest-{level}",
                    f"Test accuracy on {level} labels: {plain_name(REFERENCE)} minus each other network",
                    height=0.9 + 0.36 * len(verdicts),
                ),
                forest,
                title=f"{level} labels: {plain_name(REFERENCE)} minus …",
                verdicts=verdicts,
                limits=_scale(verdicts),
            )
            found.append((svg, _forest_caption(svg, verdicts)))
    return found


def _forest_caption(svg: Markup, verdicts: Sequence[Verdict]) -> str:
    """What of a forest there is to explain."""
    said = ["Dot: mean difference over seeds"]
    if has_intervals(svg):
        approximate = any(one.row.approximate and _ends(one) for one in verdicts)
        said.append(f"line: its 95 % interval{' (dashed: approximate)' if approximate else ''}")
    if not all(map(_ends, verdicts)):
        said.append("hollow: no interval")
    if any(mark in svg for mark in ARROWS):
        said.append("arrow: goes on, or lies, beyond the scale")
    forms = {one.form for one in verdicts}
    colours = [words for form, words in MEANINGS.items() if form in forms]
    if verdicts[0].margin:
        colours.append("shaded: the margin, within which a difference does not matter")
    return f"{'; '.join(said)}. {upper('; '.join(colours))}."


def forest(
    figure: Figure, title: str, verdicts: Sequence[Verdict], limits: tuple[float, float]
) -> None:
    """Draw a line for each comparison, in percentage points, with the other arm's name above it."""
    axes = figure.subplots()
    low, high = limits
    margin = verdicts[0].margin
    axes.axvspan(-margin, margin, color=GRID, alpha=0.6, lw=0, label="_margin")
    axes.axvline(0, color=FAINT, lw=1, label="_no difference")
    for place, verdict in zip(range(len(verdicts))[::-1], verdicts, strict=True):
        name = plain_name(verdict.row.minus)
        colour = COLOURS.get(verdict.form, FAINT)
        axes.text(low, place + 0.22, name, va="bottom", fontsize=8.5, gid=HALO)
        _draw_difference(axes, place, verdict, colour, limits)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.6, len(verdicts) - 0.2)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=high - low > 6))
    axes.xaxis.set_major_formatter(lambda x, _: signed(f"{x:+g}"))
    axes.set_xlabel("percentage points; right of 0 these two are better")
    axes.set_title(title)


def _draw_difference(
    axes: Axes, place: int, verdict: Verdict, colour: str, limits: tuple[float, float]
) -> None:
    low, high = limits
    row, name = verdict.row, plain_name(verdict.row.minus)
    point = 100 * row.mean
    held = _ends(verdict)
    ends = held or (point, point)
    # What lies beyond the scale is cut off by the axes, so that the figure's data have all of it.
    if held:
        style = "--" if row.approximate else "-"
        axes.plot(ends, [place] * 2, style, color=colour, lw=2.2, label=f"{INTERVAL}, {name}")
    face = colour if held else PAPER
    axes.plot(
        [point], [place], "o", ms=6, mfc=face, mec=colour, mew=1.4, label=f"_{name}", zorder=4
    )
    for edge, mark, ha, beyond, gone in (
        (low, ARROWS[0], "left", ends[0] < low, point < low),
        (high, ARROWS[1], "right", ends[1] > high, point > high),
    ):
        if beyond or gone:
            axes.text(edge, place, mark, ha=ha, va="center", fontsize=8, color=colour, gid=HALO)
        if gone:
            words = decimal(point, 2, plus=True)
            axes.text(edge, place - 0.1, words, ha=ha, va="top", fontsize=7.5, color=colour)


def _ends(verdict: Verdict) -> tuple[float, float] | None:
    """The interval of a difference, in percentage points; None where none is shown."""
    low, high = verdict.row.ci95_low, verdict.row.ci95_high
    if low is None or high is None or verdict.form == FEW:
        return None
    return 100 * low, 100 * high


def _scale(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Limits that hold 0, the margin, all of the first comparison, which is the main one, and what else is not far."""
    drawn = [(100 * one.row.mean, *(_ends(one) or ())) for one in verdicts]
    usual = float(np.median([max(map(abs, numbers)) for numbers in drawn]))
    inside = [number for numbers in drawn for number in numbers if abs(number) <= FAR * usual]
    margin = 1.5 * verdicts[0].margin
    low, high = (end([*drawn[0], *inside, -margin, margin]) for end in (min, max))
    if low == high:  # all are 0, and there is no margin
        return -1.0, 1.0
    room = 0.06 * (high - low)
    return low - room, high + room


LETTERS = 45  # of a name beside an axis of costs
ROW = 0.155  # inches that a name takes
AROUND = 0.95  # inches above and below these axes
COSTS = {
    "parameters": ("parameters", "number of parameters, in millions", 1e6),
    "train_macs": (
        "training",
        "multiply-adds of training, with all that it builds on, in 10¹²",
        1e12,
    ),
}


def costs(study: FinishedStudy) -> list[Drawn]:
    """For each level, accuracy against parameters and against the operations of training, with captions."""
    found = []
    for level in LEVELS:
        rows = [row for row in study.summary if row.level == level]
        for column, (name, words, unit) in COSTS.items():
            known = [row for row in rows if (getattr(row, column) or 0) > 0]
            if len(known) > 1:
                svg = picture(
                    Frame(
                        f"cost-{name}-{level}",
                        f"Test accuracy on {level} labels against {words}",
                        height=max(3.1, AROUND + ROW * len(known)),
                    ),
                    against_cost,
                    title=f"{level} labels: accuracy by {name}",
                    points=[(row, getattr(row, column) / unit) for row in known],
                    label=words,
                )
                found.append((svg, _cost_caption(svg, level, known)))
    return found


def _cost_caption(svg: Markup, level: str, rows: Sequence[SummaryRow]) -> str:
    """What of a figure of costs there is to explain."""
    assert isinstance(svg, Drawing)
    (axes,) = svg.files.figure.axes
    low, high = axes.get_ylim()
    arms = {row.arm for row in rows}
    colours = []
    if REFERENCE in arms:
        colours.append(f"green: {plain_name(REFERENCE)}")
    if any(map(is_control, arms)):
        colours.append("black: controls of equal size or training")
    if any(arm != REFERENCE and not is_control(arm) for arm in arms):
        colours.append("grey: other arms")
    said = ["Up is better, left is cheaper (logarithmic scale).", f"{upper('; '.join(colours))}."]
    if any(not low <= row.mean <= high for row in rows):
        said.append("An arrow with a number stands for an arm beyond the scale.")
    if any(row.arm == level and low <= row.mean <= high for row in rows):
        said.append("Dashed: the hemisphere of this level alone.")
    return " ".join(said)


def against_cost(
    figure: Figure, title: str, points: Sequence[tuple[SummaryRow, float]], label: str
) -> None:
    """Draw each arm as a dot, with its name beside the axes."""
    axes = figure.subplots()
    low, high = close_up(
        [row.mean for row, _ in points], [row.mean for row, _ in points if row.arm == REFERENCE]
    )
    axes.set_xscale("log")
    axes.set_ylim(low, high)
    costs = [cost for _, cost in points]
    ratio = max(max(costs) / min(costs), 1.5)
    axes.set_xlim(min(costs) * ratio**-0.1, max(costs) * ratio**0.1)
    for row, cost in sorted(points, key=lambda point: point[0].arm == REFERENCE):
        size = 8 if row.arm == REFERENCE else 5.5 if is_control(row.arm) else 4.5
        said = f"_{plain_name(row.arm)}"
        axes.plot([cost], [row.mean], "o", ms=size, color=_colour(row.arm), label=said)
        if row.arm == row.level:
            reference(axes, row.mean, said)
    _name_points(axes, points, ROW / (figure.get_figheight() - AROUND))
    ticks = np.geomspace(min(costs), max(costs), 3) if max(costs) > 1.3 * min(costs) else costs[:1]
    axes.set_xticks(
        [float(f"{tick:.2g}") for tick in ticks], [f"{float(f'{tick:.2g}'):g}" for tick in ticks]
    )
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(percent)
    axes.set_xlabel(label, loc="left")
    axes.set_ylabel("test accuracy")
    axes.set_title(title)


def _colour(arm: str) -> str:
    return BOTH if arm == REFERENCE else INK if is_control(arm) else FAINT


def _name_points(axes: Axes, points: Sequence[tuple[SummaryRow, float]], step: float) -> None:
    """Write all names into a column at the right, each with a line to its point; beyond the scale, to an arrow.

    ``step`` is what a name takes of the axes' height.
    """
    low, high = axes.get_ylim()
    ordered = sorted(points, key=lambda point: point[0].mean)
    heights = [min(max((row.mean - low) / (high - low), 0), 1) for row, _ in ordered]
    for (row, cost), at, place in zip(ordered, heights, _apart(heights, step), strict=True):
        name, colour = short(plain_name(row.arm), LETTERS), _colour(row.arm)
        if not low <= row.mean <= high:
            mark, va = ("↓", "bottom") if row.mean < low else ("↑", "top")
            axes.text(cost, low if row.mean < low else high, mark, ha="center", va=va, color=colour)
            name = f"{mark} {decimal(100 * row.mean, 2)} % {short(name, LETTERS - 9)}"
        axes.annotate(
            name,
            (cost, low + at * (high - low)),
            xytext=(1.06, place),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            fontsize=7.5,
            color=colour,
            weight="bold" if row.arm == REFERENCE else "normal",
            arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.5, "relpos": (0, 0.5)},
            zorder=0.5,  # below the points
        )


def _apart(heights: Sequence[float], step: float) -> list[float]:
    """Heights (0 to 1, ascending) moved up, and then down again, until each is a step above the one before."""
    places: list[float] = []
    for height in heights:
        places.append(max(height, places[-1] + step) if places else height)
    top = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top)
        top = places[i] - step
    return places
