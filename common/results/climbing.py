"""Which arms had not done learning when training ended, as tables and a sentence say it.

An arm that still climbs would be better with more epochs, so what it is compared with may only have learned sooner.
"""

from collections.abc import Sequence

from common.results.metrics import NONE
from common.results.rows import level_shown
from common.results.statistics import SummaryRow

LIMIT = 0.2  # percentage points an epoch; above it an arm still climbs


def slope_lines(summary: Sequence[SummaryRow]) -> list[list[str]]:
    """Make the lines of a table: its header, then the mean slope over seeds of each arm and level, its interval.

    Without any slope, there is no column for it; without any interval, none for that.
    """
    if all(r.val_slope is None for r in summary):
        return [["arm", "level"]]
    lines = [["arm", "level", "points an epoch", "95 % interval"]]
    for r in summary:
        ends = (r.val_slope_ci95_low, r.val_slope_ci95_high)
        lines.append([r.arm, level_shown(r), _points(r.val_slope), " to ".join(map(_points, ends))])
        if None in ends:
            lines[-1][-1] = NONE
    if all(line[-1] == NONE for line in lines[1:]):
        lines = [line[:-1] for line in lines]
    return lines


def still_climbing(summary: Sequence[SummaryRow]) -> str:
    """Name the arms that had not done learning, in one sentence; without one, an empty text.

    A mean slope whose interval reaches 0 may as well be noise: of some hundred validation images, curves that have long
    levelled off go up and down by more than `LIMIT`.
    """
    found = [
        f"{r.arm} ({level_shown(r)}, {_points(r.val_slope)})"
        for r in summary
        # Rounded: exactly 0.2 is not more than 0.2.
        if r.val_slope is not None
        and round(100 * r.val_slope, 9) > LIMIT
        and (r.val_slope_ci95_low is None or r.val_slope_ci95_low > 0)
    ]
    if not found:
        return ""
    return (
        f"Still climbing by more than {LIMIT:g} points an epoch at the end of training, in the mean over seeds: "
        f"{', '.join(found)}; with more epochs they may come out otherwise."
    )


def _points(slope: float | None) -> str:
    return NONE if slope is None else f"{100 * slope:+.2f}"
