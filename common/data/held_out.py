"""Choose the validation images among the training images."""

from collections.abc import Sequence

import numpy as np

FEWEST_OF_A_PAIR = 10  # training images, for held-out ones of each pair of independent labels


def held_out(
    fine: Sequence[int],
    names: Sequence[str],
    split_seed: int,
    *,
    coarse: Sequence[int] | None = None,
) -> np.ndarray:
    """Choose the validation images among the training images, as bool (N,).

    A tenth of every fine class, rounded to nearest, at least one and never all of it; a class of
    one image keeps it for training. Within a class the images are sorted by name and drawn by a
    generator seeded with (split_seed, fine label), so the choice depends on the images' names and
    labels and on the seed, not on the order in which the images come or on other classes.

    Args:
        fine: label of each image.
        names: of the images.
        split_seed: see above.
        coarse: label of each image, where it is independent of the fine one: then the same of every pair of labels,
            if each pair that occurs has ten images or more; the generator is seeded with (split_seed, fine, coarse).
    """
    labels = strata(fine, coarse)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels, axis=0).tolist():
        found = np.flatnonzero((labels == label).all(axis=1)).tolist()
        rows = sorted(found, key=lambda row: names[row])
        count = min(max(1, (len(rows) + 5) // 10), len(rows) - 1)
        rng = np.random.default_rng([split_seed, *label])
        chosen[np.array(rows)[rng.permutation(len(rows))[:count]]] = True
    return chosen


def strata(fine: Sequence[int], coarse: Sequence[int] | None) -> np.ndarray:
    """Give what each image is counted as when some are drawn, int64 (N, 1) or (N, 2).

    That is its pair of labels, where ``coarse`` ones are given, being independent, and each pair that occurs has ten
    images or more; else its fine label.
    """
    labels = np.asarray(fine, np.int64)[:, None]
    if coarse is None:
        return labels
    pairs = np.concatenate([labels, np.asarray(coarse, np.int64)[:, None]], axis=1)
    counts = np.unique(pairs, axis=0, return_counts=True)[1]
    return pairs if (counts >= FEWEST_OF_A_PAIR).all() else labels
