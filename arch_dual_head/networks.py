"""What each macro-architecture builds: from parts that the configuration describes to a network with two heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from arch_dual_head.macro_architectures import frozen_sides
from common.networks.backbone_names import TORCHVISION
from common.networks.callosum import Callosum
from common.networks.combine import MeanOfSpecialists, ProductOfSpecialists
from common.networks.crossings import CallosumKeys
from common.networks.hemisphere import Hemisphere, HemisphereConfig
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.networks.size import width_for
from common.settings.levels import SIDES, SPELLING
from common.system.errors import UserError


@dataclass(frozen=True)
class Parts:
    """What a network is built from.

    Args:
        hparams: of the run.
        num_classes: of each level.
        coarse_of_fine: the coarse class of each fine class; empty where that is not known.
    """

    hparams: Mapping[str, Any]
    num_classes: Mapping[str, int]
    coarse_of_fine: Sequence[int] = ()

    def hemisphere(self, side: str, width: float | None = None) -> Hemisphere:
        """Build a hemisphere, frozen where it must be, at the configured width if none is given."""
        config = HemisphereConfig.read(self.hparams, side)
        if width is not None:
            config = replace(config, width=width)
        return config.build(freeze=side in frozen_sides(self.hparams))

    @property
    def heads(self) -> dict[str, Any]:
        """Give the arguments of every network that describe its join and heads."""
        return {
            "num_classes": self.num_classes,
            "dropout": self.hparams["dropout"],
            "join": JOINS[self.hparams["join"]].load(),
            "auxiliary": self.hparams["auxiliary"] > 0,
        }

    @property
    def callosum(self) -> Callable[[Mapping[str, Hemisphere]], Callosum] | None:
        """Give what connects the hemispheres of a network that has two, built from them by side; None: nothing does."""
        keys = CallosumKeys.read(self.hparams)
        return partial(Callosum, keys=keys) if keys else None


def bilateral(parts: Parts) -> BilateralNet:
    """Build a network of a left and a right hemisphere."""
    return BilateralNet(
        left=parts.hemisphere("left"),
        right=parts.hemisphere("right"),
        callosum=parts.callosum,
        **parts.heads,
    )


def unilateral(parts: Parts, width: float | None = None) -> UnilateralNet:
    """Build a network of the left hemisphere alone, at the configured width if none is given."""
    return UnilateralNet(hemisphere=parts.hemisphere("left", width), **parts.heads)


def specialist(parts: Parts, side: str, level: str) -> UnilateralNet:
    """Build one hemisphere with a head for one level alone, both of which learn, as before the bilateral network."""
    return UnilateralNet(
        hemisphere=HemisphereConfig.read(parts.hparams, side).build(),
        num_classes={level: parts.num_classes[level]},
        dropout=parts.hparams["dropout"],
    )


def unilateral_wide(parts: Parts) -> UnilateralNet:
    """Build a network of the left hemisphere alone, with as many parameters as the bilateral network.

    Raises:
        UserError: at no width has it so many, or it has one width alone.
    """
    arch = parts.hparams["farch"]
    if arch.startswith(TORCHVISION):
        raise UserError(
            f"hparams.farch={arch} comes in one width alone, and hparams.macro_arch=unilateral_wide needs another: "
            "leave unilateral_wide out of arms, or take a backbone of another kind."
        )
    try:
        width = width_for(lambda width: unilateral(parts, width), like=lambda: bilateral(parts))
    except UserError as error:
        raise UserError(
            f"hparams.farch={arch} with hparams.macro_arch=unilateral_wide: {error}"
        ) from error
    return unilateral(parts, width)


def ensemble(parts: Parts) -> EnsembleNet:
    """Build as many unilateral networks as hparams.model_path_fine lists."""
    return EnsembleNet(networks=[unilateral(parts) for _ in parts.hparams["model_path_fine"]])


def product(parts: Parts) -> EnsembleNet:
    """Build two specialists whose own heads' probabilities are multiplied."""
    combine = ProductOfSpecialists(parts.coarse_of_fine, parts.num_classes["coarse"])
    return EnsembleNet(networks=_specialists(parts), combine=combine)


def mean_of_specialists(parts: Parts) -> EnsembleNet:
    """Build two specialists whose own heads' probabilities are averaged where both have some."""
    combine = MeanOfSpecialists(parts.coarse_of_fine, parts.num_classes["coarse"])
    return EnsembleNet(networks=_specialists(parts), combine=combine)


def _specialists(parts: Parts) -> list[UnilateralNet]:
    return [specialist(parts, side, SPELLING[side]) for side in SIDES]
