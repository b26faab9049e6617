"""What every backbone is."""

from collections.abc import Callable

from torch import nn


class Backbone(nn.Module):
    """Images (B, 3, H, W) → features (B, num_features).

    A file of pretrained weights may hold a classifier too, which is not taken: ``classifiers`` are the beginnings of
    its weights' names. The other names may lack ``prefix``.
    """

    num_features: int
    prefix: str = ""
    classifiers: tuple[str, ...] = ()


Builder = Callable[..., Backbone]
