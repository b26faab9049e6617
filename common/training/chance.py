"""What chance would give: metrics of a network whose logits are random numbers, whatever the image."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from common.results.metrics import METRICS
from common.system.randomness import derive
from common.training.metrics import LevelMetrics, by_level

DRAWS = 50_000  # answers to measure, at least
BATCH = 5_000  # at a time; the number changes memory and nothing else
# Standard deviation of logits: every order of classes is equally likely and probabilities are all but equal, so that
# the cross-entropy is the logarithm of the number of classes.
SPREAD = 0.01


def chance(
    num_classes: Mapping[str, int], coarse_of_fine: Sequence[int], labels: Mapping[str, Tensor]
) -> dict[str, dict[str, float | None]]:
    """Measure random logits against the labels of the test images: level to name of the metric to value.

    It holds for any metric of the table, a new one too. Logits are independent and normal, and always the same ones. To
    vary less, each draw serves as many images of equal labels as there are classes, shifted by one class from image to
    image: accuracy, top-5 and the average hierarchical distances are exact if all classes have equally many images;
    other shares have standard errors of up to 0.2 points.

    Args:
        num_classes: of each level that the network predicts.
        coarse_of_fine: for each fine class its coarse class; empty where that is not known.
        labels: int64 (N,) by level.
    """
    held = tuple((level, labels[level].numpy().tobytes()) for level in num_classes)
    return _chance(tuple(num_classes.items()), tuple(coarse_of_fine), held, tuple(METRICS))


@lru_cache(maxsize=8)
def _chance(
    classes: tuple[tuple[str, int], ...],
    coarse_of_fine: tuple[int, ...],
    held: tuple[tuple[str, bytes], ...],
    names: tuple[str, ...],
) -> dict[str, dict[str, float | None]]:
    """Do what `chance` says, once in a process: the stages of a study share their test images."""
    labels = {level: torch.frombuffer(bytearray(y), dtype=torch.int64) for level, y in held}
    metrics = LevelMetrics(dict(classes), coarse_of_fine, names)
    generator = torch.Generator().manual_seed(derive(0, "chance"))
    first = next(iter(labels.values()))
    rows = first.argsort(stable=True).repeat_interleave(math.ceil(DRAWS / len(first)))
    draws = {
        level: SPREAD * torch.randn(math.ceil(len(rows) / number), number, generator=generator)
        for level, number in classes
    }
    for places in torch.arange(len(rows)).split(BATCH):
        logits = {level: _shifted(some, places) for level, some in draws.items()}
        metrics.update(logits, {level: y[rows[places]] for level, y in labels.items()})
    values = {f"test_{name}": value for name, value in metrics.compute().items()}
    return by_level(values, "test", tuple(labels))


def _shifted(draws: Tensor, places: Tensor) -> Tensor:
    """Give logits (M, C) for places (M,): of C places in a row, one draw in all of its C cyclic shifts."""
    classes = draws.shape[1]
    columns = (torch.arange(classes) + places[:, None]) % classes  # (M, C)
    return draws[places // classes].gather(1, columns)
