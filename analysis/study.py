"""A finished study as it lies on disk: its stages and the rows of its tables. Imports no torch."""

import csv
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from common.results.caveats import chose_on_test, sees_a_part
from common.results.rows import (
    Row,
    collect,
    finished,
    holes,
    independent,
    level_shown,
    nothing_finished,
    planned,
)
from common.results.statistics import DifferenceRow, SummaryRow, differences, summarise
from common.results.tables import margin_of
from common.system.atomic_files import read_mapping
from common.system.errors import UserError
from study.arms import ARMS, comparison, order

# The mapping in a stage's YAML file that the report looks into.
SECTIONS = {"config.yaml": "dataset", "environment.yaml": "packages", "fingerprint.yaml": "data"}


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
    def metrics(self) -> list[dict[str, float]]:
        """The numbers of metrics.csv by column, one row for each epoch; empty if the file was not kept."""
        return read_metrics(self.place / "metrics.csv")

    def yaml(self, name: str) -> dict[str, Any]:
        """A YAML file of the stage, empty if it is not there; read once.

        Raises:
            UserError: names the file, which is damaged.
        """
        if name not in self._read:
            self._read[name] = self._mapping(name)
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, dict[str, Any]]:
        return {}

    def _mapping(self, name: str) -> dict[str, Any]:
        file = self.place / name
        content = read_mapping(file) if file.is_file() else {}
        section = SECTIONS.get(name, "")
        if not isinstance(content.get(section) or {}, dict):
            raise UserError(
                f"{file} is damaged, {section} is not a mapping: restore it, or delete {file.parent} to train "
                "that stage again."
            )
        return content


@dataclass(frozen=True)
class FinishedStudy:
    """The folder of an experiment, and its finished stages in the order of the tables.

    ``data_root`` is where its data set lies now, if that has moved.
    """

    place: Path
    stages: list[FinishedStage]
    data_root: str | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of results.csv."""
        return table_rows(self.place)

    @cached_property
    def summary(self) -> list[SummaryRow]:
        """The rows of summary.csv; none if nothing was tested."""
        return summarise(self.rows)

    @cached_property
    def differences(self) -> list[DifferenceRow]:
        """The rows of differences.csv."""
        return differences(self.rows, comparison(self.margin))

    @cached_property
    def margin(self) -> float:
        """See `common.results.tables.margin_of`."""
        return margin_of(self.place)

    @property
    def arms(self) -> list[str]:
        """The arms, in the order of the tables."""
        return list(dict.fromkeys(stage.arm for stage in self.stages))

    @cached_property
    def level_names(self) -> dict[str, str]:
        """What people read in place of fine and coarse."""
        return {row.level: level_shown(row) for row in self.rows}

    @cached_property
    def independent(self) -> bool:
        """Whether it is about two independent labels."""
        return independent(stage.result for stage in self.stages)

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
        return any(chose_on_test(stage.yaml("config.yaml")) for stage in self.stages)

    @property
    def debug(self) -> bool:
        """Whether any stage saw only some batches of an epoch (trainer=debug), so that nothing here is a result."""
        return any(sees_a_part(stage.yaml("config.yaml")) for stage in self.stages)

    @cached_property
    def planned(self) -> list[str]:
        """The stages that its latest command was to run, as ``fine/seed3``."""
        return planned(self.place)

    @property
    def planned_arms(self) -> set[str]:
        """The arms of these."""
        return {name.partition("/")[0] for name in self.planned}

    @property
    def absent(self) -> list[str]:
        """Stages without a result that were planned, or are of arms and seeds that others have: ``fine/seed3``."""
        seeds = sorted({stage.seed for stage in self.stages})
        # Networks that mix seeds may be fewer than seeds.
        arms = [arm for arm in self.arms if arm not in ARMS or ARMS[arm].mixes == 1]
        expected = [f"{arm}/seed{n}" for arm in arms for n in seeds]
        there = {f"{stage.arm}/seed{stage.seed}" for stage in self.stages}
        return [name for name in dict.fromkeys((*self.planned, *expected)) if name not in there]

    @cached_property
    def images_per_seed(self) -> bool:
        """Whether seeds see other images: each its own data set, or its own held-out tenth."""
        seen: dict[str, set[tuple[Any, Any]]] = {}
        for stage in self.stages:
            data = stage.yaml("fingerprint.yaml").get("data") or {}
            seen.setdefault(stage.arm, set()).add((data.get("train"), data.get("test")))
        return any(len(images) > 1 for images in seen.values())

    def accuracies(self, arm: str, level: str) -> dict[int, float]:
        """The test accuracies of an arm's head by seed, a fraction each; empty if it was not tested."""
        return {
            row.seed: row.accuracy
            for row in self.rows
            if (row.arm, row.level) == (arm, level) and row.accuracy is not None
        }

    def of(self, arm: str) -> dict[int, FinishedStage]:
        """The stages of an arm by seed."""
        return {stage.seed: stage for stage in self.stages if stage.arm == arm}

    def networks(self, arm: str) -> dict[int, dict[str, float]]:
        """What each of an arm's networks is built from, by its seed: the seeds of these networks, all of weight 1."""
        return {
            seed: {str(one): 1.0 for one in stage.result.get("seeds", [seed])}
            for seed, stage in self.of(arm).items()
        }

    def whole(self) -> "FinishedStudy":
        """The study without the stages whose checkpoint is gone."""
        there = [stage for stage in self.stages if stage.checkpoint.is_file()]
        return replace(self, stages=there)


def open_study(place: Path, *, data_root: str | None = None) -> FinishedStudy:
    """The study in a folder; ``data_root`` is where its data set lies now, if that has moved.

    Raises:
        UserError: there is no finished stage, or a result that cannot be read.
    """
    stages = [
        FinishedStage(result["arm"], result["seed"], file.parent, result)
        for file, result in finished(place)
    ]
    if not stages:
        raise nothing_finished(place)
    study = FinishedStudy(place, stages, data_root)
    order = list(dict.fromkeys(row.arm for row in study.rows))
    rank = {arm: index for index, arm in enumerate(order)}
    stages.sort(key=lambda stage: (rank.get(stage.arm, len(rank)), stage.arm, stage.seed))
    return study


def table_rows(place: Path) -> list[Row]:
    """The rows of results.csv, from the results of the stages in a study's folder, in the order of the tables."""
    return collect(finished(place), order=order())


def read_metrics(file: Path) -> list[dict[str, float]]:
    """The numbers of a stage's metrics.csv by column, one row for each epoch; empty if there is no such file.

    Raises:
        UserError: names the file, which is damaged.
    """
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as text:
            table = [
                {column: float(cell) for column, cell in row.items() if cell != ""}
                for row in csv.DictReader(text, strict=True)
            ]
        if all("epoch" in row for row in table):
            return table
    # A row that is too short or too long has a cell or a column None: TypeError.
    except (UnicodeDecodeError, csv.Error, ValueError, TypeError):
        pass
    raise UserError(
        f"{file} is damaged: restore it, or delete it, and the report has no curve of that stage."
    )
