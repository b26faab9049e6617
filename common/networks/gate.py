"""A join that weighs hemispheres image by image."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.networks.join import Concatenate


class Gate(Concatenate):
    """Features side by side, each hemisphere's times its weight: a softmax over hemispheres, from the features of all.

    Each head is linear, so that its logits are a mixture of two experts' logits, one for each hemisphere (Jacobs et al.
    1991, "Adaptive mixtures of local experts"). It starts from equal weights.
    """

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.gate = nn.Linear(self.num_features, len(num_features))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Weigh features by side, each (B, F_side), and put them side by side: (B, sum of F_side)."""
        return super().forward(self._weighed(features))

    def shares(self, features: dict[str, Tensor]) -> Tensor:
        """Give the weight of each hemisphere for each image, (B, sides)."""
        return self.gate(torch.cat([*features.values()], dim=1)).softmax(dim=1)

    def parts(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give each hemisphere's weighed features in their place, by side (B, sum of F_side): zeros elsewhere."""
        weighed = self._weighed(features)
        blank = {side: torch.zeros_like(one) for side, one in weighed.items()}
        return {
            side: torch.cat([*(blank | {side: one}).values()], dim=1)
            for side, one in weighed.items()
        }

    def _weighed(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = self.shares(features).unbind(dim=1)
        return {
            side: weight[:, None] * one
            for weight, (side, one) in zip(weights, features.items(), strict=True)
        }
