"""Frozen hemispheres without augmentation: their features are computed once, and nothing else changes."""

from pathlib import Path

import pytest
import torch
import yaml

import arch_dual_head.trainer
import arch_single_head.trainer
import common.runs.stage as stage
import common.training.callbacks as callbacks
from common.training.module import TrainingModule

DUAL = arch_dual_head.trainer.main
EPOCHS = 3


@pytest.fixture(scope="module")
def base(navon, tmp_path_factory, succeed) -> list[str]:
    """Overrides for a network on two short-trained hemispheres, in float32."""
    place = tmp_path_factory.mktemp("hemispheres")
    common = [
        "dataset=navon",
        f"dataset.root={navon}",
        "dataset.width=0.125",
        "dataset.batch_size=64",
        "trainer_params.precision=32-true",
        "logger=csv",
    ]
    paths = []
    for level in ("fine", "coarse"):
        succeed(
            arch_single_head.trainer.main,
            *common,
            f"save_dir={place}",
            f"exp_name={level}",
            f"hparams.mode={level}",
            "trainer_params.max_epochs=1",
            "evaluate=false",
        )
        best = place / level / level / "seed0/checkpoints/best.ckpt"
        paths.append(f"hparams.model_path_{level}={best}")
    return [*common, *paths, f"trainer_params.max_epochs={EPOCHS}", "hparams.dropout=0.3"]


@pytest.fixture
def shown(monkeypatch) -> dict[str, list[set[str]]]:
    """What the batches of each kind of step held."""
    held: dict[str, list[set[str]]] = {}
    for name in ("training_step", "validation_step", "test_step", "predict_step"):
        step = getattr(TrainingModule, name)

        def noting(self, batch, batch_idx, name=name, step=step):
            held.setdefault(name, []).append(set(batch))
            return step(self, batch, batch_idx)

        monkeypatch.setattr(TrainingModule, name, noting)
    return held


def weights(place: Path, file: str) -> dict[str, torch.Tensor]:
    return torch.load(place / "bilateral/seed0/checkpoints" / file, weights_only=True)["state_dict"]


def same(one: Path, other: Path) -> None:
    for file in ("best.ckpt", "last.ckpt"):
        mine, theirs = weights(one, file), weights(other, file)
        assert mine.keys() == theirs.keys()
        assert all(mine[name].equal(theirs[name]) for name in mine)
    results = [
        yaml.safe_load((p / "bilateral/seed0/result.yaml").read_text()) for p in (one, other)
    ]
    for result in results:
        del result["seconds"], result["sha256"], result["digest"]
    assert results[0] == results[1]
    tables = [(p / "bilateral/seed0/metrics.csv").read_text() for p in (one, other)]
    assert tables[0] == tables[1]


def kinds(batches: list[set[str]]) -> set[str]:
    return {"features" if "features" in batch else "images" for batch in batches}


def test_heads_on_kept_features_learn_what_they_learn_on_images(
    base, shown, in_process, monkeypatch, tmp_path
):
    for name, limit in (("kept", stage.FEATURE_BYTES), ("seen", 0)):
        shown.clear()
        monkeypatch.setattr(stage, "FEATURE_BYTES", limit)
        place = (f"save_dir={tmp_path}", f"exp_name={name}", "trainer_params.limit_train_batches=3")
        status, _, err = in_process(DUAL, *base, *place)
        assert status == 0, err
        source = "features" if limit else "images"
        assert kinds(shown["training_step"]) == {source}
        assert kinds(shown["validation_step"]) == {source}
        # Testing is always of images.
        assert kinds(shown["test_step"]) == {"images"}
        assert bool(shown.get("predict_step")) == bool(limit)
    same(tmp_path / "kept", tmp_path / "seen")


@pytest.mark.parametrize(
    "override",
    ["dataset.flip=true", pytest.param("dataset.crop_padding=2", marks=pytest.mark.slow)],
)
def test_augmented_images_are_shown_and_features_of_validation_images_kept(
    override, base, shown, in_process, monkeypatch, tmp_path
):
    for name, limit in (("kept", stage.FEATURE_BYTES), ("seen", 0)):
        shown.clear()
        monkeypatch.setattr(stage, "FEATURE_BYTES", limit)
        status, _, err = in_process(
            DUAL, *base, override, f"save_dir={tmp_path}", f"exp_name={name}"
        )
        assert status == 0, err
        assert kinds(shown["training_step"]) == {"images"}
        assert kinds(shown["validation_step"]) == {"features" if limit else "images"}
    same(tmp_path / "kept", tmp_path / "seen")


@pytest.mark.parametrize(
    "override",
    [
        "hparams.ffreeze=false",
        pytest.param("hparams.cfreeze=false", marks=pytest.mark.slow),
    ],
)
def test_images_are_shown_where_their_features_change(override, base, shown, in_process, tmp_path):
    status, _, err = in_process(
        DUAL, *base, override, f"save_dir={tmp_path}", "trainer_params.max_epochs=1"
    )
    assert status == 0, err
    assert kinds(shown["training_step"]) == kinds(shown["validation_step"]) == {"images"}
    assert "predict_step" not in shown


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 9, 16])
def test_a_killed_run_continues_bit_for_bit(
    step, base, in_process, killed_at_step, monkeypatch, tmp_path
):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    status, _, err = in_process(DUAL, *base, f"save_dir={tmp_path}", "exp_name=whole")
    assert status == 0, err

    killed_at_step(step, DUAL, *base, f"save_dir={tmp_path}", "exp_name=killed")
    assert not (tmp_path / "killed/bilateral/seed0/result.yaml").exists()
    status, _, err = in_process(DUAL, *base, f"save_dir={tmp_path}", "exp_name=killed")
    assert status == 0, err
    same(tmp_path / "killed", tmp_path / "whole")
