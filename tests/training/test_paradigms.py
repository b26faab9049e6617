"""A paradigm without labels is one class and one row, and the hemisphere that it trains is loaded like any other."""

from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import common.training.callbacks as callbacks
from common.networks.macro import Head
from common.settings.choices import Choice
from common.training.metrics import LevelMetrics
from common.training.module import TrainingModule
from common.training.paradigms import PARADIGMS

SINGLE = arch_single_head.trainer.main


class Rotation(TrainingModule):
    """Learns by how many quarter turns an image was rotated (Gidaris et al. 2018); accuracy and loss are of that."""

    def __init__(self, *, cfg, record):
        super().__init__(cfg=cfg, record=record)
        self.network.heads.requires_grad_(False)
        self.network.heads["rotation"] = Head(
            num_features=self.network.num_features, num_classes=4, dropout=0.0
        )

    def make_metrics(self, split):
        return LevelMetrics(dict.fromkeys(self.record.levels, 4))

    def turned(self, batch, metrics):
        """The loss of images of which each fourth is turned as often."""
        images = self.transforms(batch["images"])
        turned = torch.cat([images[turns::4].rot90(turns, (2, 3)) for turns in range(4)])
        turns = torch.cat(
            [torch.full_like(batch["images"][k::4, 0, 0, 0], k, dtype=torch.long) for k in range(4)]
        )
        logits = self.forward_pass(turned).logits["rotation"]
        (level,) = self.record.levels
        metrics.update({level: logits}, {level: turns})
        return functional.cross_entropy(logits, turns)

    def training_step(self, batch, batch_idx):
        loss = self.turned(batch, self.train_metrics)
        self.log_loss(loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.turned(batch, self.val_metrics)

    def test_step(self, batch, batch_idx):
        self.turned(batch, self.test_metrics)


def weights(place: Path) -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints/best.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def rotation(monkeypatch):
    monkeypatch.setitem(PARADIGMS, "rotation", Choice("", f"{__name__}:Rotation"))


def test_a_hemisphere_trained_without_labels_is_loaded_by_two_heads(
    rotation, tiny, in_process, tmp_path
):
    run = [*tiny, f"save_dir={tmp_path}", "exp_name=run", "trainer_params.max_epochs=1"]
    assert in_process(SINGLE, *run, "hparams.paradigm=rotation")[::2] == (0, "")
    place = tmp_path / "run/fine/seed0"
    result = yaml.safe_load((place / "result.yaml").read_text())
    # Four turns, not a hundred classes.
    assert result["validation"]["fine"]["loss"] < 3
    assert result["test"]["fine"]["top5"] is None
    identity = yaml.safe_load((place / "fingerprint.yaml").read_text())
    assert identity["hparams"]["paradigm"] == "rotation"

    both = [f"hparams.model_path_fine={place / 'checkpoints/best.ckpt'}"]
    both += ["hparams.model_path_coarse=null", "hparams.cfreeze=false"]
    assert in_process(arch_dual_head.trainer.main, *run, *both)[::2] == (0, "")
    left = {k: v for k, v in weights(place).items() if k.startswith("network.hemispheres.fine.")}
    dual = weights(tmp_path / "run/bilateral/seed0")
    assert len(left) == 48
    assert all(dual[name].equal(value) for name, value in left.items())
    # test.py measures the same again, out of the checkpoint alone.
    status, out, _ = in_process(
        arch_single_head.test.main, f"checkpoint={place / 'checkpoints/best.ckpt'}"
    )
    assert status == 0
    assert f"{100 * result['test']['fine']['accuracy']:.2f} %" in out


class Killed(BaseException):
    """The process ends here."""


def test_it_continues_bit_for_bit(rotation, tiny, in_process, monkeypatch, tmp_path):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    run = [*tiny, f"save_dir={tmp_path}", "hparams.paradigm=rotation", "dataset.crop_padding=2"]
    assert in_process(SINGLE, *run, "exp_name=whole")[::2] == (0, "")
    taken, step = [], Rotation.training_step

    def counting(self, batch, batch_idx):
        taken.append(batch_idx)
        if len(taken) == 7:
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Rotation, "training_step", counting)
        with pytest.raises(Killed):
            in_process(SINGLE, *run, "exp_name=killed")
    assert in_process(SINGLE, *run, "exp_name=killed")[::2] == (0, "")
    one, other = (weights(tmp_path / name / "fine/seed0") for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    tables = [(tmp_path / n / "fine/seed0/metrics.csv").read_text() for n in ("whole", "killed")]
    assert tables[0] == tables[1]


def test_an_unknown_paradigm_is_refused_by_name(tiny, in_process):
    status, _, err = in_process(SINGLE, *tiny, "hparams.paradigm=telepathy")
    assert status == 1
    assert "hparams.paradigm is 'telepathy'; allowed: supervised" in err
