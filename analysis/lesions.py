"""What a head can do without: features silenced, that is held at their mean over training images."""

from collections.abc import Sequence

import torch
from torch import Tensor


def silence(features: Tensor, mean: Tensor, which: Tensor) -> Tensor:
    """Features (N, F) with those in ``which`` (bool (F,)) at their ``mean`` (F,) in every image."""
    return torch.where(which, mean, features)


def use(weights: Sequence[Tensor], spread: Tensor) -> Tensor:
    """How much the heads make of each feature, (F,).

    Of each head: its mean absolute weight, apart from what is the same for all classes, times the feature's
    standard deviation, as a share of the head's sum; then added up over heads, so that each counts alike.

    Args:
        weights: of each head (C, F).
        spread: standard deviation of the features over training images (F,).
    """
    total = torch.zeros_like(spread)
    for weight in weights:
        one = (weight - weight.mean(0)).abs().mean(0) * spread
        total += one / one.sum().clamp_min(torch.finfo(one.dtype).tiny)
    return total


def most_used(use: Tensor, half: Tensor, share: float) -> Tensor:
    """The most-used ``share`` (0 to 1) of the features in ``half`` (bool (F,)), as bool (F,)."""
    candidates = half.nonzero()[:, 0]
    count = round(share * len(candidates))
    order = use[candidates].argsort(descending=True, stable=True)
    chosen = torch.zeros_like(half)
    chosen[candidates[order[:count]]] = True
    return chosen


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images (N, C) whose highest logit is that of their label (N,)."""
    return float((logits.argmax(1) == labels).double().mean())
