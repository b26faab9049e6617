"""Rows whose networks share parts between seeds: what is compared with what, and how much less they say."""

import math
from collections.abc import Mapping, Sequence

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

    In the ring of n seeds, 0+1, 1+2, ..., it is sqrt(2 / (1 - 1 / (n - 1))).

    Args:
        values: for each value, the rows that it is computed from; all their networks count alike.

    Returns:
        As `widening_of_weights`.
    """
    return widening_of_weights(
        [{seed: 1.0 for row in rows for seed in row.seeds.split("+")} for rows in values]
    )


def widening_of_weights(values: Sequence[Mapping[str, float]]) -> float | None:
    """Compute `widening` where networks may count differently.

    A network's contribution to a value is taken as its weight there times a random number of its own, all of them
    alike, added up. Then two values are correlated by the cosine of their weights: made of the sets of networks A and
    B that all count alike, by |A and B| / sqrt(|A| |B|). With r the mean of the correlations of two different ones of
    n values, the variance of the mean is 1 + (n - 1) r times that of independent values, and the sample variance is
    too small by 1 - r; both are made good. For the mean comparison of each of n networks with all others (weight 1,
    of the others 1 / (n - 1)) it is 2 (n - 1) / (n - 2), as for a U-statistic (Hoeffding 1948).

    Args:
        values: for each value, the weight of each network that shaped it, by a name of the network.

    Returns:
        1 if nothing is shared, None if all values come from the same networks.
    """
    number = len(values)
    if number < 2:
        return 1.0
    shared = sum(
        _cosine(one, other) for index, one in enumerate(values) for other in values[:index]
    )
    correlation = 2 * shared / (number * (number - 1))
    if correlation > 1 - 1e-9:
        return None
    return math.sqrt((1 + (number - 1) * correlation) / (1 - correlation))


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    common = sum(weight * other[name] for name, weight in one.items() if name in other)
    return common / math.sqrt(
        sum(weight**2 for weight in one.values()) * sum(weight**2 for weight in other.values())
    )
