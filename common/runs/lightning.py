"""Set up Lightning for a stage: its Trainer and callbacks."""

import logging
import sys
import warnings
from typing import Any

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, RichProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from common.checkpoints.files import DurableCheckpoints
from common.runs.description import Stage
from common.system.distributed import rank
from common.system.environment import use_fast_kernels
from common.system.errors import UserError
from common.training.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, MetricsTable
from common.training.finite import FiniteLoss
from common.training.module import TrainingModule
from common.training.probe_features import FOLDER, ProbeFeatures


def checkpoint_callbacks(stage: Stage) -> tuple[FiniteLoss, BestCheckpoint, LastCheckpoint]:
    """Make the callbacks that save checkpoints; the first one stops before a loss of NaN or infinity is saved."""
    rule = stage.config.ckpt_callback
    file = stage.best.with_name("last.ckpt")
    finite = FiniteLoss(stage.name, file, stride=stage.config.trainer_params.log_every_n_steps)
    best = BestCheckpoint(
        dirpath=stage.best.parent,
        # Lightning numbers several files as they come; the best of them is then copied.
        filename=stage.best.stem if rule.save_top_k == 1 else "top",
        # Without a monitor Lightning keeps the last one.
        monitor=None if rule.select == "last" else rule.monitor,
        mode=rule.mode,
        save_top_k=rule.save_top_k,
        save_weights_only=True,
        enable_version_counter=rule.save_top_k > 1,
    )
    return finite, best, LastCheckpoint(file, finite)


def progress_callbacks(stage: Stage) -> list[Callback]:
    """Make the callbacks that write metrics.csv and show progress."""
    table = stage.place / "metrics.csv" if stage.config.logger.csv else None
    callbacks: list[Callback] = [MetricsTable(table)]
    if stage.config.logger.tensorboard or stage.config.logger.other:
        callbacks.append(LearningRateMonitor("step"))
    if stage.config.trainer_params.enable_progress_bar:
        callbacks.append(EpochLines(stage.name))
        if sys.stdout.isatty():
            # Of the current epoch; its line then stays. A hundred redraws a second would slow the steps down.
            callbacks.append(EpochBar(refresh_rate=5))
    return callbacks


def feature_callbacks(stage: Stage, module: TrainingModule) -> list[Callback]:
    """Make the callback that saves features of some images at some epochs, if any hemisphere learns."""
    if module.network.features_are_fixed:
        return []
    return [ProbeFeatures(stage.place / FOLDER)]


class EpochBar(RichProgressBar):
    """Lightning's own bar of the current epoch, which it counts from 1 as all lines here do."""

    def _get_train_description(self, current_epoch: int) -> str:
        # As wide as the bar of validation, so that neither flickers.
        width = len(self.validation_description)
        return f"{f'epoch {current_epoch + 1}/{self.trainer.max_epochs}':{width}}"


def make_trainer(
    stage: Stage, precision: str, callbacks: list[Callback], *, logger: Any, alone: bool = False
) -> pl.Trainer:
    """Make Lightning's Trainer with the stage's trainer_params; ``alone``: on one device.

    Raises:
        UserError: Lightning refuses one of them.
    """
    params: Any = OmegaConf.to_container(stage.config.trainer_params, resolve=True)
    options = params | {"precision": precision}
    options["benchmark"] = use_fast_kernels(
        options["accelerator"], deterministic=options["deterministic"]
    )
    options["enable_progress_bar"] = options["enable_progress_bar"] and sys.stdout.isatty()
    if alone:
        options |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    # Lightning takes SLURM's number of this task for the number of the process, and only the first process logs.
    rank_zero_only.rank = rank()  # type: ignore[attr-defined]
    try:
        return pl.Trainer(
            **options,
            default_root_dir=stage.place,
            logger=logger,
            callbacks=callbacks,
            # Whoever started this command, such as SLURM, has no part in how a stage's processes are started.
            plugins=[DurableCheckpoints(), LightningEnvironment()],
            num_sanity_val_steps=0,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"Lightning refuses trainer_params: {' '.join(str(error).split()).rstrip('.!')}."
        ) from error


def quieten() -> None:
    """Hide Lightning's hints about what is done on purpose here."""
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    for hint in (
        "num_workers",
        "DataLoader will create",
        "in eval mode at the start",
        "log_every_n_steps",
        "LeafSpec",
        "is not empty",
        "is not resumable",
        "callbacks used to create",
        "`srun` command",  # is for several processes, which a command starts itself
        "sync_dist=True",  # metrics are of all processes before they are logged
        "GPU available but not used",  # accelerator=cpu asks for that
        "called before the ``update`` method",  # replayed steps add to metrics without it
    ):
        warnings.filterwarnings("ignore", f".*{hint}.*")
