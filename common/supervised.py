"""The LightningModule that both experiment folders specialise: loss over heads, metrics, optimiser."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from common.augment import Retina
from common.checkpoints import RECORD, Record
from common.data import HierarchicalData
from common.errors import UserError
from common.randomness import derive

Batch = dict[str, Tensor]


class Supervised(pl.LightningModule):
    """Trains a network on the labels of its levels.

    Args:
        cfg: the run's configuration.
        record: what the network's checkpoints are to say about themselves.
    """

    def __init__(self, *, cfg: DictConfig, record: Record) -> None:
        super().__init__()
        self.network = self.build_network(cfg, record).to(memory_format=torch.channels_last)
        _refuse_image_size(self.network, record)
        self.validation: dict[str, dict[str, float]] = {}
        self.record = record
        self.cfg = cfg
        self.retina = Retina(
            mean=record.mean,
            std=record.std,
            crop_padding=cfg.dataset.crop_padding,
            flip=cfg.dataset.flip,
        )
        self.train_metrics = LevelMetrics(record.num_classes)
        self.val_metrics = LevelMetrics(record.num_classes)
        self.test_metrics = LevelMetrics(record.num_classes)
        # The network's forward pass, while fitting as compiled; a function, so that weights keep their names.
        self.look: Callable[[Tensor], Batch] = self.network.forward
        # Saved in the middle of an epoch, so that its mean is right after continuing.
        self.train_metrics.persistent()

    @staticmethod
    @abstractmethod
    def build_network(cfg: DictConfig, record: Record) -> nn.Module:
        """The network: images float (B, 3, H, W) to logits (B, C) per level."""

    @staticmethod
    def hemisphere_paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
        """The checkpoints that the network builds on, by what they serve as."""
        return {}

    def load_hemispheres(self, data: HierarchicalData) -> None:
        """Load what `hemisphere_paths` names; trained on the same images as ``data``'s."""

    @property
    def features_are_fixed(self) -> bool:
        """Whether an image has the same features at every step: only heads learn, and augmentation is off."""
        return self.network.features_are_fixed and not self.retina.augments  # type: ignore[return-value]

    def forward(self, batch: Batch) -> Batch:
        """Logits (B, C) per level, of a batch's images, or of its features where it holds those."""
        if "features" in batch:
            return self.network.classify(batch["features"])  # type: ignore[operator]
        return self.look(self.retina(batch["images"]))

    def on_fit_start(self) -> None:
        """Have the forward pass compiled when it is first used."""
        if self.cfg.hparams.compile:
            # Not dynamic: the same shape must always meet the same kernels, or continuing would not be exact.
            self.look = torch.compile(
                self.network.forward, mode=self.cfg.hparams.compile, dynamic=False
            )

    def on_fit_end(self) -> None:
        """Testing, a command of its own too, does not compile."""
        self.look = self.network.forward

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make augmentation and dropout depend on nothing but seed, arm, epoch and step."""
        torch.manual_seed(derive(self.record.seed, self.record.arm, self.current_epoch, batch_idx))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss summed over levels."""
        logits = self(batch)
        losses = [
            functional.cross_entropy(
                logits[level], batch[level], label_smoothing=self.cfg.hparams.label_smoothing
            )
            for level in self.record.levels
        ]
        self.train_metrics.update(logits, batch)
        loss = torch.stack(losses).sum()
        if batch_idx % self.cfg.trainer_params.log_every_n_steps == 0:
            self.log("train_step_loss", loss, on_step=True, on_epoch=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Training metrics of the epoch, of the images as augmented."""
        self._log_and_reset("train", self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers and sum up losses."""
        self.val_metrics.update(self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Validation metrics, the mean of the levels' accuracies among them."""
        values = self._log_and_reset("val", self.val_metrics)
        self.validation = by_level(values, "val", self.record.levels)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers and sum up losses."""
        self.test_metrics.update(self(batch), batch)

    def on_test_epoch_end(self) -> None:
        """Test metrics."""
        self._log_and_reset("test", self.test_metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Features (B, F) and the labels of each level (B,)."""
        features = self.network.features(self.retina(batch["images"]))  # type: ignore[operator]
        return {"features": features} | {level: batch[level] for level in self.record.levels}

    def _log_and_reset(self, split: str, metrics: "LevelMetrics") -> Batch:
        values = {f"{split}_{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        self.log_dict(values)
        return values

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser over all that is not frozen, and its schedule by steps."""
        hparams = self.cfg.hparams
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = _optimizer(parameters, hparams)
        if hparams.schedule == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(
            optimizer, lambda step: one_cycle(step, steps=steps, warmup=hparams.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the checkpoint must say about itself; keep metrics apart from weights."""
        checkpoint[RECORD] = self.record.as_dict()
        checkpoint["validation"] = self.validation
        checkpoint["metrics"] = {
            name: checkpoint["state_dict"].pop(name)
            for name in list(checkpoint["state_dict"])
            if not name.startswith("network.")
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The reverse of `on_save_checkpoint`."""
        checkpoint["state_dict"] |= checkpoint["metrics"]
        self.validation = checkpoint["validation"]


class LevelMetrics(nn.Module):
    """Accuracy and cross-entropy of each level, summed up on the device."""

    def __init__(self, num_classes: dict[str, int]) -> None:
        super().__init__()
        # Without validate_args: checking each batch would wait for the device.
        self.accuracy = nn.ModuleDict(
            {
                level: MulticlassAccuracy(classes, average="micro", validate_args=False)
                for level, classes in num_classes.items()
            }
        )
        self.loss = nn.ModuleDict(
            {level: MeanMetric(nan_strategy="disable") for level in num_classes}
        )

    def _by_level(self) -> Iterator[tuple[str, Metric, Metric]]:
        for level, accuracy in self.accuracy.items():
            yield level, cast(Metric, accuracy), cast(Metric, self.loss[level])

    def persistent(self) -> None:
        """Make the sums part of the state dict."""
        for _, accuracy, loss in self._by_level():
            accuracy.persistent(True)
            loss.persistent(True)

    @torch.no_grad()
    def update(self, logits: Batch, batch: Batch) -> None:
        """Add a batch: logits (B, C) and labels (B,) per level."""
        for level, accuracy, loss in self._by_level():
            labels = batch[level]
            accuracy.update(logits[level], labels)
            # Of each image, not of the batch: with nan_strategy="disable", torchmetrics drops weights.
            loss.update(functional.cross_entropy(logits[level].float(), labels, reduction="none"))

    def compute(self) -> dict[str, Tensor]:
        """``<level>_accuracy``, ``<level>_loss``, and over levels the mean ``accuracy`` and summed ``loss``."""
        values = {}
        for level, accuracy, loss in self._by_level():
            values[f"{level}_accuracy"] = accuracy.compute()
            values[f"{level}_loss"] = loss.compute()
        accuracies = [value for name, value in values.items() if name.endswith("accuracy")]
        losses = [value for name, value in values.items() if name.endswith("loss")]
        return values | {
            "accuracy": torch.stack(accuracies).mean(),
            "loss": torch.stack(losses).sum(),
        }

    def reset(self) -> None:
        """Start anew."""
        for _, accuracy, loss in self._by_level():
            accuracy.reset()
            loss.reset()


def _refuse_image_size(network: nn.Module, record: Record) -> None:
    """Find out before training whether the images are too small for a backbone's pooling."""
    height, width = record.image_size
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, height, width))
    except RuntimeError as error:
        archs = [
            value
            for name, value in record.config["hparams"].items()
            if name in ("arch", "farch", "carch")
        ]
        raise UserError(
            f"Images of {width} x {height} pixels are too small for {' and '.join(dict.fromkeys(archs))}."
        ) from error
    network.train(training)


def one_cycle(step: int, *, steps: int, warmup: float) -> float:
    """The share of the highest learning rate at a step: up and down by half cosines (Smith & Topin 2018).

    From 1/25 to 1 over a share ``warmup`` of the ``steps``, then to 0 after the last one. As torch's OneCycleLR,
    but right for runs of one step too.
    """
    peak = warmup * steps
    if step < peak:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / peak)) / 2
    return (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2


def by_level(
    metrics: Mapping[str, Any], split: str, levels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Logged metrics as plain numbers of six digits, which float32 holds: level to accuracy and loss."""
    names = ("accuracy", "loss")
    return {
        level: {name: round(float(metrics[f"{split}_{level}_{name}"]), 6) for name in names}
        for level in levels
    }


def _optimizer(parameters: list[nn.Parameter], hparams: DictConfig) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": hparams.lr, "weight_decay": hparams.weight_decay, "fused": True}
    if hparams.optimizer == "sgd":
        nesterov = hparams.momentum > 0
        return torch.optim.SGD(parameters, momentum=hparams.momentum, nesterov=nesterov, **common)
    if hparams.optimizer == "adam":
        return torch.optim.Adam(parameters, **common)
    return torch.optim.AdamW(parameters, **common)
