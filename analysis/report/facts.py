"""What was run: how a study was made, for someone who wants to make it again."""

import os
import shlex
from collections.abc import Iterator, Mapping
from math import sqrt
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from analysis.report.cells import decimal
from analysis.study import FinishedStudy
from common.results.intervals import FEWEST, estimate, student
from common.settings.compose import ROOT
from common.settings.levels import LEVELS
from study.arms import REFERENCE


def facts(study: FinishedStudy, images: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Configuration, versions, hardware and time, in words.

    Args:
        study: whose files are read.
        images: how many images were used for what; empty where they were not looked at.
    """
    environments = [stage.yaml("environment.yaml") for stage in study.stages]
    datasets = [stage.yaml("config.yaml").get("dataset") or {} for stage in study.stages]
    # Each seed may have a set of its own.
    roots = dict.fromkeys(near(one["root"], study.place) for one in datasets if one.get("root"))
    where = f" at {', '.join(roots)}" if roots else ""
    yield "data set", f"{datasets[0].get('name') or 'not recorded'}{where}"
    if images:
        yield "images", ", ".join(f"{number:,} for {use}" for use, number in images.items())
    yield "arms", ", ".join(study.arms)
    yield "seeds", ", ".join(str(seed) for seed in sorted({stage.seed for stage in study.stages}))
    notes = dict.fromkeys(stage.yaml("config.yaml").get("note") for stage in study.stages)
    if said := "; ".join(str(note) for note in notes if note):
        yield "note", said
    yield "date", _dates(study)
    yield "commit", _each(environments, "commit")
    changed = [one.get("uncommitted_changes") for one in environments]
    yield (
        "uncommitted changes",
        "yes" if any(changed) else "no" if None not in changed else "not recorded",
    )
    yield "precision", _precision(study)
    if steps := _steps(study):
        yield "training steps", steps
    yield "device", _each(environments, "device")
    yield "threads", _each(environments, "threads")
    yield "platform", _each(environments, "platform")
    packages: dict[str, None] = {}
    for environment in environments:
        packages |= dict.fromkeys(environment.get("packages") or {})
    versions = ", ".join(f"{name} {_each(environments, 'packages', name)}" for name in packages)
    yield "versions", ", ".join(filter(None, (f"Python {_each(environments, 'python')}", versions)))
    for arm in study.arms:
        stages = study.of(arm).values()
        spent = mean(float(stage.result["seconds"]) for stage in stages)
        epochs = "/".join(dict.fromkeys(str(stage.result["epochs"]) for stage in stages))
        yield (
            f"training of {arm}",
            f"{epochs} epoch{'s' * (epochs != '1')}, {duration(spent)} each seed",
        )


def commands(study: FinishedStudy) -> list[str]:
    """The commands that the stages were run by, each once, as they can be typed in the project's folder."""
    found: dict[str, None] = {}
    for stage in study.stages:
        words = stage.yaml("environment.yaml").get("command")
        if isinstance(words, list) and words:
            script = Path(str(words[0]))
            if script.is_absolute():
                inside = script.is_relative_to(ROOT)
                script = script.relative_to(ROOT) if inside else Path(script.name)
            # The command `bilateral` records its words as one: bilateral train single.
            start = ["python", str(script)] if script.suffix == ".py" else str(script).split()
            found[shlex.join([*start, *map(str, words[1:])])] = None
        elif words is not None:
            found[str(words)] = None
    return [*found]


def repeated(study: FinishedStudy) -> str | None:
    """Say how far the mean of a repetition may lie from this one; None where nothing was tested.

    From s, the spread over n seeds: with n other seeds, the difference of both means has the standard error
    s sqrt(2 / n), and Student's t with n - 1 degrees of freedom.
    """
    arm = REFERENCE if REFERENCE in study.arms else study.arms[0]
    said = []
    for level in LEVELS:
        values = [*study.accuracies(arm, level).values()]
        # Networks that share parts between seeds spread less than repetitions do.
        shared = any("+" in row.seeds for row in study.rows if row.arm == arm)
        if not values or shared:
            continue
        low, high = student(estimate(values, widening=sqrt(2)))
        if low is not None and high is not None:
            reach = (high - low) / 2
            said.append(
                f"{decimal(100 * min(reach, 1), 2)} points on {study.level_names[level]} labels"
            )
    tested = any(study.accuracies(arm, level) for level in LEVELS)
    if not said:
        return (
            f"How far your numbers may be from these is not known: it takes {FEWEST} seeds or more."
            if tested
            else None
        )
    number = len({stage.seed for stage in study.of(arm).values()})
    return (
        f"Yours may differ: with {number} other seeds, or on another machine, the mean of {arm} is within "
        f"{' and '.join(said)} of this one in 95 of 100 repetitions, by the spread over these seeds. The same commit, "
        "versions, command and machine give the same numbers."
    )


def configurations(study: FinishedStudy) -> list[tuple[str, str]]:
    """config.yaml of each arm's first seed."""
    found = []
    for arm in study.arms:
        config = next(iter(study.of(arm).values())).yaml("config.yaml")
        if config:
            text = yaml.safe_dump(
                _without_places(config, study.place), sort_keys=False, allow_unicode=True
            )
            found.append((arm, text))
    return found


def duration(seconds: float) -> str:
    """``3 min 22 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"


def near(path: object, place: Path) -> str:
    """A path relative to the folder of the page, which travels better; its end where the two have nothing in common."""
    if not isinstance(path, str) or not os.path.isabs(path):
        return str(path)
    here = place.resolve()
    if len(Path(os.path.commonpath([path, here])).parts) > 1:
        return os.path.relpath(path, here)
    return str(Path("…", *Path(path).parts[-2:]))


def _without_places(value: Any, place: Path) -> Any:
    """A configuration with its absolute paths made relative to the page."""
    if isinstance(value, dict):
        return {key: _without_places(one, place) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one, place) for one in value]
    return near(value, place) if isinstance(value, str) else value


def _each(environments: list[dict[str, Any]], *path: str) -> str:
    """A value of environment.yaml; all of them where stages differ."""
    shown: dict[str, None] = {}
    for environment in environments:
        value: Any = environment
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            shown[str(value)] = None
    return "; ".join(shown) or "not recorded"


def _dates(study: FinishedStudy) -> str:
    """The first and the last day on which a stage was begun."""
    dates = (stage.yaml("environment.yaml").get("date") for stage in study.stages)
    days = sorted({str(date)[:10] for date in dates if date})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not recorded"


def _steps(study: FinishedStudy) -> str:
    """How steps were made fast; empty where all were plain."""
    found: dict[str, None] = {}
    for stage in study.stages:
        used = stage.result.get("acceleration") or {}
        mode = used.get("compile")
        ways = ["replayed as a CUDA graph"] if used.get("cuda_graph") else []
        ways += [f"compiled ({mode})"] if mode else []
        found[" and ".join(ways) or "plain"] = None
    return "" if [*found] == ["plain"] else "; ".join(found)


def _precision(study: FinishedStudy) -> str:
    """What was computed in, as the fingerprint has it, for the configuration may leave the choice to the machine."""
    found: dict[str, None] = {}
    for stage in study.stages:
        for name in ("fingerprint.yaml", "config.yaml"):
            params = stage.yaml(name).get("trainer_params")
            if isinstance(params, dict) and params.get("precision"):
                found[str(params["precision"])] = None
                break
    return "; ".join(found) or "not recorded"
