"""A join in which, once trained, the more confident hemisphere answers alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.networks.join import Concatenate, Heads


class Winner(Concatenate):
    """In evaluation, the answer of the hemisphere whose own head gives the highest probability, level by level.

    Of equal ones, the left hemisphere's. The choice has no gradient, so that it is of evaluation alone: training is
    that of concatenation, with heads of each hemisphere's own beside it (`hparams.auxiliary`).
    """

    asks_own_heads = True
    # Of this its own head is sure of nothing, so that the other hemisphere answers.
    silent = float("nan")

    def logits(
        self, features: dict[str, Tensor], heads: Heads, own: Mapping[str, Heads]
    ) -> dict[str, Tensor]:
        """Give, in evaluation, the logits (B, C) of the winner's own head by level; arguments are those of `Join`."""
        if self.training:
            return super().logits(features, heads, own)
        said = {level: _said(features, own, level) for level in heads}  # (B, sides, C) by level
        return {
            level: torch.where(_wins(one)[:, :, None], one, 0).sum(dim=1)
            for level, one in said.items()
        }

    def choices(
        self, features: dict[str, Tensor], levels: Heads, own: Mapping[str, Heads]
    ) -> dict[str, Tensor]:
        """Give weight 1 to the hemisphere that answers and 0 to the other, (B, sides) by level."""
        return {level: _wins(_said(features, own, level)).float() for level in levels}

    def parts(self, features: dict[str, Tensor]) -> None:
        """Give nothing: the answer is not that of a head which sees joined features."""
        return None


def _said(features: dict[str, Tensor], own: Mapping[str, Heads], level: str) -> Tensor:
    """Ask each hemisphere's own head: logits (B, sides, C)."""
    return torch.stack([own[side][level](one) for side, one in features.items()], dim=1)


def _wins(logits: Tensor) -> Tensor:
    """Say of logits (B, sides, C) who is the most confident one: bool (B, sides), true once for each image."""
    sure = logits.softmax(dim=2).amax(dim=2)
    winner = torch.where(sure.isnan(), -1.0, sure).argmax(dim=1)  # (B,), the first of equal ones
    sides = torch.arange(logits.shape[1], device=logits.device)
    return winner[:, None] == sides
