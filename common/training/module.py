"""The LightningModule of both experiment folders: all that depends neither on the network nor on what is learned.

It shows images to the network, takes and seeds each step, sets up the optimiser, logs metrics, and says what a
checkpoint holds. An experiment folder adds how its network is built (`build_network` and what stands beside it); its
objective (`common.training.objective`) says what a step computes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import Optimizer

from common.checkpoints.files import RECORD
from common.checkpoints.pretrained import load_pretrained
from common.checkpoints.record import Record
from common.data.datamodule import HierarchicalData, evaluation_batch, limits_of
from common.data.transforms import Transforms
from common.networks.full_batch import in_full_batch
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import Network, Outputs
from common.networks.trial import try_network
from common.system.distributed import broadcast_from_first, rank
from common.system.randomness import derive
from common.training.fast_steps import FastSteps
from common.training.graphed import GraphedStep
from common.training.metrics import Batch, LevelMetrics, by_level
from common.training.objective import Objective
from common.training.optimisers import optimisation

T = TypeVar("T")


class TrainingModule(pl.LightningModule, ABC):
    """Trains the network of an experiment folder.

    Args:
        cfg: the run's configuration.
        record: what the network's checkpoints are to say about themselves.
    """

    def __init__(self, *, cfg: DictConfig, record: Record) -> None:
        super().__init__()
        self.objective = self.objective_type(cfg)(cfg.hparams, record)
        self.network = self.build_network(cfg, record)
        self.network.to(memory_format=torch.channels_last)
        try_network(self.network, record.image_size)
        self.validation: dict[str, dict[str, float | None]] = {}
        self.record = record
        self.cfg = cfg
        # Read once: a look into the configuration takes as long as a small kernel.
        self.log_every_n_steps: int = cfg.trainer_params.log_every_n_steps
        self.limits = limits_of(cfg.trainer_params)
        self.transforms = Transforms(
            mean=record.mean,
            std=record.std,
            crop_padding=cfg.dataset.crop_padding,
            flip=cfg.dataset.flip,
            crop_scale=cfg.dataset.crop_scale,
        )
        self.train_metrics = self.objective.make_metrics("train")
        self.val_metrics = self.objective.make_metrics("val")
        self.test_metrics = self.objective.make_metrics("test")
        # The network's forward pass, while fitting as compiled; a function, so that weights keep their names.
        self.forward_pass: Callable[[Tensor], Outputs] = self.network.outputs
        # Replays the step, while fitting with a CUDA graph.
        self.graphed: GraphedStep | None = None
        self.fast_steps = FastSteps()
        # Saved in the middle of an epoch, so that its mean is right after continuing.
        self.train_metrics.persistent()

    # What an experiment folder adds

    @staticmethod
    @abstractmethod
    def objective_type(cfg: DictConfig) -> type[Objective]:
        """Choose what is learned."""

    @staticmethod
    def sides(cfg: DictConfig) -> Sequence[str | None]:
        """Name the hemispheres whose keys shape the network; None stands for the only one."""
        return (None,)

    @staticmethod
    @abstractmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """Read the parameters of each hemisphere, by side."""

    @staticmethod
    def epochs(cfg: DictConfig, data: HierarchicalData) -> int:
        """Give the epochs of training."""
        return cfg.trainer_params.max_epochs

    @classmethod
    @abstractmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> Network:
        """Build the network: images float (B, 3, H, W) to logits (B, C) per level."""

    @staticmethod
    def hemisphere_paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
        """Name the checkpoints that the network builds on, by what they serve as."""
        return {}

    def load_hemispheres(self, data: HierarchicalData) -> None:
        """Load what `hemisphere_paths` names, trained on the same images as ``data``'s, else pretrained weights."""
        for side, config in self.hemisphere_configs(self.cfg).items():
            load_pretrained(self.network.sides[side].backbone, config)

    # What both folders share

    @property
    def features_are_fixed(self) -> bool:
        """Say whether an image as it is may be replaced by its features, because these never change."""
        return self.network.features_are_fixed and self.objective.needs_features_alone

    def seen(self, batch: Batch) -> Batch:
        """Give a batch as the network sees it: images float (B, 3, H, W), in training augmented."""
        if "features" in batch:
            return batch
        return batch | {"images": self.transforms(batch["images"])}

    def outputs(self, batch: Batch) -> Outputs:
        """Give features by side and logits by level, of a batch's images as seen, or of its features."""
        if "features" in batch:
            return self.network.outputs_of(batch["features"])
        if self.training:
            return self.forward_pass(batch["images"])
        return self.evaluated(self.forward_pass, batch["images"])

    def evaluated(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        """Give what a function of the network makes of images in evaluation mode, in the shape of a full batch.

        So that nothing is compiled, or chosen by trial on a GPU, for the last batch alone.
        """
        gpu = self.device.type == "cuda"
        if not gpu and self.forward_pass == self.network.outputs:
            return function(images)
        size = evaluation_batch(images.shape[-2:], gpu=gpu, limits=self.limits)
        return in_full_batch(function, images, size)

    def forward(self, batch: Batch) -> Batch:
        """Give logits (B, C) per level of a batch."""
        return self.outputs(self.seen(batch)).logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss of a batch, and add to the training metrics."""
        loss = self.graphed(batch) if self.graphed else self.compute_loss(batch)
        # The very steps at which Lightning hands values on to loggers.
        if (self.global_step + 1) % self.log_every_n_steps == 0:
            self.log("train_step_loss", loss, on_step=True, on_epoch=False)
        return loss

    def compute_loss(self, batch: Batch) -> Tensor:
        """Compute the loss of a batch, and add to the training metrics; a recording repeats both."""
        step = self.objective.compute_step(self.seen(batch), self.outputs)
        with self.train_metrics.in_place():
            self.train_metrics.update(step.logits, step.labels)
        return step.loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs:  # type: ignore[override]
        """Measure a batch, and give what the network makes of it to whoever saves features."""
        return self.objective.evaluate(self.seen(batch), self.outputs, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs:  # type: ignore[override]
        """Measure a batch, and give what the network makes of it to whoever collects answers."""
        return self.objective.evaluate(self.seen(batch), self.outputs, self.test_metrics)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients, unless a replayed step has done so."""
        if not self.graphed:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear gradients, unless they are those of a replayed step, which Lightning has taken by then."""
        if not self.graphed:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Give features side by side (B, F), not joined, and the labels of each level (B,)."""
        features = self.evaluated(self.network.features, self.seen(batch)["images"])
        return {"features": features} | {level: batch[level] for level in self.record.levels}

    def configure_callbacks(self) -> list[pl.Callback]:
        """Let steps be compiled and recorded."""
        return [self.fast_steps]

    def on_fit_start(self) -> None:
        """Tell the objective the labels that it is to learn from."""
        images = cast(HierarchicalData, cast(Any, self.trainer).datamodule).train_set
        labels = {level: of_all[images.subset] for level, of_all in images.labels.items()}
        self.objective.begin(labels, self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Make augmentation and dropout depend on nothing but seed, arm, epoch and step."""
        place: tuple[str | int, ...] = (self.record.arm, self.current_epoch, batch_idx)
        # The first process draws as one process would, each other one for itself.
        place += (rank(),) if rank() else ()
        self.seed_generators(derive(self.record.seed, *place))

    def seed_generators(self, seed: int) -> None:
        """Seed what a step draws from, on the CPU and on the module's device."""
        # Not torch.manual_seed, which takes half a millisecond to note the seed for devices that are not there.
        torch.default_generator.manual_seed(seed)
        if self.device.type in ("cuda", "mps"):
            getattr(torch, self.device.type).manual_seed(seed)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then put weights back to where they may be (`common.networks.callosum`)."""
        super().optimizer_step(*args, **kwargs)
        self.network.constrain()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training metrics, of the images as augmented."""
        with self.train_metrics.in_place():
            self._log_and_reset("train", self.train_metrics)

    def on_validation_start(self) -> None:
        """Evaluate what is saved: each process has BatchNorm statistics of its own since the last step."""
        broadcast_from_first(self.network.buffers())

    def on_validation_epoch_end(self) -> None:
        """Log validation metrics, the mean of the levels' accuracies among them, and keep them for checkpoints."""
        values = self._log_and_reset("val", self.val_metrics)
        self.validation = by_level(values, "val", self.record.levels)

    def on_test_epoch_end(self) -> None:
        """Log test metrics."""
        self._log_and_reset("test", self.test_metrics)

    def _log_and_reset(self, split: str, metrics: LevelMetrics) -> Batch:
        values = {f"{split}_{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        self.log_dict(values)
        return values

    def configure_optimizers(self) -> Any:
        """Set up the recipe's optimiser over all that is not frozen, and its schedule by steps."""
        configs = self.hemisphere_configs(self.cfg)
        return optimisation(
            self.network,
            self.cfg.hparams,
            plasticity={side: one.plasticity for side, one in configs.items()},
            steps=int(self.trainer.estimated_stepping_batches),
            # Lightning refuses to clip the gradients of a fused optimiser under autocast.
            fused=self.cfg.trainer_params.gradient_clip_val is None,
        )

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
        """Reverse `on_save_checkpoint`."""
        metrics = checkpoint["metrics"]
        if rank():  # the first process goes on with the sums of all
            metrics = {name: value for name, value in self.state_dict().items() if name in metrics}
        checkpoint["state_dict"] |= metrics
        self.validation = checkpoint["validation"]
