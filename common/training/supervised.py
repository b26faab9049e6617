"""Labels: a loss over the heads of all levels, and metrics of their predictions."""

from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from common.checkpoints.record import Record
from common.networks.macro import Outputs
from common.settings.hierarchy import refuse_unknown_hierarchy
from common.system.errors import UserError, noting
from common.training.chance import chance
from common.training.loss_table import LOSSES
from common.training.losses import balanced
from common.training.metrics import Batch, EvaluationMetrics, LevelMetrics
from common.training.objective import Objective, Show, Step

# The arguments of a loss that are no hyper-parameters.
TREE = "coarse_of_fine"
WEIGHTS = "class_weights"
BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Supervised(Objective):
    """Labels of all levels."""

    needs_features_alone = True

    def __init__(self, hparams: DictConfig, record: Record) -> None:
        super().__init__(hparams, record)
        self.loss = _with_hyper_parameters(LOSSES[hparams.loss].load(), hparams, record)
        self.auxiliary: float = hparams.get("auxiliary", 0.0)

    def begin(self, labels: Batch, device: torch.device) -> None:
        """Weigh images by how rare their classes are among the training images, where hparams.class_weights asks."""
        if self.hparams.get(WEIGHTS) is None:
            return
        weights = {
            level: balanced(labels[level], classes).to(device)
            for level, classes in self.record.num_classes.items()
        }
        self.loss = partial(self.loss, **{WEIGHTS: weights})

    def make_metrics(self, split: str) -> LevelMetrics:
        """Make accuracy and loss of each level, and for validation and test all other metrics."""
        classes = self.record.num_classes
        if split == "train":
            return LevelMetrics(classes)
        return EvaluationMetrics(classes, self.record.coarse_of_fine)

    def compute_step(self, batch: Batch, show: Show) -> Step:
        """Compute the loss of all levels."""
        outputs = show(batch)
        labels = {level: batch[level] for level in self.record.levels}
        with noting(self.loss):
            loss = self.loss(outputs, labels)
        # No look at its value, which would wait for a GPU.
        if not (isinstance(loss, Tensor) and loss.shape == () and loss.requires_grad):
            raise UserError(
                f"hparams.loss={self.hparams.loss} gives {_described(loss)}; allowed: one number, a Tensor of the "
                "shape (), that depends on what learns."
            )
        for logits in outputs.auxiliary.values():
            # No features: what a loss makes of both hemispheres counts once.
            loss = loss + self.auxiliary * self.loss(Outputs({}, logits), labels)
        return Step(loss, outputs.logits, labels)

    def evaluate(self, batch: Batch, show: Show, metrics: LevelMetrics) -> Outputs:
        """Count right answers and mistakes, and sum up losses."""
        outputs = show(batch)
        metrics.update(outputs.logits, batch)
        return outputs

    def chance(self, labels: Batch) -> dict[str, dict[str, float | None]]:
        """Measure random logits."""
        return chance(self.record.num_classes, self.record.coarse_of_fine, labels)


def _with_hyper_parameters(loss: Any, hparams: DictConfig, record: Record) -> Any:
    """Give a loss the values of those of its arguments that are hyper-parameters, each read once.

    Raises:
        UserError: it takes them by their places, or one of them is no key of hparams; or it needs the coarse class of
            each fine class, which is not known, or takes no weights of classes.
    """
    parameters = signature(loss).parameters.values()
    given = [one.name for one in parameters if one.kind in BY_PLACE]
    if len(given) != 2:
        raise UserError(
            f"hparams.loss={hparams.loss} takes {', '.join(given) or 'nothing'} by their places; allowed: outputs and "
            "labels, and behind a `*` the keys of hparams that are its hyper-parameters."
        )
    names = [one.name for one in parameters if one.kind is Parameter.KEYWORD_ONLY]
    keys = [name for name in names if name not in (TREE, WEIGHTS)]
    for name in keys:
        if name not in hparams:
            raise UserError(
                f"hparams.loss={hparams.loss} takes `{name}`, which is no key of {record.folder}: add it to "
                f"TrainingKeys in common/runs/schema.py, or for this folder alone to {record.folder}/schema.py."
            )
    values = {name: hparams[name] for name in keys}
    if hparams.get(WEIGHTS) is not None and WEIGHTS not in names:
        raise UserError(
            f"hparams.{WEIGHTS} is {hparams[WEIGHTS]}, but hparams.loss={hparams.loss} takes no weights of classes; "
            "allowed with it: null."
        )
    if TREE in names:
        refuse_unknown_hierarchy(record.coarse_of_fine, f"hparams.loss={hparams.loss}")
        values[TREE] = tuple(record.coarse_of_fine)
    return partial(loss, **values)


def _described(loss: Any) -> str:
    """Say what a loss gives that is not one number with gradients."""
    if not isinstance(loss, Tensor):
        return "None" if loss is None else f"a {type(loss).__name__}"
    return (
        f"a Tensor of the shape {tuple(loss.shape)}" if loss.ndim else "a number without gradients"
    )
