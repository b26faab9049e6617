"""How many seeds a paired t-test takes to show a difference (Colas, Sigaud & Oudeyer 2018)."""

import math

from common.results.contrasts import LEVEL
from common.results.intervals import FEWEST

POWER = 0.8
# A t-test of three seeds or more finds a mean of so many standard errors, and scipy's series ends before.
CERTAIN = 40
# More seeds than anybody trains: the search ends here.
MOST = 10_000_000


def power(seeds: int, *, effect: float, deviation: float) -> float:
    """Compute how often a two-sided paired t-test over ``seeds`` finds a true difference in its direction, at 5 %.

    Args:
        seeds: number of pairs, three or more.
        effect: the true mean difference.
        deviation: standard deviation of the differences, above 0.
    """
    from scipy.special import nctdtr, stdtrit

    freedom, shift = seeds - 1, abs(effect) / deviation * math.sqrt(seeds)
    if shift > CERTAIN:
        return 1.0
    return float(1 - nctdtr(freedom, shift, stdtrit(freedom, 1 - LEVEL / 2)))


def seeds_needed(*, effect: float, deviation: float) -> int | None:
    """Find the smallest number of seeds with which that test has a power of 80 %; None beyond `MOST`."""
    low, high = FEWEST - 1, FEWEST
    while power(high, effect=effect, deviation=deviation) < POWER:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(middle, effect=effect, deviation=deviation) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return high
