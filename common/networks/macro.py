"""Networks: hemispheres, the join of their features, and the heads on top of it.

Names of weights, the same for every network and whether or not a hemisphere is frozen:

    hemispheres.<fine|coarse>.backbone.*     join.*     heads.<fine|coarse>.linear.*     callosum.*
    auxiliary.<fine|coarse>.<fine|coarse>.linear.*     of a hemisphere and a level, where there are such heads

so that the left hemisphere is found in a checkpoint by the prefix `hemispheres.fine.`, the right one by
`hemispheres.coarse.`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from common.networks.callosum import Callosum
from common.networks.combine import MeanOfNetworks
from common.networks.full_precision import without_autocast
from common.networks.hemisphere import Hemisphere
from common.networks.join import Concatenate, Join, build_join
from common.settings.levels import LEVELS, SPELLING, side_alone, side_of
from common.system.errors import UserError


class Head(nn.Module):
    """Dropout and a linear classifier for one level: features (B, F) → logits (B, C), float32 under autocast too.

    In bfloat16, whose numbers have 8 significant bits, the two highest logits of some images would be equal, and the
    order of classes would decide.
    """

    def __init__(self, *, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Classify joined features: (B, F) → logits (B, C)."""
        with without_autocast(features.device.type):
            return self.linear(self.dropout(features.float()))


def in_order(num_classes: Mapping[str, int]) -> dict[str, int]:
    """Put `num_classes` in the order of LEVELS, whatever order it was written in; one other task may stand alone."""
    if len(num_classes) == 1:
        return dict(num_classes)
    if not num_classes or not set(num_classes) <= set(LEVELS):
        raise ValueError(f"num_classes has the keys {list(num_classes)}, not levels: {LEVELS}")
    return {level: num_classes[level] for level in LEVELS}


class Outputs(NamedTuple):
    """What a network makes of images: features by side, each (B, F), and logits by level, each (B, C).

    ``auxiliary`` holds logits by side and level, where hemispheres have heads of their own; in training only.
    """

    features: dict[str, Tensor]
    logits: dict[str, Tensor]
    auxiliary: Mapping[str, dict[str, Tensor]] = MappingProxyType({})


class HemispheresAndHeads(nn.Module):
    """Hemispheres, a join, and heads: every head sees what the join makes of the features of all hemispheres.

    Args:
        hemispheres: by side, left first.
        num_classes: of each level.
        dropout: of the joined features, before each head.
        join: built from the hemispheres' numbers of features by side (see `common.networks.join`).
        auxiliary: whether each hemisphere has heads of its own too, at which only training looks, and a join that asks
            for them: deep supervision (Lee et al. 2015) of each side.
        callosum: built from the hemispheres by side, of which there are two; None: they do not know of each other.

    Raises:
        UserError: the join, or the callosum, cannot take these hemispheres.
    """

    def __init__(
        self,
        *,
        hemispheres: Mapping[str, Hemisphere],
        num_classes: Mapping[str, int],
        dropout: float,
        join: Callable[[Mapping[str, int]], Join] = Concatenate,
        auxiliary: bool = False,
        callosum: Callable[[Mapping[str, Hemisphere]], Callosum] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = in_order(num_classes)
        self.widths = {side: one.num_features for side, one in hemispheres.items()}
        self.num_features = sum(self.widths.values())
        self.hemispheres = nn.ModuleDict({SPELLING[side]: one for side, one in hemispheres.items()})
        self.join = build_join(join, self.widths)
        if self.join.asks_own_heads and not auxiliary:
            raise UserError(
                f"The join {type(self.join).__name__.lower()} asks each hemisphere's own heads, and there are none: "
                "give hparams.auxiliary=1, their weight in the loss."
            )
        self.heads = self._make_heads(self.join.num_features, dropout)
        self.auxiliary = nn.ModuleDict(
            {
                SPELLING[side]: self._make_heads(width, dropout)
                for side, width in self.widths.items()
                if auxiliary
            }
        )
        # Last, so that all else has the initial weights that it has without.
        self.callosum = callosum and callosum(self.sides)

    def _make_heads(self, num_features: int, dropout: float) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                level: Head(num_features=num_features, num_classes=classes, dropout=dropout)
                for level, classes in self.num_classes.items()
            }
        )

    @property
    def sides(self) -> dict[str, Hemisphere]:
        """Give the hemispheres by side, left first."""
        return {side: cast(Hemisphere, self.hemispheres[SPELLING[side]]) for side in self.widths}

    def part(self, side: str) -> tuple["HemispheresAndHeads", str]:
        """Give the network in which a hemisphere of `sides` has heads, this one, and its side in there."""
        return self, side

    def features(self, images: Tensor) -> Tensor:
        """Give the features of all hemispheres side by side, not joined: (B, 3, H, W) → (B, num_features)."""
        return torch.cat([*self._by_side(images).values()], dim=1)

    def _by_side(self, images: Tensor) -> dict[str, Tensor]:
        """Give the features of each hemisphere, (B, F_side), with what reaches it from the other one."""
        if self.callosum is None:
            return {side: one(images) for side, one in self.sides.items()}
        return self.callosum(self.sides, images)

    def constrain(self) -> None:
        """Put weights back to where they may be, after a step of the optimiser."""
        if self.callosum is not None:
            self.callosum.constrain()

    def split(self, features: Tensor) -> dict[str, Tensor]:
        """Split features side by side (B, num_features) into features by side, each (B, F_side)."""
        parts = features.split([*self.widths.values()], dim=1)
        return dict(zip(self.widths, parts, strict=True))

    @property
    def features_are_fixed(self) -> bool:
        """Say whether only join and heads learn, so that the features of an image never change.

        A callosum learns; then they do.
        """
        learning = [name for name, p in self.named_parameters() if p.requires_grad]
        return all(name.startswith(("join.", "heads.", "auxiliary.")) for name in learning)

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Join features side by side (B, num_features) and give, for each level, logits (B, C)."""
        return self._logits(self.split(features))

    def outputs(self, images: Tensor) -> Outputs:
        """Give features by side and logits by level, of images (B, 3, H, W)."""
        return self._outputs(self._by_side(images))

    def outputs_of(self, features: Tensor) -> Outputs:
        """Give what `outputs` gives, of features side by side (B, num_features)."""
        return self._outputs(self.split(features))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Classify images (B, 3, H, W): for each level, logits (B, C)."""
        return self.outputs(images).logits

    def _outputs(self, features: dict[str, Tensor]) -> Outputs:
        auxiliary = {
            side: {level: head(features[side]) for level, head in heads.items()}
            for side, heads in self._own_heads.items()
            if self.training
        }
        return Outputs(features, self._logits(features), auxiliary)

    def choices(self, features: Tensor) -> dict[str, Tensor] | None:
        """Give the weight of each hemisphere, (B, sides) by level, for features side by side (B, num_features).

        None where the join weighs hemispheres alike in all images.
        """
        return self.join.choices(self.split(features), self._by_level(self.heads), self._own_heads)

    @property
    def _own_heads(self) -> dict[str, dict[str, nn.Module]]:
        """Give the heads of each hemisphere alone, by side and level."""
        return {side_of(name): self._by_level(heads) for name, heads in self.auxiliary.items()}

    @staticmethod
    def _by_level(heads: nn.Module) -> dict[str, nn.Module]:
        return dict(cast(nn.ModuleDict, heads).items())

    def _logits(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.join.logits(features, self._by_level(self.heads), self._own_heads)


class UnilateralNet(HemispheresAndHeads):
    """One hemisphere with one or two heads.

    A hemisphere whose only head is coarse is the right one, any other is the left one.
    """

    def __init__(
        self,
        *,
        hemisphere: Hemisphere,
        num_classes: Mapping[str, int],
        dropout: float,
        join: Callable[[Mapping[str, int]], Join] = Concatenate,
        auxiliary: bool = False,
    ) -> None:
        super().__init__(
            hemispheres={side_alone(next(iter(in_order(num_classes)))): hemisphere},
            num_classes=num_classes,
            dropout=dropout,
            join=join,
            auxiliary=auxiliary,
        )


class BilateralNet(HemispheresAndHeads):
    """Left and right hemisphere; both heads see the features of both, and a callosum may connect them."""

    def __init__(
        self,
        *,
        left: Hemisphere,
        right: Hemisphere,
        num_classes: Mapping[str, int],
        dropout: float,
        join: Callable[[Mapping[str, int]], Join] = Concatenate,
        auxiliary: bool = False,
        callosum: Callable[[Mapping[str, Hemisphere]], Callosum] | None = None,
    ) -> None:
        super().__init__(
            hemispheres={"left": left, "right": right},
            num_classes=num_classes,
            dropout=dropout,
            join=join,
            auxiliary=auxiliary,
            callosum=callosum,
        )


class EnsembleNet(nn.Module):
    """Combines the predictions of trained networks; for evaluation only, nothing in it learns.

    Weights are named `networks.<i>.` and then as in the member; sides are named `member<i>.<side>`.

    Args:
        networks: its members.
        combine: one of `common.networks.combine`; by default the mean, which needs members of the same classes.
    """

    def __init__(
        self, *, networks: Sequence[HemispheresAndHeads], combine: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not networks:
            raise UserError("an ensemble needs at least one network")
        for i, network in enumerate(networks if combine is None else ()):
            if network.num_classes != networks[0].num_classes:
                raise UserError(
                    f"networks of an ensemble must have the same classes: the first has "
                    f"{networks[0].num_classes}, number {i + 1} has {network.num_classes}"
                )
        self.num_classes = in_order(
            {level: n for one in networks for level, n in one.num_classes.items()}
        )
        self.combine = combine or MeanOfNetworks()
        self.num_features = sum(network.num_features for network in networks)
        self.networks = nn.ModuleList(networks)
        self.requires_grad_(False)
        self.eval()

    @property
    def members(self) -> dict[str, HemispheresAndHeads]:
        """Give the networks by name: member0, member1, ..."""
        return {f"member{i}": cast(HemispheresAndHeads, one) for i, one in enumerate(self.networks)}

    @property
    def sides(self) -> dict[str, Hemisphere]:
        """Give the hemispheres of all members, named as `member0.left`."""
        return {
            f"{name}.{side}": hemisphere
            for name, member in self.members.items()
            for side, hemisphere in member.sides.items()
        }

    def part(self, side: str) -> tuple[HemispheresAndHeads, str]:
        """Give the member in which a hemisphere of `sides` has heads, and its side in there."""
        name, _, own = side.partition(".")
        return self.members[name], own

    @property
    def features_are_fixed(self) -> bool:
        """Say yes: nothing in it learns."""
        return True

    def constrain(self) -> None:
        """Do nothing: nothing in it learns."""

    def train(self, mode: bool = True) -> "EnsembleNet":
        """Stay in evaluation mode, whatever `mode` is asked for."""
        return super().train(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Give the features of all members side by side: (B, 3, H, W) → (B, F_1 + F_2 + ...)."""
        return torch.cat([member.features(images) for member in self.members.values()], dim=1)

    def split(self, features: Tensor) -> dict[str, Tensor]:
        """Split features side by side (B, F_1 + F_2 + ...) into features by the names in `sides`."""
        widths = [hemisphere.num_features for hemisphere in self.sides.values()]
        return dict(zip(self.sides, features.split(widths, dim=1), strict=True))

    @torch.no_grad()
    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Combine the predictions from features side by side (B, F_1 + F_2 + ...), as `forward`."""
        members = [*self.members.values()]
        parts = features.split([member.num_features for member in members], dim=1)
        return self.combine([one.classify(part) for one, part in zip(members, parts, strict=True)])

    def outputs_of(self, features: Tensor) -> Outputs:
        """Give what `outputs` gives, of features side by side (B, F_1 + F_2 + ...)."""
        return Outputs(self.split(features), self.classify(features))

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Outputs:
        """Give features by the names in `sides`, and logits as `forward`, of images (B, 3, H, W)."""
        found = {name: member.outputs(images) for name, member in self.members.items()}
        features = {
            f"{name}.{side}": values
            for name, one in found.items()
            for side, values in one.features.items()
        }
        return Outputs(features, self.combine([one.logits for one in found.values()]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Combine predictions of images (B, 3, H, W): for each level, log-probabilities (B, C)."""
        return self.outputs(images).logits


Network = HemispheresAndHeads | EnsembleNet
