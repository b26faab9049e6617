"""report.html: a finished study on one page that needs nothing but itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from analysis.report import forest, result_figures, results
from analysis.report.answer import answer
from analysis.report.banners import banners
from analysis.report.drawing import draw_network
from analysis.report.facts import commands, configurations, duration, facts, repeated
from analysis.report.figures import true_caption
from analysis.report.glossary import explained, glossary, place_of
from analysis.report.level_words import LevelWords
from analysis.report.part import Part
from analysis.report.questions import ask
from analysis.report.verdicts import correction, groups, subject, upper
from analysis.section import Findings
from analysis.study import FinishedStage, FinishedStudy
from common.results.intervals import FEWEST
from common.settings.levels import LEVELS
from study.arms import REFERENCE, plain_name


def render(study: FinishedStudy, found: Findings, *, seconds: float) -> str:
    """The page.

    Args:
        study: whose tables and files are shown.
        found: its analyses.
        seconds: that they took.
    """
    say = LevelWords(study.level_names)
    curves = result_figures.curves(study)
    drawing = draw_network(study)
    forests, costs = say.figures(forest.forests(study)), say.figures(forest.costs(study))
    bars = say.figures(result_figures.bars(study))
    # Last: a section whose figure has the name of another is left out, and the page's own are there.
    parts = [say.part(captioned(part)) for part in found.parts()]
    tested = {row.level for row in study.summary}
    left_out = [say.text(sentence) for sentence in found.omissions()]
    return _template().render(
        say=say.text,
        name=study.place.name,
        question=ask(study).text,
        answer=answer(study),
        subject=upper(subject()),
        reference=upper(plain_name(REFERENCE)),
        subtitle=_subtitle(study),
        sections=_sections(parts, curves=bool(curves), left_out=bool(left_out)),
        banners=banners(study),
        debug=study.debug,
        few=all(row.seeds < FEWEST for row in study.summary),
        groups=groups(study),
        levels={level: study.level_names[level] for level in LEVELS if level in tested},
        correction=correction(study),
        drawing=drawing and say.picture(drawing),
        forests=forests,
        costs=costs,
        glossary=glossary(_data_set(study)),
        place_of=place_of,
        explained=explained,
        results=say.sheet(results.results(study)),
        further=[*map(say.sheet, results.further(study))],
        chosen_on_test=study.chosen_on_test,
        via_fine=say.sheet(results.via_fine(study)),
        differences=[say.sheet(one) for one in results.differences(study)],
        seeds=say.sheet(results.seeds(study)),
        no_losses=results.why_no_losses(study),
        bars=bars,
        curves=curves,
        left_out=left_out,
        parts=parts,
        facts=[*facts(study, found.images)],
        commands=commands(study),
        repeated=repeated(study),
        configurations=configurations(study),
        files=[_files(stage, study.place) for stage in study.stages],
        has_numbers=bool(found.values.values),
        footer=f"Analysed in {duration(seconds)} by bilateral, arXiv:2209.06862.",
    )


def captioned(part: Part) -> Part:
    """A section whose captions explain no interval where none is drawn."""
    return replace(part, figures=[(svg, true_caption(svg, said)) for svg, said in part.figures])


def _template() -> Template:
    """The page without its contents."""
    # What came from a file may hold anything: all of it is escaped, in text and in attributes.
    page = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    return page.get_template("report.html")


def _sections(parts: Sequence[Part], *, curves: bool, left_out: bool) -> list[tuple[str, str]]:
    """The page's sections in their order, each with its id and its name in the contents.

    Args:
        parts: those of the analyses.
        curves: whether there are learning curves.
        left_out: whether anything was left out.
    """
    return [
        ("answer", "Answer"),
        ("results", "Results"),
        *([("learning", "Learning")] if curves else []),
        *((part.id, part.nav or part.title) for part in parts),
        *([("left-out", "Left out")] if left_out else []),
        ("run", "What was run"),
        ("words", "Words"),
    ]


def _data_set(study: FinishedStudy) -> str:
    dataset = study.stages[0].yaml("config.yaml").get("dataset") or {}
    return str(dataset.get("name", "unnamed"))


def _subtitle(study: FinishedStudy) -> Markup:
    counts = {
        "seed": len({stage.seed for stage in study.stages}),
        "arm": len(study.arms),
    }
    spent = duration(sum(float(stage.result["seconds"]) for stage in study.stages))
    said = [Markup("data set {}").format(explained(_data_set(study)))]
    said += [
        Markup("{} {}").format(number, explained(f"{word}{'s' * (number > 1)}"))
        for word, number in counts.items()
    ]
    return Markup(" · ").join([*said, f"trained in {spent}"])


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
