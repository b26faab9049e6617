"""A bootstrap over images and seeds at once: what another draw of test images and of seeds could have given."""

from collections.abc import Sequence
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


def seeds_with_their_images(
    ours: Sequence[NDArray[np.bool_]],
    theirs: Sequence[NDArray[np.bool_]],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Bootstrapped:
    """Compute the interval of ours minus theirs where each seed has test images of its own.

    In two stages (Davison & Hinkley 1997, section 3.8): seeds are drawn with replacement, then for each drawn one as
    many of its images. No image is of two seeds, so none may be drawn for all of them at once, as `images_and_seeds`
    does. Seeds count alike, however many images they have.

    Args:
        ours: of each seed, whether each answer is right, (images,).
        theirs: the same of the other arm, for the same images.
        draws: how many.
        seed: of the generator.
    """
    differences = [_difference(a[None], b[None])[0] for a, b in zip(ours, theirs, strict=True)]
    images = np.array([len(one) for one in differences])
    # Of each seed the shares of images that only ours, neither or both, only theirs gets right.
    shares = np.array([[(one == sign).mean() for sign in (1, 0, -1)] for one in differences])
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(images), size=(draws, len(images)))
    counts = generator.multinomial(images[drawn], shares[drawn])  # (draws, seeds, 3)
    means = ((counts[..., 0] - counts[..., 2]) / images[drawn]).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Bootstrapped(
        float(np.mean([one.mean() for one in differences])), float(low), float(high)
    )


def _difference(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.float32]:
    if ours.shape != theirs.shape or ours.ndim != 2 or not ours.size:
        raise ValueError(
            f"two tables (seeds, images) are compared, not {ours.shape}, {theirs.shape}"
        )
    return ours.astype(np.float32) - theirs
