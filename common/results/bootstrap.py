"""A bootstrap over images and seeds at once: what another draw of test images and of seeds could have given."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000
AT_ONCE = 250  # draws, so that those of many seeds fit into memory


class Bootstrapped(NamedTuple):
    """A difference of two accuracies (fractions), and the 2.5 and 97.5 % quantiles of its draws."""

    mean: float
    ci95_low: float
    ci95_high: float


def images_and_seeds(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], *, draws: int = DRAWS, seed: int = 0
) -> Bootstrapped:
    """Compute the interval of ours minus theirs, drawing seeds and images with replacement (Owen 2007).

    A draw of seeds is one of pairs: both arms of a seed stay together, and so do all answers to an image. Student's
    interval over seeds takes the test images as given; this one counts them as a sample too. With few seeds it is too
    narrow, like every percentile bootstrap: docs/statistics.md has its coverage.

    Args:
        ours: whether each answer is right, (seeds, images).
        theirs: the same of the other arm, for the same seeds and images.
        draws: how many.
        seed: of the generator.
    """
    difference = _difference(ours, theirs)
    seeds, images = difference.shape
    # Images with the same differences under all seeds are interchangeable: how many of each kind are drawn is enough.
    kinds, number = np.unique(difference, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    drawn = []
    for start in range(0, draws, AT_ONCE):
        size = min(AT_ONCE, draws - start)
        of_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        of_kinds = generator.multinomial(images, number / images, size=size)
        drawn.append(((of_seeds @ kinds) * of_kinds).sum(axis=1) / (seeds * images))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    return Bootstrapped(float(difference.mean()), float(low), float(high))


def _difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.int64]:
    if ours.shape != theirs.shape or ours.ndim != 2 or not ours.size:
        raise ValueError(
            f"two tables (seeds, images) are compared, not {ours.shape}, {theirs.shape}"
        )
    return ours.astype(np.int64) - theirs
