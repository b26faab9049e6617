"""What came out, in words: page, terminal and csv say the same, by the tables' tests, and never the impossible."""

import csv
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import yaml
from helpers import finish
from hypothesis import HealthCheck, given, settings
from scipy import stats

from analysis import study as studies
from analysis.report import forest
from analysis.report.answer import answer, say
from analysis.report.drawing import draw_network
from analysis.report.facts import repeated
from analysis.report.page import render
from analysis.report.questions import ask
from analysis.report.verdicts import BETTER, FEW, OPEN, SAME, WORSE, groups, lines
from analysis.section import Findings
from analysis.study import FinishedStage, FinishedStudy, open_study
from common.results.contrasts import LEVEL
from common.results.rows import Row
from common.results.tables import write_tables
from common.settings.levels import LEVELS
from common.system.atomic_files import write_yaml
from common.system.errors import UserError
from study.arms import (
    ARMS,
    CONNECTED,
    ONE_NETWORK,
    PRIMARY,
    REFERENCE,
    comparison,
    plain_name,
)

BILATERAL = {"fine": [0.80, 0.82, 0.81, 0.83], "coarse": [0.9, 0.91, 0.9, 0.91]}
PAIR = {"fine": [0.82, 0.85, 0.84, 0.85], "coarse": [0.902, 0.911, 0.901, 0.912]}
COMMAND = ["train_system.py", "num_seeds=4", "arms=[bilateral]", "dataset.root=a b"]


def row(arm: str, level: str, seed: int, accuracy: float, **other: object) -> Row:
    nothing = dict.fromkeys(Row.__dataclass_fields__)
    known = {"arm": arm, "level": level, "seed": seed, "seeds": str(seed), "accuracy": accuracy}
    return Row(**nothing | known | {"val_accuracy": 0.5} | other)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished study of some arms, with the accuracies of each level by seed."""

    def make(
        arms: dict[str, dict[str, list[float]]], seeds: int = 4, **config: object
    ) -> FinishedStudy:
        rows = [
            row(arm, level, seed, accuracies[level][seed])
            for arm, accuracies in arms.items()
            for level in accuracies
            for seed in range(seeds)
        ]
        monkeypatch.setattr(studies, "table_rows", lambda place: rows)
        stages = []
        for arm in arms:
            for seed in range(seeds):
                place = tmp_path / arm / f"seed{seed}"
                place.mkdir(parents=True)
                (place / "environment.yaml").write_text(yaml.safe_dump({"command": COMMAND}))
                (place / "config.yaml").write_text(yaml.safe_dump(config))
                result = {"test": True, "seconds": 1, "epochs": 2, "checkpoint": "best.ckpt"}
                stages.append(FinishedStage(arm, seed, place, result))
        return FinishedStudy(tmp_path, stages)

    return make


def here(study: FinishedStudy) -> str:
    """The words by which a command finds a study where it lies."""
    return f"""'exp_name="{study.place.name}"' 'save_dir="{study.place.parent}"'"""


def margin(place: Path, fraction: float) -> None:
    (place / "differences.csv").write_text(f"arm,margin\nfine,\nbilateral,{fraction}\n")


def points(number: float) -> str:
    return f"{100 * number:+.2f}".replace("-", "−")


def test_difference_interval_and_verdict_are_those_of_a_paired_t_test(finished):
    study = finished({PRIMARY: PAIR, REFERENCE: BILATERAL})
    (line,) = lines(study)
    for level in LEVELS:
        apart = np.subtract(BILATERAL[level], PAIR[level])
        low, high = stats.ttest_1samp(apart, 0).confidence_interval()
        said = line.verdicts[level]
        assert said.form == WORSE
        interval = f"{points(apart.mean())} points, 95 % interval {points(low)} to {points(high)}"
        assert said.numbers == interval
        assert interval in said.sentence
    assert line.verdicts["fine"].sentence.startswith(
        "worse than two unspecialised hemispheres on fine labels ("
    )
    # Both differ; on coarse labels equivalence is shown too.
    assert [line.verdicts[level].words for level in LEVELS] == [
        "worse",
        "worse by less than 0.5 points",
    ]


def test_a_difference_that_is_the_same_in_every_seed_says_why_it_has_no_interval(finished):
    lower = {level: [one - 0.1 for one in BILATERAL[level]] for level in LEVELS}
    (line,) = lines(finished({PRIMARY: lower, REFERENCE: BILATERAL}))
    assert line.verdicts["fine"].numbers == "+10.00 points, the same in every seed: no interval"


def test_differences_that_the_six_recorded_digits_alone_make_unequal_are_the_same(finished):
    thirds = {"fine": [0.333333, 0.666667, 1.0, 0.333333]}
    lower = {"fine": [0.0, 0.333333, 0.666667, 0.0]}
    (line,) = lines(finished({PRIMARY: lower, REFERENCE: thirds}))
    assert line.verdicts["fine"].numbers == "+33.33 points, the same in every seed: no interval"


def test_one_network_of_all_seeds_lacks_none_of_them(finished):
    study = finished({REFERENCE: BILATERAL, PRIMARY: PAIR})
    study.rows[:] = [
        replace(one, seeds="0+1+2+3") if one.arm == PRIMARY else one
        for one in study.rows
        if one.arm == REFERENCE or one.seed == 0
    ]
    (line,) = lines(study)
    said = line.verdicts["fine"].numbers
    assert " against " in said
    assert "both have" not in said


@pytest.mark.parametrize("order", [(REFERENCE, ONE_NETWORK), ("fine", REFERENCE)])
def test_better_is_the_reference_minus_the_other_however_the_table_orders_them(finished, order):
    (line,) = lines(finished({arm: PAIR if arm == REFERENCE else BILATERAL for arm in order}))
    assert line.verdicts["fine"].form == BETTER


def test_the_verdict_is_by_the_margin_of_the_study(finished, tmp_path):
    margin(tmp_path, 0.001)
    (line,) = lines(finished({REFERENCE: BILATERAL, PRIMARY: PAIR}))
    assert {one.form for one in line.verdicts.values()} == {WORSE}
    margin(tmp_path, 0.1)
    (line,) = lines(FinishedStudy(tmp_path, []))
    assert {one.words for one in line.verdicts.values()} == {"worse by less than 10 points"}


def test_an_interval_without_zero_that_the_correction_undoes_says_so(finished):
    near = [0.79, 0.81, 0.805, 0.81]
    # Not the same numbers thrice, which would be one test.
    others = {
        name: {"fine": [one - place / 1e4 for one in near]}
        for place, name in enumerate(("unilateral", "product", "ensemble"))
    }
    study = finished({REFERENCE: {"fine": BILATERAL["fine"]}, **others})
    tests = [stats.ttest_rel(BILATERAL["fine"], other["fine"]).pvalue for other in others.values()]
    assert max(tests) < LEVEL < 3 * min(tests)
    for line in lines(study):
        verdict = line.verdicts["fine"]
        assert verdict.form == OPEN
        why = (
            f"significant alone, but not after correction for 3 tests (p {verdict.row.p_holm:.4f})"
        )
        assert verdict.sentence.endswith(f"; {why})")
        assert why in visible(render(study, Findings(), seconds=1))
    page = unescape(render(study, Findings(), seconds=1))
    assert "for the number of tests: 3 tests with other arms" in page


def test_under_three_seeds_both_values_and_their_range_and_no_interval_anywhere(finished):
    fine = {"fine": PAIR["fine"]}
    study = finished({PRIMARY: PAIR, REFERENCE: BILATERAL, "fine": fine}, seeds=2)
    verdict = next(line for line in lines(study) if line.arm == PRIMARY).verdicts["fine"]
    assert verdict.form == FEW
    assert verdict.numbers == "81.00 % against 83.50 %; differences by seed −3.00 to −2.00"
    text = visible(render(study, Findings(), seconds=1)).replace("takes three seeds", "")
    assert "too few seeds to say" in text
    assert "95 %" not in text.split("What was run")[0]
    assert "80.00; 82.00" in text


def test_one_seed_has_two_values(finished):
    (line,) = lines(finished({PRIMARY: PAIR, REFERENCE: BILATERAL}, seeds=1))
    assert line.verdicts["fine"].numbers == "80.00 % against 82.00 %"


def test_missing_controls_are_added_by_the_studys_own_command(finished):
    study = finished({REFERENCE: BILATERAL, "fine": {"fine": PAIR["fine"]}})
    command = (
        f"python train_system.py num_seeds=4 'dataset.root=a b' {here(study)} "
        "'arms=[bilateral,unspecialised_pair,unilateral_wide]'"
    )
    last = say(study)[-1]
    assert last.startswith("No control of equal size")
    assert last.endswith(f"This adds them: {command}")
    page = unescape(render(study, Findings(), seconds=1))
    assert f"<code>{command}</code>" in page
    words = f"'arms=[bilateral]' 'dataset.root=a b' {here(study)} num_seeds=5"
    assert f"python train_system.py {words}" in page


def test_commands_that_add_write_a_report_and_add_the_seeds_that_lack_too(finished):
    study = finished({REFERENCE: BILATERAL}, seeds=2)
    words = ["train_system.py", "num_seeds=2", "analyse=false", "arms=[bilateral]"]
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": words}))
    page = unescape(render(study, Findings(), seconds=1))
    commands = re.findall("<code>(python train_system.py .*?)</code>", page)
    # The third one is the study's own.
    assert commands[:2] == [
        f"python train_system.py 'arms=[bilateral]' {here(study)} num_seeds=5",
        f"python train_system.py {here(study)} num_seeds=5 "
        "'arms=[bilateral,unspecialised_pair,unilateral_wide]'",
    ]


def test_the_command_that_adds_arms_keeps_those_that_its_keys_are_about(finished):
    study = finished({REFERENCE: BILATERAL, PRIMARY: PAIR, "decorrelated": PAIR})
    words = ["train_system.py", "num_seeds=4", "epochs.decorrelated=1"]
    words.append(f"arms=[{REFERENCE}, {PRIMARY}, decorrelated]")
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": words}))
    arms = f"arms=[{REFERENCE},{PRIMARY},decorrelated,{ONE_NETWORK}]"
    kept = f"num_seeds=4 epochs.decorrelated=1 {here(study)} '{arms}'"
    assert say(study)[-1].endswith(f"This adds it: python train_system.py {kept}")


def test_a_study_that_moved_or_began_afresh_is_added_to_where_it_lies(finished):
    study = finished({REFERENCE: BILATERAL}, seeds=3)
    words = ["train_system.py", "num_seeds=3", "fresh=true", "exp_name=old", "save_dir=/far/away"]
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": words}))
    page = unescape(render(study, Findings(), seconds=1))
    commands = re.findall("<code>(python train_system.py .*?)</code>", page)
    arms = "'arms=[bilateral,unspecialised_pair,unilateral_wide]'"
    assert commands[:2] == [
        f"python train_system.py {here(study)} num_seeds=5",
        f"python train_system.py num_seeds=3 {here(study)} {arms}",
    ]


def test_a_job_of_a_sweep_is_given_no_command_that_would_run_all_jobs_anew(finished):
    for option in ("--multirun", "-m"):
        study = finished({REFERENCE: BILATERAL}, seeds=3)
        words = ["train_system.py", option, "num_seeds=3", "hparams.lr=0.1,0.2"]
        for file in study.place.glob("*/*/environment.yaml"):
            file.write_text(yaml.safe_dump({"command": words}))
        page = unescape(render(study, Findings(), seconds=1))
        assert "This makes them" not in page
        assert say(study)[-1].endswith("; train_system.py compares them in a study of its own.")
        shutil.rmtree(study.place / REFERENCE)


def test_seeds_are_not_added_where_each_has_its_checkpoint_in_a_file(finished):
    study = finished({REFERENCE: BILATERAL}, seeds=2)
    words = ["train_system.py", "num_seeds=2", "trained_models=a.yaml"]
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": words}))
    page = unescape(render(study, Findings(), seconds=1))
    assert "num_seeds=5" not in page
    assert "num_seeds=2 trained_models=a.yaml" in say(study)[-1]


def test_what_is_planned_is_missing_and_no_other_command_adds_it(finished, tmp_path):
    arms = {"unilateral": PAIR}
    study = finished(arms)
    plan = ["unilateral/seed0", "bilateral/seed0", "unspecialised_pair/seed0", "unilateral/seed9"]
    write_yaml(tmp_path / "plan.yaml", [*plan, "unilateral_wide/seed0"])
    text = visible(render(study, Findings(), seconds=1))
    assert "No comparison with" not in text
    assert "4 stages of this study are missing: bilateral/seed0, unspecialised_pair/seed0, " in text
    assert "bilateral/seed0: there is no result" in text


def test_a_damaged_plan_is_one_sentence(finished, tmp_path):
    (tmp_path / "plan.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"plan.yaml is damaged: delete it, and run"):
        render(finished({REFERENCE: BILATERAL}), Findings(), seconds=1)


def test_the_command_bilateral_study_is_the_studys_own_command_too(finished):
    study = finished({REFERENCE: BILATERAL})
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": ["bilateral study", *COMMAND[1:]]}))
    page = unescape(render(study, Findings(), seconds=1))
    assert "<code>bilateral study num_seeds=4 'arms=[bilateral]' 'dataset.root=a b'</code>" in page
    arms = "arms=[bilateral,unspecialised_pair,unilateral_wide]"
    added = f"python train_system.py num_seeds=4 'dataset.root=a b' {here(study)} '{arms}'"
    assert say(study)[-1].endswith(added)


def test_hemispheres_alone_are_asked_for_the_bilateral_network_without_no_bilateral(finished):
    study = finished({"fine": PAIR})
    for file in study.place.glob("*/*/environment.yaml"):
        file.write_text(yaml.safe_dump({"command": [*COMMAND[:2], "no_bilateral=true"]}))
    arms = "arms=[bilateral,unspecialised_pair,unilateral_wide]"
    assert say(study)[-1].endswith(f": python train_system.py num_seeds=4 {here(study)} '{arms}'")


@pytest.mark.parametrize("arm", ["fine", REFERENCE])
def test_runs_of_trainer_py_are_given_no_command_that_would_train_otherwise(finished, arm):
    study = finished({arm: BILATERAL})
    for file in study.place.glob("*/*/environment.yaml"):
        words = ["arch_single_head/trainer.py", "dataset.root=../a", "hparams.lr=0.1"]
        file.write_text(yaml.safe_dump({"command": words}))
    last = say(study)[-1]
    assert last.endswith("; train_system.py compares them in a study of its own.")
    page = unescape(render(study, Findings(), seconds=1))
    assert last in page
    assert "python train_system.py" not in page


def test_an_extended_study_is_not_asked_for_fewer_seeds_than_it_has(finished):
    study = finished({REFERENCE: BILATERAL})
    for seed, number in enumerate((2, 2, 4, 4)):
        words = ["train_system.py", f"num_seeds={number}"]
        file = study.place / REFERENCE / f"seed{seed}/environment.yaml"
        file.write_text(yaml.safe_dump({"command": words}))
    assert "python train_system.py num_seeds=4 " in say(study)[-1]


@pytest.mark.parametrize(
    ("hparams", "arms"),
    [
        (
            {"farch": "resnet9", "fine_pretrained": None},
            "bilateral,unspecialised_pair,unilateral_wide",
        ),
        ({"farch": "torchvision:resnet18"}, "bilateral,unspecialised_pair"),
        ({"farch": "resnet9", "coarse_pretrained": "a.pt"}, "bilateral,unspecialised_pair"),
    ],
)
def test_a_wide_network_is_offered_where_there_can_be_one(finished, hparams, arms):
    study = finished({REFERENCE: BILATERAL, "fine": PAIR}, hparams=hparams)
    assert f"arms=[{arms}]" in say(study)[-1]


def test_a_run_with_other_comparisons_alone_ends_with_them(finished):
    study = finished({REFERENCE: BILATERAL, "unilateral": PAIR})
    text = "\n".join(say(study))
    assert "- worse than one hemisphere trained on both levels on fine labels (" in text
    assert "more comparison" not in text


def test_without_the_bilateral_network_there_is_nothing_to_compare_but_a_page(finished):
    study = finished({"unilateral": PAIR})
    assert ask(study).text == "How well did one hemisphere trained on both levels do?"
    said, more = say(study)
    assert said == f"{ask(study).text} {answer(study)}"
    assert answer(study) == (
        "84.00 % correct on fine labels, 90.65 % correct on coarse labels (mean of 4 seeds)."
    )
    assert more.startswith(
        "No comparison with bilateral: it and its controls are not in this study"
    )
    assert "unilateral head" not in (page := render(study, Findings(), seconds=1))
    assert ask(study).text in page


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"fine": 3, "coarse": 1}, ["fine labels (mean of 3 seeds)", "coarse labels (one seed)"]),
        ({"fine": 2, "coarse": 2}, ["coarse labels (mean of 2 seeds)"]),
    ],
)
def test_seeds_are_said_of_each_level_where_they_differ(finished, monkeypatch, numbers, said):
    study = finished({"fine": {"fine": PAIR["fine"]}, "coarse": {"coarse": PAIR["coarse"]}})
    rows = [one for one in study.rows if one.seed < numbers[one.level]]
    monkeypatch.setattr(studies, "table_rows", lambda place: rows)
    line = answer(FinishedStudy(study.place, study.stages))
    assert [words for words in said if words not in line] == [], line
    assert line.count("seed") == len(said)


def test_seeds_of_several_arms_of_a_level_are_said_from_the_fewest_to_the_most(
    finished, monkeypatch
):
    study = finished({"fine": {"fine": PAIR["fine"]}, "unilateral": {"fine": PAIR["fine"]}})
    rows = [one for one in study.rows if one.seed < 2 or one.arm == "fine"]
    monkeypatch.setattr(studies, "table_rows", lambda place: rows)
    assert answer(FinishedStudy(study.place, study.stages)).endswith("(means of 2 to 4 seeds).")


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ((ONE_NETWORK,), "better than one?"),
        ((PRIMARY,), "better than two unspecialised ones?"),
        ((PRIMARY, ONE_NETWORK), "better than two unspecialised ones?"),
        (("fine_mirrored",), "that suit their nature?"),
        (("callosal",), "when they are connected?"),
        # It has no right hemisphere without labels: what it can answer is the primary contrast.
        ((PRIMARY, "decorrelated"), "better than two unspecialised ones?"),
        ((PRIMARY, CONNECTED), "when they are connected?"),
    ],
)
def test_the_question_is_that_of_the_arms(finished, more, asked):
    study = finished(dict.fromkeys((REFERENCE, *more), PAIR))
    assert ask(study).text.endswith(asked)
    assert ask(study).text in render(study, Findings(), seconds=1)


# Each beside BILATERAL, of which it is the control: what the answer begins with, and what it says of each level.
CASES = {
    "better": ([-0.03, -0.02, -0.03, -0.02], [-0.02, -0.01, -0.02, -0.01]),
    "worse": ([0.03, 0.02, 0.03, 0.02], [0.02, 0.01, 0.02, 0.01]),
    "mixed": ([-0.03, -0.02, -0.03, -0.02], [0.02, 0.01, 0.02, 0.01]),
    "same": ([0.001, 0, -0.001, 0], [0.001, 0, 0.001, 0]),
    "better, but little": ([-0.002, -0.003, -0.002, -0.003], [0.001, 0, 0.001, 0]),
    "open": ([0.05, -0.05, 0.02, -0.03], [0.02, -0.02, 0.01, -0.01]),
    "open and same": ([0.05, -0.05, 0.02, -0.03], [0.001, 0, -0.001, 0]),
}
SAID = {
    "better": "Yes: on fine labels 2.50 points better; on coarse labels 1.50 points better.",
    "worse": "No: on fine labels 2.50 points worse; on coarse labels 1.50 points worse.",
    "mixed": "On fine labels yes: 2.50 points better. On coarse labels no: 1.50 points worse.",
    "same": "No: shown to be the same within 0.5 points on fine and coarse labels.",
    "better, but little": "On fine labels yes: 0.25 points better, but shown to be less than 0.5 points. "
    "On coarse labels no: shown to be the same within 0.5 points.",
    "open": "Not shown with 4 seeds: on fine labels {fine}; on coarse labels {coarse}.",
    "open and same": "On fine labels not shown with 4 seeds: {fine}. "
    "On coarse labels no: shown to be the same within 0.5 points.",
}


def control(case: str) -> dict[str, list[float]]:
    """The accuracies of a control by what it is above BILATERAL, seed by seed."""
    return {
        level: [one + more for one, more in zip(BILATERAL[level], apart, strict=True)]
        for level, apart in zip(LEVELS, CASES[case], strict=True)
    }


def left_open(apart: list[float]) -> str:
    low, high = stats.ttest_1samp(np.negative(apart), 0).confidence_interval()
    ends = f"{-100 * low:.2f} points worse to {100 * high:.2f} points better"
    return f"anything from {ends} (95 % interval)"


@pytest.mark.parametrize("case", CASES)
def test_one_line_answers_the_question_and_is_the_same_everywhere(finished, case):
    other = ONE_NETWORK if case == "better" else PRIMARY
    study = finished({REFERENCE: BILATERAL, other: control(case)})
    fine, coarse = map(left_open, CASES[case])
    assert answer(study) == SAID[case].format(fine=fine, coarse=coarse)
    assert say(study)[0] == f"{ask(study).text} {answer(study)}"
    head = visible(render(study, Findings(), seconds=1)).split("data set")[0]
    assert head.endswith(say(study)[0] + " ")


def test_the_answer_is_of_the_primary_contrast_whatever_the_others_show(finished):
    arms = {REFERENCE: BILATERAL, ONE_NETWORK: control("better"), PRIMARY: control("same")}
    assert answer(finished(arms)) == SAID["same"]


def test_a_difference_that_the_correction_undoes_is_not_shown(finished):
    pair = {"fine": [0.79, 0.81, 0.805, 0.81], "coarse": control("open")["coarse"]}
    p = stats.ttest_rel(BILATERAL["fine"], pair["fine"]).pvalue
    assert p < LEVEL < 2 * p
    said = answer(finished({REFERENCE: BILATERAL, PRIMARY: pair}))
    assert said.startswith(
        "Not shown with 4 seeds: on fine labels 1.12 points better, significant alone, but not after "
        "correction for 2 tests; on coarse labels anything from "
    )


@pytest.mark.parametrize("case", ["open", "better"])
def test_an_open_answer_says_how_many_seeds_would_decide_it(finished, case):
    study = finished({REFERENCE: BILATERAL, PRIMARY: control(case)})
    page = visible(render(study, Findings(), seconds=1))
    (line,) = groups(study)[0].lines
    for verdict in line.verdicts.values():
        needed = verdict.row.seeds_needed
        said = (
            f"With this spread a single test takes about {needed} seeds to show a difference of 0.5 points "
            "(80 % power), and more after correction for 2."
        )
        assert (said in page) == (case == "open")


@pytest.mark.parametrize("case", ["open", "better"])
def test_what_is_shown_of_coarse_heads_is_said_of_fine_heads_too(case, finished):
    study = finished({REFERENCE: BILATERAL, PRIMARY: control(case)})
    via = {REFERENCE: [0.7, 0.71, 0.72, 0.73], PRIMARY: [0.7, 0.72, 0.73, 0.72]}
    study.rows[:] = [
        replace(one, coarse_via_fine_sum=via[one.arm][one.seed]) if one.level == "fine" else one
        for one in study.rows
    ]
    low, high = stats.ttest_1samp(np.subtract(*via.values()), 0).confidence_interval()
    said = (
        "Where the fine heads of both give the coarse class it is −0.25 points, 95 % interval "
        f"{points(low)} to {points(high)}."
    )
    assert visible(render(study, Findings(), seconds=1)).count(said) == (case == "better")


def test_connected_hemispheres_are_compared_with_those_that_are_not(finished):
    connected = {
        level: [one + 0.02 + 0.001 * place for place, one in enumerate(BILATERAL[level])]
        for level in LEVELS
    }
    study = finished({REFERENCE: BILATERAL, CONNECTED: connected})
    assert answer(study) == "Yes: 2.15 points better on fine and coarse labels."
    (line,) = groups(study)[0].lines
    # Card and terminal say it in the direction of the question.
    assert line.arm == CONNECTED
    assert {one.form for one in line.verdicts.values()} == {BETTER}
    sentence = f"{plain_name(CONNECTED)}: better than {plain_name(REFERENCE)} on fine labels (+2.15"
    assert any(said.startswith(f"- {sentence}") for said in say(study))
    assert line.accuracies == "83.65 % and 92.65 %"
    assert [group.title for group in groups(study)] == ["The main comparison"]
    # The figure is of the two hemispheres minus each other network, as its title says.
    for svg, _ in forest.forests(study):
        (axes,) = svg.files.figure.axes
        (point,) = [line for line in axes.lines if line.get_marker() == "o"]
        assert point.get_xdata() == [pytest.approx(-2.15)]
        assert point.get_label() == f"_{plain_name(CONNECTED)}"


def test_a_comparison_of_the_seeds_that_both_have_says_how_many(tmp_path):
    for arm, seeds in {REFERENCE: (0, 2), PRIMARY: (0, 1)}.items():
        for seed in seeds:
            metrics = {"accuracy": 0.5 + seed / 10, "loss": 1.0}
            finish(tmp_path, arm, seed, {"parameters": 9}, fine=metrics)
    write_tables(tmp_path, comparison())
    (line,) = lines(open_study(tmp_path))
    said = line.verdicts["fine"].numbers
    assert said == "50.00 % against 50.00 %; of 1 seed that both have"


def test_a_hemisphere_without_labels_adds_no_column_to_the_comparisons(finished):
    without = {"rotation": {"rotation": [0.5] * 4}}
    page = render(
        finished({REFERENCE: BILATERAL, "unilateral_long": PAIR} | without), Findings(), seconds=1
    )
    assert "on fine labels: points" in page
    assert "on rotation labels" not in page


def test_few_seeds_answer_with_both_values(finished):
    study = finished({REFERENCE: BILATERAL, PRIMARY: PAIR}, seeds=2)
    assert answer(study) == (
        "Too few seeds to say: on fine labels 81.00 % against 83.50 %; "
        "on coarse labels 90.50 % against 90.65 %."
    )


def test_without_its_control_or_a_common_seed_a_question_is_not_answered(finished):
    alone = finished({REFERENCE: BILATERAL})
    assert (
        answer(alone) == "Not answered yet: this study has no test of one wide network of its size."
    )
    assert answer(alone) in visible(render(alone, Findings(), seconds=1))


def test_controls_stand_apart_and_before_the_rest(finished):
    arms = (
        REFERENCE,
        "fine",
        "product",
        "unilateral_long",
        "bilateral_nonspecialised",
        PRIMARY,
        ONE_NETWORK,
    )
    found = groups(finished(dict.fromkeys(arms, PAIR)))
    assert [[line.arm for line in group.lines] for group in found] == [
        [PRIMARY, ONE_NETWORK],
        ["unilateral_long", "bilateral_nonspecialised"],
        ["fine"],
        ["product"],
    ]
    marks = {line.arm: line.marks for group in found for line in group.lines}
    assert marks[ONE_NETWORK] == ("equal size", "equal training")
    assert marks[PRIMARY] == ("planned comparison", "equal size")
    assert marks["unilateral_long"] == ("equal training",)
    assert marks["product"] == ()


def test_a_control_that_is_equal_in_one_cost_alone_says_its_share_of_the_other(tmp_path):
    for arm, parameters in {REFERENCE: 100, ONE_NETWORK: 109, "unilateral_long": 50}.items():
        for seed in range(3):
            metrics = {"accuracy": 0.5 + seed / 10, "loss": 1.0}
            costs = {"parameters": parameters, "training": {"macs": 9, "images": 9, "updates": 9}}
            finish(tmp_path, arm, seed, costs, fine=metrics)
    write_tables(tmp_path, comparison())
    marks = {line.arm: line.marks for line in lines(open_study(tmp_path))}
    assert marks == {
        ONE_NETWORK: ("equal size", "equal training"),
        "unilateral_long": ("0.5 × its size", "equal training"),
    }


def test_a_debug_run_has_no_verdict(finished):
    study = finished(
        {REFERENCE: BILATERAL, PRIMARY: PAIR}, trainer_params={"limit_train_batches": 3}
    )
    assert say(study) == ["Debug run: no result."]
    page = render(study, Findings(), seconds=1)
    assert "<title>debug: no result" in page
    assert "Debug run: no result" in visible(page)
    assert "worse" not in visible(page).split("Results")[0]


def test_banners_say_what_makes_a_study_less_sure(finished, tmp_path):
    study = finished(
        {REFERENCE: BILATERAL, PRIMARY: PAIR}, dataset={"val_dir": "t", "test_dir": "t"}
    )
    file = tmp_path / "bilateral/seed0/environment.yaml"
    file.write_text(yaml.safe_dump({"command": COMMAND, "uncommitted_changes": True}))
    study.stages.pop(1)
    text = visible(render(study, Findings(), seconds=1))
    for words in (
        "chosen on these very test images",
        "4 seeds: intervals are wide",
        "1 stage of this study is missing: bilateral/seed1",
        "Uncommitted changes",
        "Not yet compared with one wide network of its size",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("changed", "told"),
    [((True, None), "yes"), ((False, False), "no"), ((False, None), "not recorded")],
)
def test_changes_that_nobody_looked_for_are_not_called_none(finished, tmp_path, changed, told):
    study = finished({REFERENCE: BILATERAL, PRIMARY: PAIR}, seeds=1)
    for stage, known in zip(study.stages, changed, strict=True):
        environment = {"command": COMMAND, "uncommitted_changes": known}
        (stage.place / "environment.yaml").write_text(yaml.safe_dump(environment))
    page = render(study, Findings(), seconds=1)
    assert f"<dt>uncommitted changes</dt><dd>{told}</dd>" in page
    assert ("Uncommitted changes:" in page) == (told == "yes")


def test_a_stage_without_a_result_was_begun_or_not(finished, tmp_path):
    study = finished({REFERENCE: BILATERAL, PRIMARY: PAIR}, dataset={"name": "NAVON"})
    study.stages.pop(1)
    assert "bilateral/seed1: begun, and in training or interrupted" in visible(
        render(study, Findings(), seconds=1)
    )
    (tmp_path / "bilateral/seed1/config.yaml").unlink()
    assert "bilateral/seed1: there is no result" in visible(render(study, Findings(), seconds=1))


def test_every_arm_has_a_name_of_its_own_in_sentences():
    names = [plain_name(arm) for arm in ARMS]
    assert len(set(names)) == len(names)
    assert plain_name("a_new_one") == "a new one"


def test_no_figure_calls_an_arm_by_its_key(finished):
    accuracies = dict.fromkeys(ARMS, PAIR) | {REFERENCE: BILATERAL}
    page = render(finished(accuracies, seeds=3), Findings(), seconds=1)
    drawn = visible(" ".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)))
    assert plain_name(ONE_NETWORK) in drawn
    keys = [arm for arm in ARMS if arm not in (*LEVELS, "product", "ensemble")]
    assert not re.findall(rf"\b(?:{'|'.join(keys)})\b", drawn)


def visible(page: str) -> str:
    """The text of a page that a reader sees."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def verdicts_of(page: str) -> dict[tuple[str, str], str]:
    """The text of each verdict of a page by arm and level."""
    begin = r'verdict \w+" data-arm="(\w+)" data-level="(\w+)">'
    end = r"(?:</div>|</p>\s*(?=<p class|</li>))"
    found = re.finditer(f"{begin}(.*?){end}", page, flags=re.DOTALL)
    return {(one[1], one[2]): visible(one[3]) for one in found}


def test_page_terminal_and_csv_agree_in_every_number_of_a_verdict(tmp_path):
    """Of a study on disk: seven arms, five seeds, all ends of the four forms."""
    drawn = np.random.default_rng(0)
    arms = {
        REFERENCE: 0.8,
        "fine": 0.7,
        "coarse": 0.9,
        PRIMARY: 0.8,
        ONE_NETWORK: 0.79,
        "product": 0.81,
    }
    for arm, accuracy in arms.items():
        for seed in range(5):
            own = [arm] if arm in LEVELS else LEVELS
            values = np.clip(drawn.normal(accuracy, 0.004, 2), 0, 1).tolist()
            metrics = {
                level: {"accuracy": v, "loss": 1.0} for level, v in zip(own, values, strict=False)
            }
            finish(tmp_path, arm, seed, {"parameters": 9}, **metrics)
    write_tables(tmp_path, comparison())
    study = open_study(tmp_path)
    whole, terminal = render(study, Findings(), seconds=1), say(study)
    page = verdicts_of(whole)
    assert f"{terminal[0]} data set" in visible(whole)
    with (tmp_path / "differences.csv").open(newline="") as text:
        rows = [one for one in csv.DictReader(text) if one["arm"] == REFERENCE]
    assert {(one["minus"], one["level"]) for one in rows} == set(page)
    forms = set()
    for one in rows:
        mean, low, high = (float(one[name]) for name in ("mean", "ci95_low", "ci95_high"))
        shown = page[one["minus"], one["level"]]
        assert points(mean) in shown
        assert f"{points(low)} to {points(high)}" in shown
        differs = "better" if mean > 0 else "worse"
        words = {"undecided": "not shown to differ", "differs": differs}
        word = words.get(one["verdict"], f"{one['verdict']} points")
        if one["minus"] == PRIMARY:
            check_answer(one, terminal[0])
        assert word in shown
        forms.add(word)
        if one["minus"] != "product":
            (line,) = [
                said
                for said in terminal
                if plain_name(one["minus"]) in said and f"on {one['level']} labels" in said
            ]
            assert line.startswith(f"- {word} ")
            assert f"{points(mean)} points, 95 % interval {points(low)} to {points(high)}" in line
    assert {"better", "not shown to differ"} <= forms
    assert "- 2 more comparisons: in the report." in terminal


def check_answer(row: dict[str, str], answered: str) -> None:
    """Hold the one-line answer against a row of differences.csv of the primary contrast."""
    mean, low, high = (100 * float(row[name]) for name in ("mean", "ci95_low", "ci95_high"))
    if row["verdict"] == "differs":
        said = f"{abs(mean):.2f} points {'better' if mean > 0 else 'worse'}"
    elif row["verdict"] == "undecided":
        said = f"anything from {-low:.2f} points worse to {high:.2f} points better"
    else:
        said = f"shown to be {row['verdict']} points"
    assert said in answered
    assert f"{row['level']} labels" in answered


def test_how_far_a_repetition_may_lie_is_told_by_the_spread_and_of_the_levels_own_names(
    finished, monkeypatch
):
    names = {"fine": "texture", "coarse": "shape"}
    monkeypatch.setattr(FinishedStudy, "level_names", names)
    said = repeated(finished({REFERENCE: BILATERAL, PRIMARY: PAIR}))
    for level, name in names.items():
        spread = np.std(BILATERAL[level], ddof=1)
        reach = 100 * stats.t.ppf(0.975, 3) * spread * np.sqrt(2 / 4)
        assert f"{reach:.2f} points on {name} labels" in said


def test_the_data_of_a_figure_hold_what_lies_beyond_its_scale(finished):
    """Of a study in which one arm is far behind."""
    near = {f: [0.79 + seed / 100 for seed in range(4)] for f in LEVELS}
    far = {"fine": [0.2, 0.3, 0.25, 0.28], "coarse": [0.2, 0.25, 0.3, 0.28]}
    arms = {
        REFERENCE: BILATERAL,
        PRIMARY: PAIR,
        ONE_NETWORK: near,
        "product": PAIR,
    } | dict.fromkeys(("unilateral", "bilateral_swapped_fine", "from_scratch"), near)
    study = finished(arms | {"unilateral_second": far})
    rows = [one if one.arm == REFERENCE else one.swapped() for one in study.differences]
    name = plain_name("unilateral_second")
    for level, (svg, _) in zip(LEVELS, forest.forests(study), strict=True):
        (row,) = [r for r in rows if (r.minus, r.level) == ("unilateral_second", level)]
        data = [*csv.DictReader(svg.files.data.splitlines())]
        drawn = {
            kind: [float(one["x"]) for one in data if one["series"] == kind]
            for kind in (name, f"95 % interval, {name}")
        }
        assert drawn[name] == pytest.approx([100 * row.mean])
        ends = [100 * row.ci95_low, 100 * row.ci95_high]
        assert drawn[f"95 % interval, {name}"] == pytest.approx(ends)
        assert f">{points(row.mean)}</text>" in svg  # is said where it cannot be drawn


# ------------------------------------------------------------- random tables

OTHERS = sorted(set(ARMS) - {REFERENCE})


@st.composite
def tables(draw) -> list[Row]:
    """Rows of a study: one to six seeds, any arms with holes, accuracies from 0 to 1, also at both ends and equal."""
    accuracy = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 0.5, 0.5001]))
    seeds = range(draw(st.integers(1, 6)))
    arms = draw(st.lists(st.sampled_from(OTHERS), max_size=3, unique=True))
    arms += [REFERENCE] * draw(st.sampled_from([1, 1, 1, 0]))
    found = []
    for arm in arms:
        single = ARMS[arm].folder == "single"
        own = [ARMS[arm].learns or ARMS[arm].specialities[0]] if single else LEVELS
        for seed in seeds:
            if draw(st.integers(0, 9)) == 0:
                continue  # a stage that is missing
            members = [(seed + ahead) % len(seeds) for ahead in range(ARMS[arm].mixes)]
            costs = {
                "parameters": draw(st.sampled_from([None, 10, 10**9])),
                "train_macs": draw(st.sampled_from([None, 10**12])),
                "seeds": "+".join(map(str, sorted(set(members)))),
            }
            found += [row(arm, level, seed, draw(accuracy), **costs) for level in own]
    return found


def check_rendered(rows: list[Row]) -> None:
    """Render a study of these rows, and look for what cannot be."""
    kept = list(dict.fromkeys((one.arm, one.seed) for one in rows))
    if not kept:
        return
    result = {"test": True, "seconds": 1, "epochs": 2, "checkpoint": "best.ckpt"}
    place = Path("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "table_rows", lambda place: rows)
        stages = [
            FinishedStage(arm, seed, place / arm / f"seed{seed}", result) for arm, seed in kept
        ]
        study = FinishedStudy(place, stages)
        page, terminal = render(study, Findings(), seconds=1), say(study)
        compared, answered = lines(study), answer(study)
    assert answered.endswith(".")
    assert answered in visible(page)
    assert answered in terminal[0]
    for text in (visible(page), " ".join(terminal)):
        assert not re.findall(r".{0,40}\b(?:nan|None|inf)\b", text)
        for share in re.findall(r"([−+-]?\d[\d,]*(?:\.\d+)?) %", text):
            assert 0 <= float(share.replace("−", "-").replace(",", "")) <= 100, share
        for low, high in re.findall(r"([−+]?\d+\.\d+) to ([−+]?\d+\.\d+)", text):
            low, high = (float(end.replace("−", "-")) for end in (low, high))
            assert -100 <= low <= high <= 100
    for line in compared:
        for verdict in line.verdicts.values():
            check_verdict(verdict)


def check_verdict(verdict) -> None:
    """Hold a verdict against the interval of its own row."""
    found, low, high = verdict.row, verdict.row.ci95_low, verdict.row.ci95_high
    if found.seeds < 3:
        assert verdict.form == FEW
        assert "interval" not in verdict.sentence
    elif verdict.form in (BETTER, WORSE):
        assert low > 0 if verdict.form == BETTER else high < 0
    elif verdict.form == SAME:
        assert abs(found.mean) < found.margin
        # The 90 % interval of two one-sided tests is within the margin, and narrower than this one.
        scale = stats.t.ppf(0.95, found.seeds - 1) / stats.t.ppf(0.975, found.seeds - 1)
        assert found.mean - scale * (found.mean - low) > -found.margin - 1e-9
        assert found.mean + scale * (high - found.mean) < found.margin + 1e-9
    else:
        assert verdict.form == OPEN
        assert low is None or low <= 0 <= high or found.p_holm >= LEVEL
        assert bool(verdict.note) == (low is not None and not low <= 0 <= high)


def random_tables(number: int):
    return settings(max_examples=number, suppress_health_check=[*HealthCheck])(
        given(tables())(check_rendered)
    )


def test_no_page_shows_what_cannot_be():
    random_tables(30)()


@pytest.mark.slow
def test_no_page_of_many_shows_what_cannot_be():
    random_tables(300)()


def test_the_drawing_says_how_the_hemispheres_differ_by_nature(finished):
    hparams = {
        "macro_arch": "bilateral",
        **{"ffreeze": True, "cfreeze": False, "farch": "resnet9", "carch": "vgg11"},
        **{"fine_k": 0.25, "fine_per_k": 0.8, "coarse_residual": False, "coarse_plasticity": 1.0},
        "coarse_pretrained": "/weights/of mine.pt",
    }
    right = {level: [0.5] * 4 for level in ("fine", "coarse")}
    drawn = visible(draw_network(finished({"bilateral": right}, hparams=hparams)))
    assert "fine labels resnet9 k=0.25, per_k=0.8 frozen" in drawn
    assert "coarse labels vgg11 residual=false, pretrained trained" in drawn
    alike = {name: value for name, value in hparams.items() if not name.startswith("fine_")}
    drawn = visible(draw_network(finished({"bilateral_finetuned": right}, hparams=alike)))
    assert "resnet9 frozen" in drawn
