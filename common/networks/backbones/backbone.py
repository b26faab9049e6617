"""What every backbone is."""

from collections.abc import Callable

from torch import nn


class Backbone(nn.Module):
    """Images (B, 3, H, W) → features (B, num_features)."""

    num_features: int


Builder = Callable[..., Backbone]
