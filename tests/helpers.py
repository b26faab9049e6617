"""What tests of several rooms use."""

import csv
import importlib
from pathlib import Path


def rows(table: Path) -> list[dict[str, str]]:
    """A table without what may differ between equal results."""
    with table.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in ("seconds", "checkpoint")}
            for row in csv.DictReader(file)
        ]


def wrap(where: str, before) -> None:
    """Call ``before()`` ahead of each call of ``module:name`` or ``module:Class.name``."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        before()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)
