"""Macro-architectures: hemispheres and the heads on top of them.

Names of weights, the same for every network and whether or not a hemisphere is frozen:

    hemispheres.<fine|coarse>.backbone.*     heads.<fine|coarse>.linear.*

so that one hemisphere is found in a checkpoint by the prefix `hemispheres.<level>.`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from common.networks.backbones import Backbone
from common.networks.hemisphere import Hemisphere
from common.settings.levels import LEVELS
from common.system.errors import UserError


class Head(nn.Module):
    """Dropout and a linear classifier for one level: features (B, F) → logits (B, C)."""

    def __init__(self, *, num_features: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) → logits (B, C)."""
        return self.linear(self.dropout(features))


def by_level(num_classes: Mapping[str, int]) -> dict[str, int]:
    """`num_classes` in the order of LEVELS, whatever order it was written in."""
    if not num_classes or not set(num_classes) <= set(LEVELS):
        raise ValueError(f"num_classes has the keys {list(num_classes)}, not levels: {LEVELS}")
    return {level: num_classes[level] for level in LEVELS if level in num_classes}


class HemispheresAndHeads(nn.Module):
    """What unilateral and bilateral networks share: every head sees every hemisphere."""

    def __init__(
        self,
        *,
        hemispheres: Mapping[str, Hemisphere],
        num_classes: Mapping[str, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_classes = by_level(num_classes)
        self.num_features = sum(hemisphere.num_features for hemisphere in hemispheres.values())
        self.hemispheres = nn.ModuleDict(hemispheres)
        self.heads = nn.ModuleDict(
            {
                level: Head(num_features=self.num_features, num_classes=classes, dropout=dropout)
                for level, classes in self.num_classes.items()
            }
        )

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) → features (B, F), those of the left (fine) hemisphere first."""
        return torch.cat([hemisphere(images) for hemisphere in self.hemispheres.values()], dim=1)

    @property
    def features_are_fixed(self) -> bool:
        """Whether nothing but heads learns, so that the features of an image never change."""
        learning = [name for name, p in self.named_parameters() if p.requires_grad]
        return all(name.startswith("heads.") for name in learning)

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, F) → for each level, logits (B, C)."""
        return {level: head(features) for level, head in self.heads.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) → for each level, logits (B, C)."""
        return self.classify(self.features(images))


class UnilateralNet(HemispheresAndHeads):
    """One hemisphere with one or two heads.

    The hemisphere goes by the level of its only head; with two heads it is called fine.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: Mapping[str, int],
        dropout: float,
        freeze: bool = False,
        spatial_filter: nn.Module | None = None,
    ) -> None:
        side = next(iter(by_level(num_classes)))
        super().__init__(
            hemispheres={
                side: Hemisphere(backbone=backbone, freeze=freeze, spatial_filter=spatial_filter)
            },
            num_classes=num_classes,
            dropout=dropout,
        )


class BilateralNet(HemispheresAndHeads):
    """Left (fine) and right (coarse) hemisphere; both heads see the features of both."""

    def __init__(
        self,
        *,
        fine_backbone: Backbone,
        coarse_backbone: Backbone,
        num_classes: Mapping[str, int],
        dropout: float,
        freeze_fine: bool,
        freeze_coarse: bool,
        fine_filter: nn.Module | None = None,
        coarse_filter: nn.Module | None = None,
    ) -> None:
        super().__init__(
            hemispheres={
                "fine": Hemisphere(
                    backbone=fine_backbone, freeze=freeze_fine, spatial_filter=fine_filter
                ),
                "coarse": Hemisphere(
                    backbone=coarse_backbone, freeze=freeze_coarse, spatial_filter=coarse_filter
                ),
            },
            num_classes=num_classes,
            dropout=dropout,
        )


class EnsembleNet(nn.Module):
    """Averages the predictions of trained networks; for evaluation only, nothing in it learns.

    Weights are named `networks.<i>.` and then as in the member.
    """

    def __init__(self, *, networks: Sequence[UnilateralNet]) -> None:
        super().__init__()
        if not networks:
            raise UserError("an ensemble needs at least one network")
        self.num_classes = networks[0].num_classes
        for i, network in enumerate(networks):
            if network.num_classes != self.num_classes:
                raise UserError(
                    f"networks of an ensemble must have the same classes: the first has "
                    f"{self.num_classes}, number {i + 1} has {network.num_classes}"
                )
        self.num_features = sum(network.num_features for network in networks)
        self.networks = nn.ModuleList(networks)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "EnsembleNet":
        """Stay in evaluation mode, whatever `mode` is asked for."""
        return super().train(False)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) → features of all members side by side (B, F_1 + F_2 + ...)."""
        members = [cast(UnilateralNet, network) for network in self.networks]
        return torch.cat([member.features(images) for member in members], dim=1)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) → for each level, the log of the mean probability (B, C).

        Cross-entropy and argmax take it like logits. Computed in float32 under autocast too.
        """
        outputs = [network(images) for network in self.networks]
        return {level: log_mean_softmax([out[level] for out in outputs]) for level in outputs[0]}


def log_mean_softmax(logits: Sequence[Tensor]) -> Tensor:
    """Logits of several networks, each (B, C) → log of their mean probability (B, C), float32."""
    log_probabilities = torch.stack([one.float().log_softmax(dim=1) for one in logits])
    return log_probabilities.logsumexp(dim=0) - math.log(len(logits))
