"""Tables of the report: what a cell shows, and the number behind it, by which it is sorted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import NamedTuple

from analysis.values import Summary
from common.results.metrics import FURTHER, METRICS, PERCENT
from common.results.rows import Row
from common.results.sections import APPROXIMATE
from common.results.statistics import DifferenceRow, SummaryRow

# What a column of a study's tables holds: a word, a number, or nothing.
Value = str | float | None

WORDS = ("arm", "minus", "level", "checkpoint")
# Columns that hold fractions, shown in per cent; a difference of two is in percentage points.
FRACTIONS = (
    *("accuracy", "accuracy_chance", "val_accuracy", "mean", "std", "ci95_low", "ci95_high"),
    *("via_fine", "via_fine_ci95_low", "via_fine_ci95_high"),
    *(
        f"{name}{of}"
        for name in FURTHER
        if METRICS[name].shown == PERCENT
        for of in ("", "_mean", "_std", "_chance")
    ),
)
TITLES = {"mean": "mean, %", "std": "sd, %", "p_holm": "p, Holm"}
# The upper end of an interval is shown in the cell of the lower one.
LOWER, UPPER = "ci95_low", "ci95_high"
# Shown in place of the level (`analysis.report.level_words`).
LEVEL_NAME = "level_name"


class Cell(NamedTuple):
    """What is shown, and what it is sorted by (the text as it stands in a csv file).

    Of an interval ``value`` is the lower end and ``upper`` the other one. What is shown is ``scale`` times as large.
    """

    text: str
    value: str | None = None
    word: bool = False
    upper: str = ""
    scale: int = 1


class Column(NamedTuple):
    """The head of a column; words are set left, numbers right."""

    title: str
    word: bool = False


class Sheet(NamedTuple):
    """A table of the page; ``name`` is unique there."""

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def sheet(
    name: str,
    caption: str,
    table: Sequence[Row] | Sequence[SummaryRow] | Sequence[DifferenceRow],
    *,
    only: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    titles: Mapping[str, str] = MappingProxyType({}),
    plus: Sequence[str] = (),
) -> Sheet:
    """Rows of one of the study's tables as a table of the page, without the columns that are empty in every row.

    Args:
        name: unique in the page.
        caption: above the table.
        table: its rows.
        only: columns to show, in this order; all if empty.
        leave_out: columns not to show.
        titles: heads of columns, if not the usual ones.
        plus: columns whose positive numbers get a sign.
    """
    held: list[dict[str, Value]] = [asdict(row) for row in table]

    def filled(column: str) -> bool:
        """Whether any row has something to show there."""
        keys = (column, _upper(column)) if column.endswith(LOWER) else (column,)
        return any(row.get(key) not in (None, "") for row in held for key in keys)

    names = [
        column
        for column in only or (held[0] if held else ())
        if not column.endswith(UPPER) and column not in (LEVEL_NAME, *leave_out) and filled(column)
    ]
    columns = [Column(titles.get(column) or title(column), column in WORDS) for column in names]
    rows = [
        [
            _interval_cell(row, column, plus="mean" in plus)
            if column.endswith(LOWER)
            else cell(column, row[column], plus=column in plus)
            for column in names
        ]
        for row in held
    ]
    return Sheet(name, caption, columns, rows)


def title(column: str) -> str:
    """The head of a column."""
    if column.endswith(LOWER):
        return "95 % interval"
    words = column.replace("_", " ")
    return TITLES.get(column, f"{words}, %" if column in FRACTIONS else words)


def cell(column: str, value: Value, *, plus: bool = False) -> Cell:
    """A value as people write it: fractions in per cent, thousands with commas."""
    text = "" if value is None else str(value)
    if column in WORDS:
        return Cell(text, text, word=True)
    if isinstance(value, str) or value is None:
        return Cell(text or "–", text)
    if not math.isfinite(value):
        return Cell("–", "")
    if column in FRACTIONS:
        return Cell(decimal(100 * value, 2, plus=plus), text, scale=100)
    if value == int(value):
        return Cell(signed(f"{int(value):,}"), text)
    return Cell(decimal(value, 1) if abs(value) >= 10 else signed(f"{value:.4g}"), text)


def _upper(column: str) -> str:
    return column.removesuffix(LOWER) + UPPER


def _interval_cell(row: Mapping[str, Value], column: str, *, plus: bool) -> Cell:
    """Both bounds; sorted by the lower one."""
    low, high = (cell(name, row[name], plus=plus) for name in (column, _upper(column)))
    if low.value or high.value:
        mark = f"{APPROXIMATE} " if row.get("approximate") else ""
        text = f"{mark}{low.text} to {high.text}"
        return Cell(text, low.value, upper=high.value or "", scale=low.scale)
    return Cell("–", "")


def decimal(number: float, digits: int, *, plus: bool = False) -> str:
    """A number with a minus sign instead of a hyphen; what rounds to zero has no sign."""
    return signed(f"{number:{'+' if plus else ''},.{digits}f}")


def signed(number: str) -> str:
    """A formatted number with a minus sign instead of a hyphen, and without any where it is zero."""
    if not number.strip("+-0.,"):
        return number.lstrip("+-")
    return number.replace("-", "−")


def summary_cells(summary: Summary | None, *, percent: bool = True) -> list[Cell]:
    """Mean and interval of an analysis."""
    if summary is None:
        return [Cell("–", ""), Cell("–", "")]
    scale, digits = (100, 1) if percent else (1, 3)
    mean = Cell(decimal(scale * summary.mean, digits), repr(summary.mean), scale=scale)
    if summary.interval is None:
        return [mean, Cell("–", "")]
    low, high = (decimal(scale * end, digits) for end in summary.interval)
    mark = f"{APPROXIMATE} " if summary.approximate else ""
    lowest, highest = map(repr, summary.interval)
    return [mean, Cell(f"{mark}{low} to {high}", lowest, upper=highest, scale=scale)]


def interval_words(summary: Summary) -> str:
    """``72 % (95 % interval 65 to 78)`` of a share."""
    words = f"{decimal(100 * summary.mean, 0)} %"
    if summary.interval is None:
        return words
    low, high = (decimal(100 * end, 0) for end in summary.interval)
    return f"{words} ({'approximate ' if summary.approximate else ''}95 % interval {low} to {high})"


def ends_words(summary: Summary, scale: int, digits: int) -> str:
    """``95 % interval +0.1 to +0.2`` of a difference, ``scale`` times as large; empty where it has none."""
    if summary.interval is None:
        return ""
    low, high = (decimal(scale * end, digits, plus=True) for end in summary.interval)
    return f"{'approximate ' if summary.approximate else ''}95 % interval {low} to {high}"


def word_columns(words: Iterable[str], numbers: Iterable[str]) -> list[Column]:
    """Heads of word columns, then of number columns."""
    return [*(Column(word, True) for word in words), *(Column(number) for number in numbers)]
