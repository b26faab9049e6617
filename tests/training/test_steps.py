"""A training step: what it logs, how its gradients are clipped, what it draws, and what it asks of the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from helpers import SCRATCH
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

import arch_single_head.trainer
from architectures import ARCHITECTURES
from common.runs.description import Stage
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.randomness import derive
from common.training.module import TrainingModule
from common.training.optimisers import optimisation

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


# ---------------------------------------------------------- what a step asks of the device


class MovedError(Exception):
    """An operation has tensors of two devices."""


class OneDevice(TorchDispatchMode):
    """Refuses operations between devices, where they are called."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        tensors = [one for one in tree_leaves((args, kwargs, results)) if isinstance(one, Tensor)]
        if len({one.device for one in tensors}) > 1:
            raise MovedError(f"{operation} of {[(str(one.device), one.shape) for one in tensors]}")
        return results


@contextmanager
def on_a_gpu(folder: str, options: list[str]) -> Iterator[tuple[TrainingModule, dict]]:
    """Give an untrained module and a batch, on a GPU that need not be there.

    Fake tensors have a device and a shape, but no values: torch itself refuses what a step would wait for, such as a
    number or a selection by a mask.
    """
    architecture = ARCHITECTURES[folder]
    cfg = compose(ROOT / folder, schema=architecture.schema, overrides=options)
    data = architecture.data(cfg, seed=0)
    data.load()
    record = record_of(Stage("any", 0, folder, cfg), data, "")
    module = architecture.module(cfg=cfg, record=record)
    batch = data.train_set.batch(torch.arange(4))
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            module.to("cuda:0")
        except RuntimeError as error:  # torch 2.8 and earlier do so
            if "no NVIDIA driver" not in str(error):
                raise
            pytest.skip("this torch looks for a GPU even for tensors without values")
        batch = {name: one.to("cuda:0") for name, one in batch.items()}
        with OneDevice():
            yield module, batch


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        (
            "arch_single_head",
            ["hparams.arch=sparse_resnet9", "hparams.low_pass=4", "dataset.crop_padding=2"],
        ),
        ("arch_single_head", ["hparams.mode=rotation", "dataset.crop_scale=0.5"]),
        (
            "arch_dual_head",
            [*SCRATCH, "hparams.join=gate", "hparams.auxiliary=1", "hparams.loss=decorrelated"],
        ),
    ],
)
def test_steps_stay_on_the_device_and_wait_for_nothing(folder, options, tiny):
    with on_a_gpu(folder, [*tiny, "dataset.flip=true", *options]) as (module, batch):
        assert module.train().training_step(batch, batch_idx=1).device.type == "cuda"
        with torch.no_grad():
            module.eval().validation_step(batch, batch_idx=1)
            module.test_step(batch, batch_idx=1)
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    assert all(one.update_count for one in metrics)
    sums = [state for one in metrics for state in one.metric_state.values()]
    assert {state.device.type for state in sums} == {"cuda"}


def test_a_step_of_muon_stays_on_the_device_and_waits_for_nothing(tiny):
    with on_a_gpu("arch_single_head", [*tiny, "hparams.optimizer=muon"]) as (module, _):
        for one in module.parameters():
            one.grad = torch.zeros_like(one)
        recipe = module.cfg.hparams
        found = optimisation(module.network, recipe, plasticity={}, steps=9, fused=True)
        found["optimizer"].step()
    states = [value for state in found["optimizer"].state.values() for value in state.values()]
    assert len(states) > len(list(module.parameters()))


WAITS = (DataDependentOutputException, DynamicOutputShapeException)
FAULTS = [
    (lambda logits, labels: logits.max().item(), WAITS),
    (lambda logits, labels: logits.sum() if labels.any() else logits.mean(), WAITS),
    (lambda logits, labels: logits[labels > 3].sum(), WAITS),
    (lambda logits, labels: logits[torch.arange(2)].sum(), MovedError),
    (lambda logits, labels: logits.sum() + torch.tensor(1.0), MovedError),
    (lambda logits, labels: torch.tensor([1.0, 2.0]).to(logits.device).sum(), MovedError),
    (lambda logits, labels: logits.cpu().sum(), MovedError),
]


def test_a_loss_that_waits_or_moves_data_would_be_found(tiny):
    with on_a_gpu("arch_single_head", tiny) as (module, batch):
        for fault, refused in FAULTS:
            module.objective.loss = lambda outputs, labels, fault=fault: fault(
                outputs.logits["fine"], labels["fine"]
            )
            with pytest.raises(refused) as found:
                module.training_step(batch, batch_idx=1)
            assert fault.__code__ in [entry.frame.code.raw for entry in found.traceback]
