"""Bring any picture to a network exactly as those of its set were brought to training: one size, and 8 bits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.data.pictures import (
    Frame,
    as_rgb,
    is_wide,
    naming,
    read_upright,
    refuse_narrow_range,
    turn,
    wide_pixels,
)


@dataclass(frozen=True)
class Preparation:
    """How data_scripts/prepare_folders.py brought the pictures of a set to training.

    ``peak`` is the highest value of the set's pixels wider than 8 bits, which became 255; 0 where it has none.
    """

    frame: Frame
    peak: int = 0

    def read(self, path: Path) -> Image.Image:
        """Read a picture file in RGB, of the frame's size.

        Raises:
            UserError: no picture that is read, by its name; or 12 bits in a file of 16, where the set has no peak.
        """
        with naming(path):
            image = read_upright(path, near=self.frame.near)
            if not self.peak:
                refuse_narrow_range(image)
            return self.bring(image)

    def bring(self, image: Image.Image) -> Image.Image:
        """Bring an image, which may be turned in place, to RGB and to the frame's size.

        Raises:
            ValueError: the range of its pixels is not known.
        """
        turn(image)
        if self.peak and is_wide(image):
            return to_eight_bits(wide_around(image, self.frame), self.peak)
        return self.frame.around(as_rgb(image))


def wide_around(image: Image.Image, frame: Frame) -> np.ndarray:
    """Bring a grey image of more than 8 bits to a size: uint16 (H, W).

    Raises:
        ValueError: the range of its pixels is not known.
    """
    whole = Image.fromarray(wide_pixels(image).astype(np.float32))
    return np.asarray(frame.around(whole)).round().clip(0, 0xFFFF).astype(np.uint16)


def to_eight_bits(pixels: np.ndarray, peak: int) -> Image.Image:
    """Scale grey pixels (H, W) so that ``peak`` becomes 255, and make RGB of them; what is brighter is 255 too."""
    scaled = pixels.astype(np.float64) * (255 / peak)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert("RGB")
