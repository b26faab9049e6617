"""Make a stage's steps fast from its start: compiled and replayed, as `common.training.acceleration` chooses."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from common.data.datamodule import HierarchicalData
from common.system.errors import UserError
from common.system.randomness import derive
from common.training.acceleration import AUTO, Acceleration, Circumstances, choose
from common.training.graphed import (
    GraphedStep,
    LossOfBatch,
    NotReplayedError,
    Trial,
    record_on_gpu,
    record_step,
)
from common.training.metrics import Batch


class FastSteps(Callback):
    """Has steps compiled and recorded where that is asked for or pays; an interrupted stage goes on as it was.

    What was used stands in result.yaml and in the checkpoint to continue from.
    """

    def __init__(self) -> None:
        self.alike = 1  # stages of the command that share compiled kernels, because they differ by their seed alone
        self.used = Acceleration()
        self.before: Acceleration | None = None

    def state_dict(self) -> dict[str, Any]:
        """Give what is used."""
        return self.used._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Note what was used before the interruption."""
        self.before = Acceleration(**{name: state_dict[name] for name in Acceleration._fields})
        # Lightning takes no step of a stage whose last epoch is over.
        self.used = self.before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, once a checkpoint is restored, which replaces tensors that a recording would hold.

        Raises:
            UserError: an interrupted stage cannot go on as it was.
        """
        module = cast(Any, pl_module)
        name = f"{module.record.arm}/seed{module.record.seed}"
        asked = module.cfg.hparams.compile
        plain = Acceleration(None if asked == AUTO else asked)
        if trainer.global_step and not self.before:
            self.before = plain  # its checkpoint knew of nothing but hparams.compile
        chosen, why = choose(
            asked, module.cfg.hparams.cuda_graph, _circumstances(trainer, module, self.alike)
        )
        if self.before and not (self.before.cuda_graph and why):
            chosen, why = self.before, None
        if chosen.cuda_graph:
            # Compiling that nobody asked for is given up first: replaying is what gains most.
            auto = asked == AUTO and chosen.compile is not None and self.before is None
            ways = [chosen, Acceleration(None, cuda_graph=True)] if auto else [chosen]
            chosen, why = _record(trainer, module, ways, plain)
        else:
            compile_forward(module, chosen.compile)
        if self.before and self.before != chosen:
            raise UserError(
                f"{name}: its steps were replayed as a CUDA graph so far, and now cannot be: {why}; continue it where "
                "they can, or give fresh=true."
            )
        self.used = chosen
        if why and trainer.is_global_zero:
            lack = "not compiled" if chosen.cuda_graph else "not replayed as a CUDA graph"
            print(f"{name}: its steps are {lack}: {why}", flush=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Return to plain steps: testing, a command of its own too, does not compile."""
        return_to_plain_steps(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Free the graph of a stage that fails now: no garbage collector may do so while the next one is recorded."""
        return_to_plain_steps(pl_module)


def _record(
    trainer: pl.Trainer, module: Any, ways: Sequence[Acceleration], plain: Acceleration
) -> tuple[Acceleration, str | None]:
    """Record the steps in the first of several ways that can be recorded, else ``plain``; say why not in the first."""
    why = None
    for way in ways:
        compile_forward(module, way.compile)
        try:
            module.graphed = record_steps(
                module,
                cast(Any, trainer).datamodule,
                trainer.strategy.precision_plugin.train_step_context,
            )
        except NotReplayedError as error:
            why = why or str(error)
            continue
        return way, why
    compile_forward(module, plain.compile)
    return plain, why


def record_steps(
    module: Any, data: HierarchicalData, autocast: Callable[[], AbstractContextManager]
) -> GraphedStep:
    """Record a module's step with the first training images, and try it with the last ones.

    Args:
        module: on a GPU, with the weights that training begins or goes on with.
        data: its images.
        autocast: makes the context in which its steps are computed.

    Raises:
        NotReplayedError: it cannot be recorded, or a replay is not the plain step.
    """
    places = torch.arange(len(data.train_set))
    first, last = (
        data.train_set.batch(some, module.device)
        for some in (places[: data.batch_size], places[-data.batch_size :])
    )
    trial = trial_of(module, last, autocast)
    return record_step(
        module.compute_loss,
        plain_loss(module),
        trial,
        first,
        record_on_gpu,
        compiled=module.forward_pass != module.network.outputs,
    )


def plain_loss(module: Any) -> LossOfBatch:
    """Make what gives the loss of a batch as `module.compute_loss` does, without compiled code."""

    def plain(batch: Batch) -> Tensor:
        compiled, module.forward_pass = module.forward_pass, module.network.outputs
        try:
            loss: Tensor = module.compute_loss(batch)
            return loss
        finally:
            module.forward_pass = compiled

    return plain


def trial_of(module: Any, batch: Batch, autocast: Callable[[], AbstractContextManager]) -> Trial:
    """Make a trial of a module's steps."""
    seed = derive(module.record.seed, "trial")
    return Trial(
        module.network,
        batch,
        sums=module.train_metrics.sums(),
        seed=lambda: module.seed_generators(seed),
        autocast=autocast,
    )


def return_to_plain_steps(module: Any) -> None:
    """Have a module's steps neither replayed nor compiled."""
    module.graphed = None
    compile_forward(module, None)


def compile_forward(module: Any, mode: str | None) -> None:
    """Have a module's forward pass compiled when it is first used; None: return to the plain one."""
    module.forward_pass = module.network.outputs
    if mode is None:
        return
    # Otherwise earlier stages' networks count against a limit beyond which torch no longer compiles.
    torch.compiler.reset()
    # Compiled code would draw other numbers than the plain step does.
    torch._inductor.config.fallback_random = True
    # Otherwise fused bfloat16 is not rounded on its way: a maximum that was is then found nowhere in its maps, and its
    # gradient, as at the end of ResNet-9, is NaN.
    torch._inductor.config.emulate_precision_casts = True
    # Not dynamic: the same shape must always meet the same kernels, or continuing would not be exact.
    module.forward_pass = torch.compile(module.network.outputs, mode=mode, dynamic=False)


def _circumstances(trainer: pl.Trainer, module: Any, alike: int) -> Circumstances:
    return Circumstances(
        gpu=module.device.type == "cuda",
        parallel=not isinstance(trainer.strategy, SingleDeviceStrategy),
        precision=str(trainer.precision),
        deterministic=module.cfg.trainer_params.deterministic,
        steps=int(trainer.estimated_stepping_batches) * alike - trainer.global_step,
        stages=alike,
        torch=tuple(int(number) for number in torch.__version__.split(".")[:2]),
    )
