"""What comes between hemispheres and heads: the features of all hemispheres become those that every head sees."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Join(nn.Module):
    """Joins the features of hemispheres.

    A join without parameters adds nothing to a checkpoint. Parameters are named `network.join.*` there, and learn at
    the rate of the heads.

    Args:
        num_features: of each hemisphere, by side, left first.

    Attributes:
        num_features: of what `forward` gives, for the heads.
    """

    num_features: int

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__()

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Join features by side, each (B, F_side), to (B, num_features)."""
        raise NotImplementedError


class Concatenate(Join):
    """All features side by side, those of the left hemisphere first."""

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.num_features = sum(num_features.values())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Put features by side, each (B, F_side), side by side: (B, sum of F_side)."""
        return torch.cat([*features.values()], dim=1)
