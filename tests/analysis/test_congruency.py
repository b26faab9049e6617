"""Navon's experiment: congruent and conflicting pictures, each answer, and what they measure."""

import contextlib
import csv
import io
import itertools
import math
import re
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.section import Findings
from analysis.sections.congruency import (
    ACCURACY,
    ADVANTAGE,
    ASYMMETRY,
    INTERFERENCE,
    INTRUSIONS,
    Congruency,
    precedence,
)
from analysis.seed import HALVES
from analysis.trials import KINDS, answered, congruence, effects, shared_classes, trials
from analysis.values import Summary
from common.data.tree import write_tree
from common.results.intervals import estimate, student, with_images
from data_scripts.make_navon import make_navon
from train_system import study

LEVELS = ("fine", "coarse")
NAMES = {"fine": ["A", "B", "C"], "coarse": ["C", "A", "B"]}


def test_congruence_is_defined_where_independent_labels_have_the_same_classes():
    same = shared_classes(NAMES, nested=False)
    # Coarse class 0 is C, which is fine class 2.
    assert {level: one.tolist() for level, one in same.items()} == {
        "fine": [2, 0, 1],
        "coarse": [1, 2, 0],
    }
    labels = {"fine": torch.tensor([0, 0, 2]), "coarse": torch.tensor([1, 0, 0])}
    assert congruence(labels, same).tolist() == [True, False, True]
    assert shared_classes(NAMES, nested=True) is None
    for other in (["A", "B"], ["A", "B", "D"]):
        assert shared_classes(NAMES | {"coarse": other}, nested=False) is None
    assert shared_classes({level: ["A", "A"] for level in LEVELS}, nested=False) is None


@given(seed=st.integers(0, 1000))
def test_effects_are_those_of_plain_counting_over_the_trials(seed):
    rng = np.random.default_rng(seed)
    same = shared_classes(NAMES, nested=False)
    labels = {level: torch.from_numpy(rng.integers(0, 3, 40)) for level in LEVELS}
    logits = {level: torch.from_numpy(rng.normal(size=(40, 3))) for level in LEVELS}
    congruent = congruence(labels, same)
    said = answered(logits, labels, same)
    found = effects(said, congruent)
    rows = list(
        trials(
            said,
            labels,
            congruent,
            figures=[f"p{i}" for i in range(40)],
            names=NAMES,
            level_names={"fine": "local", "coarse": "global"},
            arm="bilateral",
            seed=7,
            side="left",
        )
    )
    assert len(rows) == 80
    assert {(row.arm, row.seed, row.side) for row in rows} == {("bilateral", 7, "left")}
    accuracy, intruded = defaultdict(list), defaultdict(list)
    for row in rows:
        place = int(row.figure[1:])
        own, other = (row.fine, row.coarse) if row.task == "fine" else (row.coarse, row.fine)
        assert row.task_name == {"fine": "local", "coarse": "global"}[row.task]
        assert NAMES["fine"][labels["fine"][place]] == row.fine
        assert NAMES[row.task][logits[row.task][place].argmax()] == row.answer
        odds = np.exp(logits[row.task][place].numpy())
        assert row.confidence == pytest.approx(odds.max() / odds.sum(), abs=1e-5)
        assert row.congruent == (row.fine == row.coarse)
        assert row.correct == (row.answer == own)
        kind = "congruent" if row.congruent else "conflicting"
        accuracy[kind, row.task].append(row.correct)
        if row.correct:
            assert row.error == ""
        else:
            assert row.error == ("other level" if row.answer == other else "other class")
            if not row.congruent:
                intruded[row.task].append(row.error == "other level")
    for place, right in accuracy.items():
        assert found.accuracy[place] == pytest.approx(np.mean(right))
    costs = {
        level: np.mean(accuracy["congruent", level]) - np.mean(accuracy["conflicting", level])
        for level in LEVELS
    }
    assert found.interference == pytest.approx(costs)
    assert found.asymmetry == pytest.approx(costs["fine"] - costs["coarse"])
    assert found.advantage == pytest.approx(
        np.mean(accuracy["conflicting", "coarse"]) - np.mean(accuracy["conflicting", "fine"])
    )
    for level in LEVELS:
        assert found.intrusions[level] == pytest.approx(np.mean(intruded[level]))


def test_without_a_wrong_answer_there_are_no_intrusions():
    same = shared_classes(NAMES, nested=False)
    labels = {"fine": torch.tensor([0, 1]), "coarse": torch.tensor([1, 1])}
    logits = {level: 9.0 * torch.eye(3)[labels[level]] for level in LEVELS}
    found = effects(answered(logits, labels, same), congruence(labels, same))
    assert all(math.isnan(one) for one in found.intrusions.values())
    assert found.interference == {"fine": 0, "coarse": 0}


def summary(low: float | None, high: float | None, seeds: int = 5) -> Summary:
    return Summary("", "", "both", "bilateral", seeds, 0.1, low, high)


@pytest.mark.parametrize(
    ("advantage", "asymmetry", "said"),
    [
        ((0.01, 0.2), (0.02, 0.1), "coarse"),
        ((-0.2, -0.1), (-0.2, -0.1), "fine"),
        ((0.01, 0.2), (-0.02, 0.1), "none"),
        ((0.01, 0.2), (-0.2, -0.1), "none"),
        ((None, None, 2), (None, None, 2), "too few seeds"),
        ((None, None), (0.01, 0.2), "no intervals"),
    ],
)
def test_precedence_takes_both_effects_on_one_side(advantage, asymmetry, said):
    assert precedence(summary(*advantage), summary(*asymmetry)) == said


def test_pictures_are_a_sample_too_where_seeds_share_them_whatever_they_were_trained_on(
    monkeypatch,
):
    rng = np.random.default_rng(0)
    labels = {level: torch.from_numpy(rng.integers(0, 3, 40)) for level in LEVELS}
    answers = [
        {level: torch.from_numpy(rng.normal(size=(40, 3))) for level in LEVELS} for _ in range(3)
    ]
    monkeypatch.setattr(
        "analysis.sections.congruency.by_half", lambda seed: [("both", answers[seed.number])]
    )

    def width(*digests: str) -> float:
        """Of the interval of the advantage; each seed has loaded its test images, of a digest."""
        found, section = Findings(class_names=NAMES), Congruency()
        for number, digest in enumerate(digests):
            data = SimpleNamespace(
                test_names=lambda: [f"p{i}" for i in range(40)], test_digest=lambda one=digest: one
            )
            images = SimpleNamespace(class_names=NAMES, nested=False, data=data)
            study = SimpleNamespace(networks=lambda arm: {n: {str(n): 1.0} for n in range(3)})
            test = SimpleNamespace(labels=labels)
            seed = SimpleNamespace(
                number=number, arm="bilateral", images=images, study=study, test=test
            )
            section.compute(seed, found)
        low, high = found.values.get(ADVANTAGE, side="both", item="bilateral").interval
        return high - low

    same = shared_classes(NAMES, nested=False)
    scores = [effects(answered(one, labels, same), congruence(labels, same)) for one in answers]
    parts = [torch.stack([one.scores["advantage"][0] for one in scores]).mean(0).tolist()]
    low, high = student(with_images(estimate([one.advantage for one in scores]), parts))
    assert width("a", "a", "a") == pytest.approx(high - low)
    low, high = student(estimate([one.advantage for one in scores]))
    assert width("a", "b", "c") == pytest.approx(high - low)


def test_the_section_draws_each_task_and_kind_and_says_what_precedes():
    found = Findings(class_names=NAMES)
    for seed, half in itertools.product(range(3), HALVES):
        for level, kind in itertools.product(LEVELS, KINDS):
            for of, item in ((ACCURACY, f"bilateral: {kind}"), (INTRUSIONS, "bilateral")):
                found.values.add(of, 0.5, seed=seed, level=level, side=half, item=item)
            found.values.add(INTERFERENCE, 0.1, seed=seed, level=level, side=half, item="bilateral")
        for of in (ADVANTAGE, ASYMMETRY):
            value = 0.2 + 0.001 * seed
            found.values.add(of, value, seed=seed, side=half, item="bilateral")
    part = Congruency().render(found)
    assert "precedence of the coarse level" in " ".join(part.text)
    ((drawing, _),) = part.figures
    # A long name takes two lines.
    said = re.sub(r"<[^>]*>", " ", drawing)
    assert all(said.count(kind) >= len(LEVELS) for kind in KINDS)
    assert all(f"{level} task" in said for level in LEVELS)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, tiny):
    """A study of independent Navon figures by one command, to its report."""
    place = tmp_path_factory.mktemp("navon")
    figures = make_navon(train=300, test=200, independent=True)
    write_tree(figures, place / "NAVON", split_seed=0)
    quick = [*tiny, "dataset=navon_independent", f"dataset.root={place / 'NAVON'}"]
    with contextlib.redirect_stdout(io.StringIO()):
        study(*quick, f"save_dir={place}", num_seeds=1, arms=["bilateral"], exp_name="letters")
    return place / "letters"


@pytest.mark.slow
def test_a_study_of_navon_figures_has_the_experiment_in_its_report(experiment):
    assert not (experiment / "analysis" / "failure.txt").exists()
    page = (experiment / "report.html").read_text()
    (section,) = re.findall(r'(?s)<section aria-labelledby="congruency">.*?</section>', page)
    assert "advantage of the global level on conflicting pictures" in section
    assert "in the local task" in section
    assert "Whether that is precedence cannot be said" in section
    with (experiment / "analysis/trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # 200 figures, two tasks; the left, the right and both hemispheres.
    assert len(rows) == 200 * 2 * 3
    # What both say is what was tested, and what one says alone is in predictions.csv.gz too.
    right = [int(row["correct"]) for row in rows if (row["side"], row["task"]) == ("both", "fine")]
    with (experiment / "results.csv").open(newline="") as file:
        (tested,) = (
            float(row["accuracy"])
            for row in csv.DictReader(file)
            if (row["arm"], row["level"]) == ("bilateral", "fine")
        )
    assert np.mean(right) == pytest.approx(tested, abs=0.011)  # float32 against bfloat16
    congruent = [row for row in rows if row["congruent"] == "1"]
    assert len(congruent) == len(rows) / 10
    assert all(row["fine"] == row["coarse"] for row in congruent)
    assert all(row["figure"].startswith(f"{row['coarse']}_of_{row['fine']}_") for row in rows)
