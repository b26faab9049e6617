"""Features that are saved while hemispheres learn: which, when, and that nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import before_step, terminate

import arch_dual_head.trainer
import arch_single_head.trainer
from common.trained.load import load_module
from common.training import probe_features
from common.training.probe_features import SavedFeatures, affordable, saving_epochs

DUAL, SINGLE = arch_dual_head.trainer.main, arch_single_head.trainer.main
SCRATCH = [
    "hparams.model_path_fine=null",
    "hparams.model_path_coarse=null",
    "hparams.ffreeze=false",
    "hparams.cfreeze=false",
]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8]), (40, [1, 2, 4, 8, 16, 32, 40])],
)
def test_epochs_are_powers_of_two_and_the_last(epochs, expected):
    assert saving_epochs(epochs) == expected


def test_no_more_images_than_training_can_afford():
    """A forward pass costs a third of a training step's."""
    passes, saves = 64_512, 4  # six epochs of Navon figures
    count = affordable(10_800, passes, saves)
    assert count * saves <= 0.02 * 3 * passes < (2 * count) * saves
    assert affordable(45_000, 40 * 45_000, 7) == 3_000
    assert affordable(2_000, 40 * 45_000, 7) == 2_000
    assert affordable(600, 600, 2) == 0


@pytest.fixture
def afford(monkeypatch) -> None:
    monkeypatch.setattr(probe_features, "FEWEST", 1)
    monkeypatch.setattr(probe_features, "SHARE", 1.0)


def files_of(place: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((place / "features").glob("*"))}


def weights_of(place: Path) -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


CHANCE = ["dataset.crop_padding=2", "dataset.flip=true", "hparams.dropout=0.3"]


@pytest.mark.slow
def test_training_is_the_same_with_and_without_saving(tiny, succeed, tmp_path, monkeypatch):
    arguments = [*tiny, *CHANCE, *SCRATCH, f"save_dir={tmp_path}"]
    succeed(DUAL, *arguments, "exp_name=without")
    monkeypatch.setattr(probe_features, "FEWEST", 1)
    monkeypatch.setattr(probe_features, "SHARE", 1.0)
    succeed(DUAL, *arguments, "exp_name=with")
    without, saved = (tmp_path / name / "bilateral/seed0" for name in ("without", "with"))
    assert not (without / "features").exists()
    assert [*files_of(saved)] == ["epoch0001.npz", "epoch0002.npz"]
    ours, theirs = weights_of(saved), weights_of(without)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    for name in ("fingerprint.yaml", "metrics.csv"):
        assert (saved / name).read_text() == (without / name).read_text()


def test_continuing_gives_the_same_files(tiny, in_process, tmp_path, afford):
    def run(name: str) -> int:
        arguments = [*tiny, *CHANCE, f"save_dir={tmp_path}", f"exp_name={name}"]
        status, _, err = in_process(SINGLE, *arguments, "hparams.mode=fine")
        assert status in (0, 143), err
        return status

    assert run("whole") == 0
    with before_step(6, terminate):
        assert run("stopped") == 143
    place = tmp_path / "stopped/fine/seed0"
    assert [*files_of(place)] == ["epoch0001.npz"]
    assert run("stopped") == 0
    assert files_of(place) == files_of(tmp_path / "whole/fine/seed0")


def test_what_is_saved_is_what_the_network_makes_of_the_images(tiny, succeed, tmp_path, afford):
    """The last epoch's, computed again from its checkpoint."""
    options = [*tiny, *SCRATCH, f"save_dir={tmp_path}", "exp_name=run"]
    succeed(DUAL, *options, "trainer_params.precision=32-true", "hparams.coarse_width=0.0625")
    place = tmp_path / "run/bilateral/seed0"
    saved = SavedFeatures.read(place / "features/epoch0002.npz")
    from architectures import ARCHITECTURES

    module = load_module(place / "checkpoints/last.ckpt", ARCHITECTURES)
    data = ARCHITECTURES[module.record.folder].data(module.cfg, seed=0)
    data.load()
    assert saved.fingerprint == module.record.fingerprint
    # 4 batches of 32 in 2 epochs, twice saved, each image counting a third.
    assert len(saved.places["train"]) == 3 * 2 * 4 * 32 // 2
    assert len(saved.places["validation"]) == len(data.val_set)
    for split, images in (("train", data.train_set), ("validation", data.val_set)):
        places = saved.places[split]
        assert len(set(places.tolist())) == len(places)
        seen = images.batch(places)["images"]
        with torch.no_grad():
            expected = module.network.split(module.network.features(module.transforms(seen)))
        for side in ("left", "right"):
            found = saved.features[split][side]
            assert found.shape == expected[side].shape
            assert np.allclose(found, expected[side], rtol=2e-3, atol=1e-4)


def test_saving_them_changes_no_training(tiny, succeed, tmp_path, monkeypatch):
    options = [*tiny, *CHANCE, f"save_dir={tmp_path}"]
    succeed(SINGLE, *options, "exp_name=without")
    monkeypatch.setattr(probe_features, "FEWEST", 1)
    monkeypatch.setattr(probe_features, "SHARE", 1.0)
    succeed(SINGLE, *options, "exp_name=with")
    without, saved = (tmp_path / name / "fine/seed0" for name in ("without", "with"))
    assert [*files_of(saved)]
    assert not [*files_of(without)]
    ours, theirs = weights_of(saved), weights_of(without)
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert (saved / "metrics.csv").read_text() == (without / "metrics.csv").read_text()


def test_frozen_hemispheres_save_nothing(tiny, succeed, checkpoints, tmp_path, afford):
    paths = [f"hparams.model_path_{level}={checkpoints[level]}" for level in ("fine", "coarse")]
    succeed(DUAL, *tiny, *paths, f"save_dir={tmp_path}", "exp_name=run", "dataset.flip=true")
    assert not (tmp_path / "run/bilateral/seed0/features").exists()


def test_numbers_beyond_half_precision_become_its_largest():
    large = torch.tensor([[1e6, -1e6, 1.0]])
    assert probe_features.as_half(large).tolist() == [[65504.0, -65504.0, 1.0]]
