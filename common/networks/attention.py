"""A join in which hemispheres attend to each other."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.networks.join import Join


class Attention(Join):
    """Self-attention with one head over one token for each hemisphere (Vaswani et al. 2017), then the mean of tokens.

    A token is a linear projection of a hemisphere's features to the width of the wider one. The mean of what the tokens
    attend to is a weighted sum of the hemispheres' values, whose weights are `shares`.
    """

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.num_features = max(num_features.values())
        self.tokens = nn.ModuleDict(
            {side: nn.Linear(number, self.num_features) for side, number in num_features.items()}
        )
        self.query = nn.Linear(self.num_features, self.num_features)
        self.key = nn.Linear(self.num_features, self.num_features)
        self.value = nn.Linear(self.num_features, self.num_features)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Join features by side, each (B, F_side), to (B, F of the wider hemisphere)."""
        return torch.stack([*self.parts(features).values()]).sum(dim=0)

    def shares(self, features: dict[str, Tensor]) -> Tensor:
        """Give the share of attention that each hemisphere gets for each image, (B, sides)."""
        return self._weights(self._tokens(features))

    def parts(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give each hemisphere's value times its share of attention, by side (B, F)."""
        tokens = self._tokens(features)
        parts = self._weights(tokens)[:, :, None] * self.value(tokens)  # (B, sides, F)
        return dict(zip(features, parts.unbind(dim=1), strict=True))

    def _tokens(self, features: dict[str, Tensor]) -> Tensor:
        """Project features by side to tokens (B, sides, F)."""
        return torch.stack([self.tokens[side](one) for side, one in features.items()], dim=1)

    def _weights(self, tokens: Tensor) -> Tensor:
        """Average over tokens (B, sides, F) how much each attends to each: (B, sides)."""
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2)  # (B, sides, sides)
        return (scores / self.num_features**0.5).softmax(dim=2).mean(dim=1)
