"""Where the hemispheres look: Grad-CAM on the same images, in the cases that tell them apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.attention import grad_cam
from common.errors import UserError
from common.supervised import Supervised

PER_CASE = 3  # images
CASES = ("only the left is right", "only the right is right", "only both together", "all are right")


@dataclass(frozen=True)
class Look:
    """One image and where each hemisphere finds evidence for each head's right class in it.

    ``image`` is uint8 (3, H, W), ``fine`` its class; ``maps`` float (H, W), 0 to 1, by (level, side).
    """

    case: str
    fine: int
    image: Tensor
    maps: dict[tuple[str, str], Tensor]


def choose(left: Tensor, right: Tensor, together: Tensor) -> list[tuple[str, int]]:
    """Up to `PER_CASE` images of each of `CASES`, as case and row; the first that there are.

    Args:
        left: whether the left hemisphere alone was right, bool (N,).
        right: the right one alone.
        together: the bilateral network.
    """
    cases = (left & ~right, ~left & right, ~left & ~right & together, left & right & together)
    return [
        (name, row)
        for name, case in zip(CASES, cases, strict=True)
        for row in case.nonzero()[:PER_CASE, 0].tolist()
    ]


def look(
    module: Supervised, images: Tensor, labels: dict[str, Tensor], chosen: list[tuple[str, int]]
) -> list[Look]:
    """Grad-CAM of a bilateral network, for each head and hemisphere, of the class that is right.

    Args:
        module: holds the network.
        images: all test images, uint8 (N, 3, H, W).
        labels: theirs, per level (N,).
        chosen: case and row, as `choose` gives them.
    """
    rows = torch.tensor([row for _, row in chosen], dtype=torch.long)
    if not len(rows):
        return []
    inputs = module.retina(images[rows].to(module.device))
    maps: dict[tuple[str, str], Tensor] = {}
    for level in module.network.heads:  # type: ignore[union-attr]
        for side, name in (("left", "fine"), ("right", "coarse")):
            classes = labels[level][rows].to(module.device)
            try:
                found = grad_cam(module.network, inputs, level=level, side=name, classes=classes)  # type: ignore[arg-type]
            except UserError:  # no maps at this size of images
                return []
            maps[level, side] = found.cpu()
    return [
        Look(
            case,
            int(labels["fine"][row]),
            images[row],
            {place: found[i] for place, found in maps.items()},
        )
        for i, (case, row) in enumerate(chosen)
    ]
