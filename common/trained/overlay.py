"""A picture under a map of where a hemisphere looks: the same colours on the page and in the figure of predict.py."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

COLOURS = "inferno"  # dark is little, bright is much
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def overlay(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map over a picture in grey, so that colour shows nothing but the map.

    Args:
        image: RGB (H, W, 3).
        heat: 0 to 1, (H, W).

    Returns:
        RGB (H, W, 3).
    """
    grey = (image @ np.array(LUMA))[..., None].repeat(3, 2)
    glow = heat[..., None]
    colour = colormaps[COLOURS](0.25 + 0.75 * heat)[..., :3] * 255
    mixed = (1 - 0.8 * glow) * 0.75 * grey + 0.8 * glow * colour
    return mixed.clip(0, 255).astype(np.uint8)
