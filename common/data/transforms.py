"""Crop, flip and normalise a batch of images on the device where they are."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Zero-pad by ``padding`` pixels and cut another H x W window out of each image.

    Args:
        images: (B, C, H, W), any dtype.
        padding: pixels added on every side.

    Returns:
        (B, C, H, W); offsets are uniform over the (2 * padding + 1)^2 windows, as torchvision's RandomCrop.
    """
    batch, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)  # (B, C, H + 2p, W + 2p)
    windows = padded.unfold(2, height, 1).unfold(
        3, width, 1
    )  # a view: (B, C, 2p + 1, 2p + 1, H, W)
    top, left = torch.randint(0, 2 * padding + 1, (2, batch), device=images.device)
    return windows[torch.arange(batch, device=images.device), :, top, left]  # (B, C, H, W)


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image (B, C, H, W) left to right with probability one half, as RandomHorizontalFlip."""
    flipped = torch.rand(images.shape[0], device=images.device) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def augments(*, crop_padding: int, flip: bool) -> bool:
    """Say whether an image looks different each time that a network in training sees it."""
    return crop_padding > 0 or flip


class Transforms(nn.Module):
    """Turn images into what a network sees: uint8 (B, 3, H, W) to normalised float (B, 3, H, W), channels-last.

    In training mode each image is first cropped and flipped at random. ``mean`` and ``std``
    (3 values each, of pixels scaled to 0..1) belong to the training images.
    """

    def __init__(
        self, *, mean: Sequence[float], std: Sequence[float], crop_padding: int, flip: bool
    ) -> None:
        super().__init__()
        # (x / 255 - mean) / std as one multiply and one add.
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", scale.float().view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(1, 3, 1, 1), persistent=False)
        self.crop_padding = crop_padding
        self.flip = flip

    @property
    def augments(self) -> bool:
        """Say whether an image looks different each time that a network in training sees it."""
        return augments(crop_padding=self.crop_padding, flip=self.flip)

    def forward(self, images: Tensor) -> Tensor:
        """Transform uint8 (B, 3, H, W) to float32 (B, 3, H, W)."""
        if self.training and self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.training and self.flip:
            images = random_flip(images)
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return pixels.mul_(self.scale).add_(self.shift)
