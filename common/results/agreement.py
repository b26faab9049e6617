"""Two networks on the same images, or two arms on the same seeds: who is right where, and who is ahead how often."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Outperformance(NamedTuple):
    """The share of seeds in which one arm is ahead, and its 95 % confidence interval."""

    share: float
    ci95_low: float
    ci95_high: float


def outperformance(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Outperformance:
    """Estimate P(ours > theirs) for one more seed (Bouthillier et al. 2021); equal accuracies count one half.

    The interval is that of Clopper & Pearson (1934), which holds for any number of seeds: a bootstrap of five seeds
    that all point one way would have no width.

    Args:
        ours: accuracy of each seed, (seeds,).
        theirs: that of the other arm, of the same seeds.
    """
    from scipy.special import betaincinv

    seeds = len(ours)
    ahead = float((ours > theirs).sum() + (ours == theirs).sum() / 2)
    low = betaincinv(ahead, seeds - ahead + 1, 0.025) if ahead > 0 else 0.0
    high = betaincinv(ahead + 1, seeds - ahead, 0.975) if ahead < seeds else 1.0
    return Outperformance(ahead / seeds, float(low), float(high))


def mcnemar(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the exact two-sided p of McNemar's test (1947) for each seed, (seeds,).

    Of the images that one network gets right and the other wrong, half would be either's if they were equally good.
    It says whether two networks differ, not whether two ways of training do: that takes seeds.

    Args:
        ours: whether each answer is right, (seeds, images).
        theirs: the same of the other arm.
    """
    from scipy.special import bdtr

    only_ours, only_theirs = (ours & ~theirs).sum(axis=1), (theirs & ~ours).sum(axis=1)
    less, number = np.minimum(only_ours, only_theirs), only_ours + only_theirs
    return np.minimum(1.0, 2 * bdtr(less.astype(float), number, 0.5))


def error_consistency(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute Cohen's kappa of being right for each seed, (seeds,) (Geirhos, Meding & Wichmann 2020).

    0: they err on the same images as often as two independent networks of their accuracies would; 1: on exactly the
    same. NaN where both are right everywhere, or wrong everywhere.

    Args:
        ours: whether each answer is right, (seeds, images).
        theirs: the same of the other arm.
    """
    observed = (ours == theirs).mean(axis=1)
    our_share, their_share = ours.mean(axis=1), theirs.mean(axis=1)
    expected = our_share * their_share + (1 - our_share) * (1 - their_share)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (observed - expected) / (1 - expected)
