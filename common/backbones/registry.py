"""Backbones by name: the name in a config is the name of the function that builds it."""

import math
from collections.abc import Callable

from torch import nn

from common.errors import UserError


class Backbone(nn.Module):
    """What every backbone is: images (B, 3, H, W) → features (B, num_features)."""

    num_features: int


Builder = Callable[..., Backbone]
_builders: dict[str, Builder] = {}


def register(builder: Builder) -> Builder:
    """Make `builder(*, width)` available under its own name."""
    name = builder.__name__
    if name in _builders:
        raise ValueError(f"two backbones are called {name!r}: {_builders[name].__module__} has it")
    _builders[name] = builder
    return builder


def registered() -> tuple[str, ...]:
    """The names of all backbones, sorted."""
    return tuple(sorted(_builders))


def build_backbone(arch: str, *, width: float = 1.0) -> Backbone:
    """Build the backbone called `arch` with all its channels multiplied by `width`."""
    if arch not in _builders:
        raise UserError(f"arch {arch!r} is unknown; known are {', '.join(registered())}")
    if not 0 < width < math.inf:
        raise UserError(f"width {width} of {arch} must be a number above 0")
    return _builders[arch](width=width)
