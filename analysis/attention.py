"""Where the hemispheres look: Grad-CAM on the same images, in the cases that tell them apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

from common.data.images import Undecoded
from common.system.errors import UserError
from common.system.randomness import derive
from common.trained.grad_cam import grad_cam
from common.training.supervised import Supervised

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
    module: Supervised,
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
        for side, name in (("left", "fine"), ("right", "coarse")):
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
