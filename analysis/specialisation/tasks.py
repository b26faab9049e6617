"""The two tasks that hemispheres may share out: the coarse class, and the fine class within the coarse one.

Every fine class belongs to one coarse class, so whoever knows the fine label knows the coarse one. Which of its
coarse class's children an image shows is the part of the fine label that the coarse one does not tell.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

COARSE, WITHIN = "coarse", "within_coarse"
TASKS = (WITHIN, COARSE)


def within(logits: Tensor, coarse: Tensor, parents: Tensor) -> Tensor:
    """Leave of fine logits (N, C) those of the children of each image's coarse class (N,); the others become -inf.

    ``parents`` are the coarse class of each fine one (C,).
    """
    return logits.masked_fill(parents[None] != coarse[:, None], -torch.inf)


def right(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], parents: Tensor
) -> dict[str, Tensor]:
    """Say for each task which images are right, bool (N,), from logits (N, C) and labels (N,) by level."""
    among = within(logits["fine"], labels["coarse"], parents)
    return {
        WITHIN: among.argmax(1) == labels["fine"],
        COARSE: logits["coarse"].argmax(1) == labels["coarse"],
    }


def chances(labels: Mapping[str, Tensor], parents: Tensor, coarse_classes: int) -> dict[str, float]:
    """Give for each task the accuracy of guessing: within a coarse class, one over the number of its children.

    A task that guessing solves, because no coarse class has two children, is left out.
    """
    children = torch.bincount(parents, minlength=coarse_classes)
    found = {
        WITHIN: float((1 / children[labels["coarse"]].double()).mean()),
        COARSE: 1 / coarse_classes,
    }
    return {task: chance for task, chance in found.items() if chance < 1}
