"""The pictures of the report, each drawn into a figure of `analysis.pictures`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.pictures import BOTH, FAINT, HALO, INK, LEFT, OTHER, PAPER, RIGHT, labels, short
from analysis.study import Table
from analysis.tables import decimal, signed
from analysis.values import Summary


def percent(share: float, _: object = None) -> str:
    """A tick of an axis that holds shares."""
    return f"{signed(f'{100 * share:.4g}')} %"


def percent_beside_zero(share: float, _: object = None) -> str:
    """The same, but nothing at 0, where the other axis says it already."""
    return percent(share) if share else ""


COLOURS = {"left": LEFT, "right": RIGHT, "both": BOTH, "fine": LEFT, "coarse": RIGHT}


def accuracy_bars(figure: Figure, title: str, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Bars from zero with every seed as a dot; beside them the same on a scale that shows the differences.

    Args:
        figure: to draw into.
        title: of the picture.
        arms: name → mean, low, high (None without interval), seeds (list of accuracies).
    """
    bars, zoom = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(arms))[::-1] * 1.0
    values = [value for arm in arms.values() for value in arm["seeds"]]
    for place, (name, arm) in zip(places, arms.items(), strict=True):
        colour = COLOURS.get(name, BOTH)
        bars.barh(place, arm["mean"], height=0.42, color=colour, alpha=0.85)
        bars.text(0, place + 0.3, short(name, 34), va="bottom", fontsize=9)
        _say_mean(bars, place, arm)
        for axes in (bars, zoom):
            spread = np.linspace(-0.12, 0.12, len(arm["seeds"])) if len(arm["seeds"]) > 1 else [0]
            axes.plot(
                arm["seeds"],
                place + np.asarray(spread),
                "o",
                ms=4.2,
                mfc=INK,
                mec=PAPER,
                mew=0.8,
                zorder=4,
            )
        if arm["low"] is not None:
            zoom.plot([arm["low"], arm["high"]], [place, place], color=colour, lw=2.2, zorder=2)
        zoom.plot([arm["mean"]] * 2, [place - 0.2, place + 0.2], color=colour, lw=2.6, zorder=3)
    zoom.set_xlim(_close_up(values))
    bars.set_xlim(0, 1)
    for place, arm in zip(places, arms.values(), strict=True):
        _point_outside(zoom, place, [arm["mean"], *arm["seeds"]])
    for axes, scale in ((bars, "from zero"), (zoom, "close up")):
        axes.set_ylim(-0.5, len(arms) - 0.25)
        axes.set_yticks([])
        axes.grid(False, axis="y")
        axes.xaxis.set_major_formatter(percent)
        axes.spines["left"].set_visible(axes is bars)
        axes.set_xlabel(scale)
    bars.set_title(title)
    bars.set_xticks([0, 0.5, 1])
    zoom.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _say_mean(axes: Axes, place: float, arm: Mapping[str, Any]) -> None:
    """The mean in figures: within the bar where they fit, else behind it."""
    ends = [arm["mean"], *arm["seeds"]]
    inside = min(ends) > 0.34
    axes.text(
        0.02 if inside else max(ends) + 0.03,
        place,
        f"{decimal(100 * arm['mean'], 2)} %",
        va="center",
        fontsize=9,
        color=PAPER if inside else INK,
        weight="bold",
    )


def _close_up(values: Sequence[float]) -> tuple[float, float]:
    """Limits that hold what lies near the median: one arm far away would make all others look alike."""
    centre = np.median(values)
    reach = max(6 * np.median(np.abs(np.asarray(values) - centre)), 0.03)
    near = [value for value in values if abs(value - centre) <= reach]
    margin = max(0.3 * (max(near) - min(near)), 0.008)
    return max(0, min(near) - margin), min(1, max(near) + margin)


def _point_outside(axes: Axes, place: float, values: Sequence[float]) -> None:
    """An arrow at the edge with the first of the values (a mean, then seeds) that lies beyond it."""
    low, high = axes.get_xlim()
    for edge, ha, arrow, beyond in (
        (low, "left", "← {}", [value for value in values if value < low]),
        (high, "right", "{} →", [value for value in values if value > high]),
    ):
        if beyond:
            words = arrow.format(f"{decimal(100 * beyond[0], 2)} %")
            axes.text(edge, place, words, ha=ha, va="center", fontsize=8.5, zorder=5, gid=HALO)


def _legend_above(axes: Axes, title: str, columns: int) -> None:
    """Title and legend over the axes, where they hide nothing."""
    axes.set_title(title, pad=24)
    axes.legend(
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.995),
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _intervals(
    axes: Axes,
    places: Sequence[float],
    points: Sequence[Summary],
    colour: str,
    *,
    upright: bool = True,
) -> None:
    """A thin line for the 95 % interval of each point that has one."""
    for place, point in zip(places, points, strict=True):
        if point.ci95_low is not None and point.ci95_high is not None:
            line = ([place, place], [point.ci95_low, point.ci95_high])
            axes.plot(*(line if upright else line[::-1]), color=colour, lw=0.9, alpha=0.75)


def learning_curves(figure: Figure, arm: str, seeds: Sequence[Table]) -> None:
    """Accuracy by epoch: validation as lines, training as dots, one line for each level and seed."""
    axes = figure.subplots()
    epochs = 1
    for level in ("fine", "coarse"):
        for number, table in enumerate(seeds):
            for split, style in (("train", (0, (1, 1.6))), ("val", "-")):
                points = [
                    (int(row["epoch"]) + 1, float(row[column]))
                    for row in table
                    if (row.get(column := f"{split}_{level}_accuracy"))
                ]
                if points:
                    x, y = zip(*points, strict=True)
                    epochs = max(epochs, *x)
                    axes.plot(
                        x,
                        y,
                        color=COLOURS[level],
                        ls=style,
                        lw=1.6 if split == "val" else 1.2,
                        marker="o" if len(x) == 1 else None,
                        ms=3,
                        label=level if split == "val" and number == 0 else None,
                    )
    axes.plot([], [], color=FAINT, ls=(0, (1, 1.6)), label="on training images")
    _legend_above(axes, short(arm, 40), 3)
    axes.set_xlabel("epoch")
    axes.set_xlim(1 if epochs > 1 else 0, epochs if epochs > 1 else 2)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(percent)


def evidence_dots(
    figure: Figure, title: str, left: Mapping[str, Summary], right: Mapping[str, Summary]
) -> None:
    """One dot for each class: evidence from the left half against evidence from the right half."""
    axes = figure.subplots()
    names = [name for name in left if name in right]
    x = np.array([left[name].mean for name in names])
    y = np.array([right[name].mean for name in names])
    low, high = min(0, x.min(), y.min()), 1.06 * max(x.max(), y.max(), 1e-6)
    axes.plot([0, high], [0, high], color=FAINT, lw=0.9, ls=(0, (4, 3)))
    colour = [LEFT if a > b else RIGHT for a, b in zip(x, y, strict=True)]
    axes.scatter(x, y, s=24, color=colour, alpha=0.75, linewidths=0)
    axes.text(high, high * 0.985, "equal", ha="right", va="bottom", color=FAINT, fontsize=8)
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_aspect("equal")
    axes.set_title(title)
    axes.set_xlabel("evidence from the left half")
    axes.set_ylabel("from the right half")
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


def lesion_curves(
    figure: Figure,
    title: str,
    curves: Mapping[str, Mapping[str, Summary]],
    seeds: Mapping[str, Mapping[int, Mapping[str, float]]],
) -> None:
    """Accuracy as features of either hemisphere are silenced, the most used first."""
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
    _legend_above(axes, title, 2)
    axes.set_xlabel("share of that hemisphere's features silenced")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(percent_beside_zero)
    axes.yaxis.set_major_formatter(percent)


PAIRS = {
    "left-right": ("left and right", BOTH, "o", "-"),
    "left-other seed": ("left of two seeds", LEFT, "s", (0, (4, 2))),
    "right-other seed": ("right of two seeds", RIGHT, "^", (0, (4, 2))),
    "left-unspecialised": ("left and unspecialised", LEFT, "D", "-"),
    "right-unspecialised": ("right and unspecialised", RIGHT, "v", "-"),
}


def cka_lines(figure: Figure, pairs: Mapping[str, Mapping[str, Summary]], layers: int) -> None:
    """Similarity layer by layer, from the image to the features."""
    axes = figure.subplots()
    for number, (pair, points) in enumerate(pairs.items()):
        label, colour, marker, style = PAIRS[pair]
        # Side by side, so that intervals do not cover one another.
        x = [int(item) + 1 + 0.08 * (number - (len(pairs) - 1) / 2) for item in points]
        axes.plot(
            x,
            [point.mean for point in points.values()],
            color=colour,
            marker=marker,
            ms=4,
            ls=style,
            label=label,
        )
    lowest = min(point.mean for points in pairs.values() for point in points.values())
    axes.set_ylim(min(0, lowest - 0.05), 1.02)
    for line, points in zip([*axes.lines], pairs.values(), strict=True):
        _intervals(axes, line.get_xdata(), [*points.values()], line.get_color())  # type: ignore[arg-type]
    axes.set_title("Same layer of two networks")
    axes.set_xlabel("layer, from the image to the features")
    axes.set_ylabel("linear CKA")
    axes.set_xticks(range(1, layers + 1), [*map(str, range(1, layers)), "F"])
    figure.legend(loc="outside lower left", ncols=2, columnspacing=1.2)


def heat(
    figure: Figure,
    table: np.ndarray,
    *,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    power: float = 1.0,
    shares: bool = False,
) -> None:
    """A matrix as colours: dark is little, bright is much."""
    from matplotlib.colors import PowerNorm

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
    axes.set_title(title)
    axes.set_xlabel(column_label)
    axes.set_ylabel(row_label)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1] if power == 1 else [0, 0.05, 0.25, 1])
    bar.ax.yaxis.set_major_formatter(percent if shares else "{x:g}")


def grouped_bars(
    figure: Figure,
    title: str,
    groups: Mapping[str, Mapping[str, Summary]],
    *,
    limits: tuple[float, float] = (0, 1),
    shares: bool = True,
) -> None:
    """Bars from zero with intervals: groups along the axis, one bar for each hemisphere and for both.

    Args:
        figure: to draw into.
        title: of the picture.
        groups: name → side → summary.
        limits: of the axis.
        shares: whether values are shares.
    """
    axes = figure.subplots()
    sides = list(next(iter(groups.values())))
    width = 0.8 / len(sides)
    for i, side in enumerate(sides):
        x = np.arange(len(groups)) - 0.4 + width * (i + 0.5)
        points = [group[side] for group in groups.values()]
        means = [point.mean for point in points]
        axes.bar(x, means, width * 0.88, color=COLOURS[side], label=side)
        for place, point in zip(x, points, strict=True):
            if point.ci95_low is not None and point.ci95_high is not None:
                low, high = np.clip([point.ci95_low, point.ci95_high], *limits)
                axes.plot([place, place], [low, high], color=INK, lw=1.1)
            if len(groups) * len(sides) > 8:
                continue
            words = f"{decimal(100 * point.mean, 0)} %" if shares else decimal(point.mean, 2)
            axes.annotate(
                words,
                (place, 0 if point.mean >= 0 else point.mean),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=PAPER if point.mean > 0.12 * limits[1] else INK,
            )
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set_xticks(range(len(groups)), ["\n".join(name.rsplit(" ", 1)) for name in groups])
    axes.grid(False, axis="x")
    axes.set_ylim(*limits)
    if shares:
        axes.yaxis.set_major_formatter(percent)
    _legend_above(axes, title, len(sides))


def disagreement(figure: Figure, classes: Mapping[str, Mapping[str, Summary]]) -> None:
    """For each class, the share of images on which not both hemispheres were right, by case."""
    axes = figure.subplots()
    styles = {"left only": (LEFT, 0.9), "right only": (RIGHT, 0.9), "neither": (OTHER, 0.55)}
    places = np.arange(len(classes))[::-1]
    start = np.zeros(len(classes))
    for case, (colour, alpha) in styles.items():
        widths = np.array([cases[case].mean if case in cases else 0 for cases in classes.values()])
        axes.barh(places, widths, left=start, height=0.72, color=colour, alpha=alpha, label=case)
        start = start + widths
    axes.set_yticks(places, labels([*classes], 20))
    axes.grid(False, axis="y")
    axes.set_ylim(-0.6, len(classes) - 0.4)
    axes.set_xlim(0, min(1, 1.04 * max(start.max(), 0.01)))
    axes.xaxis.set_major_formatter(percent)
    axes.set_xlabel("share of the class's images")
    figure.legend(loc="outside upper left", ncols=3, handlelength=1, columnspacing=1.2)


def gains(figure: Figure, title: str, classes: Mapping[str, Summary]) -> None:
    """Bars to the right: the bilateral network is better on the class; to the left: worse."""
    axes = figure.subplots()
    places = np.arange(len(classes))[::-1]
    for place, point in zip(places, classes.values(), strict=True):
        axes.barh(place, point.mean, height=0.7, color=BOTH if point.mean >= 0 else OTHER)
    # A difference of two shares is at most 1; the interval of a few seeds may not.
    low, high = axes.get_xlim()
    _intervals(axes, places.tolist(), [*classes.values()], INK, upright=False)
    drawn = axes.get_xlim()
    axes.set_xlim(max(drawn[0], -1, 3 * low - 2 * high), min(drawn[1], 1, 3 * high - 2 * low))
    axes.axvline(0, color=FAINT, lw=0.9)
    axes.set_yticks(places, labels([*classes], 22))
    axes.grid(False, axis="y")
    axes.set_title(title)
    axes.set_xlabel("change in accuracy, percentage points")
    axes.xaxis.set_major_formatter(lambda x, _: signed(f"{100 * x:+.3g}") if abs(x) > 1e-9 else "0")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def reliability_curve(
    figure: Figure,
    title: str,
    curves: Mapping[str, tuple[Mapping[str, Summary], Mapping[str, Summary]]],
) -> None:
    """Accuracy against confidence; on the diagonal a head is right as often as it is sure.

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
        _intervals(axes, x, [accuracy[item] for item in bins], colour)
        axes.plot(
            x,
            [accuracy[item].mean for item in bins],
            color=colour,
            marker="o" if arm == "bilateral" else "s",
            ms=4,
            label=arm if arm == "bilateral" else f"{arm} alone",
        )
    _legend_above(axes, title, len(curves))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_formatter(percent_beside_zero)
    axes.yaxis.set_major_formatter(percent)
