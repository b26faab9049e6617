"""Navon figures: the large and the small letter of each class, by the classes' names."""

from collections.abc import Sequence

import torch
from torch import Tensor


def small_letters(
    fine: Sequence[str], coarse: Sequence[str], parents: Tensor
) -> tuple[list[str], Tensor] | None:
    """The small letters, and of each fine class the position of its own among them, int64 (C,).

    A set holds Navon figures if each fine class is called "LARGE of SMALL" and LARGE is its coarse class.

    Args:
        fine: names of fine classes.
        coarse: names of coarse classes.
        parents: the coarse class of each fine one (C,).
    """
    small = []
    for name, parent in zip(fine, parents.tolist(), strict=True):
        large, of, letter = name.partition(" of ")
        if not of or large != coarse[parent]:
            return None
        small.append(letter)
    letters = sorted(set(small))
    return letters, torch.tensor([letters.index(letter) for letter in small])
