"""Networks of several seeds that build on one checkpoint, and studies some of whose checkpoints are gone."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers import altered

import arch_dual_head.trainer
from analysis.pipeline import examine
from analysis.sections.agreement import Agreement
from analysis.study import open_study
from common.checkpoints.files import read
from common.runs.description import Stage
from common.runs.pairing import set_other_pairing_aside
from common.runs.prepare import made_of


def parent(seed: int, *seeds: int) -> SimpleNamespace:
    return SimpleNamespace(seed=seed, seeds=[*seeds])


@pytest.mark.parametrize(
    ("planned", "parents", "expected"),
    [
        ((), [], (1,)),
        ((1,), [parent(1, 1), parent(1)], (1,)),
        ((1,), [parent(0), parent(1)], (1, 0)),
        ((1,), [parent(0, 0, 4)], (1, 0, 4)),
        ((1, 2), [parent(1), parent(2)], (1, 2)),
        ((2, 0), [parent(7), parent(8), parent(7)], (2, 0, 7, 8)),
    ],
)
def test_a_stage_is_made_of_its_own_seeds_and_of_those_of_its_checkpoints(
    planned, parents, expected
):
    stage = Stage(arm="a", seed=1, folder="", config=None, seeds=planned)
    assert made_of(stage, parents) == expected


@pytest.mark.parametrize(
    ("earlier", "kept"), [([1, 2], True), ([1, 2, 7], True), ([1, 0], False), ([1], False)]
)
def test_seeds_of_given_checkpoints_make_no_other_pairing(tmp_path, earlier, kept):
    config = SimpleNamespace(save_dir=str(tmp_path), exp_name="e")
    stage = Stage(arm="a", seed=1, folder="", config=config, seeds=(1, 2))
    stage.place.mkdir(parents=True)
    (stage.place / "environment.yaml").write_text(yaml.safe_dump({"seeds": earlier}))
    set_other_pairing_aside(stage)
    assert stage.place.is_dir() == kept


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


@pytest.mark.slow
def test_seeds_that_share_a_hemisphere_have_no_interval(checkpoints, tiny, succeed, tmp_path):
    dual = arch_dual_head.trainer.main
    options = [*tiny, f"save_dir={tmp_path}", "exp_name=shared", "seeds=[0,1]"]
    options += [f"hparams.model_path_{side}={checkpoints[side]}" for side in ("fine", "coarse")]
    succeed(dual, *options)
    place = tmp_path / "shared"
    assert [row["seeds"] for row in rows_of(place / "results.csv")] == ["0", "0", "1+0", "1+0"]
    for row in rows_of(place / "summary.csv"):
        assert row["std"] != ""
        assert (row["ci95_low"], row["ci95_high"]) == ("", "")
    # What builds on such networks knows it too.
    record, _ = read(place / "bilateral/seed1/checkpoints/best.ckpt")
    assert record.seeds == [1, 0]
    environment = yaml.safe_load((place / "bilateral/seed1/environment.yaml").read_text())
    assert environment["seeds"] == [1, 0]
    assert "bilateral/seed1: done before" in succeed(dual, *options)

    found = examine(open_study(place))
    assert not [value for value in found.values.values if value.side.endswith("other seed")]
    assert {summary.ci95_low for summary in found.values} == {None}


@pytest.fixture
def study(checkpoints, tmp_path) -> Path:
    """All arms of the session's checkpoints, seed 0, and a second unilateral one."""
    place = tmp_path / "study"
    shutil.copytree(checkpoints["fine"].parents[3], place)
    return place


def test_what_has_no_checkpoint_any_more_is_left_out_with_a_sentence(study):
    gone = study / "unilateral/seed0/checkpoints/best.ckpt"
    gone.unlink()
    found = examine(open_study(study))
    assert found.left_out[0] == (
        f"what unilateral/seed0 would show of itself; its checkpoint {gone} is gone."
    )
    assert found.values.get("probe accuracy", "small letter", "left") is not None
    assert found.values.items("gain", "fine")
    assert not found.values.items("cka", "", "left-unspecialised")
    assert [*(study / "fine/seed0").glob("*.analysis")] == []  # logger=csv
    assert len(open_study(study).stages) == 6  # of the tables nothing is missing


def test_a_network_alone_is_the_one_that_the_bilateral_network_was_built_on(study, checkpoints):
    def retrain(held):
        name = next(one for one in held["state_dict"] if "heads" in one)
        held["state_dict"][name] = -held["state_dict"][name]

    def gains() -> tuple[dict, list[str]]:
        found = examine(open_study(study), [Agreement()], events=False)
        return found.values.items("gain", "fine"), found.left_out

    before, _ = gains()
    assert before
    # The study's own has been replaced; the one that was given is the same as ever.
    own = study / "fine/seed0/checkpoints/best.ckpt"
    altered(checkpoints["fine"], own, retrain)
    assert gains()[0] == before
    file = study / "bilateral/seed0/fingerprint.yaml"
    recorded = yaml.safe_load(file.read_text())
    recorded["sources"]["model_path_fine"] = "0" * 16  # so has that one
    file.write_text(yaml.safe_dump(recorded))
    now, left_out = gains()
    assert not now
    assert any(f"{own} has other weights now" in sentence for sentence in left_out)


def test_without_its_bilateral_network_a_study_has_no_hemispheres_to_compare(study):
    gone = study / "bilateral/seed0/checkpoints/best.ckpt"
    gone.unlink()
    found = examine(open_study(study))
    assert str(gone) in found.left_out[0]
    assert "no longer has a bilateral network" in found.left_out[1]
    assert not [*found.values]
