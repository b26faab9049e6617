"""One hemisphere: the parameters that describe it, and the module that can be frozen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from common.networks.backbones import Backbone, build_backbone, own_sparsity
from common.networks.backbones.sparsity import lifetime_winners
from common.networks.parameters import PARAMETERS
from common.networks.spatial_frequency import SpatialFilter
from common.system.errors import UserError


@dataclass(frozen=True)
class HemisphereConfig:
    """The parameters of a hemisphere, each named as its key in `hparams`.

    Args:
        arch: backbone.
        width: multiplies its channels.
        k: share of each feature map that survives winner-take-all; 1: dense.
        per_k: share of a training batch for which each feature survives; 1: dense.
        plasticity: multiplies the learning rate of the hemisphere. The only one that leaves its function alone.
        low_pass: highest spatial frequency that it sees, in cycles per image; None: all.
        high_pass: lowest one; None: all.
        residual: whether residual connections, where the backbone has some, are there.
        pretrained: weights to start from, which `common.checkpoints.pretrained` loads; None: random ones.
    """

    arch: str
    width: float
    k: float
    per_k: float
    plasticity: float = 1.0
    low_pass: float | None = None
    high_pass: float | None = None
    residual: bool = True
    pretrained: str | None = None

    @classmethod
    def read(cls, hparams: Mapping[str, Any], side: str | None = None) -> "HemisphereConfig":
        """Read a hemisphere's parameters.

        Args:
            hparams: of a run, or of the record of a checkpoint; an older one has fewer.
            side: left or right; None where there is only one hemisphere.

        Raises:
            UserError: no frequency passes both filters, or there is no such backbone.
        """
        keys = {name: parameter.spelled(name, side) for name, parameter in PARAMETERS.items()}
        values = {name: hparams[key] for name, key in keys.items() if key in hparams}
        for name, own in own_sparsity(values["arch"]).items():
            if values.get(name) is None:
                values[name] = own
        values["plasticity"] = effective_plasticity(hparams, side)
        low_pass, high_pass = values.get("low_pass"), values.get("high_pass")
        if low_pass is not None and high_pass is not None and low_pass < high_pass:
            raise UserError(
                f"hparams.{keys['low_pass']}={low_pass:g} and hparams.{keys['high_pass']}={high_pass:g} let no "
                "frequency pass: allowed is a low_pass of at least the high_pass."
            )
        return cls(**values)

    def backbone(self) -> Backbone:
        """Build the backbone alone, with initial weights.

        Raises:
            UserError: the backbone cannot be built so.
        """
        return build_backbone(
            self.arch,
            width=self.width,
            k=self.k,
            per_k=self.per_k,
            residual=self.residual,
            pretrained=self.pretrained is not None,
        )

    def build(self, *, freeze: bool = False) -> "Hemisphere":
        """Build the hemisphere: its backbone, and a filter before it unless it sees all of an image.

        Raises:
            UserError: the backbone cannot be built so.
        """
        before: nn.Module | None = None
        if self.low_pass is not None or self.high_pass is not None:
            before = SpatialFilter(low_pass=self.low_pass, high_pass=self.high_pass)
        return Hemisphere(self.backbone(), freeze=freeze, spatial_filter=before)

    def difference(self, other: "HemisphereConfig") -> str | None:
        """Name the first parameter by which the two compute different functions of an image and of their weights.

        Of `pretrained` only whether it is given counts: it decides on the stem. A file may have moved.
        """
        ours, theirs = (
            replace(one, plasticity=1.0, pretrained=one.pretrained and "given")
            for one in (self, other)
        )
        names = (field.name for field in fields(self))
        return next((name for name in names if getattr(ours, name) != getattr(theirs, name)), None)


def effective_plasticity(hparams: Mapping[str, Any], side: str | None = None) -> float:
    """Compute what multiplies a hemisphere's learning rate: its own plasticity, times the factor of the arm.

    Args:
        hparams: of a run, or of the record of a checkpoint; an older one may lack either.
        side: left or right; None where there is only one hemisphere.
    """
    own = hparams.get(PARAMETERS["plasticity"].spelled("plasticity", side), 1.0)
    return own * hparams.get("plasticity_factor", 1.0)


class Hemisphere(nn.Module):
    """A backbone that can be frozen, and what it sees: images (B, 3, H, W) → features (B, num_features).

    `spatial_filter`, where there is one, comes between images and backbone (`common.networks.spatial_frequency`).

    Frozen means that nothing in it changes, bit for bit: no gradients, and evaluation mode for
    ever, because in training mode BatchNorm moves its statistics even without gradients.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        freeze: bool = False,
        spatial_filter: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.spatial_filter = spatial_filter
        self.num_features = backbone.num_features
        self.frozen = freeze
        if freeze:
            self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Hemisphere":
        """Go into training mode, unless frozen; parents call this too when they change mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features: images (B, 3, H, W) → (B, num_features)."""
        images = self.seen(images)
        if self.frozen:
            with torch.no_grad():
                return self.backbone(images)
        return self.backbone(images)

    def seen(self, images: Tensor) -> Tensor:
        """Give what the backbone sees of images (B, 3, H, W)."""
        return images if self.spatial_filter is None else self.spatial_filter(images)

    def read_out(self, maps: Tensor) -> Tensor:
        """Give features (B, num_features) of the maps of the last stage (B, C, h, w), where stages are run one by one.

        Gradients pass, even through a frozen hemisphere, which has none itself.
        """
        features = self.backbone.read_out(maps)
        if self.backbone.training and self.backbone.per_k < 1:
            features = torch.where(lifetime_winners(features, self.backbone.per_k), features, 0)
        return features


@contextmanager
def thawed(network: nn.Module) -> Iterator[None]:
    """Run frozen hemispheres of a network like others within the block.

    A frozen one computes without gradients, which saves memory in training and is all that is lifted here: its weights
    still ask for none.
    """
    frozen = [one for one in network.modules() if isinstance(one, Hemisphere) and one.frozen]
    for hemisphere in frozen:
        hemisphere.frozen = False
    try:
        yield
    finally:
        for hemisphere in frozen:
            hemisphere.frozen = True
