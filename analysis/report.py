"""report.html: a finished study on one page that needs nothing but itself."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis import figures
from analysis.hemispheres import Findings
from analysis.parts import parts
from analysis.pictures import picture
from analysis.study import FinishedStage, FinishedStudy
from analysis.tables import Sheet, decimal, sheet
from common.settings.levels import LEVELS

PAGE = Path(__file__).resolve().parent / "page"


def render(study: FinishedStudy, found: Findings, *, seconds: float) -> str:
    """The page.

    Args:
        study: whose tables and files are shown.
        found: its analyses.
        seconds: that they took.
    """
    # What came from a file may hold anything: all of it is escaped, in text and in attributes.
    page = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    sections = [*parts(found)]
    curves = _curves(study)
    named = [("results", "Results")]
    named += [("learning", "Learning")] if curves else []
    named += [(part.id, NAV.get(part.id, part.title)) for part in sections]
    return page.get_template("report.html").render(
        name=study.place.name,
        subtitle=_subtitle(study),
        sections=[*named, ("run", "What was run")],
        tiles=_tiles(study, found),
        results=_results(study),
        further=_further(study),
        missing=study.missing,
        chosen_on_test=study.chosen_on_test,
        differences=_differences(study),
        seeds=sheet("seeds", "results.csv", study.table("results.csv"), leave_out=["checkpoint"]),
        bars=_bars(study),
        curves=curves,
        left_out=found.left_out,
        parts=sections,
        facts=[*_facts(study)],
        configurations=_configurations(study),
        files=[_files(stage, study.place) for stage in study.stages],
        has_numbers=bool(found.values.values),
        footer=f"Analysed in {duration(seconds)} by bilateral, arXiv:2209.06862.",
    )


NAV = {
    "known": "What they know",
    "contributions": "Contributions",
    "lesions": "Lesions",
    "similarity": "Similarity",
    "attention": "Attention",
    "agreement": "Agreement",
    "calibration": "Calibration",
}


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


def _accuracies(study: FinishedStudy) -> dict[tuple[str, str], dict[int, float]]:
    """Test accuracy by arm and level, and then by seed."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in study.table("results.csv"):
        if row.get("accuracy"):
            found.setdefault((row["arm"], row["level"]), {})[int(row["seed"])] = float(
                row["accuracy"]
            )
    return found


def _tiles(study: FinishedStudy, found: Findings) -> list[dict[str, Any]]:
    """What one wants to know first: two heads against one, and whom they listen to."""
    tiles: list[dict[str, Any]] = []
    accuracies = _accuracies(study)
    for level, side in zip(LEVELS, ("left", "right"), strict=True):
        both, alone = accuracies.get(("bilateral", level)), accuracies.get((level, level))
        if both:
            shared = sorted(both.keys() & (alone or {}).keys())
            detail = "test accuracy"
            if alone and shared:
                gain = 100 * mean(both[seed] - alone[seed] for seed in shared)
                detail = f"{decimal(gain, 2, plus=True)} points against the {side} hemisphere alone ({level} arm)"
            tiles.append(
                {
                    "label": f"Bilateral, {level} labels",
                    "number": f"{decimal(100 * mean(both.values()), 2)} %",
                    "detail": detail,
                    "meter": None,
                }
            )
    for level in LEVELS:
        share = found.values.get("share of evidence", level, "left")
        if share:
            tiles.append(_evidence_tile(level, share.mean))
    return tiles


def _evidence_tile(level: str, left: float) -> dict[str, Any]:
    """A half that speaks against the true class has less than nothing, which no meter shows."""
    detail = f"{decimal(100 * (1 - left), 0)} % from the right hemisphere"
    if not 0 <= left <= 1:
        detail += f"; the {'left' if left < 0 else 'right'} one speaks against the true class"
    return {
        "label": f"Evidence of the {level} head",
        "number": f"{decimal(100 * left, 0)} % left",
        "detail": detail,
        "meter": f"{100 * left:.1f}" if 0 <= left <= 1 else None,
    }


# Columns of summary.csv that answer first; a phone shows the first three without scrolling.
RESULT = ("arm", "level", "mean", "std", "ci95_low", "seeds")


def _results(study: FinishedStudy) -> Sheet:
    summary = study.table("summary.csv")
    if summary:
        return sheet(
            "results",
            "summary.csv, test accuracy over seeds",
            summary,
            only=RESULT,
            titles={"mean": "accuracy, %"},
        )
    untested = ["checkpoint", "accuracy", "loss"]
    return sheet("results", "results.csv", study.table("results.csv"), leave_out=untested)


def _further(study: FinishedStudy) -> Sheet | None:
    """All other columns of the summary: further metrics and costs."""
    summary = study.table("summary.csv")
    shown = [column for column in RESULT if column not in ("arm", "level")]
    found = sheet("further", "summary.csv, means over seeds", summary, leave_out=shown)
    return found if len(found.columns) > 2 else None


def _differences(study: FinishedStudy) -> list[Sheet]:
    """What each arm has over the bilateral network, and then all other differences."""
    table = study.table("differences.csv")
    first = [row for row in table if "bilateral" in (row["arm"], row["minus"])]
    others = [row for row in table if row not in first]
    first = [_swapped(row) if row["arm"] == "bilateral" else row for row in first]
    kinds = [
        ("differences", "differences.csv, arm minus bilateral, percentage points", first),
        ("further-differences", "differences.csv, arm minus arm, percentage points", others),
    ]
    return [
        sheet(
            name,
            caption,
            rows,
            only=("arm", "minus", "level", "mean", "std", "ci95_low", "seeds"),
            titles={"mean": "points", "std": "sd"},
            plus=("mean",),
        )
        for name, caption, rows in kinds
        if rows
    ]


def _swapped(row: dict[str, str]) -> dict[str, str]:
    """A difference the other way round."""
    return row | {
        "arm": row["minus"],
        "minus": row["arm"],
        "mean": _negated(row["mean"]),
        "ci95_low": _negated(row.get("ci95_high") or ""),
        "ci95_high": _negated(row.get("ci95_low") or ""),
    }


def _negated(number: str) -> str:
    return repr(-float(number)) if number else ""


def _bars(study: FinishedStudy) -> list[tuple[Markup, str]]:
    accuracies = _accuracies(study)
    drawn = []
    for level in LEVELS:
        arms: dict[str, Any] = {}
        for row in study.table("summary.csv"):
            seeds = accuracies.get((row["arm"], level))
            if row["level"] == level and seeds:
                low, high = (row.get(name) for name in ("ci95_low", "ci95_high"))
                arms[row["arm"]] = {
                    "mean": float(row["mean"]),
                    "low": float(low) if low else None,
                    "high": float(high) if high else None,
                    "seeds": [seeds[seed] for seed in sorted(seeds)],
                }
        if arms:
            svg = picture(
                f"accuracy-{level}",
                f"Test accuracy on {level} labels by arm",
                figures.accuracy_bars,
                f"{level} labels",
                arms,
                height=0.95 + 0.62 * len(arms),
            )
            drawn.append(
                (
                    svg,
                    "A dot is a seed. Close up, the line is the mean with its 95 % interval, cut at the edge; "
                    "an arrow with a number stands for an arm that lies outside.",
                )
            )
    return drawn


def _curves(study: FinishedStudy) -> list[Markup]:
    drawn = []
    for number, arm in enumerate(study.arms):
        tables = [stage.metrics for stage in study.of(arm).values() if stage.metrics]
        if tables:
            drawn.append(
                picture(
                    f"curve-{number}",
                    f"Learning curves of {arm}",
                    figures.learning_curves,
                    arm,
                    tables,
                    width=3.4,
                    height=2.7,
                )
            )
    return drawn


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
