"""Short epochs share a checkpoint to continue from, written as a pair with the best weights of its moment."""

from pathlib import Path

import pytest
import torch
from helpers import Killed

import arch_single_head.trainer
import common.training.callbacks as callbacks
from common.checkpoints.files import DurableCheckpoints

EPOCHS = 6


@pytest.fixture
def train(two_epochs, in_process, tmp_path):
    """Train a hemisphere for six short epochs; gives its checkpoints' folder."""

    def run(name: str, *more: str) -> Path:
        options = [
            f"save_dir={tmp_path}",
            f"exp_name={name}",
            f"trainer_params.max_epochs={EPOCHS}",
        ]
        options += ["trainer_params.limit_train_batches=2", "evaluate=false", *more]
        status, _, err = in_process(arch_single_head.trainer.main, *two_epochs, *options)
        assert status == 0, err
        return tmp_path / name / "fine/seed0/checkpoints"

    return run


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """The epochs of checkpoints, as their files are written."""
    epochs: list[str] = []
    save = torch.save

    def noting(content, file, **options):
        if "epoch" in content:
            epochs.append(str(content["epoch"]))
        save(content, file, **options)

    monkeypatch.setattr(torch, "save", noting)
    return epochs


def load(file: Path) -> dict:
    return torch.load(file, weights_only=True)


def test_short_epochs_are_saved_once_with_the_best_weights(train, written):
    place = train("study")
    last, best = load(place / "last.ckpt"), load(place / "best.ckpt")
    assert last["epoch"] == EPOCHS - 1
    assert written == [str(best["epoch"]), str(EPOCHS - 1)]
    assert not (place / "previous.ckpt").exists()


def test_when_time_has_passed_each_epoch_is_saved(train, written, monkeypatch):
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    train("study")
    assert set(written) == {str(epoch) for epoch in range(EPOCHS)}


def test_several_kept_epochs_have_numbers_before_they_are_written(train):
    place = train("study", "ckpt_callback.save_top_k=2")
    assert len([*place.glob("top*.ckpt")]) == 2
    epochs = {load(file)["epoch"] for file in place.glob("top*.ckpt")}
    assert len(epochs) == 2


@pytest.mark.parametrize("epoch", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_a_kill_between_repeats_those_epochs_with_equal_results(train, monkeypatch, epoch):
    whole = train("whole")
    count, add = [], callbacks.MetricsTable.on_train_epoch_end

    def stopping(self, trainer, module):
        add(self, trainer, module)
        count.append(trainer.current_epoch)
        # Time passes once, in the second epoch, and the process ends some epochs later.
        monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0 if len(count) == 2 else 1e9)
        if len(count) == epoch + 1:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.MetricsTable, "on_train_epoch_end", stopping)
        with pytest.raises(Killed):
            train("killed")
    killed = whole.parents[3] / "killed/fine/seed0/checkpoints"
    assert load(killed / "last.ckpt")["epoch"] == 1
    assert load(killed / "best.ckpt")["epoch"] <= 1
    again = train("killed")
    for file in ("best.ckpt", "last.ckpt"):
        one, other = load(whole / file), load(again / file)
        assert one["epoch"] == other["epoch"]
        assert all(one["state_dict"][n].equal(v) for n, v in other["state_dict"].items())
    tables = [(place.parent / "metrics.csv").read_text() for place in (whole, again)]
    assert tables[0] == tables[1]


def test_what_waits_is_a_copy_and_what_leaves_leaves_last(tmp_path):
    writer = DurableCheckpoints()
    old, new, last = (tmp_path / f"{name}.ckpt" for name in ("old", "new", "last"))
    writer.save_checkpoint({"weights": torch.zeros(2)}, old)
    assert old.is_file()
    writer.last = last
    weights = torch.ones(2)
    writer.save_checkpoint({"weights": weights}, new)
    writer.remove_checkpoint(old)
    weights += 1
    assert not new.exists()
    assert old.is_file()
    writer.save_checkpoint({"weights": weights}, last)
    assert load(new)["weights"].tolist() == [1, 1]
    assert load(last)["weights"].tolist() == [2, 2]
    assert not old.exists()
