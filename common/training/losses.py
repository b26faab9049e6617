"""Losses: pure functions of what a network makes of a batch, and of its labels.

Arguments by name alone, such as ``label_smoothing``, are hyper-parameters: each takes the value of the key of hparams
that has its name. One called ``coarse_of_fine`` takes the coarse class of each fine class, as positions among a head's
outputs.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from common.networks.macro import Outputs


def cross_entropy(outputs: Outputs, labels: dict[str, Tensor], *, label_smoothing: float) -> Tensor:
    """Compute the cross-entropy of each level, summed over levels: scalar.

    Args:
        outputs: logits (B, C) by level; features by side are not looked at.
        labels: int64 (B,) of each level that counts.
        label_smoothing: from 0 to 1.
    """
    losses = [
        functional.cross_entropy(
            outputs.logits[level], labels[level], label_smoothing=label_smoothing
        )
        for level in labels
    ]
    return torch.stack(losses).sum()


def soft_hierarchy(
    outputs: Outputs,
    labels: dict[str, Tensor],
    *,
    hierarchy_beta: float,
    coarse_of_fine: tuple[int, ...],
) -> Tensor:
    """Compute the cross-entropy with soft labels of each level, summed over levels: scalar.

    The soft label of a class falls with its distance in the tree from the true one (Bertinetto et al. 2020, section
    3.2): exp(-beta * distance), scaled to the sum 1.

    Args:
        outputs: logits (B, C) by level; features by side are not looked at.
        labels: int64 (B,) of each level that counts.
        hierarchy_beta: the larger, the nearer to hard labels.
        coarse_of_fine: of length C_fine.
    """
    losses = []
    for level in labels:
        logits = outputs.logits[level]
        parents = coarse_of_fine if level == "fine" else (0,) * logits.shape[1]
        soft = soft_labels(tuple(parents), hierarchy_beta, logits.device)
        losses.append(functional.cross_entropy(logits, soft[labels[level]].to(logits.dtype)))
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
