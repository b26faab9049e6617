"""What comes between hemispheres and heads: the features of all hemispheres become those that every head sees."""

import math
from collections.abc import Callable, Mapping
from functools import reduce
from inspect import signature

import torch
from torch import Tensor, nn

from common.networks.num_features import refuse_unsaid
from common.system.errors import UserError, blaming, place_of

Features = Mapping[str, Tensor]
Heads = Mapping[str, nn.Module]


class Join(nn.Module):
    """Joins the features of hemispheres.

    A join without parameters adds nothing to a checkpoint. Parameters are named `network.join.*` there, and learn at
    the rate of the heads. A subclass must give `num_features` and `forward`; all else follows from these, unless it
    weighs hemispheres image by image (`shares`) or lets other heads answer (`logits`).

    Args:
        num_features: of each hemisphere, by side, left first.

    Attributes:
        num_features: of what `forward` gives, for the heads.
        silent: what all features of a hemisphere are where the other one is to be asked alone.
        asks_own_heads: whether each hemisphere must have heads of its own (`hparams.auxiliary`).
    """

    num_features: int
    silent: float = 0.0
    asks_own_heads: bool = False

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__()

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Join features by side, each (B, F_side), to (B, num_features).

        Raises:
            UserError: a subclass does not give it.
        """
        raise UserError(f"{place_of(self)} joins nothing: give `forward`.")

    def logits(
        self, features: dict[str, Tensor], heads: Heads, own: Mapping[str, Heads]
    ) -> dict[str, Tensor]:
        """Give logits (B, C) by level.

        Args:
            features: by side, each (B, F_side).
            heads: of joined features, by level.
            own: heads of each hemisphere alone, by side and level; empty where there are none.
        """
        joined = self(features)
        return {level: head(joined) for level, head in heads.items()}

    def silenced(self, mean: Tensor) -> Tensor:
        """Give what the features of a hemisphere are that falls silent: their ``mean`` over training images (F,).

        Where `silent` is NaN, so are they: a hemisphere of the same features in every image would still answer there.
        """
        return torch.full_like(mean, self.silent) if math.isnan(self.silent) else mean

    def shares(self, features: dict[str, Tensor]) -> Tensor | None:
        """Give the weight of each hemisphere for each image, (B, sides), of sum 1; None: the same for all images."""
        return None

    def choices(
        self, features: dict[str, Tensor], levels: Heads, own: Mapping[str, Heads]
    ) -> dict[str, Tensor] | None:
        """Give `shares` by level, for joins whose choice depends on the level. Arguments are those of `logits`."""
        weights = self.shares(features)
        return None if weights is None else dict.fromkeys(levels, weights)

    def parts(self, features: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Split what `forward` gives into what each hemisphere adds, by side (B, num_features).

        The parts and what `forward` makes of zeros add up to what it gives. None: the join gives no such sum.
        """
        blank = {side: torch.zeros_like(one) for side, one in features.items()}
        nothing = self(blank)
        parts = {side: self(blank | {side: one}) - nothing for side, one in features.items()}
        whole = self(features) - nothing
        scale = float(whole.abs().max()) if whole.numel() else 0.0
        adds_up = torch.allclose(
            torch.stack([*parts.values()]).sum(0), whole, rtol=0, atol=1e-4 * scale
        )
        return parts if adds_up else None


def build_join(make: Callable[[Mapping[str, int]], Join], num_features: Mapping[str, int]) -> Join:
    """Build a join for hemispheres of so many features, by side.

    Raises:
        UserError: it cannot take these hemispheres, or is no whole join.
    """
    try:
        signature(make).bind(num_features)
    except TypeError as error:
        raise UserError(
            f"{place_of(make)} cannot be built ({error}); allowed: `__init__(self, num_features)`, which takes the "
            "number of features of each hemisphere by side."
        ) from error
    with blaming(make):
        join = make(num_features)
    if not isinstance(join, Join):
        raise UserError(f"{place_of(make)} gives {type(join).__name__}; allowed: a Join.")
    refuse_unsaid(join)
    return join


def width_of_all(name: str, num_features: Mapping[str, int]) -> int:
    """Give the number of features that all hemispheres have.

    Raises:
        UserError: they have different ones, which the join called ``name`` cannot take.
    """
    widths = set(num_features.values())
    if len(widths) > 1:
        found = " and ".join(f"{side} has {number}" for side, number in num_features.items())
        raise UserError(
            f"hparams.join={name} takes hemispheres of equally many features, but {found}: choose equal backbones and "
            "widths, or a join that takes any, such as concatenate or gate."
        )
    return widths.pop()


class Concatenate(Join):
    """All features side by side, those of the left hemisphere first."""

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.num_features = sum(num_features.values())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Put features by side, each (B, F_side), side by side: (B, sum of F_side)."""
        return torch.cat([*features.values()], dim=1)


class Mean(Join):
    """The mean of each feature over hemispheres, which must have equally many."""

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.num_features = width_of_all("mean", num_features)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Average features by side, each (B, F): (B, F)."""
        return torch.stack([*features.values()]).mean(dim=0)


class Product(Join):
    """The product of each feature over hemispheres, which must have equally many: it speaks where all of them do.

    The Hadamard product of Kim et al. 2017 (arxiv.org/abs/1610.04325), without projections. A product of two heads'
    probabilities is another thing: of heads that are trained together it is what concatenation computes, of those
    trained apart the arm `product`.
    """

    silent = 1.0

    def __init__(self, num_features: Mapping[str, int]) -> None:
        super().__init__(num_features)
        self.num_features = width_of_all("product", num_features)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Multiply features by side, each (B, F): float32 (B, F)."""
        # Not by Tensor.prod, whose gradient waits for the device: a step with it cannot be recorded as a CUDA graph.
        first, *others = (one.float() for one in features.values())
        return reduce(torch.mul, others, first)
