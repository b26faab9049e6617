"""A mean over seeds and its 95 % interval: Student's, of shares on the logit scale."""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

# With two values the standard deviation is hardly known: half of Student's interval is 9 of it.
FEWEST = 3
# A standard deviation below this is rounding: of numbers as they were computed, and of differences of two numbers that
# were recorded with six digits, which leave 1.16e-6 at most where all differences are equal.
ROUNDING = 1e-12
OF_SIX_DIGITS = 1.2e-6


class Estimate(NamedTuple):
    """A mean over seeds, and how well it is known.

    ``std`` is the standard deviation of a sample, of two or more values. ``error`` is the standard error of the mean
    and ``freedom`` its degrees of freedom; without an error there are neither intervals nor tests. ``approximate``
    says that it was widened for values that are not independent.
    """

    mean: float
    std: float | None
    error: float | None
    freedom: float
    approximate: bool


Interval = tuple[float, float] | tuple[None, None]
NOTHING: Interval = (None, None)


def estimate(
    values: Sequence[float], *, widening: float | None = 1.0, rounding: float = ROUNDING
) -> Estimate:
    """Estimate the mean of one or more values.

    The standard error is missing for fewer than `FEWEST` values and where they do not differ: a deviation of 0 would
    make an interval without width, which claims to know the mean exactly.

    Args:
        values: one for each seed.
        widening: factor of the standard error, see `common.results.sharing`; None: it is not known.
        rounding: standard deviation up to which they do not differ, of numbers between -1 and 1.
    """
    std = stdev(values) if len(values) > 1 else None
    error = None
    if std is not None and len(values) >= FEWEST and widening is not None:
        # The deviation of equal differences of accuracies is not exactly 0, but what rounding leaves.
        differ = std > rounding * max(1.0, *map(abs, values))
        error = widening * std / math.sqrt(len(values)) if differ else None
    approximate = error is not None and widening != 1
    return Estimate(mean(values), std, error, len(values) - 1, approximate)


def with_images(found: Estimate, parts: Sequence[Sequence[float]]) -> Estimate:
    """Count the images as a sample too, beside the seeds.

    The variance of the mean over images is added to that over seeds, as in min F' (Clark 1973), and the degrees of
    freedom are Satterthwaite's (1946). What is left to neither alone, how a network takes an image, is counted twice,
    so the error is rather too large than too small.

    Args:
        found: of the numbers over seeds, each of them a sum of means over images.
        parts: the scores of the images in each of these means, averaged over seeds. Without an error where a part
            has fewer than two.
    """
    if found.error is None:
        return found
    if min(map(len, parts)) < 2:
        return found._replace(error=None)
    variances = [found.error**2, *(stdev(part) ** 2 / len(part) for part in parts)]
    freedoms = [found.freedom, *(len(part) - 1 for part in parts)]
    total = sum(variances)
    freedom = total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    return found._replace(error=math.sqrt(total), freedom=freedom)


def student(found: Estimate) -> Interval:
    """Compute Student's 95 % confidence interval of a mean (Student 1908)."""
    if found.error is None:
        return NOTHING
    half = _quantile(found.freedom) * found.error
    return found.mean - half, found.mean + half


def student_of_share(found: Estimate) -> Interval:
    """Compute `student_within` of a share, 0 to 1."""
    return student_within(found, 0, 1)


def student_within(found: Estimate, lowest: float, highest: float) -> Interval:
    """Compute Student's 95 % confidence interval of a bounded mean, on the logit scale and transformed back.

    With s the mean as a share of the way from ``lowest`` to ``highest``, the error of logit(s) = log(s / (1 - s)) is
    that of s over s (1 - s) (the delta method), so the interval lies within the bounds and contains the mean. It is
    the mean that is transformed and not each value, so a seed at a bound needs no correction; a mean at a bound has no
    deviation, and no interval. From -1 to 1 it is, but for a factor of 2, the z scale of correlations (Fisher 1921).

    Raises:
        ValueError: the mean of values that differ is not between the bounds.
    """
    if found.error is None:
        return NOTHING
    width = highest - lowest
    share = (found.mean - lowest) / width
    if not 0 < share < 1:
        raise ValueError(
            f"a mean that is bounded lies between {lowest:g} and {highest:g}, not at {found.mean}"
        )
    centre = math.log(share / (1 - share))
    half = _quantile(found.freedom) * found.error / width / (share * (1 - share))
    return tuple(lowest + width * _logistic(end) for end in (centre - half, centre + half))  # type: ignore[return-value]


def _quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _logistic(logit: float) -> float:
    from scipy.special import expit

    return float(expit(logit))
