"""Stop a stage when its loss becomes NaN or infinite, before saving a checkpoint."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from common.system.distributed import all_reduce_max
from common.system.errors import StageFailed


class FiniteLoss(Callback):
    """Stops a stage when its loss, or a weight, is NaN or infinite.

    Losses stay on the device and are looked at together: every ``stride`` steps, at an epoch's end, and before
    each checkpoint. So only a look waits for the device, and no step does. Several processes look at the same
    steps, and stop together.

    Args:
        stage: the stage's name, for the sentence.
        last: the checkpoint to continue from, good by construction.
        stride: steps between looks.
    """

    def __init__(self, stage: str, last: Path, *, stride: int) -> None:
        self.stage = stage
        self.last = last
        self.stride = stride
        self.rate = float("nan")
        self.steps: list[tuple[int, float]] = []  # number and learning rate, as `losses`
        self.losses: list[Tensor] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the step's learning rate: the schedule moves on before the step's end."""
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Remember the step's loss; look when it is time."""
        self.steps.append((trainer.global_step, self.rate))
        self.losses.append(outputs["loss"])
        last = batch_idx + 1 >= trainer.num_training_batches
        if last or len(self.losses) >= self.stride:
            self.check(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation loss, before anything is saved."""
        loss = trainer.callback_metrics["val_loss"]
        if not loss.isfinite():
            where = f"after step {trainer.global_step} (learning rate {self.rate:g})"
            raise self._failed(f"the validation loss is {loss:g} {where}")

    def check(self, pl_module: pl.LightningModule) -> None:
        """Look at the losses since the last look, and at the weights and statistics.

        Raises:
            StageFailed: names the stage, the step, its learning rate, and the last good checkpoint.
        """
        if not self.losses:
            return
        finite = torch.stack(self.losses).isfinite().tolist()
        # Losses from the first bad one on, in the process that met one first.
        bad = all_reduce_max(len(finite) - finite.index(False) if False in finite else 0)
        if bad:
            step, rate = self.steps[-bad]
            loss = float(self.losses[-bad])
            what = "NaN or infinite in another process" if finite[-bad] else f"{loss:g}"
            raise self._failed(f"the loss is {what} at step {step} (learning rate {rate:g})")
        weights = [w for w in pl_module.state_dict().values() if w.is_floating_point()]
        # Those of BatchNorm differ between processes. The largest of all is finite if each one is, and one look.
        if all_reduce_max(not nn.utils.get_total_norm(weights, norm_type=torch.inf).isfinite()):
            step, rate = self.steps[-1]
            raise self._failed(
                f"weights are NaN or infinite by step {step} (learning rate {rate:g})"
            )
        self.steps.clear()
        self.losses.clear()

    def _failed(self, what: str) -> StageFailed:
        good = (
            f"the last good checkpoint is {self.last}"
            if self.last.is_file()
            else "nothing good was saved"
        )
        return StageFailed(f"{self.stage}: {what}; {good}; a lower hparams.lr may help.")
