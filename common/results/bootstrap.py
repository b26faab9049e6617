"""A bootstrap over images and seeds at once: what another draw of test images and of seeds could have given."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2_000


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
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        # How often each is drawn: two products are then enough.
        of_seeds = np.bincount(generator.integers(seeds, size=seeds), minlength=seeds)
        of_images = np.bincount(generator.integers(images, size=images), minlength=images)
        drawn.append(of_seeds @ (difference @ of_images.astype(np.float32)) / (seeds * images))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Bootstrapped(float(ours.mean() - theirs.mean()), float(low), float(high))


def _difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.float32]:
    if ours.shape != theirs.shape or ours.ndim != 2 or not ours.size:
        raise ValueError(
            f"two tables (seeds, images) are compared, not {ours.shape}, {theirs.shape}"
        )
    return ours.astype(np.float32) - theirs
