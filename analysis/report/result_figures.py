"""The figures of a study's results: test accuracy by arm, and learning curves."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from types import MappingProxyType
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.report.cells import decimal
from analysis.report.figures import COLOURS, INTERVAL, has_intervals, legend_above, percent
from analysis.report.svg import BOTH, FAINT, HALO, INK, PAPER, Drawing, Frame, picture, short
from analysis.study import FinishedStudy
from common.settings.levels import LEVEL_NAMES, LEVELS
from study.arms import REFERENCE, plain_name

MANY = 8  # arms, whose bars stand closer
NEAR = 0.15  # to the axis: an accuracy of guessing beside which names and numbers still have room
LONG = 30  # letters of a title above a small figure, beyond which they are smaller
LONGEST = 38  # of these, beyond which it takes two lines


def bars(study: FinishedStudy) -> list[tuple[Markup, str]]:
    """For each level, test accuracy by arm, and its caption."""
    found = []
    for level in LEVELS:
        arms = {}
        for row in study.summary:
            if row.level == level:
                arms[row.arm] = {
                    "mean": row.mean,
                    "low": row.ci95_low,
                    "high": row.ci95_high,
                    "approximate": row.approximate,
                    "seeds": [*study.accuracies(row.arm, level).values()],
                }
        chance = _chances(study).get(level)
        if arms:
            svg = picture(
                Frame(
                    f"accuracy-{level}",
                    f"Test accuracy on {level} labels by arm",
                    height=0.95 + (0.62 if len(arms) <= MANY else 0.5) * len(arms),
                ),
                accuracy_bars,
                title=f"{level} labels",
                arms=arms,
                chance=chance,
            )
            found.append((svg, _bars_caption(svg, arms, chance)))
    return found


def _bars_caption(svg: Markup, arms: Mapping[str, Mapping[str, Any]], chance: float | None) -> str:
    """What of the bars and the close-up there is to explain."""
    assert isinstance(svg, Drawing)
    said = ["A dot is a seed."]
    if has_intervals(svg):
        about = " (dashed: approximate)" if any(one["approximate"] for one in arms.values()) else ""
        said.append(
            "In the close-up, the line is the mean with its 95 % interval, cut off at the edge"
            f"{about}."
        )
    else:
        said.append("In the close-up, the line is the mean.")
    _, zoom = svg.files.figure.axes
    if zoom.texts:
        said.append("An arrow with a number stands for what lies beyond the close-up.")
    if REFERENCE in arms:
        said.append(f"The dashed line across the close-up is the mean of {plain_name(REFERENCE)}.")
    if chance is not None:
        said.append("The dashed line across the bars is chance.")
    return " ".join(said)


def curves(study: FinishedStudy) -> list[Markup]:
    """For each arm, its learning curves."""
    found = []
    for arm in study.arms:
        tables = [stage.metrics for stage in study.of(arm).values() if stage.metrics]
        if tables:
            svg = picture(
                Frame(
                    f"curve-{arm}", f"Learning curves of {plain_name(arm)}", width=3.4, height=2.7
                ),
                learning_curves,
                arm=plain_name(arm),
                seeds=tables,
                names=study.level_names,
                chance=_chances(study),
            )
            found.append(svg)
    return found


def _chances(study: FinishedStudy) -> dict[str, float]:
    """The accuracy of guessing, of the levels of which that is known."""
    return {
        row.level: chance
        for row in study.summary
        if (chance := row.accuracy_chance) is not None  # type: ignore[attr-defined]
    }


def accuracy_bars(
    figure: Figure,
    title: str,
    arms: Mapping[str, Mapping[str, Any]],
    chance: float | None = None,
) -> None:
    """Draw bars from zero with every seed as a dot; beside them the same on a scale that shows the differences.

    Args:
        figure: to draw into.
        title: of the picture.
        arms: arm → mean, low, high (None without interval), seeds (list of accuracies); approximate: whether the
            interval is.
        chance: the accuracy of guessing, where that is known.
    """
    bars, zoom = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = np.arange(len(arms))[::-1] * 1.0
    values = [value for arm in arms.values() for value in arm["seeds"]]
    # Words begin behind the line of chance, if that stands near the axis.
    start = chance if chance is not None and chance < NEAR else 0
    for place, (key, arm) in zip(places, arms.items(), strict=True):
        _draw_arm(bars, zoom, place, key, arm, start)
    zoom.set_xlim(close_up(values, arms[REFERENCE]["seeds"] if REFERENCE in arms else ()))
    if REFERENCE in arms:
        said = f"_mean of {plain_name(REFERENCE)}"
        zoom.axvline(arms[REFERENCE]["mean"], color=FAINT, lw=0.9, ls=(0, (4, 3)), label=said)
    bars.set_xlim(0, 1)
    if chance is not None:
        bars.axvline(chance, color=INK, lw=0.9, ls=(0, (4, 3)), zorder=2, label="_chance")
    for place, arm in zip(places, arms.values(), strict=True):
        _point_outside(zoom, place, [arm["mean"], *arm["seeds"]])
    for axes, scale in ((bars, "test accuracy"), (zoom, "close up")):
        axes.set_ylim(-0.5, len(arms) - 0.25)
        axes.set_yticks([])
        axes.grid(False, axis="y")
        axes.xaxis.set_major_formatter(percent)
        axes.spines["left"].set_visible(axes is bars)
        axes.set_xlabel(scale)
    bars.set_title(title)
    bars.set_xticks([0, 0.5, 1])
    zoom.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))


def _draw_arm(
    bars: Axes, zoom: Axes, place: float, key: str, arm: Mapping[str, Any], start: float
) -> None:
    """Draw an arm at its height: bar, name and mean on one scale; on both its seeds; close up its interval and mean."""
    colour, name = COLOURS.get(key, BOTH), plain_name(key)
    bars.barh(place, arm["mean"], height=0.42, color=colour, alpha=0.85, label=f"_{name}")
    # It may go on above the close-up, which has nothing at that height.
    words = bars.text(start + 0.02, place + 0.3, short(name, 46), va="bottom", fontsize=9, gid=HALO)
    words.set_in_layout(False)
    _say_mean(bars, place, arm, start)
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
            label=f"_{name}, seeds",
        )
    if arm["low"] is not None:
        ends, style = [arm["low"], arm["high"]], "--" if arm.get("approximate") else "-"
        said = f"{INTERVAL} of {name}"
        zoom.plot(ends, [place, place], style, color=colour, lw=2.2, zorder=2, label=said)
    ends, said = [place - 0.2, place + 0.2], f"_mean of {name}"
    zoom.plot([arm["mean"]] * 2, ends, color=colour, lw=2.6, zorder=3, label=said)


def _say_mean(axes: Axes, place: float, arm: Mapping[str, Any], start: float) -> None:
    """Write the mean inside the bar where it fits, from a place on, else behind it."""
    ends = [arm["mean"], *arm["seeds"]]
    inside = min(ends) > 0.34 + start
    axes.text(
        start + 0.02 if inside else max(ends) + 0.03,
        place,
        f"{decimal(100 * arm['mean'], 2)} %",
        va="center",
        fontsize=9,
        color=PAPER if inside else INK,
        weight="bold",
    )


def close_up(values: Sequence[float], around: Sequence[float] = ()) -> tuple[float, float]:
    """Limits around the values near the median: one arm far away would make all others look alike.

    Args:
        values: of all arms.
        around: those of the reference arm: always within the limits, which are around them instead.
    """
    centre = np.median(around or values)
    reach = max(6 * np.median(np.abs(np.asarray(values) - centre)), 0.03)
    near = [*around, *(value for value in values if abs(value - centre) <= reach)]
    margin = max(0.3 * (max(near) - min(near)), 0.008)
    return max(0, min(near) - margin), min(1, max(near) + margin)


def _point_outside(axes: Axes, place: float, values: Sequence[float]) -> None:
    """Draw an arrow at the edge with the first of the values (a mean, then seeds) that lies beyond it."""
    low, high = axes.get_xlim()
    for edge, ha, arrow, beyond in (
        (low, "left", "← {}", [value for value in values if value < low]),
        (high, "right", "{} →", [value for value in values if value > high]),
    ):
        if beyond:
            words = arrow.format(f"{decimal(100 * beyond[0], 2)} %")
            axes.text(edge, place, words, ha=ha, va="center", fontsize=8.5, zorder=5, gid=HALO)


def learning_curves(
    figure: Figure,
    arm: str,
    seeds: Sequence[Sequence[Mapping[str, float]]],
    names: Mapping[str, str] = LEVEL_NAMES,
    chance: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Draw accuracy by epoch: validation as lines, training as dots, one line for each level and seed; and chance."""
    axes = figure.subplots()
    levels = [*LEVELS, *(task for task in names if task not in LEVELS)]
    for level in levels:
        if level in chance and any(
            f"val_{level}_accuracy" in row for table in seeds for row in table
        ):
            said = f"_chance, {names.get(level, level)}"
            colour = COLOURS.get(level, BOTH)
            axes.axhline(chance[level], color=colour, lw=0.9, ls=(0, (4, 3)), label=said)
    epochs = 1
    for level in levels:
        for number, table in enumerate(seeds):
            for split, style in (("train", (0, (1, 1.6))), ("val", "-")):
                column = f"{split}_{level}_accuracy"
                points = [(int(row["epoch"]) + 1, row[column]) for row in table if column in row]
                if points:
                    x, y = zip(*points, strict=True)
                    epochs = max(epochs, *x)
                    axes.plot(
                        x,
                        y,
                        color=COLOURS.get(level, BOTH),
                        ls=style,
                        lw=1.6 if split == "val" else 1.2,
                        marker="o" if len(x) == 1 else None,
                        ms=3,
                        label=f"{'' if split == 'val' and number == 0 else '_'}{names.get(level, level)}",
                    )
    axes.plot([], [], color=FAINT, ls=(0, (1, 1.6)), label="training")
    legend_above(axes, title := "\n".join(wrap(short(arm, 2 * LONGEST), LONGEST)), 3)
    axes.set_title(title, pad=24, fontsize=7.8 if len(title) > LONG else None)
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy")
    axes.set_xlim(1 if epochs > 1 else 0, epochs if epochs > 1 else 2)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(percent)
