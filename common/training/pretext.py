"""Pretext tasks: a hemisphere learns without labels to tell which view of an image it sees."""

import math
from abc import abstractmethod
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from common.checkpoints.record import Record
from common.networks.macro import Outputs
from common.results.metrics import METRICS
from common.system.errors import UserError, noting
from common.training.metrics import Batch, LevelMetrics
from common.training.objective import Objective, Show, Step
from common.training.paradigms import PARADIGMS


class Pretext(Objective):
    """A task that images pose by themselves; a subclass says what its `views` are.

    The head has the name of the task and an output for each view. Every view of each image of a batch is shown in
    the same step, so that nothing is drawn beyond augmentation; accuracy and loss are those of telling views apart.
    """

    def __init__(self, hparams: DictConfig, record: Record) -> None:
        super().__init__(hparams, record)
        (self.task,) = record.levels
        self.views_of_each = record.num_classes[self.task]
        self.label_smoothing: float = hparams.label_smoothing

    @abstractmethod
    def views(self, images: Tensor) -> list[Tensor]:
        """Give each view of images (B, 3, H, W), in the order of the task's classes: first the images themselves."""

    def make_metrics(self, split: str) -> LevelMetrics:
        """Make accuracy and loss of the task."""
        return LevelMetrics(self.record.num_classes)

    def compute_step(self, batch: Batch, show: Show) -> Step:
        """Compute the mean cross-entropy over all views of B augmented images."""
        views = self._views_of(batch["images"])
        logits = show({"images": torch.cat(views)}).logits[self.task]  # (V * B, V)
        truth = torch.arange(len(views), device=logits.device).repeat_interleave(len(views[0]))
        loss = functional.cross_entropy(logits, truth, label_smoothing=self.label_smoothing)
        return Step(loss, {self.task: logits}, {self.task: truth})

    def evaluate(self, batch: Batch, show: Show, metrics: LevelMetrics) -> Outputs:
        """Count right answers; give the features of the images themselves, and no answers to their labels."""
        features: Batch = {}
        # One view after the other: batches of evaluation are as large as is fast.
        for index, view in enumerate(self._views_of(batch["images"])):
            outputs = show({"images": view})
            logits = outputs.logits[self.task]  # (B, V)
            truth = torch.full((len(view),), index, device=logits.device)
            metrics.update({self.task: logits}, {self.task: truth})
            features = features or outputs.features
        return Outputs(features, {})

    def chance(self, labels: Any) -> dict[str, dict[str, float | None]]:
        """Give accuracy and loss of guessing; each view is as frequent as any other."""
        number = self.views_of_each
        guessed = {"accuracy": 1 / number, "loss": round(math.log(number), 6)}
        return {self.task: dict.fromkeys(METRICS) | guessed}

    def _views_of(self, images: Tensor) -> list[Tensor]:
        """Give the views of images.

        Raises:
            UserError: they are not one for each class, each of the images' shape.
        """
        with noting(self):
            views: Any = self.views(images)
        shape, number = tuple(images.shape), self.views_of_each
        listed = isinstance(views, list | tuple)
        found = [tuple(getattr(view, "shape", ())) for view in views] if listed else []
        if found != [shape] * number:
            others = [one for one in found if one != shape]
            given = f"{len(found)} views" if listed else f"a {type(views).__name__}"
            given += f", one of them of the shape {others[0]}" if others else ""
            raise UserError(
                f"hparams.mode={self.task}: `views` of {PARADIGMS[self.task].where} gives {given}; allowed: a list of "
                f"{number}, one for each of the row's classes, all of the images' shape {shape}."
            )
        return [*views]
