"""The two tasks that hemispheres may share out: the coarse class, and the fine class within the coarse one.

Every fine class belongs to one coarse class, so whoever knows the fine label knows the coarse one. Which of its
coarse class's children an image shows is the part of the fine label that the coarse one does not tell. Where the two
labels are independent of each other, they are the two tasks as they are.
"""

from collections.abc import Container, Mapping

import torch
from torch import Tensor

COARSE, WITHIN, FINE = "coarse", "within_coarse", "fine"
TASKS = (WITHIN, FINE, COARSE)  # a set has the first or the second, and the third


def first_task(tasks: Container[str]) -> str:
    """Give of the tasks of a data set the one that is about fine labels."""
    return FINE if FINE in tasks else WITHIN


def within(logits: Tensor, coarse: Tensor, parents: Tensor) -> Tensor:
    """Leave of fine logits (N, C) those of the children of each image's coarse class (N,); the others become -inf.

    ``parents`` are the coarse class of each fine one (C,).
    """
    return logits.masked_fill(parents[None] != coarse[:, None], -torch.inf)


def right(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], parents: Tensor
) -> dict[str, Tensor]:
    """Say for each task which images are right, bool (N,), from logits (N, C) and labels (N,) by level.

    ``parents`` are the coarse class of each fine one (C,), empty where the two labels are independent.
    """
    task, among = FINE, logits["fine"]
    if len(parents):
        task, among = WITHIN, within(logits["fine"], labels["coarse"], parents)
    return {
        task: among.argmax(1) == labels["fine"],
        COARSE: logits["coarse"].argmax(1) == labels["coarse"],
    }


def most_common(labels: Tensor) -> float:
    """Give how often the most common class of some labels (N,) is right for all of them."""
    return float(torch.bincount(labels).max()) / len(labels)


def chances(labels: Mapping[str, Tensor], parents: Tensor) -> dict[str, float]:
    """Give for each task how often the best answer without an image is right: always the most common class.

    Within a coarse class that is its most common child. Of classes with equally many images it is one over their
    number; of uneven ones it is more, and what a probe makes of features that say nothing. A task that is solved so,
    because no coarse class has two children, is left out.

    Args:
        labels: int64 (N,) by level, of the test images.
        parents: the coarse class of each fine one (C,), empty where the two labels are independent.
    """
    fine, coarse = labels["fine"], labels["coarse"]
    found = {FINE: most_common(fine)}
    if len(parents):
        families = [fine[coarse == family] for family in coarse.unique()]
        found = {WITHIN: sum(most_common(one) * len(one) for one in families) / len(fine)}
    found[COARSE] = most_common(coarse)
    return {task: chance for task, chance in found.items() if chance < 1}
