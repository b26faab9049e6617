"""From rows of single stages to means, spreads and paired differences over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, stdev
from typing import Any, NamedTuple

from common.results.metrics import FURTHER, further_columns
from common.results.rows import Row
from common.settings.levels import LEVELS


@dataclass(frozen=True)
@further_columns(after="ci95_high", ends=("_mean", "_std"))
class SummaryRow:
    """One arm and level over its rows; ``seeds`` is their number, and shares are fractions, 0 to 1.

    Mean, sample standard deviation (of two or more values) and Student's 95 % confidence interval of test
    accuracy; <name>_mean and <name>_std of each further metric (`common.results.metrics`) after ``ci95_high``; and
    what the arm costs on average. ``val_slope`` is the mean of the rows' slopes.
    """

    arm: str
    level: str
    seeds: int
    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None
    parameters: float | None
    trained_parameters: float | None
    macs: float | None
    seconds: float | None
    val_slope: float | None = None


@dataclass(frozen=True)
class DifferenceRow:
    """Test accuracy of ``arm`` minus that of the arm ``minus``, seed by seed; ``seeds`` is the number of pairs."""

    arm: str
    minus: str
    level: str
    seeds: int
    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None


class Spread(NamedTuple):
    """Mean, sample standard deviation and Student's 95 % confidence interval of the mean."""

    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None


def summarise(rows: Sequence[Row]) -> list[SummaryRow]:
    """Compute mean and spread of what was tested per arm and level, in the order of the rows."""
    summary = []
    for (arm, level), group in _tested(rows).items():
        independent = _independent([(row,) for row in group])
        accuracy = spread([_accuracy(row) for row in group], independent=independent)
        columns: dict[str, Any] = accuracy._asdict()
        for name in FURTHER:
            columns[f"{name}_mean"], columns[f"{name}_std"] = _mean_and_std(group, name)
        for name in ("parameters", "trained_parameters", "macs", "seconds", "val_slope"):
            columns[name], _ = _mean_and_std(group, name)
        summary.append(SummaryRow(arm=arm, level=level, seeds=len(group), **columns))
    return summary


def differences(rows: Sequence[Row]) -> list[DifferenceRow]:
    """Compare each arm with each that follows it, per level, over the seeds that both were tested with.

    A single network of several seeds, such as an ensemble of all, is compared with the other arm's mean over these.
    """
    groups = _tested(rows)
    arms = dict.fromkeys(arm for arm, _ in groups)
    found = []
    for arm, other in combinations(arms, 2):
        for level in LEVELS:
            pairs = _pairs(groups.get((arm, level), []), groups.get((other, level), []))
            if pairs:
                values = [_mean_accuracy(one) - _mean_accuracy(two) for one, two in pairs]
                difference = spread(values, independent=_independent([a + b for a, b in pairs]))
                found.append(DifferenceRow(arm, other, level, len(pairs), *difference))
    return found


def _pairs(ours: list[Row], theirs: list[Row]) -> list[tuple[list[Row], list[Row]]]:
    """Pair what is compared: rows of one seed, or a single row of several seeds with all rows of these seeds."""
    for one, others, swap in ((ours, theirs, False), (theirs, ours, True)):
        if len(one) == 1 < len(others) and "+" in one[0].seeds:
            among = [row for row in others if str(row.seed) in one[0].seeds.split("+")]
            return ([(among, one)] if swap else [(one, among)]) if among else []
    by_seed = {row.seed: row for row in theirs}
    return [([row], [by_seed[row.seed]]) for row in ours if row.seed in by_seed]


def spread(values: Sequence[float], *, independent: bool) -> Spread:
    """Estimate the mean of one or more values; only independent values give an interval."""
    std = stdev(values) if len(values) > 1 else None
    low, high = confidence_interval(values) if std is not None and independent else (None, None)
    return Spread(mean(values), std, low, high)


def confidence_interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute Student's 95 % confidence interval of the mean of two or more independent values."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def _tested(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Group rows with a test accuracy by arm and level, both levels of an arm side by side, fine first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.accuracy is not None:
            groups.setdefault((row.arm, row.level), []).append(row)
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    keys = sorted(groups, key=lambda key: (arms.index(key[0]), LEVELS.index(key[1])))
    return {key: groups[key] for key in keys}


def _accuracy(row: Row) -> float:
    assert row.accuracy is not None
    return row.accuracy


def _mean_accuracy(rows: Sequence[Row]) -> float:
    return mean(_accuracy(row) for row in rows)


def _independent(values: Sequence[Sequence[Row]]) -> bool:
    """Say whether no seed shaped two of the values, each computed from some rows."""
    seeds = [
        seed for rows in values for seed in {seed for row in rows for seed in row.seeds.split("+")}
    ]
    return len(seeds) == len(set(seeds))


def _mean_and_std(rows: Sequence[Row], name: str) -> tuple[float | None, float | None]:
    known = [value for row in rows if (value := getattr(row, name)) is not None]
    return spread(known, independent=False)[:2] if known else (None, None)
