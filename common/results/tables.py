"""The tables of an experiment: csv files for programs; summary.md, summary.tex and the terminal for a person."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from common.results.arithmetic import computed_otherwise
from common.results.contrasts import MARGIN
from common.results.images import ImageRow, image_contrasts
from common.results.latex import latex
from common.results.rows import Row, collect, holes, independent
from common.results.sections import Section, image_sections, sections, side_by_side
from common.results.statistics import (
    DifferenceRow,
    SummaryRow,
    both_directions,
    differences,
    summarise,
)
from common.system.atomic_files import write_text

INDEPENDENT = (
    "The two labels are independent (nested: false): metrics of the tree of classes (consistency, TICE, via fine, "
    "mistakes by distance) are left out, and so are arms and analyses that need it; path is the share of images whose "
    "two labels are both right."
)


def write_tables(
    experiment: Path,
    *,
    order: Sequence[str],
    reference: str,
    primary: str = "",
    margin: float = MARGIN,
) -> list[Row]:
    """Write all tables of what lies below an experiment's folder; gives the rows of results.csv.

    Args:
        experiment: the folder.
        order: arms in the order of the tables.
        reference: the arm that each other one is compared with.
        primary: the arm whose contrast with it was named beforehand, and is tested apart.
        margin: within which a difference does not matter, in percentage points.
    """
    rows = collect(experiment, order=order)
    write_text(experiment / "results.csv", _csv(rows, Row))
    write_text(experiment / "summary.csv", _csv(summarise(rows), SummaryRow))
    found = differences(rows, reference=reference, primary=primary, margin=margin)
    write_text(experiment / "differences.csv", _csv(both_directions(found), DifferenceRow))
    compared = image_contrasts(experiment, rows, reference=reference)
    if compared:
        write_text(experiment / "images.csv", _csv(compared, ImageRow))
    else:
        # Of answers that are no longer there.
        (experiment / "images.csv").unlink(missing_ok=True)
    missing = "".join(f"- Missing: {reason}\n" for reason in holes(experiment).values())
    otherwise = computed_otherwise(experiment)
    missing += f"- {otherwise}\n" if otherwise else ""
    missing += f"- {INDEPENDENT}\n" if independent(experiment) else ""
    read = sections(rows, reference=reference, primary=primary, margin=margin)
    read = [*read, *image_sections(compared)]
    write_text(experiment / "summary.md", markdown(read) + (f"\n{missing}" if missing else ""))
    comments = "".join(f"% {line}\n" for line in missing.splitlines())
    write_text(experiment / "summary.tex", latex(read) + comments)
    return rows


def print_summary(
    rows: Sequence[Row], title: str, *, reference: str, primary: str = "", margin: float = MARGIN
) -> None:
    """Print the summary as tables; on a narrow terminal, intervals stand below their values."""
    if all(row.accuracy is None for row in rows):
        print("Nothing was tested (evaluate=false); validation accuracies are in results.csv.")
        return
    read = sections(rows, reference=reference, primary=primary, margin=margin)
    _print(read, title, Console())


def as_text(sections: Sequence[Section], title: str) -> str:
    """Write sections as `print_summary` prints them on a wide terminal."""
    text = io.StringIO()
    _print(sections, title, Console(file=text, width=160))
    return text.getvalue()


def _print(sections: Sequence[Section], title: str, console: Console) -> None:
    for section in sections:
        table = _rich(side_by_side(section))
        if _width(table) > console.width:
            table = _rich(section)
        table.title = f"{title}: {section.title}"
        # In an even narrower terminal lines run over, but no digit is lost.
        console.width = max(console.width, _width(table))
        console.print(table)
        for note in section.notes:
            console.print(note, markup=False, highlight=False)
        console.print()


def print_holes(experiment: Path) -> None:
    """Print what the summary lacks, and why, and whether stages were computed in different ways."""
    for name, reason in holes(experiment).items():
        print(f"Missing in the table: {name} ({reason.removeprefix(f'{name}: ').rstrip('.')})")
    if otherwise := computed_otherwise(experiment):
        print(otherwise)
    if independent(experiment):
        print(INDEPENDENT)


def _rich(section: Section) -> Table:
    table = Table(title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    header, *lines = section.lines
    for column, name in enumerate(header):
        table.add_column(name, justify="left" if column < section.labels else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def _width(table: Table) -> int:
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum


def markdown(sections: Sequence[Section]) -> str:
    """Write sections as Markdown, one below the other."""
    return "\n".join(_markdown(section) for section in sections)


def _markdown(section: Section) -> str:
    header, *lines = side_by_side(section).lines
    rule = ["---" if column < section.labels else "---:" for column in range(len(header))]
    table = [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]
    notes = [line for note in section.notes for line in ("", note)]
    return "\n".join([f"{section.title[0].upper()}{section.title[1:]}:", "", *table, *notes, ""])


def _csv(rows: Sequence[Any], kind: type) -> str:
    """Write dataclass rows as csv text."""
    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()
