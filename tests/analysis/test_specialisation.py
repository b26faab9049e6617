"""The measures of specialisation: by hand where that is possible, and of a small study from its files."""

import csv
import math
import re
import shutil
from collections import defaultdict
from itertools import product
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import one_hot

import analyse
import analysis.pipeline as pipeline
import arch_dual_head.trainer
import arch_single_head.trainer
import bilateral
import train_system
from analysis.logistic import Fits
from analysis.section import Findings
from analysis.sections.specialisation import Specialisation, sign_flips
from analysis.seed import FeatureSet, StudyImages
from analysis.specialisation.measures import (
    commonality,
    competence,
    dead,
    dissimilarity,
    dissociation,
    error_consistency,
    is_double,
    laterality,
    necessity,
    sign_flip_p,
)
from analysis.specialisation.page import competence_table
from analysis.specialisation.reading import Reading, read
from analysis.specialisation.rows import Index
from analysis.specialisation.seeds import Pair
from analysis.specialisation.tasks import chances, right
from analysis.specialisation.words import deaths, sentence, verdict
from analysis.study import open_study
from analysis.values import Values
from common.data.datamodule import load_folder_once
from common.data.image_set import ImageSet
from common.system.errors import UserError
from common.training import probe_features
from common.training.probe_features import SavedFeatures

KAPPA = st.floats(0.1, 1)

# ---------------------------------------------------------------- definitions


def test_competence_is_nothing_at_chance_and_one_at_perfection():
    assert competence(0.2, 0.2) == 0
    assert competence(1, 0.2) == 1
    assert competence(0.6, 0.2) == pytest.approx(0.5)
    assert competence(0.1, 0.2) == pytest.approx(-0.125)


def test_a_hemisphere_below_a_tenth_is_dead():
    assert dead(0.9, 0.099)
    assert dead(-0.2, 0.9)
    assert not dead(0.1, 0.9)
    assert dead(math.nan, 0.9)


def test_laterality_by_hand():
    assert laterality(0.999, 0.230) == pytest.approx(0.769 / 1.229)
    assert laterality(0.885, 0.895) == pytest.approx(-0.01 / 1.78)


def test_what_one_hemisphere_alone_knows_is_all_its_own():
    """However little the other one knows, also where it is worse than guessing."""
    assert laterality(0.9, 0.0) == 1
    assert laterality(0.9, -0.02) == 1
    assert laterality(-0.02, 0.9) == -1
    assert math.isnan(laterality(0.05, -0.04))
    assert math.isnan(laterality(0.0, 0.0))


@given(KAPPA, KAPPA, KAPPA)
def test_indices_turn_round_with_the_sides_and_parts_add_up(left, right, both):
    assert -1 <= laterality(left, right) <= 1
    assert laterality(left, right) == pytest.approx(-laterality(right, left))
    ours, turned = commonality(left, right, both), commonality(right, left, both)
    assert (ours.left, ours.right) == (turned.right, turned.left)
    assert sum(ours) == pytest.approx(both)
    assert dissociation((left, right), (left, right)).double == 0


def test_dissociation_by_hand():
    """Numbers of a specialised pair and of a perfect one."""
    found = dissociation((0.999, 0.230), (0.885, 0.895))
    assert found.within == pytest.approx(0.769)
    assert found.coarse == pytest.approx(-0.010)
    assert found.double == pytest.approx(0.3895)
    assert dissociation((1, 0), (0, 1)).double == 1


@pytest.mark.parametrize(
    ("within", "coarse", "double"),
    [
        ((0.1, 0.3), (-0.3, -0.1), True),
        ((-0.3, -0.1), (0.1, 0.3), True),
        ((0.1, 0.3), (0.1, 0.3), False),
        ((0.1, 0.3), (-0.3, 0.1), False),
        ((-0.1, 0.3), (-0.3, -0.1), False),
    ],
)
def test_double_takes_opposite_signs_and_both_intervals(within, coarse, double):
    assert is_double(within, coarse) == double


def test_commonality_by_hand():
    parts = commonality(0.8, 0.5, 0.9)
    assert parts == pytest.approx((0.4, 0.1, 0.4))


def test_necessity_by_hand():
    assert necessity(0.9, 0.5, 0.1) == pytest.approx(0.5)
    assert necessity(0.9, 0.9, 0.1) == 0
    assert math.isnan(necessity(0.15, 0.1, 0.1))
    # Of necessities the sign may differ: without the right one the network is better.
    assert laterality(0.6, 0.2) == pytest.approx(0.5)
    assert laterality(0.6, -0.2) == 1


def test_hemispheres_as_alike_as_two_of_a_kind_are_not_dissimilar():
    assert dissimilarity(0.5, 0.5, 0.5) == 0
    assert dissimilarity(0.3, 0.9, 0.4) == pytest.approx(1 - 0.3 / 0.6)
    assert math.isnan(dissimilarity(0.3, -0.1, 0.4))


def test_error_consistency_by_hand():
    one = torch.tensor([True, True, False, False])
    assert error_consistency(one, one) == 1
    assert error_consistency(one, ~one) == -1
    assert error_consistency(one, torch.tensor([True, False, True, False])) == 0
    # Accuracies 3/4 and 1/2; equal in 3 of 4; by chance 3/8 + 1/8.
    assert error_consistency(torch.tensor([True, True, True, False]), one) == pytest.approx(0.5)
    assert math.isnan(error_consistency(torch.ones(4).bool(), torch.ones(4).bool()))


def test_the_test_by_sign_flips_counts_all_signs():
    numbers = [0.3, 0.2, -0.1, 0.4, 0.25, 0.35]
    sums = [
        sum(s * x for s, x in zip(signs, numbers, strict=True))
        for signs in product((1, -1), repeat=6)
    ]
    expected = sum(abs(one) >= sum(numbers) - 1e-12 for one in sums) / len(sums)
    assert sign_flip_p(numbers) == pytest.approx(expected)
    assert sign_flip_p([0.1] * 6) == pytest.approx(2 / 64)
    assert math.isnan(sign_flip_p([0.1] * 5))


def test_sign_flips_are_of_signed_measures_of_one_arm_and_task():
    def of(measure: str, arm: str, seeds: int) -> list[Index]:
        return [Index(arm, seed, None, measure, "coarse", "", 0.1) for seed in range(seeds)]

    found = sign_flips(
        [*of("laterality", "a", 6), *of("laterality", "b", 5), *of("shared", "a", 6)]
    )
    assert [(one.arm, one.seed, one.measure) for one in found] == [
        ("a", None, "laterality, p of sign flips")
    ]


def test_tasks_by_hand():
    """Three fine classes, the first two of one coarse class."""
    parents = torch.tensor([0, 0, 1])
    labels = {"fine": torch.tensor([0, 1, 2, 1]), "coarse": torch.tensor([0, 0, 1, 0])}
    logits = {
        "fine": torch.tensor([[1.0, 0, 9], [1, 0, 9], [5, 4, -9], [0, 1, 9]]),
        "coarse": torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]]),
    }
    found = right(logits, labels, parents)
    assert found["within_coarse"].tolist() == [True, False, True, True]
    assert found["coarse"].tolist() == [True, False, True, False]
    # Of the three of the first coarse class, two are of fine class 1; the other one has a single fine class.
    assert chances(labels, parents) == {"within_coarse": 3 / 4, "coarse": 3 / 4}
    alone = labels | {"coarse": labels["fine"]}
    assert [*chances(alone, torch.tensor([0, 1, 2]))] == ["coarse"]


@pytest.mark.parametrize("shares", [[1] * 6, [10, 4, 2, 1, 2, 1]])
def test_a_hemisphere_that_knows_nothing_has_no_competence_however_uneven_the_classes(shares):
    """The left one knows the fine class within the coarse one, the right one the coarse class."""
    random = torch.Generator().manual_seed(0)
    parents = torch.tensor([0, 0, 1, 1, 2, 2])

    def drawn(images: int) -> FeatureSet:
        fine = torch.multinomial(torch.tensor(shares).float(), images, True, generator=random)
        left, right = torch.randn(2, images, 8, generator=random)
        left[:, 0] += 6 * (fine % 2)
        right[:, :3] += 6 * one_hot(parents[fine])
        return FeatureSet({"left": left, "right": right}, {"fine": fine, "coarse": parents[fine]})

    scored = drawn(1500)
    images = StudyImages(
        SimpleNamespace(
            classes={
                level: SimpleNamespace(names=[*map(str, range(number))])
                for level, number in (("fine", 6), ("coarse", 3))
            },
            coarse_of_fine=parents.tolist(),
        ),
        ImageSet(torch.zeros(1500, 3, 1, 1), scored.labels, torch.arange(1500)),
    )
    found = read(
        "arm", 0, None, images, Fits(), train=drawn(1500), validation=drawn(500), scored=scored
    )
    for task, knows, not_ in (("within_coarse", "left", "right"), ("coarse", "right", "left")):
        assert found.kappa(knows, task) > 0.95
        assert abs(found.kappa(not_, task)) < 0.06
    (double,) = [one.value for one in found.indices() if one.measure == "double dissociation"]
    assert double > 0.9


# ---------------------------------------------------------------- words


def competences(kappas: dict[tuple[str, str], list[float]]) -> Values:
    values = Values()
    for (task, side), numbers in kappas.items():
        for seed, number in enumerate(numbers):
            values.add("competence", number, level=task, side=side, item="arm", seed=seed)
    return values


def test_a_dead_hemisphere_is_said_with_its_seeds():
    values = competences(
        {("coarse", "left"): [0.8, 0.9, 0.7], ("coarse", "right"): [0.05, 0.5, 0.02]}
    )
    said = deaths(values, "arm")
    assert (
        "the right hemisphere is dead on the coarse class (competence at most 0.050, seeds 0, 2)"
        in said
    )
    assert "left" not in said
    alive = competences({("within_coarse", "left"): [0.8], ("within_coarse", "right"): [0.5]})
    assert verdict(alive, "arm") == "one task"  # of a set with one coarse class
    assert deaths(competences({("coarse", "left"): [0.8]}), "arm") == ""


def test_a_number_of_fewer_seeds_than_those_beside_it_says_so():
    values = competences({("coarse", "left"): [0.8, 0.05], ("coarse", "right"): [0.4, 0.5]})
    values.add("laterality", 1 / 3, level="coarse", item="arm", seed=0)
    assert "(laterality +0.33 in 1 of 2 seeds)" in sentence(values, "arm")
    (row,) = competence_table(values, ["arm"]).rows
    assert row[5].text == "+0.33 (1)"
    values.add("laterality", -1 / 3, level="coarse", item="arm", seed=1)
    assert "(laterality 0.00)" in sentence(values, "arm")
    (row,) = competence_table(values, ["arm"]).rows
    assert row[5].text == "0.00"


@pytest.mark.parametrize(
    ("within", "coarse", "said"),
    [
        ([0.5, 0.55, 0.52], [-0.2, -0.22, -0.25], "double"),
        ([0.5, 0.55, 0.52], [-0.2, 0.22, 0.05], "single"),
        # One is shown and the other is not, but the second may be as large as the first.
        ([0.3, 0.32, 0.31], [0.1, 0.5, 0.3], "one shown"),
        ([0.5, 0.5, 0.5], [-0.2, 0.22, 0.05], "no intervals"),
        ([0.5, -0.5, 0.1], [-0.2, 0.22, 0.05], "none shown"),
        ([0.5, 0.55, 0.52], [0.2, 0.22, 0.25], "more at one"),
        ([0.5, 0.55, 0.52], [0.45, 0.55, 0.54], "one better"),
        ([0.5, 0.55], [-0.2, -0.22], "too few seeds"),
    ],
)
def test_a_verdict_follows_from_the_intervals_of_both_simple_effects_and_of_d(within, coarse, said):
    values = Values()
    for seed, effects in enumerate(zip(within, coarse, strict=True)):
        for task, number in zip(("within_coarse", "coarse"), effects, strict=True):
            values.add("simple effect", number, level=task, item="arm", seed=seed)
        values.add("double dissociation", (effects[0] - effects[1]) / 2, item="arm", seed=seed)
    assert verdict(values, "arm") == said


def seeds_of_an_arm(kappas: dict[int, tuple[float, float]], weights: list[str]) -> Specialisation:
    """The section with an arm whose hemispheres have these competences (left, right) on the fine task by seed.

    On the coarse one the right hemisphere knows what the left one knows on the fine one, and the other way round.
    ``weights`` are a letter for each hemisphere, left and right of each seed.
    """
    section = Specialisation()
    for seed, (one, other) in kappas.items():
        knows = {
            "left": {"fine": one, "coarse": other},
            "right": {"fine": other, "coarse": one},
            "both": {"fine": max(one, other), "coarse": max(one, other)},
        }
        answers = {
            half: {task: torch.arange(1000) < round(1000 * kappa) for task, kappa in tasks.items()}
            for half, tasks in knows.items()
        }
        reading = Reading("arm", seed, None, answers, {"fine": 0.0, "coarse": 0.0}, {}, ())
        section.competences += reading.competences()
        section.indices += reading.indices()
        grams = dict.fromkeys(("left", "right"), torch.eye(4))
        pair = Pair(None, reading, grams, dict(zip(("left", "right"), weights[seed], strict=True)))
        section.pairs.setdefault("arm", {})[seed] = pair
        section.networks["arm"] = {
            seed: dict.fromkeys(letters, 1) for seed, letters in enumerate(weights)
        }
    return section


def test_hemispheres_that_know_nothing_of_each_others_task_are_a_double_dissociation():
    """The strongest there is: each is dead on the other's task."""
    section, found = (
        seeds_of_an_arm({0: (0.9, 0.02), 1: (0.8, 0.0), 2: (0.85, 0.04)}, ["ab", "cd", "ef"]),
        Findings(),
    )
    section.finish(found)
    assert verdict(found.values, "arm") == "double"
    assert found.values.get("double dissociation", item="arm").mean == pytest.approx(0.83)
    assert found.values.get("laterality", "fine", item="arm").seeds == 3
    assert found.values.get("unique", "fine", "left", "arm").mean == pytest.approx(0.83)
    said = f"{deaths(found.values, 'arm')} {sentence(found.values, 'arm')}"
    assert (
        "the left hemisphere is dead on the coarse class (competence at most 0.040, seeds 0, 1, 2)"
        in said
    )
    assert "each hemisphere is better at one task" in said


@pytest.mark.parametrize(
    ("weights", "said"), [(["ab", "bc", "ca"], "same networks"), (["ab", "bc", "cd"], "double")]
)
def test_sides_that_are_the_same_networks_over_all_seeds_are_not_compared(weights, said):
    """Whatever the networks, their differences would add up to 0."""
    section, found = (
        seeds_of_an_arm({0: (0.9, 0.2), 1: (0.8, 0.2), 2: (0.85, 0.3)}, weights),
        Findings(),
    )
    section.finish(found)
    assert verdict(found.values, "arm") == said
    assert (found.values.get("laterality", "fine", item="arm") is None) == (said != "double")
    assert found.values.get("unique", "fine", "left", "arm").seeds == 3
    # One by one they stay in the file.
    _, rows = found.tables["specialisation_indices"]
    assert sum(row.measure == "double dissociation" for row in rows) == 3


# ---------------------------------------------------------------- a small study


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


@pytest.fixture(scope="module")
def small(tiny, succeed, tmp_path_factory) -> SimpleNamespace:
    """Two seeds of a specialised pair and of one trained together, whose stages can afford a few images' features."""
    folder = tmp_path_factory.mktemp("specialised")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_features, "FEWEST", 1)
        patch.setattr(probe_features, "SHARE", 1.0)
        patch.setattr(pipeline, "save_figures", lambda *_: None)  # which takes longer than all else
        options = ["num_seeds=2", "arms=[bilateral,bilateral_nonspecialised]"]
        succeed(train_system.main, *tiny, f"save_dir={folder}", "exp_name=study", *options)
    place = folder / "study"
    return SimpleNamespace(
        place=place,
        rows=rows_of(place / "analysis/specialisation.csv"),
        indices=rows_of(place / "analysis/specialisation_indices.csv"),
        values=rows_of(place / "analysis/values.csv"),
        html=(place / "report.html").read_text(),
    )


ARMS = ("bilateral", "bilateral_nonspecialised")


def test_every_arm_with_two_hemispheres_is_measured_at_each_saved_epoch(small):
    found = defaultdict(set)
    for row in small.rows:
        found[row["arm"], row["seed"], row["epoch"]].add((row["task"], row["side"]))
    assert set(found) == {
        (arm, seed, epoch) for arm in ARMS for seed in "01" for epoch in ("1", "2", "")
    }
    all_of_them = set(product(("within_coarse", "coarse"), ("left", "right", "both")))
    assert all(measured == all_of_them for measured in found.values())


def test_indices_are_those_of_the_competences(small):
    kappas = defaultdict(dict)
    for row in small.rows:
        chance = {"coarse": 1 / 20, "within_coarse": 1 / 5}[row["task"]]
        kappa = (float(row["accuracy"]) - chance) / (1 - chance)
        assert float(row["kappa"]) == pytest.approx(kappa, abs=1e-9)
        kappas[row["arm"], row["seed"], row["epoch"], row["task"]][row["side"]] = kappa
    found = {
        tuple(row[n] for n in ("arm", "seed", "epoch", "task", "measure", "side")): float(
            row["value"]
        )
        for row in small.indices
    }
    for key, one in kappas.items():
        left, right, both = one["left"], one["right"], one["both"]
        if abs(left) + abs(right) < 0.1:
            assert (*key, "laterality", "") not in found
        else:
            index = (left - right) / (abs(left) + abs(right))
            assert found[(*key, "laterality", "")] == pytest.approx(index)
        assert found[(*key, "unique", "left")] == pytest.approx(both - right)
        assert found[(*key, "shared", "")] == pytest.approx(left + right - both)


def test_values_hold_what_is_of_trained_networks(small):
    values = {
        (row["of"], row["level"], row["side"], row["item"], row["seed"]): row["value"]
        for row in small.values
    }
    for row in small.rows:
        if row["epoch"] == "":
            key = ("competence", row["task"], row["side"], row["arm"], row["seed"])
            assert values[key] == row["kappa"]
    for index in small.indices:
        if index["epoch"] == "" and index["seed"]:
            key = (*(index[n] for n in ("measure", "task", "side", "arm")), index["seed"])
            assert values[key] == index["value"]


def test_analyses_of_one_arm_are_of_the_reference(small):
    """Further arms with two hemispheres change no number of the bilateral network."""
    of_lesions = [row for row in small.values if row["of"] == "accuracy with a share silenced"]
    assert len(of_lesions) == 2 * 2 * 2 * 11
    seen = {
        (row["level"], row["side"], row["item"], row["seed"]): row["value"] for row in of_lesions
    }
    for seed, level in product("01", ("fine", "coarse")):
        result = yaml.safe_load((small.place / f"bilateral/seed{seed}/result.yaml").read_text())
        unhurt = float(seen[level, "left", "0.0", seed])
        assert unhurt == pytest.approx(result["test"][level]["accuracy"], abs=1e-6)


def test_the_page_shows_the_course_and_says_who_is_dead(small):
    assert 'id="specialisation"' in small.html
    assert 'aria-label="Competence over training, two specialised hemispheres"' in small.html
    dying = {
        (row["arm"], row["side"])
        for row in small.rows
        if row["epoch"] == "" and row["side"] != "both" and float(row["kappa"]) < 0.1
    }
    assert dying
    for arm, side in dying:
        assert re.search(f"In {arm}, [^<]*the {side} hemisphere is dead on", small.html)


def test_half_of_a_pair_that_learned_together_is_no_unspecialised_hemisphere(small):
    assert "similarity to an unspecialised hemisphere" in small.html
    assert "add unilateral." in small.html


@pytest.mark.slow
def test_python_gives_the_same_numbers(small, tmp_path):
    found = bilateral.specialisation(small.place)
    assert [str(row.kappa) for row in found.competences] == [row["kappa"] for row in small.rows]
    assert [str(row.value) for row in found.indices] == [row["value"] for row in small.indices]


def test_a_run_of_two_hemispheres_alone_is_measured(
    tiny, succeed, tmp_path, in_process, monkeypatch
):
    """By trainer.py, of hemispheres that differ by nature, with nothing saved of their course."""
    options = ["--config-name", "asymmetry_width", f"save_dir={tmp_path}", "exp_name=alone"]
    monkeypatch.setattr(pipeline, "save_figures", lambda *_: None)
    succeed(arch_dual_head.trainer.main, *options, *tiny)
    status, out, err = in_process(analyse.main, f"run={tmp_path / 'alone'}")
    assert status == 0, out + err
    rows = rows_of(tmp_path / "alone/analysis/specialisation.csv")
    assert {(row["epoch"], row["side"]) for row in rows} == {
        ("", s) for s in ("left", "right", "both")
    }
    page = (tmp_path / "alone/report.html").read_text()
    assert "Left out: the course of specialisation over the training of bilateral" in page


@pytest.mark.slow
def test_arms_without_a_reference_are_measured(small, tmp_path, in_process):
    """The other analyses then are about the first arm with two hemispheres."""
    place = tmp_path / "study"
    place.mkdir()
    (place / "bilateral_nonspecialised").symlink_to(small.place / "bilateral_nonspecialised")
    status, out, err = in_process(analyse.main, f"run={place}")
    assert status == 0, out + err
    before = [row for row in small.rows if row["arm"] == "bilateral_nonspecialised"]
    assert rows_of(place / "analysis/specialisation.csv") == before
    assert (
        "the bilateral network below is bilateral_nonspecialised"
        in (place / "report.html").read_text()
    )
    values = rows_of(place / "analysis/values.csv")
    assert "accuracy with a share silenced" in {row["of"] for row in values}
    # No network alone had one of its hemispheres.
    assert "images in a case" not in {row["of"] for row in values}


@pytest.mark.slow
@pytest.mark.parametrize("harm", [b"", b"damaged"], ids=["empty", "damaged"])
def test_features_that_cannot_be_read_cost_their_epoch_alone(small, tmp_path, harm):
    place = tmp_path / "study"
    shutil.copytree(small.place, place)
    file = place / "coarse/seed0/features/epoch0001.npz"
    held = dict(np.load(file))
    np.savez(file, **held | {"fingerprint": np.array("another")})
    other = place / "fine/seed1/features/epoch0001.npz"
    other.write_bytes(harm)
    section = Specialisation()
    found = pipeline.examine(open_study(place), [section], events=False)
    assert {row.epoch for row in section.competences if row.arm == "bilateral"} == {2, None}
    for seed, unread in enumerate((file, other)):
        assert (
            f"epoch 1 of the course of specialisation of bilateral with seed {seed}; {unread} is damaged, or of an "
            "earlier run."
        ) in found.left_out


def test_dissimilarity_is_between_seeds(small):
    found = [row for row in small.indices if row["measure"] == "dissimilarity"]
    assert {(row["arm"], row["seed"]) for row in found} == set(product(ARMS, "01"))


def test_a_feature_set_of_both_is_side_by_side():
    one = FeatureSet({"left": torch.zeros(2, 1), "right": torch.ones(2, 2)}, {})
    assert one.of("both").tolist() == [[0, 1, 1], [0, 1, 1]]
    assert mean(one.of("right").flatten().tolist()) == 1


@pytest.mark.slow
def test_the_course_takes_the_images_that_both_hemispheres_saved(
    tiny, succeed, tmp_path, monkeypatch
):
    """The right one saved some of the validation images, in an order of its own, the left one all of them."""
    monkeypatch.setattr(probe_features, "FEWEST", 1)
    options = [*tiny, f"save_dir={tmp_path}", "exp_name=run"]
    paths = []
    for level in ("fine", "coarse"):
        succeed(arch_single_head.trainer.main, *options, f"hparams.mode={level}")
        best = tmp_path / f"run/{level}/seed0/checkpoints/best.ckpt"
        paths.append(f"hparams.model_path_{level}={best}")
    some = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:48]
    for file in (tmp_path / "run/coarse/seed0/features").iterdir():
        saved = SavedFeatures.read(file)
        (side,) = saved.features["validation"]
        features = {"validation": {side: saved.features["validation"][side][some].half()}}
        features["train"] = {side: saved.features["train"][side].half()}
        SavedFeatures(saved.fingerprint, {**saved.places, "validation": some}, features).write(file)
    succeed(arch_dual_head.trainer.main, *options, *paths)
    found = bilateral.specialisation(tmp_path / "run").competences
    assert {row.epoch for row in found} == {1, 2, None}
    shares = {row.accuracy * 48 for row in found if row.epoch is not None}
    assert all(share == pytest.approx(round(share)) for share in shares)
    # The same of images that have moved.
    (root,) = (Path(word.partition("=")[2]) for word in tiny if word.startswith("dataset.root="))
    moved = root.rename(tmp_path / "MOVED")
    load_folder_once.cache_clear()
    try:
        with pytest.raises(UserError):
            bilateral.specialisation(tmp_path / "run")
        assert bilateral.specialisation(tmp_path / "run", root=moved).competences == found
    finally:
        moved.rename(root)
        load_folder_once.cache_clear()


def test_why_there_is_nothing_to_measure_is_said(small_study, checkpoints, tmp_path):
    place = tmp_path / "one"
    shutil.copytree(small_study.place, place)
    shutil.rmtree(place / "bilateral")
    with pytest.raises(UserError, match=r"two hemispheres.* it has fine, coarse: train the arm"):
        bilateral.specialisation(place)
    untested = tmp_path / "untested"
    shutil.copytree(checkpoints["bilateral"].parents[3], untested)
    for arm in ("unilateral", "ensemble"):  # which were tested
        shutil.rmtree(untested / arm)
    with pytest.raises(UserError, match=r"could be measured: .*nothing was tested \(evaluate=fa"):
        bilateral.specialisation(untested)
