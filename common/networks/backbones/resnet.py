"""ResNet-18, -34 and -50 (He et al. 2016, arxiv.org/abs/1512.03385) for small images.

The blocks are torchvision's. The stem is the one that is usual on CIFAR: its 3x3 convolution of
stride 1 and no max-pool keep the 32x32 pixels that the original stem shrinks to 8x8.
"""

from typing import Any

from torch import Tensor, nn
from torchvision.models import resnet as torchvision_resnet
from torchvision.models.resnet import BasicBlock, Bottleneck

from common.networks.backbones.backbone import Backbone, Stages
from common.networks.backbones.layers import initialise, scaled
from common.networks.backbones.registry import register
from common.networks.backbones.stages import read_out_of, resnet_stages

# Of fewer channels the gradient of a 1x1 convolution with a stride ends the process, on a CPU with AVX-512 and in
# float32: oneDNN writes behind its memory (github.com/uxlfoundation/oneDNN/issues/6035).
VECTOR = 16


class PlainBasicBlock(BasicBlock):
    """A BasicBlock without its residual connection, as in the plain networks of He et al."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → maps (B, planes, H / stride, W / stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class PlainBottleneck(Bottleneck):
    """A Bottleneck without its residual connection."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → maps (B, 4 * planes, H / stride, W / stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)))


PLAIN: dict[type[BasicBlock | Bottleneck], type[BasicBlock | Bottleneck]] = {
    BasicBlock: PlainBasicBlock,
    Bottleneck: PlainBottleneck,
}


class EveryOtherPixel(nn.Sequential):
    """The projection on a connection, of maps (B, C, H, W) of which it takes every other row and column."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) → maps (B, planes, H / 2, W / 2)."""
        return super().forward(x[:, :, ::2, ::2])


class ResNet(torchvision_resnet.ResNet, Backbone):
    """torchvision's ResNet without classifier: images (B, 3, H, W) → features (B, num_features)."""

    classifiers = ("fc.",)
    width: float
    residual: bool

    def __init__(
        self,
        *,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        width: float,
        residual: bool,
    ) -> None:
        # First, because torchvision's constructor calls _make_layer.
        self.width, self.residual = width, residual
        super().__init__(block if residual else PLAIN[block], layers, num_classes=1)
        stem = scaled(64, width)
        self.conv1 = nn.Conv2d(3, stem, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.Identity()
        self.fc = nn.Identity()
        self.num_features = self.inplanes  # channels after the last stage
        initialise(self.conv1)

    def stages(self) -> Stages:
        """Name the stages: the stem, and layer1 to layer4."""
        return resnet_stages(self)

    def read_out(self, maps: Tensor) -> Tensor:
        """Average each map: (B, C, h, w) → features (B, num_features)."""
        return read_out_of(self, maps)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        """One stage of torchvision's, `width` times as wide."""
        if planes == 64:  # the first stage: what comes in is the stem's
            self.inplanes = scaled(64, self.width)
        stage = super()._make_layer(block, scaled(planes, self.width), *args, **kwargs)
        if not self.residual:
            stage[0].downsample = None  # the projection on the connection goes with it
        elif planes != 64 and stage[0].downsample[0].in_channels < VECTOR:
            convolution, norm = stage[0].downsample
            convolution.stride = (1, 1)
            stage[0].downsample = EveryOtherPixel(convolution, norm)
        return stage


@register
def resnet18(*, width: float = 1.0, residual: bool = True) -> ResNet:
    """ResNet-18: 11.2 million parameters, 512 features at width 1."""
    return ResNet(block=BasicBlock, layers=[2, 2, 2, 2], width=width, residual=residual)


@register
def resnet34(*, width: float = 1.0, residual: bool = True) -> ResNet:
    """ResNet-34: 21.3 million parameters, 512 features at width 1."""
    return ResNet(block=BasicBlock, layers=[3, 4, 6, 3], width=width, residual=residual)


@register
def resnet50(*, width: float = 1.0, residual: bool = True) -> ResNet:
    """ResNet-50: 23.5 million parameters, 2,048 features at width 1."""
    return ResNet(block=Bottleneck, layers=[3, 4, 6, 3], width=width, residual=residual)
