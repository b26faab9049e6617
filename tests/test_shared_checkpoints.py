"""Networks of several seeds that build on one checkpoint."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import arch_dual_head.trainer
from common.checkpoints import read
from common.stage import Stage, _set_other_pairing_aside, made_of


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
    _set_other_pairing_aside(stage)
    assert stage.place.is_dir() == kept


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


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
