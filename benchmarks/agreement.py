"""What must agree: a compiled or replayed training step with the plain one, a frozen hemisphere with what it was."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from case import Case
from measure import autocast, detach, our_parts, prepare

from common.system.environment import choose_precision, use_fast_kernels
from common.training.fast_steps import compile_forward, plain_loss, trial_of
from common.training.graphed import GraphedStep, LossOfBatch, plain_step, record_on_gpu


def steps(case: Case, mode: str | None, graph: bool) -> dict[str, Any]:
    """Compare a training step that is compiled, replayed or both with the plain one.

    In bfloat16 two orders of the same sums differ by about as much as either differs from float32; so gradients may be
    as near to these as the plain ones are.

    Args:
        case: of the phase single or dual.
        mode: of torch.compile, if any.
        graph: whether the step is replayed as a CUDA graph.

    Returns:
        The precision, `common.training.graphed.Comparison` by name, and whether the steps agree.
    """
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        stage, data, module = our_parts(Path(folder), case)
        precision = choose_precision(stage.config.trainer_params.precision, case.accelerator)
        device = detach(module, case)
        module.train()
        first, last = (
            data.train_set.batch(torch.arange(case.batch_size) + skipped, device)
            for skipped in (0, len(data.train_set) - case.batch_size)
        )
        # As in training.
        torch.backends.cudnn.benchmark = use_fast_kernels(case.accelerator, deterministic=False)
        trial = trial_of(module, last, partial(autocast, device, precision))

        def other() -> LossOfBatch:
            compile_forward(module, mode)
            if not graph:
                step = partial(plain_step, module.compute_loss, trial.learning)
                # What records CUDA graphs of its own warms up in the first step, records in the second, then replays.
                with trial.autocast():
                    for _ in range(2 * (mode is not None)):
                        step(first)
                return step
            with trial.autocast():
                return GraphedStep(module.compute_loss, trial.learning, first, record_on_gpu)

        found = trial.compare(plain_loss(module), other, compiled=mode is not None)
        return {"precision": precision, **found._asdict(), "agrees": found.agrees}


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
