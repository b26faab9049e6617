"""Where the hemispheres look: HiResCAM on the same images, in the cases that tell them apart.

HiResCAM is shown and not Grad-CAM, because of ResNet-9's global maximum: there it adds up to what a hemisphere adds to
a logit, and Grad-CAM does not. How often the two name the same cell is counted (`add_hottest_cells`).
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from analysis.report.cells import decimal
from analysis.report.part import Part
from analysis.report.svg import short
from analysis.section import Findings, Section
from analysis.sections.agreement import coarse_answers
from analysis.seed import Seed, drawn
from analysis.values import SHARE
from common.data.images import Undecoded
from common.settings.levels import LEVELS, SIDES, SPELLING
from common.system.errors import UserError
from common.system.randomness import derive
from common.trained.grad_cam import evidence, hires_cam
from common.training.module import TrainingModule

LARGEST = 96  # pixels of a side, so that the page stays small
PER_CASE = 3  # images
CAM_IMAGES = 128  # test images on which HiResCAM and Grad-CAM are compared
SAME_CELL = "hottest cell of Grad-CAM is that of HiResCAM"
ABOUT_COARSE = "Right and wrong are about the coarse class, as below."
ABOUT_OWN = (
    "Right and wrong are about the label that each hemisphere learned, fine (left) and coarse (right), and of both "
    "together about both labels."
)
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
        self.nested = True

    def compute(self, seed: Seed, found: Findings) -> None:
        """Count how often two methods agree, and keep maps of images whose case no earlier seed had."""
        add_hottest_cells(seed, found)
        self.nested = seed.images.nested
        answers = about_coarse_classes(seed) if self.nested else about_own_labels(seed)
        if answers is None:
            return
        there = {one.case for one in self.looks}
        chosen = [one for one in choose(*answers.right) if one[0] not in there]
        if chosen:
            self.looks += look(
                seed.module,
                seed.number,
                seed.images.test.images,
                seed.test.labels,
                chosen,
                answers.said,
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
                "HiResCAM (Draelos & Carin 2020) on the last layer of each hemisphere that has maps, for the "
                "first seed with such test images, drawn by chance. Each map is scaled to its "
                f"own maximum. {ABOUT_COARSE if self.nested else ABOUT_OWN}",
                *_on_grad_cam(found),
            ],
        )


@dataclass(frozen=True)
class Said:
    """Whether the left, the right and both together were right, bool (N,) each, and the names of what they said."""

    right: tuple[Tensor, Tensor, Tensor]
    said: dict[str, list[str]]


def about_coarse_classes(seed: Seed) -> Said | None:
    """The answers to the question that all can be asked; None if a hemisphere's own network is gone."""
    answers = coarse_answers(seed)
    if answers is None:
        return None
    names, truth = seed.images.class_names["coarse"], seed.test.labels["coarse"]
    left, right, together = (classes == truth for classes in answers)
    said = {
        who: [names[label] for label in classes.tolist()]
        for who, classes in answers._asdict().items()
    }
    return Said((left, right, together), said)


def about_own_labels(seed: Seed) -> Said | None:
    """The answers to two independent questions: of each hemisphere to its own, of both together to both."""
    if set(seed.alone) != set(LEVELS):
        return None

    def answers(logits: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        classes = {level: logits[level].argmax(1) for level in LEVELS}
        right = {level: classes[level] == seed.test.labels[level] for level in LEVELS}
        names = {
            level: [seed.images.class_names[level][one] for one in classes[level].tolist()]
            for level in LEVELS
        }
        return right, names

    (alone, said), (both, together) = answers(seed.alone), answers(seed.logits)
    pairs = zip(together["fine"], together["coarse"], strict=True)
    return Said(
        (alone["fine"], alone["coarse"], both["fine"] & both["coarse"]),
        {
            "left": said["fine"],
            "right": said["coarse"],
            "together": [f"{fine}, {coarse}" for fine, coarse in pairs],
        },
    )


def add_hottest_cells(seed: Seed, found: Findings) -> None:
    """Add how often the hottest cells of Grad-CAM and HiResCAM are the same, for each head and hemisphere.

    Over some test images in whose maps, for the class that is right, both methods find anything in its favour.
    """
    test, module = seed.images.test, seed.module
    rows = test.subset[drawn(len(test), CAM_IMAGES, "cams")]
    inputs = module.transforms(test.images[rows].to(module.device))
    for level in LEVELS:
        classes = test.labels[level][rows].to(module.device)
        for side in SIDES:
            try:
                exact, averaged = (
                    evidence(
                        seed.network,
                        inputs,
                        level=level,
                        side=side,
                        classes=classes,
                        averaged=averaged,
                    ).flatten(1)
                    for averaged in (False, True)
                )
            except UserError:  # no maps at this size of images
                return
            share = share_of_same_cells(exact, averaged)
            found.values.add(
                SAME_CELL, share, level=level, side=side, seed=seed.number, within=SHARE
            )


def share_of_same_cells(one: Tensor, other: Tensor) -> float:
    """The share of images whose largest cells in ``one`` and ``other`` (N, cells) agree, where both are above 0."""
    largest, place = one.max(1)
    others_largest, others_place = other.max(1)
    some = (largest > 0) & (others_largest > 0)
    return float((place == others_place)[some].double().mean())


def _on_grad_cam(found: Findings) -> list[str]:
    """A sentence on how far Grad-CAM would have led astray."""
    shares = {
        f"{side}, {level} head": found.values.get(SAME_CELL, level, side)
        for level in LEVELS
        for side in SIDES
    }
    words = ", ".join(
        f"{decimal(100 * share.mean, 0)} % ({where})" for where, share in shares.items() if share
    )
    if not words:
        return []
    return [
        f"Grad-CAM (Selvaraju et al. 2017) has its brightest cell where HiResCAM has it in {words} of the maps of up "
        f"to {CAM_IMAGES} test images for each seed. After a global maximum, as in ResNet-9, HiResCAM is exact: "
        "before negative cells are cut off, they add up to what the hemisphere adds to the logit."
    ]


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
    """HiResCAM of a bilateral network, for each head and hemisphere, of the class that is right.

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
                found = hires_cam(module.network, inputs, level=level, side=name, classes=classes)  # type: ignore[arg-type]
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
