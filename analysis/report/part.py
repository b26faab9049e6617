"""One section of the page, as an analysis fills it: sentences, figures, tables."""

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from analysis.report.cells import Sheet

# Of what every page has; those of sections are others.
IDS = ("answer", "results", "learning", "run", "words")
MAX_ROWS = 40  # of a figure, and of a table that is not folded up
MOST_ROWS = 1000  # of any table, so that the page stays small


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page; ``meter`` is a width in per cent, or None where there is no meter."""

    label: str
    number: str
    detail: str
    meter: str | None = None


@dataclass
class Part:
    """One section of the page.

    ``id`` names it in links, ``nav`` in the bar at the top (its title, if empty). ``text`` stands above the
    figures (an SVG and its caption each) and tables, ``folded`` tables and ``notes`` below. ``looks`` are rows of
    images by heading (`analysis.sections.attention`), ``tiles`` stand at the top of the page.
    """

    id: str
    title: str
    nav: str = ""
    text: list[str] = field(default_factory=list)
    figures: list[tuple[Markup, str]] = field(default_factory=list)
    tables: list[Sheet] = field(default_factory=list)
    folded: list[Sheet] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looks: list[Any] = field(default_factory=list)
    tiles: list[Tile] = field(default_factory=list)

    def add_table_of_classes(self, table: Sheet) -> None:
        """Show a table with a row for each class; a long one is folded up, and a very long one left to its file."""
        if len(table.rows) > MOST_ROWS:
            caption = f"{table.caption[:1].lower()}{table.caption[1:]}"
            self.notes.append(
                f"The table of {caption} is left out: it has {len(table.rows):,} rows, which are in "
                "analysis/summary.csv."
            )
        elif len(table.rows) > MAX_ROWS:
            self.folded.append(table)
        else:
            self.tables.append(table)


def count_classes(number: int, level: str) -> str:
    """``12 fine classes``."""
    return f"{number:,} {level} class{'es' * (number != 1)}"
