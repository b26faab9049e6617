"""A row for each of several cases, measured one after another: one that fails costs no other. Imports no torch."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from fresh import failure
from keep import Keep
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
# By what stands above them, how they show a row.
Columns = dict[str, Callable[[Row], str]]


def rows_of_cases(
    cases: Sequence[Row], measure: Callable[[Row], Row], console: Console, keep: Keep, end: float
) -> list[Row]:
    """Measure each case; a row is the case and what was measured of it, or ``failed``, which says why nothing was.

    Args:
        cases: what tells the rows apart.
        measure: gives what is measured of a case.
        console: to print failures on.
        keep: is given the rows so far after each case.
        end: the time, by time.monotonic, after which nothing is begun.
    """
    rows: list[Row] = []
    for case in cases:
        words = ", ".join(f"{name} {value}" for name, value in case.items())
        try:
            found = measure(case) if time.monotonic() < end else None
        except Exception as error:  # the others are not to be lost for it
            found = {"failed": failure(error)} if time.monotonic() < end else None
        if found is None:
            console.print(f"No time is left for {words}.", markup=False)
            break
        if "failed" in found:
            console.print(f"{words} failed: {found['failed']}", markup=False)
        rows.append(case | found)
        keep(rows)
    return rows


def print_table(title: str, columns: Columns, rows: Sequence[Row], console: Console) -> None:
    """Print a table of the rows that did not fail."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        if "failed" not in row:
            table.add_row(*(shown(row) for shown in columns.values()))
    console.print(table)
