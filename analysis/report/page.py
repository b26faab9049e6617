"""report.html: a finished study on one page that needs nothing but itself."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.report import result_figures, results
from analysis.report.level_words import LevelWords
from analysis.report.primary import primary_contrast
from analysis.section import Findings
from analysis.study import FinishedStage, FinishedStudy


def render(study: FinishedStudy, found: Findings, *, seconds: float) -> str:
    """The page.

    Args:
        study: whose tables and files are shown.
        found: its analyses.
        seconds: that they took.
    """
    # What came from a file may hold anything: all of it is escaped, in text and in attributes.
    page = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    say = LevelWords(study.level_names)
    parts = [say.part(part) for part in found.parts()]
    curves = result_figures.curves(study)
    named = [("results", "Results")]
    named += [("learning", "Learning")] if curves else []
    named += [(part.id, part.nav or part.title) for part in parts]
    return page.get_template("report.html").render(
        name=study.place.name,
        subtitle=_subtitle(study),
        sections=[*named, ("run", "What was run")],
        primary=primary_contrast(study),
        tiles=[say.tile(tile) for tile in results.tiles(study)]
        + [tile for part in parts for tile in part.tiles],
        results=say.sheet(results.results(study)),
        further=say.sheet(results.further(study)),
        missing=study.missing,
        chosen_on_test=study.chosen_on_test,
        via_fine=say.sheet(results.via_fine(study)),
        differences=[say.sheet(one) for one in results.differences(study)],
        seeds=say.sheet(results.seeds(study)),
        no_losses=results.why_no_losses(study),
        bars=say.figures(result_figures.bars(study)),
        curves=curves,
        left_out=[say.text(sentence) for sentence in found.left_out],
        parts=parts,
        facts=[*_facts(study)],
        configurations=_configurations(study),
        files=[_files(stage, study.place) for stage in study.stages],
        has_numbers=bool(found.values.values),
        footer=f"Analysed in {duration(seconds)} by bilateral, arXiv:2209.06862.",
    )


def duration(seconds: float) -> str:
    """``3 min 22 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"


def _subtitle(study: FinishedStudy) -> str:
    seeds = len({stage.seed for stage in study.stages})
    stage = study.stages[0]
    name = (stage.yaml("config.yaml").get("dataset") or {}).get("name", "an unnamed data set")
    spent = duration(sum(float(stage.result["seconds"]) for stage in study.stages))
    arms = len(study.arms)
    return f"{name} · {arms} arm{'s' * (arms > 1)} · {seeds} seed{'s' * (seeds > 1)} · trained in {spent}"


def _facts(study: FinishedStudy) -> Iterator[tuple[str, str]]:
    """Configuration, versions, hardware and time, in words."""
    environments = [stage.yaml("environment.yaml") for stage in study.stages]
    config = study.stages[0].yaml("config.yaml")

    def each(*path: str) -> str:
        """A value of environment.yaml; all of them where stages differ."""
        shown: dict[str, None] = {}
        for environment in environments:
            value: Any = environment
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            if value is not None:
                words = shlex.join(map(str, value)) if isinstance(value, list) else str(value)
                shown[words] = None
        return "; ".join(shown) or "not recorded"

    dataset = config.get("dataset") or {}
    yield "data set", f"{dataset.get('name')} at {dataset.get('root')}"
    yield "arms", ", ".join(study.arms)
    yield "seeds", ", ".join(str(seed) for seed in sorted({stage.seed for stage in study.stages}))
    notes = dict.fromkeys(stage.yaml("config.yaml").get("note") for stage in study.stages)
    if said := "; ".join(str(note) for note in notes if note):
        yield "note", said
    yield "command", each("command")
    changed = (
        "; with uncommitted changes"
        if any(e.get("uncommitted_changes") for e in environments)
        else ""
    )
    yield "commit", each("commit") + changed
    yield "device", each("device")
    yield "threads", each("threads")
    yield "platform", each("platform")
    packages: dict[str, None] = {}
    for environment in environments:
        packages |= dict.fromkeys(environment.get("packages") or {})
    versions = ", ".join(f"{name} {each('packages', name)}" for name in packages)
    yield "versions", f"Python {each('python')}, {versions}"
    for arm in study.arms:
        stages = study.of(arm).values()
        spent = mean(float(stage.result["seconds"]) for stage in stages)
        epochs = "/".join(dict.fromkeys(str(stage.result["epochs"]) for stage in stages))
        yield (
            f"training of {arm}",
            f"{epochs} epoch{'s' * (epochs != '1')}, {duration(spent)} each seed",
        )


def _configurations(study: FinishedStudy) -> list[tuple[str, str]]:
    """config.yaml of each arm's first seed."""
    found = []
    for arm in study.arms:
        config = next(iter(study.of(arm).values())).yaml("config.yaml")
        if config:
            found.append((arm, yaml.safe_dump(config, sort_keys=False, allow_unicode=True)))
    return found


def _files(stage: FinishedStage, place: Path) -> dict[str, Any]:
    """Links to what a stage left behind, relative to the page; None for what is not there."""
    events = sorted(stage.place.glob("events.out.tfevents.*"))

    def link(path: Path | None, text: str) -> dict[str, str] | None:
        if path is None or not path.exists():
            return None
        return {"href": quote(str(path.relative_to(place))), "text": text}

    return {
        "name": f"{stage.arm}/seed{stage.seed}",
        "links": [
            link(stage.checkpoint, "best.ckpt"),
            link(stage.place if events else None, "folder"),
            link(stage.place / "metrics.csv", "metrics.csv"),
            link(stage.place / "config.yaml", "config.yaml"),
        ],
    }
