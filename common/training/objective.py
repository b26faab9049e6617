"""What a hemisphere learns: the part of training that a paradigm decides.

A module (`common.training.module`) shows images to its network, takes its steps and logs; an objective says which loss
a step has and what is measured. It does not know the module: it is handed a batch, and a function that shows it to the
network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from common.checkpoints.record import Record
from common.networks.macro import Outputs
from common.training.metrics import Batch, LevelMetrics

# Shows the network a batch: its images, float (B, 3, H, W), or its features where it holds those.
Show = Callable[[Batch], Outputs]


class Step(NamedTuple):
    """What a training step computes: the loss, and what metrics take, logits (B, C) and labels (B,) by level."""

    loss: Tensor
    logits: Batch
    labels: Batch


class Objective(ABC):
    """The loss of a training step, and what is measured.

    Args:
        hparams: of the run.
        record: of the network's levels and their classes.
    """

    # The pictures that a training step shows of each image.
    views_of_each: int = 1
    # Whether steps may be given an image's features instead of the image, where these never change.
    needs_features_alone: bool = False

    def __init__(self, hparams: DictConfig, record: Record) -> None:
        self.hparams = hparams
        self.record = record

    def begin(self, labels: Batch, device: torch.device) -> None:
        """Learn from the training images' labels (N,), by level, what steps on a device need to know of them."""
        return

    @abstractmethod
    def make_metrics(self, split: str) -> LevelMetrics:
        """Make what steps of "train", "val" or "test" update: metrics of the record's levels."""

    @abstractmethod
    def compute_step(self, batch: Batch, show: Show) -> Step:
        """Compute the loss of a training batch, and what training metrics take, without changing anything else.

        It may be recorded: it must not wait for the device, and must draw random numbers on it.
        """

    @abstractmethod
    def evaluate(self, batch: Batch, show: Show, metrics: LevelMetrics) -> Outputs:
        """Add a validation or test batch to metrics, and give what the network makes of its images as they are.

        The features of every hemisphere, and logits unless the objective asks for other answers than labels.
        """

    def chance(self, labels: Batch) -> dict[str, dict[str, float | None]]:
        """Say what chance would give of each metric (level to name to value), from the test images' labels (N,).

        By default nothing: only an objective that measures answers against these labels may say so.
        """
        return {}
