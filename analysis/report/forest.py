"""Figures that compare arms: differences from the reference on one scale, and accuracy against what it cost."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.report.cells import decimal, signed
from analysis.report.figures import percent, reference
from analysis.report.result_figures import close_up
from analysis.report.svg import BOTH, FAINT, GRID, HALO, INK, OTHER, PAPER, Frame, picture, short
from analysis.report.verdicts import BETTER, FEW, SAME, WORSE, Verdict, groups
from analysis.study import FinishedStudy
from common.results.statistics import SummaryRow
from common.settings.levels import LEVELS
from study.arms import REFERENCE, is_control, plain_name

Drawn = tuple[Markup, str]
COLOURS = {BETTER: BOTH, WORSE: OTHER, SAME: INK}


def forests(study: FinishedStudy) -> list[Drawn]:
    """For each level, the reference minus each other arm, all on one scale, and the caption."""
    lines = [line for group in groups(study) for line in group.lines]
    compared = [verdict for line in lines for verdict in line.verdicts.values()]
    limits = _scale(compared)
    found = []
    for level in LEVELS:
        verdicts = [one for one in compared if one.row.level == level]
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
                limits=limits,
            )
            caption = (
                "Dot: mean difference over seeds; line: its 95 % interval (dashed: approximate); hollow: no interval; "
                "arrow: goes on, or lies, beyond the scale. Green is better, purple worse, black the same within the "
                "margin (shaded), grey not shown to differ, each after correction."
            )
            found.append((svg, caption))
    return found


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
    held = row.ci95_low is not None and row.ci95_high is not None and verdict.form != FEW
    ends = (100 * row.ci95_low, 100 * row.ci95_high) if held else (point, point)  # type: ignore[operator]
    # What lies beyond the scale is cut off by the axes, so that the figure's data have all of it.
    if held:
        style = "--" if row.approximate else "-"
        axes.plot(ends, [place] * 2, style, color=colour, lw=2.2, label=f"_95 % interval, {name}")
    face = colour if held else PAPER
    axes.plot(
        [point], [place], "o", ms=6, mfc=face, mec=colour, mew=1.4, label=f"_{name}", zorder=4
    )
    for edge, mark, ha, beyond, gone in (
        (low, "◀", "left", ends[0] < low, point < low),
        (high, "▶", "right", ends[1] > high, point > high),
    ):
        if beyond or gone:
            axes.text(edge, place, mark, ha=ha, va="center", fontsize=8, color=colour, gid=HALO)
        if gone:
            words = decimal(point, 2, plus=True)
            axes.text(edge, place - 0.1, words, ha=ha, va="top", fontsize=7.5, color=colour)


def _scale(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Limits that hold most intervals, 0 and the margin; an arm far away would make all others look alike."""
    reaches = sorted(
        100
        * max(abs(end) for end in (row.ci95_low or row.mean, row.ci95_high or row.mean, row.mean))
        for row in (one.row for one in verdicts)
    )
    if not reaches:
        return -1.0, 1.0
    usual = reaches[int(0.75 * (len(reaches) - 1))]
    most = max(reach for reach in reaches if reach <= 1.5 * usual)
    reach = 1.08 * max(most, 1.5 * verdicts[0].margin)
    return -reach, reach


FEW_ARMS = 6  # of which each has its name in a figure of costs
LETTERS = 60  # that fit side by side into an axis of costs
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
                        height=3.1,
                    ),
                    against_cost,
                    title=f"{level} labels: accuracy by {name}",
                    points=[(row, getattr(row, column) / unit) for row in known],
                    label=words,
                )
                caption = (
                    f"Up is better, left is cheaper (logarithmic scale). Green: {plain_name(REFERENCE)}; black: "
                    "controls of equal size or training; grey: other arms, an arrow for one far below. Dashed: the "
                    "hemisphere of this level alone."
                )
                found.append((svg, caption))
    return found


def against_cost(
    figure: Figure, title: str, points: Sequence[tuple[SummaryRow, float]], label: str
) -> None:
    """Draw each arm as a dot, and write the name beside the reference and its controls; beside all if they are few."""
    axes = figure.subplots()
    low, high = close_up([row.mean for row, _ in points])
    axes.set_xscale("log")
    axes.set_ylim(low, high)
    costs = [cost for _, cost in points]
    ratio = max(max(costs) / min(costs), 1.5)
    axes.set_xlim(min(costs) * ratio**-0.1, max(costs) * ratio**1.0)  # room for names
    named = []
    for row, cost in sorted(points, key=lambda point: point[0].arm == REFERENCE):
        control = is_control(row.arm)
        colour = BOTH if row.arm == REFERENCE else INK if control else FAINT
        size = 8 if row.arm == REFERENCE else 5.5 if control else 4.5
        said = f"_{plain_name(row.arm)}"
        axes.plot([cost], [row.mean], "o", ms=size, color=colour, label=said)
        if low <= row.mean <= high:
            if (
                row.arm == REFERENCE
                or control
                or (len(points) <= FEW_ARMS and row.arm != row.level)
            ):
                named.append((row, cost, colour))
        else:
            mark, y, va = ("↓", low, "bottom") if row.mean < low else ("↑", high, "top")
            axes.text(cost, y, mark, ha="center", va=va, color=colour, fontsize=9)
        if row.arm == row.level and low <= row.mean <= high:
            reference(axes, row.mean, plain_name(row.arm))
    _name_points(axes, named)
    ticks = (
        np.geomspace(min(costs), max(costs), 4) if max(costs) > 1.3 * min(costs) else [min(costs)]
    )
    axes.set_xticks(
        [float(f"{tick:.2g}") for tick in ticks], [f"{float(f'{tick:.2g}'):g}" for tick in ticks]
    )
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(percent)
    axes.set_xlabel(label)
    axes.set_ylabel("test accuracy")
    axes.set_title(title)


def _name_points(axes: Axes, named: Sequence[tuple[SummaryRow, float, str]]) -> None:
    """Write names beside their points, moved up where they would stand upon each other."""
    low, high = axes.get_ylim()
    left, right = np.log(axes.get_xlim())
    step, before = 0.055 * (high - low), -np.inf
    for row, cost, colour in sorted(named, key=lambda one: one[0].mean):
        before = y = max(row.mean, before + step)
        place = (np.log(cost) - left) / (right - left)
        room = int(LETTERS * max(place, 1 - place)) - 2
        axes.annotate(
            short(plain_name(row.arm), max(room, 8)),
            (cost, y),
            xytext=(-7 if place > 0.5 else 7, 0),
            textcoords="offset points",
            ha="right" if place > 0.5 else "left",
            va="center",
            fontsize=7.5,
            color=colour,
            weight="bold" if row.arm == REFERENCE else "normal",
            gid=HALO,
            annotation_clip=False,
        )
