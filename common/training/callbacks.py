"""Callbacks after steps and epochs: the checkpoint to continue from, metrics.csv, a line of progress.

They derive from Lightning's Checkpoint because only such callbacks run after the module has logged an epoch.
"""

import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from common.checkpoints.files import DurableCheckpoints
from common.system.atomic_files import link_or_copy, write_text
from common.system.csv_text import csv_text
from common.system.distributed import all_reduce_max
from common.system.signals import signals
from common.training.finite import FiniteLoss
from common.training.module import TrainingModule

# Between two checkpoints: in the middle of an epoch, and at the ends of short ones.
CONTINUE_EVERY_S = 60.0
EPOCHS_EVERY_S = 10.0


class LastCheckpoint(Checkpoint):
    """Writes the checkpoint to continue from, and with it what `BestCheckpoint` saved since the one before.

    After an epoch's validation when ten seconds have passed, at the end of training, before stopping on a signal, and
    at least every minute. Never between an epoch's last step and its validation: Lightning would skip that validation
    on continuing. The one before it stays as ``previous.ckpt``, in case it is damaged. NaN and infinite weights are
    never saved.
    ``seconds`` is the training time so far, over all interruptions.
    """

    def __init__(self, path: Path, finite: FiniteLoss) -> None:
        self.path = path
        self.finite = finite
        self.earlier_seconds = 0.0
        self.started = time.monotonic()
        self.saved = time.monotonic()
        self.on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let other checkpoints wait for this one.

        Lightning's handler of signals is taken back: it would stop at places where nothing is saved, such as in
        validation, one of several processes would wait in it for the others, and a second signal must stop at once.
        """
        writer = trainer.strategy.checkpoint_io
        assert isinstance(writer, DurableCheckpoints)
        writer.last = self.path
        # Only the main thread can, and only there has Lightning set its own.
        if threading.current_thread() is threading.main_thread():
            again = signals.pending == signal.SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL if again else self.on_sigterm)

    @property
    def seconds(self) -> float:
        """Give the training time so far, in seconds."""
        return self.earlier_seconds + time.monotonic() - self.started

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save in the middle of an epoch when a minute has passed, or before stopping on a signal."""
        if batch_idx + 1 >= trainer.num_training_batches:
            return
        due = time.monotonic() - self.saved >= CONTINUE_EVERY_S or signals.pending
        if all_reduce_max(bool(due)):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after a long epoch, several short ones, the last one, or before stopping; its validation is over."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = time.monotonic() - self.saved >= EPOCHS_EVERY_S or signals.pending
        if ends or all_reduce_max(bool(due)):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self.finite.check(trainer.lightning_module)
        if trainer.is_global_zero and self.path.is_file():
            link_or_copy(self.path, self.path.with_name("previous.ckpt"))
        trainer.save_checkpoint(self.path)
        self.saved = time.monotonic()
        signals.pending = all_reduce_max(signals.pending or 0) or None
        signals.check()

    def state_dict(self) -> dict[str, Any]:
        """Give the training time so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count on from the interruption."""
        self.earlier_seconds = state_dict["seconds"]
        self.started = time.monotonic()


class BestCheckpoint(ModelCheckpoint):
    """Lightning's own, except that a run folder may be moved between interruption and continuing.

    Its files are written with the last checkpoint (`DurableCheckpoints`).
    """

    def file_exists(self, filepath: Any, trainer: pl.Trainer) -> bool:
        """Say whether there is a file, or will be: another one is numbered then."""
        waits = Path(filepath) in trainer.strategy.checkpoint_io.waiting  # type: ignore[attr-defined]
        # All processes ask both questions, whatever the first one answers.
        waits = trainer.strategy.reduce_boolean_decision(waits, all=False)
        return super().file_exists(filepath, trainer) or waits

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore paths relative to where the folder lies now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {
            key: here(state_dict[key])
            for key in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        best_k = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best_k, "dirpath": self.dirpath}
        )


class MetricsTable(Checkpoint):
    """Writes metrics.csv, one row per epoch; without a path it keeps the rows, in case the file is wanted later.

    The rows are part of the checkpoint to continue from: those after its point are dropped, and a damaged file is
    written anew.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        """Give the rows of the epochs so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after them."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        # What is logged by the step belongs to TensorBoard.
        values = {
            n: v for n, v in values.items() if n != "train_step_loss" and not n.startswith("lr-")
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.rows.append(
            {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": rate, **values}
        )
        if self.path is None:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        rows = ([row.get(name) for name in names] for row in self.rows)
        write_text(self.path, csv_text(names, rows))


def validation_curve(
    callbacks: Sequence[pl.Callback], levels: Sequence[str]
) -> dict[str, list[float]]:
    """Give the validation accuracy after each epoch, over all interruptions, per level, as `MetricsTable` kept it."""
    (table,) = (one for one in callbacks if isinstance(one, MetricsTable))
    return {
        level: [round(row[f"val_{level}_accuracy"], 6) for row in table.rows] for level in levels
    }


class EpochLines(Checkpoint):
    """Prints one line per epoch where there is no terminal to draw a progress bar on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line."""
        metrics = trainer.callback_metrics
        assert isinstance(pl_module, TrainingModule)
        record = pl_module.record
        shown = [
            f"{split} loss {float(metrics[name]):.3f}"
            for split in ("train", "val")
            if (name := f"{split}_loss") in metrics
        ]
        shown += [
            f"val {record.level_name(level)} accuracy {100 * float(metrics[name]):.1f} %"
            for level in record.levels
            if (name := f"val_{level}_accuracy") in metrics
        ]
        seconds = time.monotonic() - self.started
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        print(f"{self.name}  {epoch}  {'  '.join(shown)}  {seconds:.1f} s", flush=True)
