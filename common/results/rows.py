"""What each finished stage found: its result.yaml, as rows of results.csv."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import mean
from typing import Any

from yaml import YAMLError

from common.results.metrics import CHANCE, FURTHER, chance_columns, further_columns
from common.results.slope import slope
from common.system.atomic_files import read_yaml, write_yaml
from common.system.errors import UserError
from common.system.words import first_of

HOLE = "failed.yaml"  # in place of a result.yaml: why there is none
PLAN = "plan.yaml"  # of an experiment: the stages that its latest command runs

Results = list[tuple[Path, dict[str, Any]]]  # the result.yaml of finished stages, and what it holds


@dataclass(frozen=True)
@chance_columns
@further_columns(after="loss")
class Row:
    """One arm, seed and level, with a field for each further metric (`common.results.metrics`) after ``loss``.

    Accuracies and other shares are fractions, 0 to 1. None stands for what the test set was not evaluated for,
    for what is undefined, and for what an earlier version did not record. ``seeds`` are those of all networks
    that it is built from, joined by +; ``seconds`` is the stage's own training time. ``train_macs``, ``train_images``
    and ``updates`` (of weights) count its training and that of all networks that it is built from; ``val_slope`` is
    what the validation accuracy gains in an epoch at the end of training (`common.results.slope`); ``level_name`` is
    what the data set calls the level. What chance would give of each metric follows last (`common.training.chance`).
    """

    arm: str
    seed: int
    level: str
    accuracy: float | None
    loss: float | None
    val_accuracy: float
    val_loss: float
    best_epoch: int
    epochs: int
    parameters: int | None
    trained_parameters: int | None
    macs: int | None
    seeds: str
    seconds: float
    checkpoint: str
    train_macs: int | None = None
    train_images: int | None = None
    updates: int | None = None
    val_slope: float | None = None
    level_name: str = ""


def read_result(file: Path) -> dict[str, Any] | None:
    """Read a stage's result.yaml; None if it is damaged; one without a digest of itself is taken as it is."""
    try:
        result = read_yaml(file)
    except (YAMLError, ValueError, RecursionError):
        return None
    keys = {"arm", "seed", "checkpoint", "best_epoch", "epochs", "seconds", "validation", "test"}
    if not isinstance(result, dict) or not keys <= result.keys():
        return None
    digest = result.pop("digest", None)
    if digest not in (None, _digest(result)):
        return None
    return result


def write_result(file: Path, result: dict[str, Any]) -> None:
    """Write a stage's result.yaml, with a digest by which a damaged one is known."""
    write_yaml(file, result | {"digest": _digest(result)})


def _digest(result: dict[str, Any]) -> str:
    return blake2b(repr(result).encode(), digest_size=8).hexdigest()


def seed_files(arm: Path, name: str) -> list[Path]:
    """Find a file in the folder of each seed of an arm; copies of folders, such as seed0-old, do not count."""
    found = arm.glob(f"seed*/{name}")
    return sorted(file for file in found if file.parent.name.removeprefix("seed").isdecimal())


def _stage_files(experiment: Path, name: str) -> list[Path]:
    """Find a file in the folder of each seed of each arm."""
    return [file for arm in sorted(experiment.glob("*")) for file in seed_files(arm, name)]


def finished(experiment: Path) -> Results:
    """Find the result.yaml files below an experiment's folder and what they hold.

    Raises:
        UserError: one is damaged, or lies where another stage's belongs.
    """
    found = []
    for file in _stage_files(experiment, "result.yaml"):
        result = read_result(file)
        if result is None:
            raise UserError(f"{file} is damaged: delete its folder and run the command again.")
        stage = f"{result['arm']}/seed{result['seed']}"
        if stage != f"{file.parent.parent.name}/{file.parent.name}":
            raise UserError(f"{file} is the result of {stage}: delete its folder, or move it back.")
        found.append((file, result))
    return found


def nothing_finished(place: Path) -> UserError:
    """Say why a folder gives no results: it is none, it is that of a stage, an arm or all studies, or it has none."""
    here = place.absolute()
    if here.is_file():
        return UserError(f"{here} is a file: give the folder of a study, such as runs/demo.")
    if not here.is_dir():
        return UserError(f"There is no folder at {here}: give that of a study, such as runs/demo.")
    if (here / "result.yaml").is_file():
        return UserError(f"{here} is that of one stage: give its study's, {here.parent.parent}.")
    if any(here.glob("seed*/result.yaml")):
        return UserError(f"{here} is that of one arm: give its study's, {here.parent}.")
    if studies := sorted({file.parents[2].name for file in here.glob("*/*/seed*/result.yaml")}):
        return UserError(f"{here} holds studies: give one of them, {first_of(studies, 5)}.")
    return UserError(
        f"{here} holds no finished stage: give the folder of a study, such as runs/demo, of which train_system.py or "
        "trainer.py has finished a stage."
    )


def collect(results: Results, *, order: Sequence[str] = ()) -> list[Row]:
    """Give a row for each level of each finished stage.

    Args:
        results: as `finished` finds them.
        order: arms in the order of the tables; others follow in the order of the alphabet.
    """
    rows, networks = [], {}
    for file, result in results:
        networks[result["arm"], result["seed"]] = _network(file.parent, result)
        training = result.get("training") or {}
        for level, validation in result["validation"].items():
            test = (result["test"] or {}).get(level, {})
            chance = result.get("chance", {}).get(level, {})
            rows.append(
                Row(
                    arm=result["arm"],
                    seed=result["seed"],
                    level=level,
                    level_name=result.get("level_names", {}).get(level, level),
                    accuracy=test.get("accuracy"),
                    loss=test.get("loss"),
                    **{name: test.get(name) for name in FURTHER},
                    val_accuracy=validation["accuracy"],
                    val_loss=validation["loss"],
                    val_slope=slope(result.get("validation_curve", {}).get(level, [])),
                    best_epoch=result["best_epoch"],
                    epochs=result["epochs"],
                    parameters=result.get("parameters"),
                    trained_parameters=result.get("trained_parameters"),
                    macs=result.get("macs"),
                    train_macs=training.get("macs"),
                    train_images=training.get("images"),
                    updates=training.get("updates"),
                    seeds="+".join(map(str, result.get("seeds", [result["seed"]]))),
                    seconds=result["seconds"],
                    checkpoint=str(file.parent / result["checkpoint"]),
                    **{column: chance.get(name) for column, name in CHANCE.items()},
                )
            )
    rank = {name: i for i, name in enumerate(order)}
    rows.sort(key=lambda r: (rank.get(r.arm, len(order)), r.arm, r.seed, r.level != "fine"))
    # Around the whole list of seeds every ensemble is the same one: it is listed once.
    once = {(row.arm, row.level, networks[row.arm, row.seed]): row for row in reversed(rows)}
    return [row for row in rows if once[row.arm, row.level, networks[row.arm, row.seed]] is row]


def level_shown(row: Any) -> str:
    """Give what people read in place of the level of a row of any table; of earlier versions, the level."""
    return row.level_name or row.level


def independent(results: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether a stage was trained on two independent labels, by what the result.yaml files hold."""
    return any(result.get("nested") is False for result in results)


def validation_accuracy(rows: Iterable[Row], arm: str) -> float | None:
    """Give the validation accuracy of an arm's best epochs, mean over seeds and levels; None if it has no result."""
    found = [row.val_accuracy for row in rows if row.arm == arm]
    return mean(found) if found else None


def _network(place: Path, result: dict[str, Any]) -> tuple[str, ...]:
    """Name what a stage's network is: its seed, or the parts of one that trains nothing."""
    if result.get("trained_parameters") != 0:
        return (str(result["seed"]),)
    try:
        # Digests of weights: of the seeds 0 and 1, fine 0 with coarse 1 is not fine 1 with coarse 0.
        digests = read_yaml(place / "fingerprint.yaml")["sources"].values()
    except (OSError, YAMLError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        digests = ()
    return tuple(sorted(map(str, digests or result.get("seeds", [result["seed"]]))))


def holes(experiment: Path) -> dict[str, str]:
    """Find the stages that could not be finished, with the reason, in the failed.yaml files."""
    found = {}
    for file in _stage_files(experiment, HOLE):
        try:
            reason = str(read_yaml(file)["reason"])
        except (YAMLError, ValueError, RecursionError, TypeError, KeyError):
            reason = f"{file} is damaged"
        found[f"{file.parent.parent.name}/{file.parent.name}"] = reason
    return found


def planned(experiment: Path) -> list[str]:
    """Read which stages the latest command was to run, as ``fine/seed0``; none of an experiment from before that."""
    file = experiment / PLAN
    try:
        content = read_yaml(file)
    except FileNotFoundError:
        return []
    except (YAMLError, ValueError, RecursionError):
        content = None
    if not isinstance(content, list):
        raise UserError(f"{file} is damaged: delete it, and run the study's command again.")
    return [str(name) for name in content]
