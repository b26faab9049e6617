"""What several backbones share: widths and initial weights."""

from torch import nn


def scaled(channels: int, width: float) -> int:
    """Multiply `channels` by `width`, rounded to a multiple of 8 (as matrix units like), at least 8."""
    return max(8, 8 * round(channels * width / 8))


def initialise(network: nn.Module) -> None:
    """Set initial weights as in torchvision's ResNet and VGG.

    Convolutions: He et al. 2015 (arxiv.org/abs/1502.01852), normal with variance 2 / fan_out.
    Linear layers: normal with deviation 0.01 (Simonyan & Zisserman 2015, arxiv.org/abs/1409.1556).
    BatchNorm starts as the identity, which is PyTorch's default.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
