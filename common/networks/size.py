"""Networks of equal size: the width at which one has as many parameters as another."""

from collections.abc import Callable

import torch
from torch import nn

from common.system.errors import UserError

WIDEST = 64.0


def parameters(build: Callable[[], nn.Module]) -> int:
    """Count the parameters of what `build` builds, without taking memory for them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build().parameters())


def width_for(build: Callable[[float], nn.Module], *, like: Callable[[], nn.Module]) -> float:
    """Find the width multiplier whose network comes nearest to another one's number of parameters.

    Args:
        build: a network by its width; more width, no fewer parameters.
        like: the network to be matched.

    Raises:
        UserError: width does not change the size of the network, or not enough.
    """

    def size(width: float) -> int:
        return parameters(lambda: build(width))

    wanted = parameters(like)
    low, high = 1 / 64, WIDEST
    if not size(low) <= wanted <= size(high):
        raise UserError(
            f"at no width has it the {wanted:,} parameters that are wanted; choose a backbone whose width can be "
            "multiplied."
        )
    # Channels are whole multiples of 8, so size is a staircase: find the step at which it passes the other one.
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= wanted else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - wanted))
