"""docs/tables.md names every column of every csv file that a study writes."""

import csv
import re
from pathlib import Path

from analysis import columns
from common.results.comparison import Comparison
from common.results.images import ImageRow
from common.results.rows import Row
from common.results.tables import write_tables

PAGE = (Path(__file__).resolve().parents[2] / "docs/tables.md").read_text()


def listed(name: str) -> list[str]:
    """The columns that the page lists below the name of a file."""
    part = PAGE.split(f"**`{name}`**", 1)[1].split("**`", 1)[0]
    return re.findall(
        r"^\| `(\w+)` \| (?:text|number|whole number|True or False) \| \S", part, re.M
    )


def test_columns_of_the_tables_are_listed_in_their_order(tmp_path):
    write_tables(tmp_path, Comparison(reference="bilateral"))
    for name in ("results.csv", "summary.csv", "differences.csv"):
        with (tmp_path / name).open() as file:
            assert listed(name) == next(csv.reader(file))


def test_every_column_has_a_meaning_and_a_type():
    for file in columns.files():
        for name, (kind, meaning) in file.columns.items():
            assert kind in columns.KINDS.values(), (file.name, name)
            assert len(meaning) > 3, (file.name, name)
    found = {file.name: [*file.columns] for file in columns.files()}
    assert found["images.csv"] == [*ImageRow.__dataclass_fields__]
    assert found["results.csv"] == [*Row.__dataclass_fields__]
    assert found["analysis/values.csv"][:6] == ["of", "level", "side", "item", "seed", "value"]
