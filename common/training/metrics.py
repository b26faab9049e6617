"""What evaluation measures: the metrics of `common.results.metrics`, summed up on the device, for each level.

A metric is a function of `Answers` that gives a value for each image and whether the image counts; its mean over the
images that count is reported. Or it is a class: a torchmetrics.Metric that is built with the number of classes of its
level, and whose `update` takes `Answers`. Neither may wait for the device. Those that need the hierarchy are in
`common.training.hierarchy_metrics`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from common.results.metrics import BASIC, FURTHER, METRICS, applicable
from common.system.errors import noting

Batch = dict[str, Tensor]


class Answers(NamedTuple):
    """What a network says of a batch of images, and what is right.

    Args:
        level: the one that is measured.
        logits: (B, C) by level.
        labels: int64 (B,) by level.
        coarse_of_fine: int64 (C_fine,), the coarse class of each fine class; empty where that is not known.
    """

    level: str
    logits: Batch
    labels: Batch
    coarse_of_fine: Tensor

    @property
    def own(self) -> tuple[Tensor, Tensor]:
        """Give logits (B, C) and labels (B,) of the level that is measured."""
        return self.logits[self.level], self.labels[self.level]

    def predicted(self, level: str) -> Tensor:
        """Give the class of the highest logit, int64 (B,)."""
        return self.logits[level].argmax(dim=1)


class Accuracy(MulticlassAccuracy):
    """The share of images whose highest logit is the label's."""

    def __init__(self, classes: int, *, top_k: int = 1) -> None:
        # Without validate_args: checking each batch would wait for the device.
        super().__init__(classes, top_k=top_k, average="micro", validate_args=False)

    def update(self, answers: Answers) -> None:  # type: ignore[override]
        """Add a batch."""
        super().update(*answers.own)


class Top5(Accuracy):
    """The share of images whose label is among the five highest logits (of all, where there are fewer classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes, top_k=min(5, classes))


class BalancedAccuracy(Metric):
    """The mean over classes of the share of their images that are right; classes without images do not count.

    As scikit-learn's balanced_accuracy_score (Brodersen et al. 2010, "The balanced accuracy and its posterior
    distribution"). torchmetrics' macro average counts a class without images as wrong once it is predicted.
    """

    full_state_update = False
    right: Tensor
    images: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(classes), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(classes), dist_reduce_fx="sum")

    def update(self, answers: Answers) -> None:
        """Add a batch."""
        _, labels = answers.own
        right = (answers.predicted(answers.level) == labels).float()
        self.right = self.right.index_add(0, labels, right)
        self.images = self.images.index_add(0, labels, torch.ones_like(right))

    def compute(self) -> Tensor:
        """Compute the mean over classes, or NaN."""
        return (self.right / self.images).nanmean()


class CrossEntropy(MeanMetric):
    """The mean cross-entropy of images, without label smoothing."""

    def __init__(self, classes: int) -> None:
        super().__init__()

    def update(self, answers: Answers) -> None:  # type: ignore[override]
        """Add a batch."""
        logits, labels = answers.own
        losses = functional.cross_entropy(logits.float(), labels, reduction="none")
        # Not by MeanMetric's own: some versions copy a weight from the CPU, which no recorded step may.
        self.mean_value += losses.sum()
        self.weight += len(losses)


class MeanOfImages(Metric):
    """The mean of a function's values over the images that count; NaN where none does.

    Args:
        function: `Answers` → values (B,), bool or float, and which images count, bool (B,).
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, function: Callable[[Answers], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.function = function
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, answers: Answers) -> None:
        """Add a batch."""
        with noting(self.function):
            values, counts = self.function(answers)
        self.total += torch.where(counts, values.float(), 0.0).sum()
        self.count += counts.sum()

    def compute(self) -> Tensor:
        """Compute the mean, or NaN."""
        return self.total / self.count


class LevelMetrics(nn.Module):
    """Metrics of each level, summed up on the device.

    Args:
        num_classes: of each level that the network predicts.
        coarse_of_fine: for each fine class, the coarse class that it belongs to, both as positions among a head's
            outputs; empty where that is not known, which leaves out the metrics that need it.
        names: of the metrics, as in `common.results.metrics.METRICS`.
    """

    def __init__(
        self,
        num_classes: Mapping[str, int],
        coarse_of_fine: Sequence[int] = (),
        names: Sequence[str] = BASIC,
    ) -> None:
        super().__init__()
        self.levels = tuple(num_classes)
        self.names = applicable(names, self.levels, hierarchy=len(coarse_of_fine) > 0)
        for name, levels in self.names.items():
            held = {level: _metric(name, num_classes[level]) for level in levels}
            self.add_module(name, nn.ModuleDict(held))
        self.register_buffer(
            "coarse_of_fine", torch.tensor(coarse_of_fine, dtype=torch.int64), persistent=False
        )

    def _each(self) -> Iterator[tuple[str, str, Metric]]:
        """Give level, name and metric of each that there is, level by level."""
        for level in self.levels:
            for name, levels in self.names.items():
                if level in levels:
                    yield level, name, cast(Any, self.get_submodule(f"{name}.{level}"))

    def _sums(self) -> Iterator[tuple[Metric, str, Tensor]]:
        for _, _, metric in self._each():
            for name, value in metric.metric_state.items():
                if isinstance(value, Tensor):
                    yield metric, name, value

    def persistent(self) -> None:
        """Make the sums part of the state dict."""
        for _, _, metric in self._each():
            metric.persistent(True)

    def sums(self) -> list[Tensor]:
        """Give the tensors that hold what was summed up so far."""
        return [value for _, _, value in self._sums()]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Keep sums in the tensors that hold them, within the block: those that a recorded step adds to."""
        held = list(self._sums())
        try:
            yield
        except BaseException:
            # What a recording that fails has computed may never exist.
            for metric, name, place in held:
                setattr(metric, name, place)
            raise
        for metric, name, place in held:
            value = getattr(metric, name)
            if value is not place:
                setattr(metric, name, place.copy_(value))

    @contextmanager
    def of_all_processes(self) -> Iterator[None]:
        """Give each process the sums of all, within the block; `compute` does that itself."""
        with ExitStack() as synced:
            for _, _, metric in self._each():
                synced.enter_context(metric.sync_context())
            yield

    @torch.no_grad()
    def update(self, logits: Batch, labels: Batch) -> None:
        """Add a batch: logits (B, C) and labels (B,) per level."""
        for level, _, metric in self._each():
            with noting(metric):
                metric.update(Answers(level, logits, labels, cast(Tensor, self.coarse_of_fine)))

    def compute(self) -> dict[str, Tensor]:
        """Compute ``<level>_<name>`` of each metric, and over levels the mean ``accuracy`` and the summed ``loss``.

        NaN stands for what is undefined.
        """
        values = {f"{level}_{name}": metric.compute() for level, name, metric in self._each()}
        return values | {
            "accuracy": torch.stack([values[f"{level}_accuracy"] for level in self.levels]).mean(),
            "loss": torch.stack([values[f"{level}_loss"] for level in self.levels]).sum(),
        }

    def reset(self) -> None:
        """Start anew."""
        for _, _, metric in self._each():
            metric.reset()


class EvaluationMetrics(LevelMetrics):
    """All metrics of the table, for validation and test."""

    def __init__(self, num_classes: Mapping[str, int], coarse_of_fine: Sequence[int]) -> None:
        super().__init__(num_classes, coarse_of_fine, names=tuple(METRICS))


def _metric(name: str, classes: int) -> Metric:
    found = METRICS[name].load()
    return found(classes) if isinstance(found, type) else MeanOfImages(found)


def by_level(
    metrics: Mapping[str, Any], split: str, levels: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Turn logged metrics into plain numbers of six digits, which float32 holds: level to name to value.

    Beyond accuracy and loss, None stands for what a level lacks and for what is undefined.
    """

    def number(level: str, name: str) -> float | None:
        value = float(metrics.get(f"{split}_{level}_{name}", math.nan))
        return None if math.isnan(value) and name in FURTHER else round(value, 6)

    return {level: {name: number(level, name) for name in METRICS} for level in levels}
