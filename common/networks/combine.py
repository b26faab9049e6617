"""Combine the predictions of trained networks, each with its own heads: by a mean, or by the tree of classes.

Each takes the logits of the networks by level, (B, C), and gives for each level logits that are log-probabilities,
in float32 under autocast too: cross-entropy and argmax take them like any others.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from common.settings.hierarchy import refuse_unknown_hierarchy

Logits = Mapping[str, Tensor]


class MeanOfNetworks(nn.Module):
    """The mean of the probabilities of networks that all have the same levels."""

    def forward(self, logits: Sequence[Logits]) -> dict[str, Tensor]:
        """Average: logits (B, C) of each network by level → log of the mean probability (B, C)."""
        return {level: log_mean_softmax([one[level] for one in logits]) for level in logits[0]}


class _Specialists(nn.Module):
    """What two specialists, one with a fine head and one with a coarse head, say together.

    Args:
        coarse_of_fine: the coarse class of each fine class, as positions among a head's outputs.
        coarse_classes: their number.

    Raises:
        UserError: the coarse class of each fine class is not known.
    """

    children_of: Tensor

    def __init__(self, coarse_of_fine: Sequence[int], coarse_classes: int) -> None:
        super().__init__()
        refuse_unknown_hierarchy(coarse_of_fine, "Combining a fine and a coarse specialist")
        # (C_fine, C_coarse): 0 where a fine class lies in a coarse one, else -inf.
        inside = torch.full((len(coarse_of_fine), coarse_classes), -math.inf)
        inside[range(len(coarse_of_fine)), coarse_of_fine] = 0
        self.register_buffer("children_of", inside, persistent=False)

    def _log_probabilities(self, logits: Sequence[Logits]) -> tuple[Tensor, Tensor, Tensor]:
        """Give log p of fine classes (B, C_fine), of coarse ones by their sums, and by the right's head."""
        fine = next(one["fine"] for one in logits if "fine" in one).float().log_softmax(dim=1)
        right = next(one["coarse"] for one in logits if "coarse" in one).float().log_softmax(dim=1)
        # Analyses combine on the CPU what a network on a GPU has answered.
        summed = (fine[:, :, None] + self.children_of.to(fine.device)).logsumexp(dim=1)
        return fine, summed, right


class ProductOfSpecialists(_Specialists):
    """The product of the two specialists' probabilities, as if they were independent given the image.

    p(fine) ∝ p_left(fine) · p_right(coarse class of fine), and p(coarse) is its sum over the fine classes of each
    coarse one: a product of experts (Hinton 2002).
    """

    def forward(self, logits: Sequence[Logits]) -> dict[str, Tensor]:
        """Multiply: logits (B, C) of each specialist → log-probabilities (B, C) by level."""
        fine, summed, right = self._log_probabilities(logits)
        parent = self.children_of.argmax(dim=1).to(fine.device)
        return {
            "fine": (fine + right[:, parent]).log_softmax(dim=1),
            "coarse": (summed + right).log_softmax(dim=1),
        }


class MeanOfSpecialists(_Specialists):
    """The mean of the two specialists' probabilities at the level that both have: coarse, by sums of the left one's."""

    def forward(self, logits: Sequence[Logits]) -> dict[str, Tensor]:
        """Average: logits (B, C) of each specialist → log-probabilities (B, C) by level."""
        fine, summed, right = self._log_probabilities(logits)
        return {"fine": fine, "coarse": log_mean_softmax([summed, right])}


def log_mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """Average predictions: logits of several networks, each (B, C) → log of their mean probability (B, C), float32."""
    log_probabilities = torch.stack([one.float().log_softmax(dim=1) for one in logits])
    return log_probabilities.logsumexp(dim=0) - math.log(len(logits))
