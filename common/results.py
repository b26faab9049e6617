"""From each stage's result.yaml to results.csv, summary.csv and summary.md: mean and spread over seeds."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table
from yaml import YAMLError

from common.errors import UserError
from common.files import read_yaml, write_text, write_yaml

HOLE = "failed.yaml"  # in place of a result.yaml: why there is none


@dataclass(frozen=True)
class Row:
    """One arm, seed and level. Accuracies are fractions, 0 to 1; None where the test set was not evaluated."""

    arm: str
    seed: int
    level: str
    accuracy: float | None
    loss: float | None
    val_accuracy: float
    val_loss: float
    best_epoch: int
    epochs: int
    seconds: float
    checkpoint: str


@dataclass(frozen=True)
class SummaryRow:
    """One arm and level over seeds: sample standard deviation and Student's 95 % confidence interval."""

    arm: str
    level: str
    seeds: int
    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None


def read_result(file: Path) -> dict[str, Any] | None:
    """A stage's result.yaml, or None if it is damaged; one without a digest of itself is taken as it is."""
    try:
        result = read_yaml(file)
    except (YAMLError, ValueError, RecursionError):
        return None
    keys = {"arm", "seed", "checkpoint", "best_epoch", "epochs", "seconds", "validation", "test"}
    if not isinstance(result, dict) or not keys <= result.keys():
        return None
    digest = result.pop("digest", None)
    return result if digest in (None, _digest(result)) else None


def write_result(file: Path, result: dict[str, Any]) -> None:
    """Write a stage's result.yaml, with a digest by which a damaged one is known."""
    write_yaml(file, result | {"digest": _digest(result)})


def _digest(result: dict[str, Any]) -> str:
    return blake2b(repr(result).encode(), digest_size=8).hexdigest()


def collect(experiment: Path) -> list[Row]:
    """A row for each finished stage's levels, from the result.yaml files below an experiment's folder."""
    rows = []
    for file in experiment.glob("*/seed*/result.yaml"):
        result = read_result(file)
        if result is None:
            raise UserError(f"{file} is damaged: delete its folder and run the command again.")
        for level, validation in result["validation"].items():
            test = (result["test"] or {}).get(level, {})
            rows.append(
                Row(
                    arm=result["arm"],
                    seed=result["seed"],
                    level=level,
                    accuracy=test.get("accuracy"),
                    loss=test.get("loss"),
                    val_accuracy=validation["accuracy"],
                    val_loss=validation["loss"],
                    best_epoch=result["best_epoch"],
                    epochs=result["epochs"],
                    seconds=result["seconds"],
                    checkpoint=str(file.parent / result["checkpoint"]),
                )
            )
    order = ("fine", "coarse", "bilateral", "unilateral")
    rank = {name: place for place, name in enumerate(order)}
    return sorted(
        rows, key=lambda r: (rank.get(r.arm, len(order)), r.arm, r.seed, r.level != "fine")
    )


def holes(experiment: Path) -> dict[str, str]:
    """The stages that could not be finished, with the reason, from the failed.yaml files."""
    found = {}
    for file in sorted(experiment.glob(f"*/seed*/{HOLE}")):
        try:
            reason = str(read_yaml(file)["reason"])
        except (YAMLError, ValueError, RecursionError, TypeError, KeyError):
            reason = f"{file} is damaged"
        found[f"{file.parent.parent.name}/{file.parent.name}"] = reason
    return found


def print_holes(experiment: Path) -> None:
    """A line for each stage that the summary lacks."""
    for name, reason in holes(experiment).items():
        print(f"Missing in the table: {name} ({reason.removeprefix(f'{name}: ').rstrip('.')})")


def summarise(rows: Sequence[Row]) -> list[SummaryRow]:
    """Mean and spread of test accuracy per arm and level, in the order of the rows."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.accuracy is not None:
            groups.setdefault((row.arm, row.level), []).append(row.accuracy)
    # Both levels of an arm stand together, in the order in which the arm first appears.
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    keys = sorted(groups, key=lambda group: (arms.index(group[0]), group[1] != "fine"))
    return [_summary(arm, level, groups[arm, level]) for arm, level in keys]


def confidence_interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % confidence interval of the mean of two or more independent values."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def _summary(arm: str, level: str, values: list[float]) -> SummaryRow:
    spread: dict[str, Any] = {"std": None, "ci95_low": None, "ci95_high": None}
    if len(values) > 1:
        low, high = confidence_interval(values)
        spread = {"std": stdev(values), "ci95_low": low, "ci95_high": high}
    return SummaryRow(arm=arm, level=level, seeds=len(values), mean=mean(values), **spread)


def write_tables(experiment: Path) -> list[SummaryRow]:
    """Write results.csv, summary.csv and summary.md from what lies below an experiment's folder."""
    rows = collect(experiment)
    summary = summarise(rows)
    write_text(experiment / "results.csv", _csv(rows, Row))
    write_text(experiment / "summary.csv", _csv(summary, SummaryRow))
    write_text(experiment / "summary.md", _markdown(summary, rows, holes(experiment)))
    return summary


def print_summary(summary: Sequence[SummaryRow], title: str) -> None:
    """The summary as a table on the terminal."""
    if not summary:
        print("Nothing was tested (evaluate=false); validation accuracies are in results.csv.")
        return
    table = Table(title=title, title_justify="left")
    for name in ("arm", "level"):
        table.add_column(name)
    for name in ("seeds", "accuracy", "95 % interval"):
        table.add_column(name, justify="right")
    for row in summary:
        table.add_row(row.arm, row.level, str(row.seeds), _accuracy(row), _interval(row))
    Console().print(table)


def _accuracy(row: SummaryRow) -> str:
    spread = "" if row.std is None else f" ± {100 * row.std:.2f}"
    return f"{100 * row.mean:.2f}{spread} %"


def _interval(row: SummaryRow) -> str:
    if row.ci95_low is None or row.ci95_high is None:
        return "–"
    return f"{100 * row.ci95_low:.2f} to {100 * row.ci95_high:.2f}"


def _csv(rows: Sequence[Row] | Sequence[SummaryRow], kind: type) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _markdown(
    summary: Sequence[SummaryRow], rows: Sequence[Row], missing: Mapping[str, str]
) -> str:
    lines = [
        "| arm | level | seeds | test accuracy (mean ± standard deviation) | 95 % interval |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.arm} | {r.level} | {r.seeds} | {_accuracy(r)} | {_interval(r)} |" for r in summary
    ]
    shown = {row.arm for row in rows}
    arms = dict.fromkeys(name.partition("/")[0] for name in missing)
    lines += [f"| {arm} | – | 0 | missing | – |" for arm in arms if arm not in shown]
    if rows and not summary:
        lines = ["| arm | level | seed | validation accuracy |", "| --- | --- | ---: | ---: |"]
        lines += [
            f"| {r.arm} | {r.level} | {r.seed} | {100 * r.val_accuracy:.2f} % |" for r in rows
        ]
    lines += ["", *(f"- Missing: {reason}" for reason in missing.values())] if missing else []
    return "\n".join(lines) + "\n"
