"""The tables of an experiment: three csv files for programs; summary.md and the terminal for a person."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from common.results.climbing import slope_lines, still_climbing
from common.results.metrics import FURTHER, METRICS, NONE, percent, texts
from common.results.rows import Row, collect, holes
from common.results.statistics import DifferenceRow, SummaryRow, differences, summarise
from common.system.atomic_files import write_text


class Section(NamedTuple):
    """A table for a person.

    The first of ``lines`` is the header; the first ``labels`` cells of each name what the others are about. Where
    a cell has two rows (a value above its interval), they may as well stand side by side.
    """

    title: str
    labels: int
    lines: list[list[str]]


def write_tables(experiment: Path, *, order: Sequence[str], reference: str) -> list[Row]:
    """Write all tables of what lies below an experiment's folder; gives the rows of results.csv.

    Args:
        experiment: the folder.
        order: arms in the order of the tables.
        reference: the arm that each other one is compared with.
    """
    rows = collect(experiment, order=order)
    write_text(experiment / "results.csv", _csv(rows, Row))
    write_text(experiment / "summary.csv", _csv(summarise(rows), SummaryRow))
    write_text(experiment / "differences.csv", _csv(differences(rows), DifferenceRow))
    missing = "".join(f"- Missing: {reason}\n" for reason in holes(experiment).values())
    notes = "\n".join(filter(None, [still_climbing(summarise(rows)), missing]))
    text = markdown(sections(rows, reference=reference)) + (
        f"\n{notes.rstrip()}\n" if notes else ""
    )
    write_text(experiment / "summary.md", text)
    return rows


def print_summary(rows: Sequence[Row], title: str, *, reference: str) -> None:
    """Print the summary as tables; on a narrow terminal, intervals stand below their values."""
    if all(row.accuracy is None for row in rows):
        print("Nothing was tested (evaluate=false); validation accuracies are in results.csv.")
        return
    console = Console()
    for section in sections(rows, reference=reference):
        table = _rich(_side_by_side(section))
        if _width(table) > console.width:
            table = _rich(section)
        table.title = f"{title}: {section.title}"
        # In an even narrower terminal lines run over, but no digit is lost.
        console.width = max(console.width, _width(table))
        console.print(table)
        console.print()
    if climbing := still_climbing(summarise(rows)):
        print(climbing)


def print_holes(experiment: Path) -> None:
    """Print a line for each stage that the summary lacks."""
    for name, reason in holes(experiment).items():
        print(f"Missing in the table: {name} ({reason.removeprefix(f'{name}: ').rstrip('.')})")


def sections(rows: Sequence[Row], *, reference: str) -> list[Section]:
    """Make the tables that a person is shown; without a tested stage, one of validation accuracies."""
    summary = summarise(rows)
    if not summary:
        lines = [[r.arm, r.level, str(r.seed), percent(r.val_accuracy)] for r in rows]
        header = ["arm", "level", "seed", "validation accuracy"]
        return [Section("validation accuracy", 2, [header, *lines])]
    learned = Section(
        "slope of validation accuracy at the end of training", 2, slope_lines(summary)
    )
    found = [
        _accuracies(summary, differences(rows), reference),
        _further(summary),
        learned,
        _costs(summary),
    ]
    return [one for one in found if len(one.lines[0]) > one.labels]


def _accuracies(
    summary: Sequence[SummaryRow], found: Sequence[DifferenceRow], reference: str
) -> Section:
    lines = [["arm", "level", "seeds", "accuracy\n95 % interval"]]
    lines += [
        [
            r.arm,
            r.level,
            str(r.seeds),
            f"{percent(r.mean, r.std)}\n{_interval(r.ci95_low, r.ci95_high)}",
        ]
        for r in summary
    ]
    compared = {}
    for d in found:
        if d.minus == reference:
            compared[d.arm, d.level] = d.mean, d.ci95_low, d.ci95_high
        elif d.arm == reference:
            low, high = (None if end is None else -end for end in (d.ci95_high, d.ci95_low))
            compared[d.minus, d.level] = -d.mean, low, high
    if not compared:
        return Section("test accuracy", 2, lines)
    lines[0].append(f"minus {reference}\n95 % interval")
    for line, r in zip(lines[1:], summary, strict=True):
        mean, low, high = compared.get((r.arm, r.level), (None, None, None))
        difference = NONE if mean is None else f"{100 * mean:+.2f}"
        line.append(f"{difference}\n{_interval(low, high, sign='+')}")
    return Section("test accuracy, differences in percentage points", 2, lines)


def _further(summary: Sequence[SummaryRow]) -> Section:
    found = [{name: getattr(r, f"{name}_mean") for name in FURTHER} for r in summary]
    # Results of before there was a metric have no column for it.
    names = [name for name in FURTHER if any(means[name] is not None for means in found)]
    lines = [["arm", "level", *(METRICS[name].title for name in names)]]
    lines += [
        [r.arm, r.level, *texts(means, names)] for r, means in zip(summary, found, strict=True)
    ]
    return Section("beyond accuracy", 2, lines)


def _costs(summary: Sequence[SummaryRow]) -> Section:
    header = ["arm", "parameters, M (trained)", "multiply-adds, M", "seconds"]
    by_arm = {
        r.arm: [
            r.arm,
            f"{_millions(r.parameters, 3)} ({_millions(r.trained_parameters, 3)})",
            _millions(r.macs, 1),
            f"{r.seconds:,.1f}",
        ]
        for r in summary
    }
    return Section("costs, of one image and of training", 1, [header, *by_arm.values()])


def _interval(low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return NONE
    return f"{100 * low:{sign}.2f} to {100 * high:{sign}.2f}"


def _millions(number: float | None, digits: int) -> str:
    return NONE if number is None else f"{number / 1e6:,.{digits}f}"


def _side_by_side(section: Section) -> Section:
    lines = [[part for cell in line for part in cell.split("\n")] for line in section.lines]
    return section._replace(lines=lines)


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
    header, *lines = _side_by_side(section).lines
    rule = ["---" if column < section.labels else "---:" for column in range(len(header))]
    table = [f"| {' | '.join(line)} |" for line in (header, rule, *lines)]
    return "\n".join([f"{section.title[0].upper()}{section.title[1:]}:", "", *table, ""])


def _csv(rows: Sequence[Row] | Sequence[SummaryRow] | Sequence[DifferenceRow], kind: type) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()
