"""Tables of the report: what a cell shows, and the number behind it, by which it is sorted."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.study import Table
from analysis.values import Summary

WORDS = ("arm", "minus", "level", "checkpoint")
# Columns that hold fractions, shown in per cent; a difference of two is in percentage points.
FRACTIONS = (
    *("accuracy", "val_accuracy", "mean", "std", "ci95_low", "ci95_high"),
    *(
        f"{name}{of}"
        for name in ("top5", "consistency", "severity")
        for of in ("", "_mean", "_std")
    ),
)
TITLES = {"mean": "mean, %", "std": "sd, %", "ci95_low": "95 % from", "ci95_high": "to"}


class Cell(NamedTuple):
    """What is shown, and what it is sorted by (the text as it stands in a csv file)."""

    text: str
    value: str | None = None
    word: bool = False


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


def sheet(name: str, caption: str, table: Table, *, leave_out: Sequence[str] = ()) -> Sheet:
    """A csv table with the columns that it has; those that are empty throughout are left out."""
    names = [
        column
        for column in (table[0] if table else {})
        if column not in leave_out and any(row.get(column) for row in table)
    ]
    columns = [Column(title(column), column in WORDS) for column in names]
    rows = [[cell(column, row.get(column) or "") for column in names] for row in table]
    return Sheet(name, caption, columns, rows)


def title(column: str) -> str:
    """The head of a csv column."""
    words = column.replace("_", " ")
    return TITLES.get(column, f"{words}, %" if column in FRACTIONS else words)


def cell(column: str, text: str) -> Cell:
    """A csv value as people write it: fractions in per cent, thousands with commas."""
    if column in WORDS:
        return Cell(text, text, word=True)
    try:
        number = float(text)
    except ValueError:
        return Cell(text or "–", text)
    if not math.isfinite(number):
        return Cell("–", "")
    if column in FRACTIONS:
        return Cell(signed(f"{100 * number:.2f}"), text)
    if number == int(number):
        return Cell(f"{int(number):,}", text)
    return Cell(signed(f"{number:,.1f}" if abs(number) >= 10 else f"{number:.4g}"), text)


def signed(number: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return number.replace("-", "−")


def summary_cells(summary: Summary | None, *, percent: bool = True) -> list[Cell]:
    """Mean and interval of an analysis."""
    if summary is None:
        return [Cell("–", ""), Cell("–", "")]
    scale, digits = (100, 1) if percent else (1, 3)
    interval = "–"
    if summary.ci95_low is not None and summary.ci95_high is not None:
        interval = (
            f"{scale * summary.ci95_low:.{digits}f} to {scale * summary.ci95_high:.{digits}f}"
        )
    return [
        Cell(signed(f"{scale * summary.mean:.{digits}f}"), repr(summary.mean)),
        Cell(signed(interval), "" if summary.ci95_low is None else repr(summary.ci95_low)),
    ]


def interval_words(summary: Summary, *, percent: bool = True) -> str:
    """``72 % (65 to 78)``."""
    scale, digits, unit = (100, 0, " %") if percent else (1, 3, "")
    words = f"{scale * summary.mean:.{digits}f}{unit}"
    if summary.ci95_low is None or summary.ci95_high is None:
        return words
    return (
        f"{words} ({scale * summary.ci95_low:.{digits}f} to {scale * summary.ci95_high:.{digits}f})"
    )


def word_columns(words: Iterable[str], numbers: Iterable[str]) -> list[Column]:
    """Heads of word columns, then of number columns."""
    return [*(Column(word, True) for word in words), *(Column(number) for number in numbers)]
