"""Where the hemispheres look: Grad-CAM on the same images, in the cases that tell them apart."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from analysis.report.part import Part
from analysis.report.svg import short
from analysis.section import Findings, Section
from analysis.sections.agreement import coarse_answers
from analysis.seed import Seed
from common.data.images import Undecoded
from common.settings.levels import SPELLING
from common.system.errors import UserError
from common.system.randomness import derive
from common.trained.grad_cam import grad_cam
from common.training.module import TrainingModule

LARGEST = 96  # pixels of a side, so that the page stays small
PER_CASE = 3  # images
CASES = ("only the left is right", "only the right is right", "only both together", "all are right")


@dataclass(frozen=True)
class Look:
    """One image and where each hemisphere finds evidence for each head's right class in it.

    ``image`` is uint8 (3, H, W), ``fine`` its class, ``said`` the coarse class that the left, the right and both
    together took it for; ``maps`` float (H, W), 0 to 1, by (level, side). ``seed`` is that of the networks.
    """

    seed: int
    case: str
    fine: int
    said: dict[str, str]
    image: Tensor
    maps: dict[tuple[str, str], Tensor]


class Attention(Section):
    """Images of each case, from the first seed that has any."""

    order = 50

    def __init__(self) -> None:
        self.looks: list[Look] = []

    def compute(self, seed: Seed, found: Findings) -> None:
        """Keep maps of images whose case no earlier seed had."""
        answers = coarse_answers(seed)
        if answers is None:
            return
        there = {one.case for one in self.looks}
        right = (said == seed.test.labels["coarse"] for said in answers)
        chosen = [one for one in choose(*right) if one[0] not in there]
        if chosen:
            names = seed.images.class_names["coarse"]
            said = {
                who: [names[label] for label in classes.tolist()]
                for who, classes in answers._asdict().items()
            }
            self.looks += look(
                seed.module,
                seed.number,
                seed.images.test.images,
                seed.test.labels,
                chosen,
                said,
            )

    def render(self, found: Findings) -> Part | None:
        """The images of each case with their maps."""
        if not self.looks:
            return None
        return Part(
            id="attention",
            title="Where they look",
            nav="Attention",
            text=[
                "How to read it: bright is where a hemisphere finds evidence for the right class. Left and "
                "right are the two hemispheres of the bilateral network, fine and coarse its heads; a map "
                "without light shows no evidence for it.",
            ],
            looks=panels(self.looks, found.class_names["fine"]),
            notes=[
                "Grad-CAM (Selvaraju et al. 2017) on the last layer of each hemisphere that has maps, for the "
                "first seed with such test images, drawn by chance. Each map is scaled to its "
                "own maximum. Right and wrong are about the coarse class, as below."
            ],
        )


def choose(left: Tensor, right: Tensor, together: Tensor) -> list[tuple[str, int]]:
    """Up to `PER_CASE` images of each of `CASES`, as case and row: the same at each call, otherwise by chance.

    Args:
        left: whether the left hemisphere alone was right, bool (N,).
        right: the right one alone.
        together: the bilateral network.
    """
    order = torch.randperm(len(left), generator=torch.Generator().manual_seed(derive(0, "looks")))
    cases = (left & ~right, ~left & right, ~left & ~right & together, left & right & together)
    return [
        (name, row)
        for name, case in zip(CASES, cases, strict=True)
        for row in order[case[order]][:PER_CASE].tolist()
    ]


def look(
    module: TrainingModule,
    seed: int,
    images: Tensor | Undecoded,
    labels: dict[str, Tensor],
    chosen: list[tuple[str, int]],
    said: dict[str, list[str]],
) -> list[Look]:
    """Grad-CAM of a bilateral network, for each head and hemisphere, of the class that is right.

    Args:
        module: holds the network.
        seed: its own.
        images: all test images, uint8 (N, 3, H, W).
        labels: theirs, per level (N,).
        chosen: case and row, as `choose` gives them.
        said: for the left, the right and both together, the name of the coarse class that each image was taken for.
    """
    rows = torch.tensor([row for _, row in chosen], dtype=torch.long)
    if not len(rows):
        return []
    pictures = images[rows]
    inputs = module.transforms(pictures.to(module.device))
    maps: dict[tuple[str, str], Tensor] = {}
    for level in module.network.heads:  # type: ignore[union-attr]
        for side, name in SPELLING.items():
            classes = labels[level][rows].to(module.device)
            try:
                found = grad_cam(module.network, inputs, level=level, side=name, classes=classes)  # type: ignore[arg-type]
            except UserError:  # no maps at this size of images
                return []
            maps[level, side] = found.cpu()
    return [
        Look(
            seed,
            case,
            int(labels["fine"][row]),
            {who: names[row] for who, names in said.items()},
            pictures[i],
            {place: found[i] for place, found in maps.items()},
        )
        for i, (case, row) in enumerate(chosen)
    ]


def panels(
    looks: Sequence[Look], fine_names: Sequence[str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each case, its images: a name and the cells of a row (label, alternative text, PNG in base64).

    A case without images is listed too: that there are none is a result.
    """
    grouped: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for one in looks:
        name = short(fine_names[one.fine], 40)
        said = ", ".join(f"{who}: {short(what, 24)}" for who, what in one.said.items())
        cells = [{"label": "image", "alt": f"Test image: {name}", "png": png(one.image)}]
        cells += [
            {
                "label": f"{side}, {level} head",
                "alt": f"Where the {side} hemisphere finds evidence for the {level} head",
                "png": png(one.image, heat),
            }
            for (level, side), heat in one.maps.items()
        ]
        grouped[one.case].append({"name": name, "said": said, "cells": cells})
    return [(case[:1].upper() + case[1:], images) for case, images in grouped.items()]


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
