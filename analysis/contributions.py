"""Whose features does a head use? The share of each half of the features in its logits.

A logit is a sum over features, so it splits without rest: for class c of a head with weights w and bias b,

    logit_c = b_c + w_c . mean  +  w_c,left . (f_left - mean_left)  +  w_c,right . (f_right - mean_right)

with the mean over training images. The last two terms are the halves' contributions. Silencing a half
(`analysis.lesions`) sets its term to zero.
"""

import torch
from torch import Tensor


def contribution(features: Tensor, weight: Tensor, mean: Tensor) -> Tensor:
    """What one half of the features adds to each logit.

    Args:
        features: of one hemisphere (N, F).
        weight: the head's columns for it (C, F).
        mean: of its features over training images (F,).

    Returns:
        (N, C).
    """
    return (features - mean) @ weight.T


def evidence(contributions: Tensor, labels: Tensor) -> Tensor:
    """A half's contribution to the right class, against its mean over all classes: (N, C), (N,) → (N,).

    What is added to all logits alike changes no prediction and so is no evidence.
    """
    right = contributions.gather(1, labels[:, None])[:, 0]
    return right - contributions.mean(1)


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of values (N,) over the images of each class, (C,); NaN for a class without images."""
    sums = torch.zeros(classes, dtype=values.dtype).index_add_(0, labels, values)
    return sums / torch.bincount(labels, minlength=classes)


def share(left: Tensor, right: Tensor) -> float:
    """The left half's part in the summed evidence, 0 to 1; outside of that when one half speaks against the rest.

    Where every class has as many images as every other, the mean of the features plays no part: each image's
    evidence is (w_c - mean of all w) . (f - mean), and over all classes the terms of ``mean`` sum to zero. With
    other counts, and in `class_means`, it does.
    """
    return float(left.sum() / (left.sum() + right.sum()))
