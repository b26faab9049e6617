"""What several figures of the page are drawn with, each into a figure of `analysis.report.svg`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from analysis.report.cells import decimal, signed
from analysis.report.svg import BOTH, FAINT, HALO, INK, LEFT, OTHER, PAPER, RIGHT, Drawing
from analysis.values import Summary

COLOURS = {
    **{"left": LEFT, "right": RIGHT, "both": BOTH, "random weights": OTHER},
    **{"fine": LEFT, "coarse": RIGHT},
}

# How the label of every line that is an interval begins.
INTERVAL = "_95 % interval"
# In the caption of a figure that has intervals where there are seeds enough: see `true_caption`.
INTERVALS = "Thin lines: 95 % intervals over seeds."

ROOM = 0.12  # of an upright axis: what a number in a bar takes


def percent(share: float, _: object = None) -> str:
    """A tick of an axis that holds shares."""
    return f"{signed(f'{100 * share:.4g}')} %"


def percent_beside_zero(share: float, _: object = None) -> str:
    """The same, but empty at 0, where the other axis has that tick."""
    return percent(share) if share else ""


def legend_above(axes: Axes, title: str, columns: int) -> None:
    """Put title and legend above the axes, where they hide nothing."""
    axes.set_title(title, pad=24)
    axes.legend(
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.995),
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def intervals(
    axes: Axes,
    places: Sequence[float],
    points: Sequence[Summary],
    colour: str,
    *,
    upright: bool = True,
    of: str = "",
) -> None:
    """Draw a thin line for the 95 % interval of each point of a series that has one, dashed if it is approximate."""
    for place, point in zip(places, points, strict=True):
        if point.interval:
            line = ([place, place], [*point.interval])
            style = "--" if point.approximate else "-"
            label = f"{INTERVAL}{of and f' of {of}'}"
            ends = line if upright else line[::-1]
            axes.plot(*ends, style, color=colour, lw=0.9, alpha=0.75, label=label)


def has_intervals(svg: Markup) -> bool:
    """Whether an interval of any value is drawn in a figure."""
    return isinstance(svg, Drawing) and any(
        str(line.get_label()).startswith(INTERVAL)
        for axes in svg.files.figure.axes
        for line in axes.lines
    )


def true_caption(svg: Markup, caption: str) -> str:
    """A figure's caption, without `INTERVALS` where none is drawn: a mean of one or two seeds has none."""
    if has_intervals(svg):
        return caption
    return caption.replace(INTERVALS, "").replace("  ", " ").strip()


def reference(axes: Axes, place: float, words: str, dashes: tuple[float, ...] = (4, 3)) -> None:
    """Draw a dashed line across at what a number is to be compared with, such as chance; the legend says what it is."""
    axes.axhline(place, color=FAINT, lw=0.9, ls=(0, dashes), label=words, zorder=1)


def heat(
    figure: Figure,
    table: np.ndarray,
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    value_label: str,
    power: float = 1.0,
    shares: bool = False,
) -> None:
    """Draw a matrix as colours: dark is little, bright is much."""
    axes = figure.subplots()
    image = axes.imshow(
        table, cmap="cividis", norm=PowerNorm(power, 0, 1), interpolation="nearest", aspect="equal"
    )
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    size = 8.5 if len(rows) <= 12 else 7 if len(rows) <= 24 else 5
    axes.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=size)
    axes.set_title(title, pad=14)  # above the end of the scale, which is beside a small matrix
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(value_label)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1] if power == 1 else [0, 0.05, 0.25, 1])
    bar.ax.yaxis.set_major_formatter(percent if shares else "{x:g}")


def grouped_bars(
    figure: Figure,
    title: str,
    groups: Mapping[str, Mapping[str, Summary]],
    *,
    label: str,
    limits: tuple[float, float] = (0, 1),
    shares: bool = True,
    chance: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Draw bars from zero with intervals: groups along the axis, one bar for each hemisphere and for both.

    Args:
        figure: to draw into.
        title: of the picture.
        groups: name → side → summary.
        label: of the axis, with its unit.
        limits: of the axis.
        shares: whether values are shares.
        chance: what guessing would give, of groups of which that is known.
    """
    axes = figure.subplots()
    sides = list(next(iter(groups.values())))
    width = 0.8 / len(sides)
    # Numbers stand above the line of chance.
    feet = [chance.get(name, 0.0) for name in groups]
    for i, side in enumerate(sides):
        x = np.arange(len(groups)) - 0.4 + width * (i + 0.5)
        points = [group[side] for group in groups.values()]
        means = [point.mean for point in points]
        axes.bar(x, means, width * 0.88, color=COLOURS[side], label=side)
        intervals(axes, x.tolist(), points, INK, of=side)
        if len(groups) * len(sides) <= 8:
            _say(axes, x.tolist(), feet, points, shares=shares, high=limits[1])
    axes.axhline(0, color=FAINT, lw=0.8, label="_zero")
    for index, name in enumerate(groups):
        if name in chance:
            ends, height = [index - 0.46, index + 0.46], [chance[name]] * 2
            said = "chance" if name == next(iter(chance)) else "_chance"
            axes.plot(ends, height, color=INK, lw=1.1, ls=(0, (4, 3)), zorder=3, label=said)
    axes.set_ylabel(label)
    axes.set_xticks(range(len(groups)), ["\n".join(name.rsplit(" ", 1)) for name in groups])
    axes.grid(False, axis="x")
    axes.set_ylim(*limits)
    if shares:
        axes.yaxis.set_major_formatter(percent)
    entries = len(sides) + bool(chance)
    legend_above(axes, title, entries if entries < 5 else 3)
    if entries >= 5:
        axes.set_title(title, pad=38)  # above two lines of legend


def _say(
    axes: Axes,
    places: Sequence[float],
    feet: Sequence[float],
    points: Sequence[Summary],
    *,
    shares: bool,
    high: float,
) -> None:
    """Write each mean into its bar, above its foot, or above all of it where it is low; ``high``: end of the axis."""
    for place, foot, point in zip(places, feet, points, strict=True):
        inside = point.mean - foot > ROOM * high
        axes.annotate(
            f"{decimal(100 * point.mean, 0)} %" if shares else decimal(point.mean, 2),
            (place, foot if inside else max(foot, point.mean, point.ci95_high or 0)),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,  # so that 100 % fits into each of four bars
            color=PAPER if inside else INK,
            gid=None if inside else HALO,
        )
