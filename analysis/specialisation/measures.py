"""Seven measures of how two hemispheres, left and right, share out two tasks: definitions, and nothing else.

docs/specialisation.md explains each. An accuracy above chance is scaled to `competence`, written kappa below: 0 is
chance, 1 is perfect.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import permutation_test
from torch import Tensor

from common.results import agreement

# A hemisphere whose competence on a task is below this is dead on it: it knows next to nothing of it.
DEAD = 0.1
# Of seeds for a test by sign flips: with five, the smallest p is 1 / 16, above 0.05.
FEWEST_FLIPPED = 6


def competence(accuracy: float, chance: float) -> float:
    """Scale an accuracy so that chance is 0 and perfection 1.

    With the most common class as chance it is lambda (Goodman & Kruskal 1954); of classes with equally many images that
    is kappa of uniform guessing (Brennan & Prediger 1981).
    """
    return (accuracy - chance) / (1 - chance)


def dead(left: float, right: float) -> bool:
    """Say whether one of two competences is next to nothing."""
    return not min(left, right) >= DEAD


def laterality(left: float, right: float) -> float:
    """Give the laterality index (L - R) / (|L| + |R|) of two numbers, -1 to 1: 1 is all left (Seghier 2008).

    NaN where |L| + |R| is below `DEAD`: a ratio of two numbers near zero is noise. Where one alone is near zero, the
    other one has it all.
    """
    total = abs(left) + abs(right)
    return (left - right) / total if total >= DEAD else math.nan


class Dissociation(NamedTuple):
    """How the advantage of the left hemisphere differs between two tasks (Shallice 1988).

    ``within`` and ``coarse`` are the simple effects: competence of the left minus that of the right hemisphere on
    each task. ``double`` is half their difference, -1 to 1.
    """

    double: float
    within: float
    coarse: float


def dissociation(within: tuple[float, float], coarse: tuple[float, float]) -> Dissociation:
    """Compare the competences (left, right) on the fine class within the coarse one with those on the coarse class."""
    effects = within[0] - within[1], coarse[0] - coarse[1]
    return Dissociation(0.5 * (effects[0] - effects[1]), *effects)


Interval = tuple[float, float]


def excludes_zero(interval: Interval) -> bool:
    """Say whether 0 lies outside an interval (low, high)."""
    return interval[0] > 0 or interval[1] < 0


def is_double(within: Interval, coarse: Interval) -> bool:
    """Say whether a dissociation is double: simple effects of opposite signs, and both intervals exclude 0."""
    return excludes_zero(within) and excludes_zero(coarse) and within[0] * coarse[0] < 0


class Commonality(NamedTuple):
    """Competence that only one hemisphere brings (``left``, ``right``), and what either brings (``shared``)."""

    left: float
    right: float
    shared: float


def commonality(left: float, right: float, both: float) -> Commonality:
    """Split the competence of both hemispheres together, as commonality analysis splits explained variance.

    The three parts add up to ``both`` (Mood 1971; for modules of a network compare Béna & Goodman 2025).
    """
    return Commonality(both - right, both - left, left + right - both)


def necessity(accuracy: float, silenced: float, chance: float) -> float:
    """Give how much of a network's accuracy above chance is lost without a hemisphere; NaN for a dead network.

    1 is all of it; it is above 1 where the silenced network is worse than chance, and below 0 where it is better.
    """
    if competence(accuracy, chance) < DEAD:
        return math.nan
    return (accuracy - silenced) / (accuracy - chance)


def dissimilarity(between: float, left: float, right: float) -> float:
    """Give 1 - CKA(L, R) / sqrt(CKA(L, L') CKA(R, R')): 0 for hemispheres as alike as two of a kind, 1 for unrelated.

    Args:
        between: debiased CKA of the left and the right hemisphere.
        left: of the left hemispheres of two seeds, ``right`` of the right ones. NaN unless both are positive.
        right: see ``left``.
    """
    return 1 - between / math.sqrt(left * right) if min(left, right) > 0 else math.nan


def error_consistency(one: Tensor, other: Tensor) -> float:
    """Give how much two classifiers err on the same images beyond chance, at most 1 (Geirhos et al. 2020).

    Args:
        one: whether each image is classified right, bool (N,).
        other: the same of the other classifier. NaN where both are always right, or both always wrong.
    """
    return float(agreement.error_consistency(one[None].numpy(), other[None].numpy())[0])


def sign_flip_p(values: Sequence[float]) -> float:
    """Test whether numbers of independent pairs lie around 0, without a distribution: the two-sided p.

    Two hemispheres that are the same but for chance would give each number either sign, as a coin falls. NaN for
    fewer than six numbers.
    """
    if len(values) < FEWEST_FLIPPED:
        return math.nan
    found = permutation_test(
        (np.asarray(values),), np.mean, permutation_type="samples", rng=np.random.default_rng(0)
    )
    return float(found.pvalue)
