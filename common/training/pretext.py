"""Pretext tasks: a hemisphere learns without labels to tell which view of an image it sees."""

import math
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional

from common.checkpoints.files import Record
from common.results.metrics import METRICS
from common.system.errors import UserError
from common.training.metrics import Batch, LevelMetrics
from common.training.module import Step, TrainingModule
from common.training.paradigms import PARADIGMS


class Pretext(TrainingModule):
    """Trains a hemisphere by a task that images pose by themselves; a subclass says what its `views` are.

    The head has the name of the task and an output for each view. Every view of each image of a batch is shown in
    the same step, so that nothing is drawn beyond augmentation; accuracy and loss are those of telling views apart.
    """

    def __init__(self, *, cfg: DictConfig, record: Record) -> None:
        super().__init__(cfg=cfg, record=record)
        self.label_smoothing: float = cfg.hparams.label_smoothing

    def views(self, images: Tensor) -> list[Tensor]:
        """Give each view of images (B, 3, H, W), in the order of the task's classes: first the images themselves."""
        raise NotImplementedError

    @property
    def task(self) -> str:
        """Name the task."""
        (task,) = self.record.levels
        return task

    @property
    def views_of_each(self) -> int:
        """Count the views of an image."""
        return self.record.num_classes[self.task]

    def make_metrics(self, split: str) -> LevelMetrics:
        """Make accuracy and loss of the task."""
        return LevelMetrics(self.record.num_classes)

    def compute_step(self, batch: Batch) -> Step:
        """Compute the mean cross-entropy over all views of B augmented images."""
        views = self._views_of(batch)
        logits = self.forward_pass(torch.cat(views)).logits[self.task]  # (V * B, V)
        truth = torch.arange(len(views), device=logits.device).repeat_interleave(len(views[0]))
        loss = functional.cross_entropy(logits, truth, label_smoothing=self.label_smoothing)
        return Step(loss, {self.task: logits}, {self.task: truth})

    def validation_step(self, batch: Batch, batch_idx: int) -> Batch:
        """Count right answers; give the features of the images themselves by side, each (B, F)."""
        return self._evaluate(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers."""
        self._evaluate(batch, self.test_metrics)

    def _views_of(self, batch: Batch) -> list[Tensor]:
        """Give the views of a batch's images.

        Raises:
            UserError: they are not one for each class, each of the images' shape.
        """
        images = self.transforms(batch["images"])
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

    def _evaluate(self, batch: Batch, metrics: LevelMetrics) -> Batch:
        features: Batch = {}
        # One view after the other: batches of evaluation are as large as is fast.
        for place, view in enumerate(self._views_of(batch)):
            outputs = self.evaluated(self.forward_pass, view)
            logits = outputs.logits[self.task]  # (B, V)
            truth = torch.full((len(view),), place, device=logits.device)
            metrics.update({self.task: logits}, {self.task: truth})
            features = features or outputs.features
        return features

    def chance(self, labels: Any) -> dict[str, dict[str, float | None]]:
        """Give accuracy and loss of guessing; each view is as frequent as any other."""
        number = self.views_of_each
        guessed = {"accuracy": 1 / number, "loss": round(math.log(number), 6)}
        return {self.task: dict.fromkeys(METRICS) | guessed}
