"""Crop, flip and normalise a batch of images on the device where they are."""

import math
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


def crop_boxes(
    batch: int, size: Sequence[int], scale: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a part of an image of ``size`` (H, W) for each of a batch: top, left, height, width, float (B,).

    Its area is uniform from a share ``scale`` of the image's to all of it, and the logarithm of its aspect ratio
    between those of 3/4 and 4/3 (Szegedy et al. 2015, Going deeper with convolutions, section 6), as for torchvision's
    RandomResizedCrop: of ten draws the first that fits into the image, else the largest such part, in the middle.
    """
    height, width = size
    tries = 10
    area = height * width * (scale + (1 - scale) * torch.rand(tries, batch, device=device))
    bound = math.log(4 / 3)
    ratio = torch.exp(bound * (2 * torch.rand(tries, batch, device=device) - 1))
    w = (area * ratio).sqrt().round()  # (10, B)
    h = (area / ratio).sqrt().round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.int().argmax(0, keepdim=True)  # (1, B)
    found = fits.any(0)
    middle_w = min(width, round(height * 4 / 3))
    middle_h = min(height, round(width * 4 / 3))
    w = torch.where(found, w.gather(0, first)[0], float(middle_w))
    h = torch.where(found, h.gather(0, first)[0], float(middle_h))
    place = torch.rand(2, batch, device=device)
    top = torch.where(found, (place[0] * (height - h + 1)).floor(), ((height - h) / 2).floor())
    left = torch.where(found, (place[1] * (width - w + 1)).floor(), ((width - w) / 2).floor())
    return top, left, h, w


def resized_crop(images: Tensor, top: Tensor, left: Tensor, h: Tensor, w: Tensor) -> Tensor:
    """Cut a part out of each image and enlarge it to the image's size, by bilinear interpolation.

    Args:
        images: float (B, C, H, W).
        top: first row of each part, float (B,).
        left: its first column.
        h: its height in pixels.
        w: its width.

    Returns:
        (B, C, H, W), as torchvision's resized_crop: beyond a part's edge its last pixels are repeated.
    """
    height, width = images.shape[2:]

    def along(start: Tensor, length: Tensor, pixels: int) -> Tensor:
        """Give where each of a side's pixels is taken from, (B, pixels), in the coordinates of grid_sample."""
        steps = torch.arange(pixels, device=images.device) + 0.5
        within = steps * (length[:, None] / pixels) - 0.5
        within = torch.minimum(within.clamp_min(0), length[:, None] - 1)
        return (2 * (start[:, None] + within) + 1) / pixels - 1

    x, y = along(left, w, width), along(top, h, height)
    grid = torch.stack(
        [x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=3
    )  # (B, H, W, 2)
    return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


def augments(*, crop_padding: int, flip: bool, crop_scale: float = 1.0) -> bool:
    """Say whether an image looks different each time that a network in training sees it."""
    return crop_padding > 0 or flip or crop_scale < 1


class Transforms(nn.Module):
    """Turn images into what a network sees: uint8 (B, 3, H, W) to normalised float (B, 3, H, W), channels-last.

    In training mode each image is first cropped and flipped at random; with ``crop_scale`` below 1 a part of at least
    this share of its area is enlarged to its size. ``mean`` and ``std``
    (3 values each, of pixels scaled to 0..1) belong to the training images.
    """

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        crop_scale: float = 1.0,
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
        self.crop_scale = crop_scale

    @property
    def augments(self) -> bool:
        """Say whether an image looks different each time that a network in training sees it."""
        return augments(crop_padding=self.crop_padding, flip=self.flip, crop_scale=self.crop_scale)

    def forward(self, images: Tensor) -> Tensor:
        """Transform uint8 (B, 3, H, W) to float32 (B, 3, H, W)."""
        if self.training and self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.training and self.flip:
            images = random_flip(images)
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        if self.training and self.crop_scale < 1:
            boxes = crop_boxes(len(pixels), pixels.shape[2:], self.crop_scale, pixels.device)
            pixels = resized_crop(pixels, *boxes)
        return pixels.mul_(self.scale).add_(self.shift)
