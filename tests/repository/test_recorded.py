"""What results/ and the README publish hangs together: means, spreads and differences follow from the seeds."""

import csv
import math
import typing
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import pytest
from omegaconf import DictConfig

from analysis.specialisation.reading import indices_of
from analysis.specialisation.rows import Competence
from common.results.metrics import FURTHER
from common.results.rows import Row
from common.results.statistics import (
    DifferenceRow,
    both_directions,
    differences,
    summarise,
)
from common.results.tables import markdown, sections
from common.settings.levels import LEVELS
from study.arms import PRIMARY, REFERENCE, comparison

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(file.parent for file in (ROOT / "results").rglob("results.csv"))
KINDS = typing.get_type_hints(Row)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


def read(cell: str, kind: type) -> object:
    if cell == "":
        return None
    return next(k for k in (int, float, str) if k in (kind, *typing.get_args(kind)))(cell)


def results(study: Path) -> list[Row]:
    rows = rows_of(study / "results.csv")
    # A metric that has come since was not measured, and one that has gone is not read.
    later = dict.fromkeys(FURTHER)
    return [
        Row(
            **later | {name: read(cell, KINDS[name]) for name, cell in row.items() if name in KINDS}
        )
        for row in rows
    ]


def same(found: object, written: str) -> bool:
    if found is None or isinstance(found, str | bool):
        return ("" if found is None else str(found)) == written
    return math.isclose(float(found), float(written), rel_tol=1e-9, abs_tol=1e-12)


def test_studies_are_recorded():
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_tables_follow_from_the_seeds(study):
    rows = results(study)
    compared = both_directions(differences(rows, comparison()))
    for name, computed in (("summary", summarise(rows)), ("differences", compared)):
        written = rows_of(study / f"{name}.csv")
        assert len(written) == len(computed)
        for line, row in zip(written, computed, strict=True):
            for column, value in asdict(row).items():
                assert same(value, line.get(column, "")), (name, line, column, value)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_recorded_table_is_shown(study):
    for_people = markdown(sections(results(study), comparison()))
    assert (study / "summary.md").read_text() == for_people
    names = ("README.md", "results/README.md", "results/earlier/README.md")
    documents = "".join((ROOT / name).read_text() for name in names)
    _, shown, _ = documents.split(f"<!-- results:{study.name} -->")
    table = next(
        block for block in for_people.split("\n\n") if block.startswith("| arm | level | seeds |")
    )
    assert shown.strip() == table.strip()


def cells(file: str, start: str) -> list[list[str]]:
    """The cells of all lines of tables that begin with a name."""
    lines = (ROOT / file).read_text().splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith(f"| {start} |")
    ]


def units(config: DictConfig) -> tuple[float, float]:
    """How long a stage's epoch takes, in those of a hemisphere that learns (S) and of heads on two frozen ones (F)."""
    hparams = config.hparams
    if (
        config.trainer_params.max_epochs is None
    ):  # as much as the bilateral network and its hemispheres
        return 2, 1
    if "macro_arch" not in hparams:
        return 1, 0
    if hparams.macro_arch == "unilateral":
        return (0, 0.5) if hparams.ffreeze else (1, 0)
    if hparams.macro_arch == "bilateral":
        return (0, 1) if hparams.ffreeze and hparams.cfreeze else (2, 0)
    return 0, 0


@pytest.mark.parametrize(("name", "arch"), [("ResNet-9", "resnet9"), ("VGG-11", "vgg11")])
def test_the_estimate_of_the_full_study_follows_from_the_benchmark(name, arch, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from schedule import duration, study

    page = (ROOT / "docs/scaling.md").read_text()
    measured = cells("benchmarks/README.md", arch)[:3]
    assert [row[1] for row in measured] == ["one head", "two heads, frozen", "evaluation"]
    single, dual, evaluation = (int(row[2].split()[0].replace(",", "")) for row in measured)
    estimate, _, schedule = cells("docs/scaling.md", name)
    small = 45_000 / single + 5_000 / evaluation  # seconds of an epoch of one hemisphere
    frozen = 45_000 / dual + 5_000 / evaluation  # and of the heads on two frozen ones

    # The arms that the page names: whoever adds one need not estimate it.
    table = page.partition("| arms | an epoch's time |")[2].partition("\n\n")[0]
    arms = [
        arm for line in table.splitlines()[2:] for arm in line.split("|")[1].strip().split(", ")
    ]
    stages = study(["arms=all", "recipe=paper", "num_seeds=5", f"arch={arch}"])
    stages = [stage for stage in stages if stage.arm in arms]
    sizes = {stage.arm: units(stage.config) for stage in stages}
    assert sizes.keys() == set(arms)
    for line in table.splitlines()[2:]:
        named, time = (cell.strip() for cell in line.strip("|").split("|"))
        said = {"S": (1, 0), "F": (0, 1), "F / 2": (0, 0.5), "2 S": (2, 0), "2 S + F": (2, 1)}
        expected = said.get(time.partition(":")[0], (0, 0))
        assert {sizes[arm] for arm in named.split(", ")} == {expected}

    each = [sum(size[unit] for size in sizes.values()) for unit in (0, 1)]
    assert f"5 seeds × 180 epochs × ({each[0]:g} S + {each[1]:g} F) / 3600" in page
    assert f"is {2 * len(stages)} stages" in page
    hours = 5 * 180 * (each[0] * small + each[1] * frozen) / 3600
    assert estimate[1:] == [
        *(f"{rate}/s" for rate in (single, dual, evaluation)),
        f"{small:.0f} s",
        f"{frozen:.0f} s",
        f"{180 * small / 3600:.1f} h",
        f"{hours:.0f} h",
    ]

    takes = {arm: 180 * (s * small + f * frozen) / 3600 or 0.02 for arm, (s, f) in sizes.items()}
    total = sum(takes[stage.arm] for stage in stages)
    planned = {room: duration(stages, takes, room) for room in (8, 64, len(stages))}
    assert schedule[1:] == [
        f"{total:.0f} h",
        *(
            f"{planned[room]:.1f} h ({total / planned[room]:.1f} times"
            f"{' faster' * (room == 8)}, {100 * total / planned[room] / room:.0f} % busy)"
            for room in (8, 64)
        ),
        f"{planned[len(stages)]:.1f} h",
    ]


def test_the_readme_shows_what_the_bilateral_network_is_compared_with():
    _, shown, _ = (ROOT / "README.md").read_text().split("<!-- contrasts:navon -->")
    header, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.strip().splitlines()
    ]
    assert header == [f"{REFERENCE} minus", "fine labels", "coarse labels"]
    assert lines[0][0] == f"`{PRIMARY}`"  # the primary contrast first
    compared = differences(results(ROOT / "results/navon"), comparison())
    rows = {
        (row.minus, row.level): row for row in both_directions(compared) if row.arm == REFERENCE
    }
    for name, *cells in lines:
        for level, cell in zip(LEVELS, cells, strict=True):
            row = rows.get((name.strip("`"), level))
            assert cell == ("–" if row is None else contrast(row)), name


def contrast(row: DifferenceRow) -> str:
    low, high = 100 * row.ci95_low, 100 * row.ci95_high
    star = " *" if row.p_holm is not None and row.p_holm < 0.05 else ""
    return f"{100 * row.mean:+.2f} ({low:.2f} to {high:.2f}){star}"


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "results").rglob("specialisation_indices.csv")),
    ids=lambda f: f.parent.name,
)
def test_indices_of_specialisation_follow_from_the_competences(file):
    """In each arm, seed and epoch, by the definitions of today."""
    kappas = defaultdict(list)
    for row in rows_of(file.with_name("specialisation.csv")):
        place = row["arm"], int(row["seed"]), int(row["epoch"]) if row["epoch"] else None
        kappa = Competence(
            *place, row["task"], row["side"], float(row["accuracy"]), float(row["kappa"])
        )
        kappas[place].append(kappa)
    expected = {
        (
            index.arm,
            str(index.seed),
            str(index.epoch or ""),
            index.measure,
            index.task,
            index.side,
        ): index.value
        for rows in kappas.values()
        for index in indices_of(rows)
    }
    names = {name for _, _, _, name, _, _ in expected}
    found = {
        tuple(row[n] for n in ("arm", "seed", "epoch", "measure", "task", "side")): float(
            row["value"]
        )
        for row in rows_of(file)
        if row["measure"] in names
    }
    assert found == pytest.approx(expected, abs=1e-9)
