"""A training step: what it logs, how its gradients are clipped, where its random numbers come from."""

import pytest
import torch
from helpers import CLASSES
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchmetrics import Metric

import arch_single_head.trainer
from arch_dual_head.module import DualHead
from common.checkpoints.files import read
from common.system.randomness import derive
from common.training.module import TrainingModule

SINGLE = arch_single_head.trainer.main


@pytest.mark.parametrize(
    "precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)]
)
def test_gradients_are_clipped_in_every_precision(
    precision, tiny, in_process, monkeypatch, tmp_path
):
    norms = []
    step = torch.optim.Adam.step

    def measuring(self, closure=None):
        loss = step(self, closure)
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        return loss

    monkeypatch.setattr(torch.optim.Adam, "step", measuring)
    run = [*tiny, f"save_dir={tmp_path}", f"trainer_params.precision={precision}"]
    run.append("trainer_params.max_epochs=1")
    for name, clip in (("free", "null"), ("clipped", "0.01")):
        status, _, err = in_process(
            SINGLE, *run, f"exp_name={name}", f"trainer_params.gradient_clip_val={clip}"
        )
        assert status == 0, err
    free, clipped = norms[:4], norms[4:]
    assert min(free) > 0.02
    assert clipped == pytest.approx([0.01] * 4, rel=1e-3)


def test_the_loss_of_a_step_is_logged_at_that_step(tiny, in_process, monkeypatch, tmp_path):
    losses = []
    training_step = TrainingModule.training_step

    def noting(self, batch, batch_idx):
        loss = training_step(self, batch, batch_idx)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", noting)
    run = [*tiny, "logger=default", f"save_dir={tmp_path}", "exp_name=run"]
    status, _, err = in_process(SINGLE, *run, "trainer_params.log_every_n_steps=3")
    assert status == 0, err
    events = EventAccumulator(str(tmp_path / "run" / "fine" / "seed0")).Reload()
    logged = {event.step: event.value for event in events.Scalars("train_step_loss")}
    assert logged == pytest.approx({2: losses[2], 5: losses[5]})


def test_a_step_draws_what_torch_draws_with_its_seed(tiny, in_process, monkeypatch, tmp_path):
    drawn = []
    training_step = TrainingModule.training_step

    def drawing(self, batch, batch_idx):
        drawn.append(torch.rand(3))
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", drawing)
    status, _, err = in_process(SINGLE, *tiny, f"save_dir={tmp_path}", "exp_name=run")
    assert status == 0, err
    for epoch in range(2):
        for batch in range(4):
            torch.manual_seed(derive(0, "fine", epoch, batch))
            assert drawn[4 * epoch + batch].equal(torch.rand(3))


def test_steps_leave_everything_on_the_device(small_study):
    """Tensors of the meta device have no values: copying one to the CPU or reading one is an error."""
    record, _ = read(small_study.best["bilateral"])
    with torch.device("meta"):
        module = DualHead(cfg=OmegaConf.create(record.config), record=record)
    module.to("meta")
    batch = {"images": torch.zeros(8, 3, 32, 32, dtype=torch.uint8, device="meta")}
    batch |= {level: torch.zeros(8, dtype=torch.long, device="meta") for level in CLASSES}
    # Whatever augmentation does belongs to the step.
    module.transforms.crop_padding, module.transforms.flip = 4, True
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch["fine"].cpu()
    loss = module.training_step(batch, batch_idx=1)
    module.validation_step(batch, batch_idx=1)
    module.test_step(batch, batch_idx=1)
    assert loss.device.type == "meta"
    counted = [part for part in module.modules() if isinstance(part, Metric)]
    assert len(counted) > 12
    for metric in counted:
        assert metric.update_count == 1
        assert {state.device.type for state in metric.metric_state.values()} == {"meta"}
