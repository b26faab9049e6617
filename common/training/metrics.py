"""How well predictions fit, per level: accuracy and loss, and what validation and test ask beyond them."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

Batch = dict[str, Tensor]
# What evaluation adds to accuracy and loss, in the order of tables.
FURTHER = ("top5", "consistency", "severity")


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

    @contextmanager
    def of_all_processes(self) -> Iterator[None]:
        """Within the block, each process has the sums of all; `compute` sees to that itself."""
        with ExitStack() as synced:
            for metric in self.modules():
                if isinstance(metric, Metric):
                    synced.enter_context(metric.sync_context())
            yield

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


class EvaluationMetrics(LevelMetrics):
    """Accuracy and loss, and beyond them top-5 accuracy, consistency and severity of mistakes.

    Top-5: the share of images whose label is among the five highest logits (of all, where there are fewer classes).
    Consistency: the share of images whose fine prediction lies in the coarse class that the coarse head predicts.
    Severity: of the images whose fine prediction is wrong, the share in which it lies in the right coarse class.

    Args:
        num_classes: of each level that the network predicts.
        coarse_of_fine: for each fine class, the coarse class that it belongs to, both as positions among a
            head's outputs; empty where that is not known, which leaves consistency and severity out.
    """

    def __init__(self, num_classes: dict[str, int], coarse_of_fine: Sequence[int]) -> None:
        super().__init__(num_classes)
        self.top5 = nn.ModuleDict(
            {
                level: MulticlassAccuracy(
                    classes, top_k=min(5, classes), average="micro", validate_args=False
                )
                for level, classes in num_classes.items()
            }
        )
        known = "fine" in num_classes and len(coarse_of_fine) > 0
        self.severity = Share() if known else None
        self.consistency = Share() if known and "coarse" in num_classes else None
        self.register_buffer(
            "coarse_of_fine", torch.tensor(coarse_of_fine, dtype=torch.int64), persistent=False
        )

    @torch.no_grad()
    def update(self, logits: Batch, batch: Batch) -> None:
        """Add a batch: logits (B, C) and labels (B,) per level."""
        super().update(logits, batch)
        for level, top5 in self.top5.items():
            cast(Metric, top5).update(logits[level], batch[level])
        if self.severity is None:
            return
        coarse_of_fine = cast(Tensor, self.coarse_of_fine)
        fine = logits["fine"].argmax(dim=1)
        coarse = coarse_of_fine[fine]
        wrong = fine != batch["fine"]
        self.severity.update(coarse == coarse_of_fine[batch["fine"]], among=wrong)
        if self.consistency is not None:
            same = coarse == logits["coarse"].argmax(dim=1)
            self.consistency.update(same, among=torch.ones_like(same))

    def compute(self) -> dict[str, Tensor]:
        """As `LevelMetrics`, and where they apply ``<level>_top5``, ``<level>_consistency``, ``fine_severity``.

        Consistency concerns both heads and is the same under both levels. Severity is NaN without a mistake.
        """
        values = super().compute()
        for level, top5 in self.top5.items():
            values[f"{level}_top5"] = cast(Metric, top5).compute()
            if self.consistency is not None:
                values[f"{level}_consistency"] = self.consistency.compute()
        if self.severity is not None:
            values["fine_severity"] = self.severity.compute()
        return values

    def reset(self) -> None:
        """Start anew."""
        super().reset()
        for metric in (*self.top5.values(), self.severity, self.consistency):
            if metric is not None:
                cast(Metric, metric).reset()


class Share(Metric):
    """The share of hits among the images that count; NaN where none does."""

    full_state_update = False
    hits: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("hits", "count"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, hits: Tensor, among: Tensor) -> None:
        """Add a batch: which images are hits and which count, both bool (B,)."""
        self.hits += (hits & among).sum()
        self.count += among.sum()

    def compute(self) -> Tensor:
        """Between 0 and 1, or NaN."""
        return self.hits / self.count
