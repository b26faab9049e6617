"""ResNet-9, the small fast network of the DAWNBench contest on CIFAR-10.

Source: David Page, "How to train your ResNet" (2018), https://github.com/davidcpage/cifar10-fast,
but for its classifier's constant output scale: heads are not part of a backbone.
"""

from collections import OrderedDict
from functools import partial

from torch import Tensor, nn

from common.networks.backbones.backbone import Backbone, Stages
from common.networks.backbones.layers import initialise, scaled
from common.networks.backbones.registry import register


def conv_block(in_channels: int, out_channels: int, *, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, BatchNorm, ReLU; with `pool`, height and width are then halved."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        norm=nn.BatchNorm2d(out_channels),
        relu=nn.ReLU(inplace=True),
    )
    if pool:
        layers["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


class Residual(nn.Module):
    """Two blocks beside an identity connection, where there is one: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int, *, identity: bool) -> None:
        super().__init__()
        self.identity = identity
        self.block1 = conv_block(channels, channels)
        self.block2 = conv_block(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Add what the two blocks make of `maps` to `maps`."""
        made = self.block2(self.block1(maps))
        return maps + made if self.identity else made


class ResNet9(Backbone):
    """Eight convolutions; `channels` are those of the stem and of the three stages after it, before `width`."""

    def __init__(
        self, *, channels: tuple[int, int, int, int], width: float, residual: bool
    ) -> None:
        super().__init__()
        stem, first, second, third = (scaled(one, width) for one in channels)
        self.prep = conv_block(3, stem)
        self.layer1 = conv_block(stem, first, pool=True)
        self.residual1 = Residual(first, identity=residual)
        self.layer2 = conv_block(first, second, pool=True)
        self.layer3 = conv_block(second, third, pool=True)
        self.residual3 = Residual(third, identity=residual)
        self.num_features = third
        initialise(self)

    def stages(self) -> Stages:
        """Name the stages; images (B, 3, H, W) with H and W at least 8."""
        return {
            "prep": (self.prep,),  # (B, stem, H, W)
            "layer1": (self.layer1, self.residual1),  # (B, first, H/2, W/2)
            "layer2": (self.layer2,),  # (B, second, H/4, W/4)
            "layer3": (self.layer3, self.residual3),  # (B, third, H/8, W/8)
        }

    def read_out(self, maps: Tensor) -> Tensor:
        """Take the maximum of each map: (B, third, h, w) → features (B, num_features)."""
        # AdaptiveMaxPool2d has no deterministic gradient on a GPU, amax has.
        return maps.amax(dim=(2, 3))


@register
def resnet9(*, width: float = 1.0, residual: bool = True) -> ResNet9:
    """ResNet-9: 6.6 million parameters, 512 features at width 1."""
    return ResNet9(channels=(64, 128, 256, 512), width=width, residual=residual)


@register
def inverted_resnet9(*, width: float = 1.0, residual: bool = True) -> ResNet9:
    """ResNet-9 with its widths reversed, wide early and narrow late: 2.8 million parameters, 64 features at width 1.

    Wide layers see the large maps here, which takes 4.2 times as many multiply-adds as `resnet9`.
    """
    return ResNet9(channels=(512, 256, 128, 64), width=width, residual=residual)


@partial(register, k=0.25, per_k=0.8)
def sparse_resnet9(*, width: float = 1.0, residual: bool = True) -> ResNet9:
    """ResNet-9 that is sparse where nobody asks for another sparsity; on the same weights as `resnet9`."""
    return resnet9(width=width, residual=residual)
