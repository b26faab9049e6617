"""Rows whose networks share parts between seeds: what is compared with what, and how much less they say."""

import math
from collections.abc import Sequence

from common.results.rows import Row


def pairs(ours: list[Row], theirs: list[Row]) -> list[tuple[list[Row], list[Row]]]:
    """Pair what is compared: rows of one seed, or a single row of several seeds with all rows of these seeds."""
    for one, others, swap in ((ours, theirs, False), (theirs, ours, True)):
        if len(one) == 1 < len(others) and "+" in one[0].seeds:
            among = [row for row in others if str(row.seed) in one[0].seeds.split("+")]
            return ([(among, one)] if swap else [(one, among)]) if among else []
    by_seed = {row.seed: row for row in theirs}
    return [([row], [by_seed[row.seed]]) for row in ours if row.seed in by_seed]


def widening(values: Sequence[Sequence[Row]]) -> float | None:
    """Compute the factor by which the standard error of a mean grows because networks shaped several values.

    A network's contribution to a value is taken as a random number of its own, all of them alike, added up. Then two
    values made of the sets of networks A and B are correlated by |A and B| / sqrt(|A| |B|). With R the matrix of these
    correlations of n values and r the mean of those of two different values, the variance of the mean is 1 + (n - 1) r
    times that of independent values, and the sample variance is too small by 1 - r; both are made good. In the ring of
    n seeds, 0+1, 1+2, ..., it is sqrt(2 / (1 - 1 / (n - 1))). It is 1 if nothing is shared.

    Args:
        values: for each value, the rows that it is computed from.

    Returns:
        None if all values come from the same networks.
    """
    made_of = [{seed for row in rows for seed in row.seeds.split("+")} for rows in values]
    number = len(made_of)
    if number < 2:
        return 1.0
    shared = sum(
        len(one & other) / math.sqrt(len(one) * len(other))
        for place, one in enumerate(made_of)
        for other in made_of[:place]
    )
    correlation = 2 * shared / (number * (number - 1))
    if correlation > 1 - 1e-9:
        return None
    return math.sqrt((1 + (number - 1) * correlation) / (1 - correlation))
