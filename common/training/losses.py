"""Losses: pure functions of what a network makes of a batch, and of its labels.

Arguments by name alone, such as ``label_smoothing``, are hyper-parameters: each takes the value of the key of hparams
that has its name. Two are none: ``coarse_of_fine`` takes the coarse class of each fine class, as positions among a
head's outputs; ``class_weights`` how much an image of each class counts, (C,) by level, or None where all count alike.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from common.networks.full_precision import without_autocast
from common.networks.macro import Outputs
from common.system.errors import UserError


def cross_entropy(
    outputs: Outputs,
    labels: dict[str, Tensor],
    *,
    label_smoothing: float,
    class_weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Compute the cross-entropy of each level, summed over levels: scalar.

    Args:
        outputs: logits (B, C) by level; features by side are not looked at.
        labels: int64 (B,) of each level that counts.
        label_smoothing: from 0 to 1.
        class_weights: (C,) by level, see `balanced`; None: all images count alike.
    """

    def of_level(level: str, reduction: str) -> Tensor:
        return functional.cross_entropy(
            outputs.logits[level],
            labels[level],
            label_smoothing=label_smoothing,
            reduction=reduction,
        )

    return _summed(of_level, labels, class_weights)


def soft_hierarchy(
    outputs: Outputs,
    labels: dict[str, Tensor],
    *,
    hierarchy_beta: float,
    coarse_of_fine: tuple[int, ...],
    class_weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Compute the cross-entropy with soft labels of each level, summed over levels: scalar.

    The soft label of a class falls with its distance in the tree from the true one (Bertinetto et al. 2020, section
    3.2): exp(-beta * distance), scaled to the sum 1.

    Args:
        outputs: logits (B, C) by level; features by side are not looked at.
        labels: int64 (B,) of each level that counts.
        hierarchy_beta: the larger, the nearer to hard labels.
        coarse_of_fine: of length C_fine.
        class_weights: (C,) by level, of the true class; None: all images count alike.
    """

    def of_level(level: str, reduction: str) -> Tensor:
        logits = outputs.logits[level]
        parents = coarse_of_fine if level == "fine" else (0,) * logits.shape[1]
        soft = soft_labels(tuple(parents), hierarchy_beta, logits.device)[labels[level]]
        return functional.cross_entropy(logits, soft.to(logits.dtype), reduction=reduction)

    return _summed(of_level, labels, class_weights)


def decorrelated(
    outputs: Outputs,
    labels: dict[str, Tensor],
    *,
    decorrelation: float,
    label_smoothing: float,
    class_weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Compute the cross-entropy of each level, plus what left and right features have in common: scalar.

    Args:
        outputs: logits (B, C) by level, features (B, F_side) of two hemispheres; without features, as for the own
            head of a hemisphere, the cross-entropy is all.
        labels: int64 (B,) of each level that counts.
        decorrelation: how much `cross_correlation` counts.
        label_smoothing: from 0 to 1.
        class_weights: (C,) by level, see `balanced`; None: all images count alike.
    """
    errors = cross_entropy(
        outputs, labels, label_smoothing=label_smoothing, class_weights=class_weights
    )
    if not outputs.features:
        return errors
    return errors + decorrelation * cross_correlation(*outputs.features.values())


def cross_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Compute the mean squared correlation, over a batch, of each left feature with each right one: scalar, 0 to 1.

    The matrix of correlations is that of Barlow Twins (Zbontar et al. 2021, ICML, equation 2), there between two views
    of an image; penalising squared covariances of features so that they differ is DeCov (Cogswell et al. 2016, ICLR,
    section 3), there within one layer. Of B images, features that have nothing in common give about 1 / B.

    Args:
        left: (B, F_left).
        right: (B, F_right).

    Raises:
        UserError: one image has no correlations.
    """
    if len(left) < 2:
        raise UserError(
            "hparams.loss=decorrelated correlates features over a batch, and this one has 1 image; allowed: "
            "hparams.batch_size of at least 2 for each process."
        )
    with without_autocast(left.device.type):
        scaled = [
            functional.batch_norm(one.float(), None, None, training=True) for one in (left, right)
        ]
        return (scaled[0].T @ scaled[1] / len(left)).square().mean()


def balanced(labels: Tensor, classes: int) -> Tensor:
    """Compute how much an image of each class counts so that classes count alike: float32 (C,).

    N / (C n_c) for a class of n_c images, N in all, as class_weight="balanced" in scikit-learn; the mean over the
    images is 1. These are the weights of King & Zeng 2001 ("Logistic regression in rare events data", Political
    Analysis 9, share in the population over share in the sample) for classes that are equally frequent in the
    population. Classes without images have the weight 0 and are not among the C.

    Args:
        labels: int64 (N,), those of the training images.
        classes: of the level.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    there = counts > 0
    return torch.where(there, len(labels) / (there.sum() * counts), 0.0).float()


def _summed(
    of_level: Callable[[str, str], Tensor],
    labels: dict[str, Tensor],
    class_weights: Mapping[str, Tensor] | None,
) -> Tensor:
    """Add up the mean loss of each level, in which each image has the weight of its class.

    The weighted sum is divided by the number of images, not by the sum of their weights as in torch's own weighted
    mean: so an image counts the same whatever else is in its batch.

    Args:
        of_level: from a level and torch's name of a reduction to its loss: of each image (B,), or their mean.
        labels: int64 (B,) of each level that counts.
        class_weights: (C,) by level, or None.
    """
    if class_weights is None:
        losses = [of_level(level, "mean") for level in labels]
    else:
        losses = [
            (class_weights[level][labels[level]] * of_level(level, "none")).mean()
            for level in labels
        ]
    return torch.stack(losses).sum()


@lru_cache(maxsize=8)
def soft_labels(parents: tuple[int, ...], beta: float, device: torch.device) -> Tensor:
    """Make the soft label of each class: (C, C), rows of sum 1.

    The distance of two classes is the height of their lowest common ancestor as a share of the tree's: 0 for a class
    and itself, 1/2 for two of one parent and 1 for others; 1 for any two where all have the same parent.

    Args:
        parents: of each class, C numbers.
        beta: see `soft_hierarchy`.
        device: of the result.
    """
    parent = torch.tensor(parents)
    alike = parent[:, None] == parent
    distance = torch.ones(len(parents), len(parents), dtype=torch.float64)
    if not alike.all():
        distance[alike] = 0.5
    distance.fill_diagonal_(0.0)
    return (-beta * distance).softmax(dim=1).float().to(device)
