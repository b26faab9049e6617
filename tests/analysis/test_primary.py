"""The primary contrast in a sentence: its numbers, its verdict by the study's margin, and how to add its control."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from analysis import study as studies
from analysis.report.primary import primary_contrast
from analysis.study import FinishedStage, FinishedStudy
from common.results.rows import Row
from common.settings.levels import LEVELS

BILATERAL = {"fine": [0.80, 0.82, 0.81, 0.83], "coarse": [0.9, 0.91, 0.9, 0.91]}
PAIR = {"fine": [0.82, 0.85, 0.84, 0.85], "coarse": [0.902, 0.911, 0.901, 0.912]}
COMMAND = ["train_system.py", "num_seeds=4", "arms=[bilateral]", "dataset.root=a b"]


def row(arm: str, level: str, seed: int, accuracy: float) -> Row:
    nothing = dict.fromkeys(Row.__dataclass_fields__)
    known = {"arm": arm, "level": level, "seed": seed, "seeds": str(seed), "accuracy": accuracy}
    return Row(**nothing | known)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A finished study of some arms, with the accuracies of each level by seed."""

    def make(arms: dict[str, dict[str, list[float]]], seeds: int = 4) -> FinishedStudy:
        rows = [
            row(arm, level, seed, accuracies[level][seed])
            for arm, accuracies in arms.items()
            for level in LEVELS
            for seed in range(seeds)
        ]
        monkeypatch.setattr(studies, "table_rows", lambda place: rows)
        stages = []
        for arm in arms:
            place = tmp_path / arm / "seed0"
            place.mkdir(parents=True)
            (place / "environment.yaml").write_text(yaml.safe_dump({"command": COMMAND}))
            stages.append(FinishedStage(arm, 0, place, {}))
        return FinishedStudy(tmp_path, stages)

    return make


def margin(place: Path, fraction: float) -> None:
    (place / "differences.csv").write_text(f"arm,margin\nfine,\nbilateral,{fraction}\n")


def test_difference_interval_p_and_verdict_are_those_of_a_paired_t_test(finished):
    said = primary_contrast(finished({"bilateral": BILATERAL, "unspecialised_pair": PAIR}))
    start = "Primary contrast, bilateral minus unspecialised_pair, test accuracy in points: "
    assert said is not None
    assert said.startswith(start)
    fine, coarse = said.removeprefix(start).removesuffix(".").split("; coarse labels ")
    ps = []
    for level, words in (("fine", fine), ("coarse", coarse)):
        apart = np.subtract(BILATERAL[level], PAIR[level])
        test = stats.ttest_1samp(apart, 0)
        low, high = test.confidence_interval()
        ends = " to ".join(f"{100 * end:+.2f}".replace("-", "−") for end in (low, high))
        assert f"{100 * apart.mean():+.2f}".replace("-", "−") in words
        assert f"(95 % interval {ends}; p, Holm" in words
        ps.append(test.pvalue)
    corrected = [min(1, 2 * min(ps))] * 2 if min(ps) * 2 > max(ps) else [2 * min(ps), max(ps)]
    for words, p in zip((fine, coarse), sorted(corrected), strict=True):
        assert f"p, Holm {p:.4f}" in words
    assert fine.endswith("*): differs")
    assert coarse.endswith("): the same within 0.5")


def test_the_verdict_is_by_the_margin_of_the_study(finished, tmp_path):
    margin(tmp_path, 0.001)
    said = primary_contrast(finished({"bilateral": BILATERAL, "unspecialised_pair": PAIR}))
    assert said is not None
    assert not said.endswith("the same within 0.5.")
    margin(tmp_path, 0.1)
    wider = primary_contrast(FinishedStudy(tmp_path, []))
    assert wider is not None
    assert wider.count("the same within 10") == 2


def test_two_seeds_have_a_difference_and_no_test(finished):
    said = primary_contrast(finished({"unspecialised_pair": PAIR, "bilateral": BILATERAL}, seeds=2))
    assert said is not None
    assert "fine labels −2.50 (an interval and a test take 3 seeds or more)" in said
    assert "Holm" not in said


def test_a_missing_control_is_added_by_the_studys_own_command(finished):
    said = primary_contrast(finished({"bilateral": BILATERAL, "fine": PAIR}))
    assert said == (
        "The primary contrast, bilateral minus unspecialised_pair, is missing; this adds it: python train_system.py "
        "num_seeds=4 'dataset.root=a b' 'arms=[bilateral,unspecialised_pair]'"
    )


def test_without_the_bilateral_network_there_is_no_contrast_to_name(finished):
    assert primary_contrast(finished({"fine": PAIR})) is None
