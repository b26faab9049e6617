"""ResNet-9, the small fast network of the DAWNBench contest on CIFAR-10.

Source: David Page, "How to train your ResNet" (2018), https://github.com/davidcpage/cifar10-fast,
but for its classifier's constant output scale: heads are not part of a backbone.
"""

from collections import OrderedDict

from torch import Tensor, nn

from common.backbones.layers import initialise, scaled
from common.backbones.registry import Backbone, register


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
    """Two blocks beside an identity connection: (B, C, H, W) → (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = conv_block(channels, channels)
        self.block2 = conv_block(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Add what the two blocks make of `maps` to `maps`."""
        return maps + self.block2(self.block1(maps))


class ResNet9(Backbone):
    """Eight convolutions; `channels` are those of the stem and of the three stages after it."""

    def __init__(self, *, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        stem, first, second, third = channels
        self.prep = conv_block(3, stem)
        self.layer1 = conv_block(stem, first, pool=True)
        self.residual1 = Residual(first)
        self.layer2 = conv_block(first, second, pool=True)
        self.layer3 = conv_block(second, third, pool=True)
        self.residual3 = Residual(third)
        self.num_features = third
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), H and W at least 8 → features (B, num_features)."""
        maps = self.prep(images)  # (B, 64, H, W) at width 1
        maps = self.residual1(self.layer1(maps))  # (B, 128, H/2, W/2)
        maps = self.layer2(maps)  # (B, 256, H/4, W/4)
        maps = self.residual3(self.layer3(maps))  # (B, 512, H/8, W/8)
        # Global max pool. AdaptiveMaxPool2d has no deterministic gradient on a GPU, amax has.
        return maps.amax(dim=(2, 3))


@register
def resnet9(*, width: float = 1.0) -> ResNet9:
    """ResNet-9: 6.6 million parameters, 512 features at width 1."""
    stem, first, second, third = (scaled(channels, width) for channels in (64, 128, 256, 512))
    return ResNet9(channels=(stem, first, second, third))
