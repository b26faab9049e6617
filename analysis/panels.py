"""Images with what a hemisphere looks at laid over them, as small PNG files for the page."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from analysis.attention import CASES
from analysis.hemispheres import Findings
from analysis.pictures import short

LARGEST = 96  # pixels of a side, so that the page stays small


def panels(found: Findings) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each case, its images: a name and the cells of a row (label, alternative text, PNG in base64).

    A case without images is there too: that there are none says something as well.
    """
    grouped: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for look in found.looks:
        name = short(found.class_names["fine"][look.fine], 40)
        said = ", ".join(f"{who}: {short(what, 24)}" for who, what in look.said.items())
        cells = [{"label": "image", "alt": f"Test image: {name}", "png": png(look.image)}]
        cells += [
            {
                "label": f"{side}, {level} head",
                "alt": f"Where the {side} hemisphere finds evidence for the {level} head",
                "png": png(look.image, heat),
            }
            for (level, side), heat in look.maps.items()
        ]
        grouped[look.case].append({"name": name, "said": said, "cells": cells})
    return [(case[:1].upper() + case[1:], looks) for case, looks in grouped.items()]


def png(image: Tensor, heat: Tensor | None = None) -> str:
    """An image uint8 (3, H, W), in grey under a map (H, W) from 0 to 1 if there is one, as PNG in base64."""
    pixels = image.permute(1, 2, 0).numpy()
    if heat is not None:
        grey = pixels.mean(2, keepdims=True).repeat(3, 2)
        glow = heat.numpy()[..., None]
        colour = colormaps["inferno"](0.25 + 0.75 * heat.numpy())[..., :3] * 255
        pixels = (
            ((1 - 0.8 * glow) * 0.75 * grey + 0.8 * glow * colour).clip(0, 255).astype(np.uint8)
        )
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
