"""Which hemisphere was right when, and what two of them make of it."""

import torch
from torch import Tensor

CASES = ("both", "left only", "right only", "neither")


def case_of(left: Tensor, right: Tensor) -> Tensor:
    """Whether the left and the right hemisphere were right, bool (N,) each → position in `CASES`, int64 (N,)."""
    return torch.where(left & right, 0, torch.where(left, 1, torch.where(right, 2, 3)))


def cases_per_class(case: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class (N,) were in each case (N,): int64 (C, 4)."""
    pairs = torch.bincount(labels * len(CASES) + case, minlength=classes * len(CASES))
    return pairs.reshape(classes, len(CASES))


def accuracy_per_class(correct: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The share of each class's images that are in ``correct`` (bool (N,)): (C,), NaN without images."""
    hits = torch.bincount(labels[correct], minlength=classes)
    return hits.double() / torch.bincount(labels, minlength=classes)


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class (row) were taken for each class (column): int64 (C, C)."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.reshape(classes, classes)
