"""Tables as csv text: lines end with a line feed, and None is an empty cell."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Write a header and rows of as many cells as csv text."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return text.getvalue()


def as_csv(rows: Sequence[Any], kind: type) -> str:
    """Write dataclass rows of one kind as csv text."""
    columns = columns_of(kind)
    cells = (_flat(asdict(row)) for row in rows)
    return csv_text(columns, ([row[name] for name in columns] for row in cells))


def columns_of(kind: type) -> list[str]:
    """Name the columns of dataclass rows: a field each, and where that is a dataclass itself, each of its fields."""
    found: list[str] = []
    for one in fields(kind):
        found += (
            columns_of(one.type)
            if isinstance(one.type, type) and is_dataclass(one.type)
            else [one.name]
        )
    return found


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        found |= value if isinstance(value, dict) else {name: value}
    return found
