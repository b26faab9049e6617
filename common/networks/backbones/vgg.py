"""VGG-11 (Simonyan & Zisserman 2015, arxiv.org/abs/1409.1556): torchvision's, its last layer cut.

The dropout before the cut layer is left out too: every head brings its own. Names of weights are
torchvision's (`features.*`, `classifier.0`, `classifier.3`).
"""

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from common.networks.backbones.backbone import Backbone, Stages
from common.networks.backbones.layers import initialise, scaled
from common.networks.backbones.registry import register
from common.networks.backbones.stages import pooled_blocks
from common.networks.full_precision import without_autocast
from common.networks.resizing import resized

POOLED = 7  # height and width of the maps that the first linear layer expects


class VGG(Backbone):
    """Convolutions, then two linear layers: images (B, 3, H, W) → features (B, num_features).

    `config` is in torchvision's notation: channels of each convolution, "M" for a max-pool. With `norm`, a
    BatchNorm follows each convolution.
    """

    classifiers = ("classifier.6.",)

    def __init__(self, *, config: list[str | int], width: float, norm: bool = False) -> None:
        super().__init__()
        self.num_features = scaled(4096, width)
        self.features = make_layers(
            [scaled(c, width) if isinstance(c, int) else c for c in config], batch_norm=norm
        )
        self.classifier = nn.Sequential(
            nn.Linear(scaled(512, width) * POOLED * POOLED, self.num_features),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(self.num_features, self.num_features),
            nn.ReLU(inplace=True),
        )
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), H and W at least 32 → features (B, num_features)."""
        return self.read_out(self.features(images))

    def stages(self) -> Stages:
        """Name the stages, each up to a max-pool."""
        return pooled_blocks(self.features)

    def read_out(self, maps: Tensor) -> Tensor:
        """Apply the linear layers to averaged maps (B, C, h, w): features (B, num_features)."""
        first = cast(nn.Linear, self.classifier[0])
        return self.classifier[1:](pooled_linear(maps, first))


def pooled_linear(maps: Tensor, linear: nn.Linear) -> Tensor:
    """Average maps (B, C, H, W) over 7x7 bins, then apply `linear`: (B, C * 49) → (B, F).

    Averaging is itself linear. Maps smaller than 7x7 it makes larger (those of a 32x32 image
    are 1x1: each value is repeated 49 times), so it is cheaper to apply it to the weight: for
    1x1 maps that is the sum over the 49 bins, and the product shrinks to a 49th. Unlike the average
    pool's, the gradient of this form is deterministic on a GPU.
    """
    channels, height, width = maps.shape[1:]
    if height * width >= POOLED * POOLED:  # those of 224x224 images are 7x7
        return linear(resized(maps, (POOLED, POOLED)).flatten(1))
    cells = height * width
    # Row i of the pooling matrix: which share of each bin is cell i.
    one_hot = torch.eye(cells, device=maps.device, dtype=linear.weight.dtype)
    pooling = F.adaptive_avg_pool2d(one_hot.view(cells, 1, height, width), POOLED).flatten(1)
    # In full precision: autocast would first write a copy of this large weight.
    with without_autocast(maps.device.type):
        folded = linear.weight.view(-1, POOLED * POOLED) @ pooling.T  # (F * C, H * W)
    return F.linear(maps.flatten(1), folded.view(-1, channels * cells), linear.bias)


@register
def vgg11(*, width: float = 1.0) -> VGG:
    """VGG-11: 128.8 million parameters, 4,096 features at width 1."""
    return VGG(config=cfgs["A"], width=width)


@register
def vgg11_bn(*, width: float = 1.0) -> VGG:
    """VGG-11 with BatchNorm: 128.8 million parameters, 4,096 features at width 1."""
    return VGG(config=cfgs["A"], width=width, norm=True)
