"""Write down how a set was prepared: prepared.md for a person, skipped.csv for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.folders.collection import Collection, Skipped, counted
from common.data.folders.contact_sheet import SHEET_FILE
from common.data.folders.problems import PARTS, parts_of
from common.data.hierarchy import Hierarchy
from common.data.index import Index
from common.system.atomic_files import write_text
from common.system.csv_text import csv_text
from common.system.words import some

REPORT_FILE, SKIPPED_FILE = "prepared.md", "skipped.csv"
PROBLEMS = "## Problems"


@dataclass(frozen=True)
class Report:
    """What was prepared from which layout, and what a person should know; ``facts`` and ``problems`` are sentences."""

    layout: str
    index: Index
    hierarchy: Hierarchy
    facts: list[str]
    problems: list[str]
    skipped: list[Skipped]

    def lines(self) -> list[str]:
        """Give the report in a few lines, for a terminal."""
        counts = Counter(parts_of(self.index).tolist())
        parts = ", ".join(f"{counts[number]:,} {part}" for number, part in enumerate(PARTS))
        found = [
            f"{counted(len(self.index), 'picture')} in {len(self.hierarchy.fine):,} fine and "
            f"{counted(len(self.hierarchy.coarse), 'coarse class', 'coarse classes')}: {parts}.",
            *self.facts,
        ]
        if self.skipped:
            found.append(
                f"Skipped pictures: {len(self.skipped):,}, listed in {SKIPPED_FILE}: {_reasons(self.skipped)}."
            )
        return found + [f"Problem: {sentence}" for sentence in self.problems]

    def page(self, title: str) -> str:
        """Give the whole report in Markdown."""
        text = [
            f"# {title}, as it was prepared",
            "",
            f"- Read from {self.layout}.",
            *(f"- {_no_tag(line)}" for line in self.lines() if "Problem:" not in line),
        ]
        text += ["", PROBLEMS, ""]
        text += [f"- {_no_tag(sentence)}" for sentence in self.problems] or ["None was found."]
        text += ["", "## Pictures of each class", "", *_table(self.index, self.hierarchy)]
        text += ["", f"![Four pictures of each class]({SHEET_FILE})"]
        if self.skipped:
            text += ["", "## Skipped", ""]
            text += [f"- `{one.shown}`: {one.reason}" for one in self.skipped[:50]]
            more = len(self.skipped) - 50
            text += [f"- {more:,} more, in {SKIPPED_FILE}"] if more > 0 else []
        return "\n".join(text) + "\n"

    def write(self, root: Path, title: str) -> None:
        """Write both files into a set's folder, unless they are there and name the same problems and pictures."""
        table = csv_text(["picture", "reason"], ((one.shown, one.reason) for one in self.skipped))
        files = {
            root / REPORT_FILE: _as_text(self.page(title)),
            root / SKIPPED_FILE: _as_text(table),
        }
        # The part before the problems tells what was different when the set was made.
        if not all(
            file.is_file()
            and file.read_text(encoding="utf-8").split(PROBLEMS)[-1] == text.split(PROBLEMS)[-1]
            for file, text in files.items()
        ):
            for file, text in files.items():
                write_text(file, text)


def passed_over(collection: Collection) -> list[str]:
    """Say which files were no pictures, if there were any."""
    if not collection.others:
        return []
    kinds = some(f"{count:,} {suffix}" for suffix, count in collection.others.most_common())
    return [f"Other files were passed over: {kinds}."]


def _as_text(text: str) -> str:
    """Replace by their codes the bytes of names of files that are no text in UTF-8, which no text file takes."""
    return text.encode(errors="backslashreplace").decode()


def _reasons(skipped: Sequence[Skipped]) -> str:
    """Give the commonest reasons with one picture each."""
    often = Counter(one.reason for one in skipped)
    first = {one.reason: one.shown for one in reversed(skipped)}
    return some(
        (f"{count:,} × {reason} ({first[reason]})" for reason, count in often.most_common()), 3
    )


def _table(index: Index, hierarchy: Hierarchy) -> list[str]:
    """Count pictures by class and part."""
    counts = Counter(zip(index.fine.tolist(), parts_of(index).tolist(), strict=True))
    rows = [
        "| coarse | fine | label id | training | validation | test |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    if not hierarchy.nested:
        return _table_of_pairs(index, hierarchy)
    for label in hierarchy.in_order():
        names = (hierarchy.above(label), hierarchy.fine[label])
        cells = [*map(_cell, names), str(label)]
        rows.append(
            "| " + " | ".join(cells + [f"{counts[label, part]:,}" for part in range(3)]) + " |"
        )
    total = np.bincount(parts_of(index), minlength=3)
    return [*rows, "| all | | | " + " | ".join(f"{int(count):,}" for count in total) + " |"]


def _table_of_pairs(index: Index, hierarchy: Hierarchy) -> list[str]:
    """Count pictures by both of two independent labels: a row for each class of one, a column for each of the other."""
    counts = Counter(zip(index.fine.tolist(), index.coarse.tolist(), strict=True))
    columns = sorted(hierarchy.coarse)
    names = [hierarchy.coarse[label] for label in columns]
    table = [["", *names], ["---", *["---:"] * len(names)]]
    for label, name in sorted(hierarchy.fine.items()):
        table.append([name, *(f"{counts[label, above]:,}" for above in columns)])
    return ["| " + " | ".join(map(_cell, row)) + " |" for row in table]


def _cell(text: str) -> str:
    return _no_tag(text).replace("|", "\\|")


def _no_tag(text: str) -> str:
    """Keep a name such as <b> from being read as HTML, which Markdown may hold."""
    return text.replace("<", "\\<")
