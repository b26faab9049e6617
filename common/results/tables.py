"""The tables of an experiment: csv files for programs; summary.md, summary.tex and the terminal for a person."""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from common.results.caveats import caveats
from common.results.comparison import MARGIN, Comparison
from common.results.images import ImageRow, image_contrasts
from common.results.latex import latex
from common.results.rows import Row, collect, finished
from common.results.sections import Section, image_sections, sections, side_by_side
from common.results.statistics import (
    DifferenceRow,
    SummaryRow,
    both_directions,
    differences,
    summarise,
)
from common.system.atomic_files import write_text
from common.system.csv_text import as_csv


class Tables(NamedTuple):
    """What was written of an experiment: the rows of two csv files, what a terminal shows, and what limits it all."""

    rows: list[Row]
    summary: list[SummaryRow]
    sections: list[Section]
    caveats: list[str]


def write_tables(experiment: Path, comparison: Comparison) -> Tables:
    """Write all tables of what lies below an experiment's folder."""
    results = finished(experiment)
    rows = collect(results, order=comparison.order)
    summary = summarise(rows)
    write_text(experiment / "results.csv", as_csv(rows, Row))
    write_text(experiment / "summary.csv", as_csv(summary, SummaryRow))
    found = differences(rows, comparison)
    write_text(experiment / "differences.csv", as_csv(both_directions(found), DifferenceRow))
    compared = image_contrasts(experiment, rows, reference=comparison.reference)
    if compared:
        write_text(experiment / "images.csv", as_csv(compared, ImageRow))
    else:
        # Of answers that are no longer there.
        (experiment / "images.csv").unlink(missing_ok=True)
    shown = sections(rows, comparison)
    read = [*shown, *image_sections(compared)]
    limits = caveats(experiment, results)
    write_text(experiment / "summary.md", markdown(read, limits))
    comments = "".join(f"% - {sentence}\n" for sentence in limits)
    write_text(experiment / "summary.tex", latex(read) + comments)
    return Tables(rows, summary, shown, limits)


def margin_of(experiment: Path) -> float:
    """Within which a difference does not matter to a study, in percentage points, as its differences.csv says."""
    file = experiment / "differences.csv"
    if file.is_file():
        with file.open(newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                with suppress(TypeError, ValueError):
                    # Written as a fraction: 0.005 * 100 is 0.5, but 0.003 * 100 is not 0.3.
                    return round(100 * float(row.get("margin") or ""), 10)
    return MARGIN


def as_text(sections: Sequence[Section], title: str, notes: Sequence[str] = ()) -> str:
    """Write sections as `print_summary` prints them on a wide terminal, and ``notes`` below them."""
    text = io.StringIO()
    # In a notebook's kernel, or with FORCE_COLOR, rich would write elsewhere, or colours.
    plain = Console(
        file=text, width=160, force_jupyter=False, force_terminal=False, color_system=None
    )
    print_summary(sections, title, plain)
    return "\n".join((text.getvalue().rstrip(), *notes))


def print_summary(sections: Sequence[Section], title: str, console: Console | None = None) -> None:
    """Print sections as tables; on a narrow terminal, intervals stand below their values."""
    console = console or Console()
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


def markdown(sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Write sections as Markdown, one below the other, and ``notes`` below them."""
    bullets = "".join(f"- {note}\n" for note in notes)
    return "\n".join([*map(_markdown, sections), *([bullets] if bullets else [])])


def _markdown(section: Section) -> str:
    header, *lines = side_by_side(section).lines
    rule = ["---" if column < section.labels else "---:" for column in range(len(header))]
    table = [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]
    notes = [line for note in section.notes for line in ("", note)]
    return "\n".join([f"{section.title[0].upper()}{section.title[1:]}:", "", *table, *notes, ""])
