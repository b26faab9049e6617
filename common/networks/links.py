"""The kinds of a callosum: what maps that cross do to those of the other hemisphere.

All weights of a crossing start at zero (those on the receiver's own maps at the identity), so that training starts from
two hemispheres that do not know of each other.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from common.networks.crossings import SIGNS, CallosumKeys, channels_sent
from common.networks.resizing import resized


class Link(nn.Module, ABC):
    """One crossing: the receiver's maps (B, C, h, w) and the sender's (B, C', h', w') → maps (B, C, h, w).

    Args:
        sender: number of channels C'.
        receiver: number of channels C.
        keys: see `CallosumKeys`.
    """

    def __init__(self, sender: int, receiver: int, keys: CallosumKeys) -> None:
        super().__init__()
        self.sent = channels_sent(keys.width, sender)
        self.sign = SIGNS[keys.sign]
        # Both starting at zero, no gradient would reach either.
        self.down = nn.Conv2d(self.sent, keys.rank, 1, bias=False) if keys.rank else None
        self.up = nn.Conv2d(keys.rank or self.sent, receiver, 1, bias=False)
        nn.init.zeros_(self.up.weight)
        if self.down and self.sign:
            self.down.weight.data.abs_()

    def message(self, maps: Tensor) -> Tensor:
        """Project the sender's maps (B, C', h', w') to the receiver's channels: (B, C, h', w')."""
        sent = maps[:, : self.sent]
        return self.up(sent if self.down is None else self.down(sent))

    @abstractmethod
    def forward(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Give the receiver's maps (B, C, h, w) with what crosses; ``other`` None: as if the message were 0."""

    @torch.no_grad()
    def constrain(self) -> None:
        """Put weights of the wrong sign back to zero."""
        if self.sign:
            self.up.weight.mul_(self.sign).clamp_(min=0).mul_(self.sign)
            if self.down is not None:
                self.down.weight.clamp_(min=0)


class Add(Link):
    """Adds the message."""

    def forward(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Add the message to the receiver's maps."""
        return own if other is None else own + resized(self.message(other), own.shape[2:])


class Gate(Link):
    """Multiplies by a factor from 0 to 2, cell by cell."""

    def forward(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Multiply the receiver's maps by 1 + tanh of the message."""
        return (
            own if other is None else own * (1 + resized(self.message(other), own.shape[2:]).tanh())
        )


class Attend(Link):
    """Multiplies each map by a factor from 0 to 2, which depends on the mean of each of the other side's maps.

    Channel attention as in Hu et al. 2018 (arxiv.org/abs/1709.01507), with twice their sigmoid, so that 0 is neutral.
    """

    def forward(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Multiply the receiver's maps by twice the sigmoid of the message of means."""
        if other is None:
            return own
        return own * 2 * self.message(other.mean(dim=(2, 3), keepdim=True)).sigmoid()


class Concatenate(Link):
    """Projects the maps of both sides, side by side, to the receiver's width; it starts from [identity, 0]."""

    def __init__(self, sender: int, receiver: int, keys: CallosumKeys) -> None:
        super().__init__(sender, receiver, keys)
        self.own = nn.Conv2d(receiver, receiver, 1, bias=False)
        nn.init.dirac_(self.own.weight)

    def forward(self, own: Tensor, other: Tensor | None) -> Tensor:
        """Add the message to the projection of the receiver's maps."""
        kept = self.own(own)
        return kept if other is None else kept + resized(self.message(other), kept.shape[2:])
