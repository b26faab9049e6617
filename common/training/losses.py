"""Losses: pure functions of what a network makes of a batch, and of its labels.

Arguments by name alone, such as ``label_smoothing``, are hyper-parameters: each takes the value of the key of hparams
that has its name.
"""

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
