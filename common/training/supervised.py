"""The LightningModule that both experiment folders specialise: loss over heads, metrics, optimiser."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from common.checkpoints.files import RECORD, Record
from common.data.datamodule import HierarchicalData
from common.data.transforms import Transforms
from common.networks.hemisphere import HemisphereConfig
from common.system.distributed import broadcast_from_first, rank
from common.system.errors import UserError
from common.system.randomness import derive
from common.training.metrics import FURTHER, Batch, EvaluationMetrics, LevelMetrics


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
        self.validation: dict[str, dict[str, float | None]] = {}
        self.record = record
        self.cfg = cfg
        # Read once: a look into the configuration takes as long as a small kernel.
        self.label_smoothing: float = cfg.hparams.label_smoothing
        self.log_every_n_steps: int = cfg.trainer_params.log_every_n_steps
        self.transforms = Transforms(
            mean=record.mean,
            std=record.std,
            crop_padding=cfg.dataset.crop_padding,
            flip=cfg.dataset.flip,
        )
        self.train_metrics = LevelMetrics(record.num_classes)
        self.val_metrics = EvaluationMetrics(record.num_classes, record.coarse_of_fine)
        self.test_metrics = EvaluationMetrics(record.num_classes, record.coarse_of_fine)
        # The network's forward pass, while fitting as compiled; a function, so that weights keep their names.
        self.look: Callable[[Tensor], Batch] = self.network.forward
        # Saved in the middle of an epoch, so that its mean is right after continuing.
        self.train_metrics.persistent()

    @staticmethod
    def sides(cfg: DictConfig) -> Sequence[str | None]:
        """The hemispheres that the network has; None stands for the only one."""
        return (None,)

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """The parameters of each hemisphere, by the name that it has in the network."""
        return {}

    @classmethod
    @abstractmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> nn.Module:
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
        return self.network.features_are_fixed and not self.transforms.augments  # type: ignore[return-value]

    def forward(self, batch: Batch) -> Batch:
        """Logits (B, C) per level, of a batch's images, or of its features where it holds those."""
        if "features" in batch:
            return self.network.classify(batch["features"])  # type: ignore[operator]
        return self.look(self.transforms(batch["images"]))

    def on_fit_start(self) -> None:
        """Have the forward pass compiled when it is first used."""
        if self.cfg.hparams.compile:
            # Otherwise earlier stages' networks count against a limit beyond which torch no longer compiles.
            torch.compiler.reset()
            # Not dynamic: the same shape must always meet the same kernels, or continuing would not be exact.
            self.look = torch.compile(
                self.network.forward, mode=self.cfg.hparams.compile, dynamic=False
            )

    def on_fit_end(self) -> None:
        """Testing, a command of its own too, does not compile."""
        self.look = self.network.forward

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make augmentation and dropout depend on nothing but seed, arm, epoch and step."""
        place: tuple[str | int, ...] = (self.record.arm, self.current_epoch, batch_idx)
        # The first process draws as one process would, each other one for itself.
        place += (rank(),) if rank() else ()
        seed = derive(self.record.seed, *place)
        # Not torch.manual_seed, which takes half a millisecond to note the seed for devices that are not there.
        torch.default_generator.manual_seed(seed)
        if self.device.type in ("cuda", "mps"):
            getattr(torch, self.device.type).manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss summed over levels."""
        logits = self(batch)
        losses = [
            functional.cross_entropy(
                logits[level], batch[level], label_smoothing=self.label_smoothing
            )
            for level in self.record.levels
        ]
        self.train_metrics.update(logits, batch)
        loss = torch.stack(losses).sum()
        # Of the very steps at which Lightning hands values on to loggers.
        if (self.global_step + 1) % self.log_every_n_steps == 0:
            self.log("train_step_loss", loss, on_step=True, on_epoch=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Training metrics of the epoch, of the images as augmented."""
        self._log_and_reset("train", self.train_metrics)

    def on_validation_start(self) -> None:
        """Evaluate what is saved: each process has BatchNorm statistics of its own since the last step."""
        broadcast_from_first(self.network.buffers())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers and mistakes, and sum up losses."""
        self.val_metrics.update(self(batch), batch)

    def on_validation_epoch_end(self) -> None:
        """Validation metrics, the mean of the levels' accuracies among them."""
        values = self._log_and_reset("val", self.val_metrics)
        self.validation = by_level(values, "val", self.record.levels)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers and mistakes, and sum up losses."""
        self.test_metrics.update(self(batch), batch)

    def on_test_epoch_end(self) -> None:
        """Test metrics."""
        self._log_and_reset("test", self.test_metrics)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Features (B, F) and the labels of each level (B,)."""
        features = self.network.features(self.transforms(batch["images"]))  # type: ignore[operator]
        return {"features": features} | {level: batch[level] for level in self.record.levels}

    def _log_and_reset(self, split: str, metrics: "LevelMetrics") -> Batch:
        values = {f"{split}_{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        self.log_dict(values)
        return values

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser over all that is not frozen, and its schedule by steps."""
        hparams = self.cfg.hparams
        plasticity = {
            side: one.plasticity for side, one in self.hemisphere_configs(self.cfg).items()
        }
        groups = parameter_groups(self.network, lr=hparams.lr, plasticity=plasticity)
        # Lightning refuses to clip the gradients of a fused optimiser under autocast.
        fused = self.cfg.trainer_params.gradient_clip_val is None
        optimizer = _optimizer(groups, hparams, fused=fused)
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
        # Those of the epoch so far: of all processes, though the first one alone writes.
        with self.train_metrics.of_all_processes():
            sums = self.train_metrics.state_dict(prefix="train_metrics.")
        checkpoint["metrics"] |= sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The reverse of `on_save_checkpoint`."""
        metrics = checkpoint["metrics"]
        if rank():  # the first process goes on with the sums of all
            metrics = {name: value for name, value in self.state_dict().items() if name in metrics}
        checkpoint["state_dict"] |= metrics
        self.validation = checkpoint["validation"]


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
) -> dict[str, dict[str, float | None]]:
    """Logged metrics as plain numbers of six digits, which float32 holds: level to name to value.

    Beyond accuracy and loss, None stands for what a level lacks and for what is undefined.
    """

    def number(level: str, name: str) -> float | None:
        value = float(metrics.get(f"{split}_{level}_{name}", math.nan))
        return None if math.isnan(value) and name in FURTHER else round(value, 6)

    return {
        level: {name: number(level, name) for name in ("accuracy", "loss", *FURTHER)}
        for level in levels
    }


def parameter_groups(
    network: nn.Module, *, lr: float, plasticity: Mapping[str, float]
) -> list[dict[str, Any]]:
    """What is not frozen, by learning rate: ``lr`` itself, which is the heads', comes first.

    Args:
        network: of the hemispheres ``hemispheres.<side>``.
        lr: base learning rate.
        plasticity: for each side, what multiplies the rate of its hemisphere.
    """
    rates: dict[float, list[nn.Parameter]] = {lr: []}
    for name, parameter in network.named_parameters():
        room, _, path = name.partition(".")
        side = path.partition(".")[0] if room == "hemispheres" else ""
        if parameter.requires_grad:
            rates.setdefault(lr * plasticity.get(side, 1.0), []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in rates.items()]


def _optimizer(
    groups: list[dict[str, Any]], hparams: DictConfig, *, fused: bool
) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"weight_decay": hparams.weight_decay, "fused": fused}
    if hparams.optimizer == "sgd":
        nesterov = hparams.momentum > 0
        return torch.optim.SGD(groups, momentum=hparams.momentum, nesterov=nesterov, **common)
    if hparams.optimizer == "adam":
        return torch.optim.Adam(groups, **common)
    return torch.optim.AdamW(groups, **common)
