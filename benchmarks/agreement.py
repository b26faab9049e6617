"""What must agree: a compiled training step with the plain one, and a frozen hemisphere with what it was."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from case import Case
from lightning_fabric.utilities import move_data_to_device
from measure import detach, our_parts, prepare
from torch import Tensor

from common.system.environment import choose_precision
from common.training.module import TrainingModule


def compiled(case: Case, mode: str) -> dict[str, Any]:
    """Compare a training step of a compiled network with the plain one, from equal weights, batch and random numbers.

    In bfloat16 two orders of the same sums differ by about as much as either differs from float32; so both are
    compared with the plain step in float32.

    Args:
        case: of the phase single or dual.
        mode: of torch.compile.

    Returns:
        The precision of the steps, the relative difference of their losses, and how far the gradients of the "plain"
        and of the "compiled" step are from those of the plain one in float32, relative to these.
    """
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        stage, data, module = our_parts(Path(folder), case)
        precision = choose_precision(stage.config.trainer_params.precision, case.accelerator)
        device = detach(module, case)
        step = _step(module, move_data_to_device(next(iter(data.train_dataloader())), device))
        bfloat16 = precision == "bf16-mixed"
        _, exact = step(False)
        loss, plain = step(bfloat16)
        module.cfg.hparams.compile = mode
        module.on_fit_start()
        other_loss, other = step(bfloat16)
        return {
            "precision": precision,
            "loss": abs(other_loss - loss) / abs(loss),
            "plain": float((plain - exact).norm() / exact.norm()),
            "compiled": float((other - exact).norm() / exact.norm()),
        }


def _step(module: TrainingModule, batch: Any) -> Callable[[bool], tuple[float, Tensor]]:
    """A step that gives its loss and all gradients in one row, and leaves weights and statistics as they were."""
    module.train()
    held = [*module.network.parameters(), *module.network.buffers()]
    before = [tensor.detach().clone() for tensor in held]
    learning = [one for one in module.network.parameters() if one.requires_grad]

    def step(bfloat16: bool) -> tuple[float, Tensor]:
        module.zero_grad()
        module.on_train_batch_start(batch, 0)
        with torch.autocast(module.device.type, torch.bfloat16, enabled=bfloat16):
            loss = module.training_step(batch, 0)
        loss.backward()
        gradients = torch.cat([one.grad.flatten() for one in learning if one.grad is not None])
        with torch.no_grad():
            for tensor, value in zip(held, before, strict=True):
                tensor.copy_(value)
        return float(loss.detach()), gradients.float().clone()

    return step


def frozen(study: str) -> tuple[int, int]:
    """Count the tensors of the fine network's hemisphere, and those that differ in the bilateral one, of seed 0."""
    fine, bilateral = (
        torch.load(Path(study) / arm / "seed0/checkpoints/best.ckpt", weights_only=True)
        for arm in ("fine", "bilateral")
    )
    mine = "network.hemispheres.fine."
    left = {name: one for name, one in fine["state_dict"].items() if name.startswith(mine)}
    differing = sum(not bilateral["state_dict"][name].equal(one) for name, one in left.items())
    return len(left), differing
