"""Evaluate a short batch in the shape of the others, for which kernels are compiled and chosen already."""

from collections.abc import Callable
from typing import TypeVar

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.nn import functional

T = TypeVar("T")


def in_full_batch(function: Callable[[Tensor], T], images: Tensor, size: int) -> T:
    """Give what a network in evaluation mode makes of images, which others of the mean colour fill up to ``size``.

    Args:
        function: turns images (B, 3, H, W) into a tensor, or several, of B rows each.
        images: float (B, 3, H, W).
        size: of a full batch.
    """
    missing = size - len(images)
    if missing <= 0:
        return function(images)
    found = function(functional.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)))
    cut: T = apply_to_collection(found, Tensor, lambda one: one[: len(images)])
    return cut
