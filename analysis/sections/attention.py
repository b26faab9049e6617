"""Where the hemispheres look: HiResCAM on the same images, in the cases that tell them apart.

HiResCAM is shown and not Grad-CAM, because of ResNet-9's global maximum: there it adds up to what a hemisphere adds to
a logit, and Grad-CAM does not. How often the two name the same cell is counted (`add_hottest_cells`).
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from analysis.report.cells import decimal
from analysis.report.part import Part
from analysis.report.svg import short
from analysis.section import Findings, Section
from analysis.sections.agreement import coarse_answers
from analysis.seed import Seed
from analysis.values import SHARE
from common.data.samplers import drawn
from common.settings.levels import LEVELS, SIDES
from common.system.errors import UserError
from common.system.randomness import derive
from common.trained.grad_cam import evidence, hires_cam
from common.trained.overlay import overlay

LARGEST = 160  # pixels of a side, so that the page stays small
PER_CASE = 3  # images
CAM_IMAGES = 128  # test images on which HiResCAM and Grad-CAM are compared
SAME_CELL = "hottest cell of Grad-CAM is that of HiResCAM"
ABOUT_COARSE = (
    "What is correct in the headings is about the coarse class, as below. The left and the right alone are the "
    "networks of the fine arm and of the coarse arm: the left one's coarse class is that of its fine answer, with the "
    "sum of the probabilities of its fine classes; the right one knows no fine classes."
)
ABOUT_OWN = (
    "What is correct in the headings is about the label that each hemisphere learned, fine (left) and coarse (right), "
    "and of both together about both labels. The left and the right alone are the networks of the fine arm and of the "
    "coarse arm."
)
CASES = (
    *("only the left is correct", "only the right is correct"),
    *("only both together are correct", "all are correct"),
)


class Said(NamedTuple):
    """An answer: the name of a class, its probability, and whether it is correct."""

    name: str
    probability: float
    correct: bool


@dataclass(frozen=True)
class Look:
    """One image and where each hemisphere finds evidence for each head's correct class in it.

    ``image`` is uint8 (3, H, W), ``labels`` its classes by level, ``said`` what the left, the right and both together
    answer, by level; ``maps`` float (H, W), 0 to 1, by (level, side). ``seed`` is that of the networks.
    """

    seed: int
    case: str
    labels: dict[str, str]
    said: dict[str, dict[str, Said]]
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
        correct = about_coarse_classes(seed) if self.nested else about_own_labels(seed)
        if correct is None:
            return
        there = {one.case for one in self.looks}
        chosen = [one for one in choose(*correct) if one[0] not in there]
        if chosen:
            self.looks += look(seed, chosen)

    def render(self, found: Findings) -> Part | None:
        """The images of each case with their maps."""
        if not self.looks:
            return None
        return Part(
            id="attention",
            title="Where they look",
            nav="Attention",
            text=[
                "How to read it: bright is where a hemisphere finds evidence for the correct class. Left and "
                "right are the two hemispheres of the network, and its heads are fine and coarse; in a map without "
                "light it finds none. Below each picture stand three answers for each level, with "
                "the probability that the network gives them: ✓ is correct, ✗ wrong.",
            ],
            looks=panels(self.looks),
            notes=[
                "HiResCAM (Draelos & Carin 2020) on the last layer of each hemisphere that has maps, for the "
                "first seed with such test images, drawn by chance. Each map is scaled to its "
                f"own maximum. {ABOUT_COARSE if self.nested else ABOUT_OWN}",
                *_on_grad_cam(found),
            ],
        )


Correct = tuple[Tensor, Tensor, Tensor]


def about_coarse_classes(seed: Seed) -> Correct | None:
    """Whether left, right and both together answer correctly, bool (N,) each, to the question that all can be asked.

    None if a hemisphere's own network is gone.
    """
    answers = coarse_answers(seed)
    if answers is None:
        return None
    left, right, together = (classes == seed.test.labels["coarse"] for classes in answers)
    return left, right, together


def about_own_labels(seed: Seed) -> Correct | None:
    """The same of two independent questions: of each hemisphere to its own, of both together to both."""
    if set(seed.alone) != set(LEVELS):
        return None
    truth = seed.test.labels
    left, right = (seed.alone[level].argmax(1) == truth[level] for level in LEVELS)
    fine, coarse = (seed.logits[level].argmax(1) == truth[level] for level in LEVELS)
    return left, right, fine & coarse


def add_hottest_cells(seed: Seed, found: Findings) -> None:
    """Add how often the hottest cells of Grad-CAM and HiResCAM are the same, for each head and hemisphere.

    Over some test images in whose maps, for the class that is correct, both methods find anything in its favour.
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
        f"to {CAM_IMAGES} test images for each seed. After a global maximum, as in ResNet-9, HiResCAM is exact "
        "where heads see hemispheres side by side, or their mean, and nothing crosses behind the maps: before negative "
        "cells are cut off, they add up to what the hemisphere adds to the logit."
    ]


def choose(left: Tensor, right: Tensor, together: Tensor) -> list[tuple[str, int]]:
    """Up to `PER_CASE` images of each of `CASES`, as case and row: the same at each call, otherwise by chance.

    Args:
        left: whether the left hemisphere alone was correct, bool (N,).
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


def look(seed: Seed, chosen: Sequence[tuple[str, int]]) -> list[Look]:
    """HiResCAM of a bilateral network, for each head and hemisphere, of the correct class, and what is answered.

    Args:
        seed: its networks and images.
        chosen: case and row, as `choose` gives them.
    """
    rows = torch.tensor([row for _, row in chosen], dtype=torch.long)
    if not len(rows):
        return []
    module, labels = seed.module, seed.test.labels
    pictures = seed.images.test.images[rows]
    inputs = module.transforms(pictures.to(module.device))
    maps: dict[tuple[str, str], Tensor] = {}
    for level in seed.network.heads:
        for side in SIDES:
            classes = labels[level][rows].to(module.device)
            try:
                found = hires_cam(seed.network, inputs, level=level, side=side, classes=classes)
            except UserError:  # no maps at this size of images
                return []
            maps[level, side] = found.cpu()
    names = seed.images.class_names
    return [
        Look(
            seed.number,
            case,
            {level: names[level][int(labels[level][row])] for level in LEVELS},
            answers_to(seed, row),
            pictures[i],
            {place: found[i] for place, found in maps.items()},
        )
        for i, (case, row) in enumerate(chosen)
    ]


def answers_to(seed: Seed, row: int) -> dict[str, dict[str, Said]]:
    """What each hemisphere alone and both together answer to one test image, by who and level.

    The left one's coarse answer is the class of its fine one, with the sum of probabilities over its fine classes; to
    an independent label it has none.
    """
    fine = seed.alone["fine"][row].float().softmax(0)
    own = int(fine.argmax())
    left = {"fine": (own, fine[own])}
    if seed.images.nested:
        parents = seed.images.parents
        sums = torch.zeros(seed.images.classes["coarse"]).index_add_(0, parents, fine)
        left["coarse"] = (int(parents[own]), sums[parents[own]])
    found = {
        "left": left,
        "right": {"coarse": _best(seed.alone["coarse"][row])},
        "together": {level: _best(seed.logits[level][row]) for level in LEVELS},
    }
    return {
        who: {
            level: Said(
                seed.images.class_names[level][place],
                min(float(probability), 1.0),  # a sum may be above it by rounding
                place == int(seed.test.labels[level][row]),
            )
            for level, (place, probability) in levels.items()
        }
        for who, levels in found.items()
    }


def _best(logits: Tensor) -> tuple[int, Tensor]:
    """The class of the highest of logits (C,), and its probability."""
    probability, place = logits.float().softmax(0).max(0)
    return int(place), probability


def panels(looks: Sequence[Look]) -> list[tuple[str, list[dict[str, Any]]]]:
    """For each case, its images: a name, the cells of a row (label, alternative text, PNG in base64), and answers.

    A case without images is listed too: that there are none is a result.
    """
    grouped: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for one in looks:
        name = short(one.labels["fine"], 40)
        cells = [{"label": "image", "alt": f"Test image: {name}", "png": png(one.image)}]
        cells += [
            {
                "label": f"{side}, {level} head",
                "alt": f"Where the {side} hemisphere finds evidence for the {level} head",
                "png": png(one.image, heat),
            }
            for (level, side), heat in one.maps.items()
        ]
        answers = [
            {"who": who, "said": [_words(levels.get(level)) for level in LEVELS]}
            for who, levels in one.said.items()
        ]
        truth = [short(one.labels.get(level, ""), 30) for level in LEVELS]
        grouped[one.case].append(
            {"name": name, "truth": truth, "levels": LEVELS, "answers": answers, "cells": cells}
        )
    return [(case[:1].upper() + case[1:], images) for case, images in grouped.items()]


def _words(said: Said | None) -> dict[str, str]:
    """An answer as the page shows it: its mark, and the class with its probability."""
    if said is None:
        return {"mark": "", "words": "–", "state": "none"}
    words = f"{short(said.name, 30)} {decimal(100 * said.probability, 0)} %"
    if said.correct:
        return {"mark": "✓", "words": words, "state": "correct"}
    return {"mark": "✗", "words": words, "state": "wrong"}


def png(image: Tensor, heat: Tensor | None = None) -> str:
    """An image uint8 (3, H, W), in grey under a map (H, W) from 0 to 1 if there is one, as PNG in base64."""
    pixels = image.permute(1, 2, 0).numpy()
    if heat is not None:
        pixels = overlay(pixels, heat.numpy())
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
