"""Which arms had not done learning when training ended, as tables and a sentence say it.

An arm that still climbs would be better with more epochs, so what it is compared with may only have learned sooner.
"""

from collections.abc import Sequence

from common.results.metrics import NONE
from common.results.rows import level_shown
from common.results.statistics import SummaryRow

LIMIT = 0.2  # percentage points an epoch; above it an arm still climbs


def slope_lines(summary: Sequence[SummaryRow]) -> list[list[str]]:
    """Make the lines of a table: its header, then the slope of each arm and level, the mean over seeds.

    Without any slope, there is no column for it.
    """
    if all(r.val_slope is None for r in summary):
        return [["arm", "level"]]
    lines = [
        [r.arm, level_shown(r), NONE if r.val_slope is None else f"{100 * r.val_slope:+.2f}"]
        for r in summary
    ]
    return [["arm", "level", "points an epoch"], *lines]


def still_climbing(summary: Sequence[SummaryRow]) -> str:
    """Name the arms that had not done learning, in one sentence; without one, an empty text."""
    found = [
        f"{r.arm} ({level_shown(r)}, {100 * r.val_slope:+.2f})"
        for r in summary
        if r.val_slope is not None and 100 * r.val_slope > LIMIT
    ]
    if not found:
        return ""
    return (
        f"Still climbing by more than {LIMIT:g} points an epoch at the end of training: {', '.join(found)}; "
        "with more epochs they may come out otherwise."
    )
