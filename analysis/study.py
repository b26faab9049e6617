"""A finished study as it lies on disk: its stages and its tables. Imports no torch."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.results.rows import finished, holes
from common.system.atomic_files import read_mapping
from common.system.errors import UserError

Table = list[dict[str, str]]
# What the report looks into by name: the mapping in a stage's YAML file, and the columns of each table.
SECTIONS = {"config.yaml": "dataset", "environment.yaml": "packages"}
COLUMNS = {
    "metrics.csv": ("epoch",),
    "results.csv": ("arm", "level", "seed"),
    "summary.csv": ("arm", "level", "mean"),
    "differences.csv": ("arm", "minus", "level"),
}
# Columns of integers, and ends of the names of those of numbers, which may be empty.
COUNTS = ("epoch", "seed")
NUMBERS = ("accuracy", "mean", "ci95_low", "ci95_high")


@dataclass(frozen=True)
class FinishedStage:
    """One arm with one seed that has a result."""

    arm: str
    seed: int
    place: Path
    result: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """Its best checkpoint."""
        return self.place / self.result["checkpoint"]

    @cached_property
    def metrics(self) -> Table:
        """metrics.csv, one row per epoch; empty if it was not kept."""
        return read_table(self.place / "metrics.csv")

    def yaml(self, name: str) -> dict[str, Any]:
        """A YAML file of the stage, empty if it is not there.

        Raises:
            UserError: names the file, which is damaged.
        """
        file = self.place / name
        content = read_mapping(file) if file.is_file() else {}
        section = SECTIONS.get(name, "")
        if not isinstance(content.get(section) or {}, dict):
            raise UserError(
                f"{file} is damaged, {section} is no mapping: restore it, or delete {file.parent} to train that "
                "stage anew."
            )
        return content


@dataclass(frozen=True)
class FinishedStudy:
    """The folder of an experiment, and its finished stages in the order of results.csv."""

    place: Path
    stages: list[FinishedStage]

    @property
    def arms(self) -> list[str]:
        """The arms, in the order of the table."""
        return list(dict.fromkeys(stage.arm for stage in self.stages))

    @property
    def missing(self) -> dict[str, str]:
        """Stages that could not be finished, with the reason."""
        return holes(self.place)

    @property
    def tested(self) -> bool:
        """Whether any stage was tested (evaluate=true)."""
        return any(stage.result["test"] for stage in self.stages)

    @property
    def chosen_on_test(self) -> bool:
        """Whether any stage chose its best epoch on the test images (study=paper)."""
        datasets = (stage.yaml("config.yaml").get("dataset") or {} for stage in self.stages)
        return any(d.get("val_dir") and d["val_dir"] == d.get("test_dir") for d in datasets)

    def of(self, arm: str) -> dict[int, FinishedStage]:
        """The stages of an arm by seed."""
        return {stage.seed: stage for stage in self.stages if stage.arm == arm}

    def independent(self, arm: str) -> bool:
        """Whether no seed shaped two of an arm's networks, as one would that all of them are built from."""
        made_of = [set(stage.result.get("seeds", [seed])) for seed, stage in self.of(arm).items()]
        return sum(map(len, made_of)) == len(set().union(*made_of))

    def whole(self) -> "FinishedStudy":
        """The study without the stages whose checkpoint is gone."""
        there = [stage for stage in self.stages if stage.checkpoint.is_file()]
        return FinishedStudy(self.place, there)

    def table(self, name: str) -> Table:
        """A table of the study by its name, results.csv and such; empty if it is not there."""
        return read_table(self.place / name)


def open_study(place: Path) -> FinishedStudy:
    """The study in a folder.

    Raises:
        UserError: there is no finished stage, or a result that cannot be read.
    """
    stages = [
        FinishedStage(result["arm"], result["seed"], file.parent, result)
        for file, result in finished(place)
    ]
    results = read_table(place / "results.csv")
    if not stages or not results:
        raise UserError(
            f"{place} holds no finished study: give run=PATH of a folder under runs/ that "
            "train_system.py or trainer.py has finished."
        )
    order = list(dict.fromkeys(row["arm"] for row in results))
    rank = {arm: place for place, arm in enumerate(order)}
    stages.sort(key=lambda stage: (rank.get(stage.arm, len(rank)), stage.arm, stage.seed))
    return FinishedStudy(place, stages)


def read_table(file: Path) -> Table:
    """The rows of a csv file by column name; empty if there is no such file.

    Raises:
        UserError: names the file, which is damaged.
    """
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = [dict(row) for row in csv.DictReader(text, strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(file) from error
    needed = COLUMNS.get(file.name, ())
    for row in rows:
        # Cells beyond the columns have no name, and columns beyond the cells no text.
        if None in row or None in row.values() or not row.keys() >= set(needed):
            raise _damaged(file)
        if not all(_fits(column, cell) for column, cell in row.items()):
            raise _damaged(file)
    return rows


def _fits(column: str, cell: str) -> bool:
    """Whether a cell is a number where the report takes it for one."""
    if column in COUNTS:
        return cell.isdecimal()
    try:
        float(cell if cell and column.endswith(NUMBERS) else 0)
    except ValueError:
        return False
    return True


def _damaged(file: Path) -> UserError:
    return UserError(f"{file} is damaged: run the command of that study again, or restore it.")
