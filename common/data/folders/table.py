"""Read a table of text (CSV, TSV, or what spreadsheets make of them) by its header."""

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.index import SUFFIXES
from common.system.errors import UserError

TABLES = (".csv", ".tsv", ".txt")
PATHS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "picture",
)
SPLITS = ("split", "set", "subset", "partition")
# From fine to coarse: what columns of labels are called.
LEVELS = (
    ("fine", "coarse"),
    ("fine_label", "coarse_label"),
    ("species", "genus"),
    ("species", "family"),
    ("genus", "family"),
    ("class", "superclass"),
    ("label", "superlabel"),
)


@dataclass(frozen=True)
class Table:
    """The rows of a table as text, each as long as the header; names of columns are as in the file."""

    file: Path
    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """Give a column by its name, in either case.

        Raises:
            UserError: there is none, or several.
        """
        place = self.place(name)
        if [one.lower() for one in self.header].count(name.lower()) > 1:
            raise UserError(
                f"{self.file} has several columns {name!r}, and it is not clear which one is meant: give each its own "
                "name"
            )
        if place is None:
            raise UserError(f"{self.file} has no column {name!r}; it has {', '.join(self.header)}")
        return [row[place] for row in self.rows]

    def place(self, name: str) -> int | None:
        """Find a column; None where there is none."""
        names = [one.lower() for one in self.header]
        return names.index(name.lower()) if name.lower() in names else None

    def first_of(self, names: Sequence[str]) -> str | None:
        """Give the first of several names that the header has."""
        return next((name for name in names if self.place(name) is not None), None)

    def levels(self) -> tuple[str, str] | None:
        """Find the columns of fine and coarse class by what such are called; None where there are none."""
        return next((pair for pair in LEVELS if all(map(self.first_of, zip(pair)))), None)

    def path_column(self) -> str | None:
        """Find the column of pictures: by its name, else the one whose texts end as pictures do."""
        named = self.first_of(PATHS)
        if named is not None or not self.rows:
            return named
        for index, name in enumerate(self.header):
            few = [row[index].lower().endswith(SUFFIXES) for row in self.rows[:100]]
            if sum(few) > 0.9 * len(few):
                return name
        return None


def read_table(file: Path) -> Table:
    """Read a table with comma, semicolon or tab between, in UTF-8, UTF-16 or, failing that, Windows-1252.

    Raises:
        UserError: it cannot be read, is empty, or has no header.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{file} is missing") from None
    text = unicodedata.normalize("NFC", _decoded(content))
    first = next((line for line in text.split("\n") if line.strip()), "")
    between = max(",;\t", key=first.count)
    if said := re.fullmatch("sep=(.)", first.rstrip("\r "), re.IGNORECASE):  # to a spreadsheet
        between, text = said[1], text.partition(first)[2]
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=between))
    except csv.Error as error:
        raise UserError(f"{file} is not a table of fields: {error}") from None
    lines = [[cell.strip() for cell in line] for line in lines if any(map(str.strip, line))]
    if not lines:
        raise UserError(f"{file} is empty")
    header, *rows = lines
    if any(cell.lower().endswith(SUFFIXES) for cell in header):
        raise UserError(
            f"{file}: its first line must name the columns, such as path,species,family"
        )
    width = len(header)
    return Table(file, header, [(row + [""] * width)[:width] for row in rows])


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def tables_beside(root: Path) -> list[Table]:
    """Read the tables that lie in a folder itself, those with a header and rows."""
    found = []
    for file in sorted(root.iterdir()):
        if file.suffix.lower() in TABLES and file.is_file() and not file.name.startswith("."):
            try:
                table = read_table(file)
            except UserError:
                continue  # a text of another kind
            if len(table.header) > 1 and table.rows:
                found.append(table)
    return found
