"""From rows of single stages to means, spreads and paired differences over seeds, and what these show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean, stdev
from typing import Any

from common.results.comparison import Comparison
from common.results.contrasts import equivalence, holm, paired_t, verdict
from common.results.intervals import OF_SIX_DIGITS, Estimate, estimate, student, student_of_share
from common.results.metrics import CHANCE, FURTHER, chance_columns, further_columns
from common.results.power import seeds_needed
from common.results.rows import Row
from common.results.sharing import pairs, widening
from common.settings.levels import LEVELS

# Families of contrasts, each corrected by itself.
PRIMARY, REFERENCE = "primary", "reference"
# The metric of the fine head: accuracy of the coarse class with the highest sum of fine probabilities.
VIA_FINE = "coarse_via_fine_sum"


@dataclass(frozen=True)
@chance_columns
@further_columns(after="ci95_high", ends=("_mean", "_std"))
class SummaryRow:
    """One arm and level over its rows; ``seeds`` is their number, and shares are fractions, 0 to 1.

    Mean, sample standard deviation (of two or more values) and Student's 95 % confidence interval, on the logit scale,
    of test accuracy; <name>_mean and <name>_std of each further metric (`common.results.metrics`) after
    ``ci95_high``; what the arm costs on average; and what chance would give of each metric. ``approximate``: the
    interval is one for networks that share parts between seeds. ``own_minus_via_fine`` (of coarse rows): accuracy of
    the coarse head minus that of the coarse class with most of the fine head's probability. ``train_macs`` counts
    multiply-adds of its training and of all that it builds on; ``val_slope`` is the mean of the rows' slopes, with
    Student's interval. ``level_name`` is what the data set calls the level.
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
    approximate: bool | None = None
    own_minus_via_fine: float | None = None
    own_minus_via_fine_ci95_low: float | None = None
    own_minus_via_fine_ci95_high: float | None = None
    train_macs: float | None = None
    val_slope: float | None = None
    val_slope_ci95_low: float | None = None
    val_slope_ci95_high: float | None = None
    level_name: str = ""


@dataclass(frozen=True)
class DifferenceRow:
    """Test accuracy of ``arm`` minus that of the arm ``minus``, seed by seed; ``seeds`` is the number of pairs.

    ``p`` of a paired t-test, ``equivalence_p`` of the two one-sided tests against ``margin`` (a fraction), and
    ``seeds_needed``, the number of seeds that would show a difference of it. Only a contrast of a ``family`` has a
    ``p_holm``, corrected over the family's number of ``tests``, and a ``verdict``. ``via_fine`` (of coarse rows) is the
    same difference where both arms' fine heads give the coarse class, with Student's interval.
    """

    arm: str
    minus: str
    level: str
    seeds: int
    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None
    approximate: bool | None = None
    p: float | None = None
    family: str | None = None
    tests: int | None = None
    p_holm: float | None = None
    margin: float | None = None
    equivalence_p: float | None = None
    verdict: str | None = None
    seeds_needed: int | None = None
    via_fine: float | None = None
    via_fine_ci95_low: float | None = None
    via_fine_ci95_high: float | None = None
    level_name: str = ""

    def swapped(self) -> "DifferenceRow":
        """Give the same difference, the other way round."""
        return replace(
            self,
            arm=self.minus,
            minus=self.arm,
            mean=-self.mean,
            ci95_low=_negative(self.ci95_high),
            ci95_high=_negative(self.ci95_low),
            via_fine=_negative(self.via_fine),
            via_fine_ci95_low=_negative(self.via_fine_ci95_high),
            via_fine_ci95_high=_negative(self.via_fine_ci95_low),
        )


def summarise(rows: Sequence[Row]) -> list[SummaryRow]:
    """Compute mean and spread of what was tested per arm and level, in the order of the rows."""
    summary = []
    own = {row.arm: row for row in own_minus_via_fine(rows)}
    for (arm, level), group in _tested(rows).items():
        found = estimate(
            [_accuracy(row) for row in group], widening=widening([(row,) for row in group])
        )
        columns: dict[str, Any] = {"mean": found.mean, "std": found.std}
        columns["level_name"] = group[0].level_name
        columns["ci95_low"], columns["ci95_high"] = student_of_share(found)
        columns["approximate"] = _approximate(found)
        for name in FURTHER:
            columns[f"{name}_mean"], columns[f"{name}_std"] = _mean_and_std(group, name)
        for name in (
            *("parameters", "trained_parameters", "macs", "seconds"),
            *("train_macs", *CHANCE),
        ):
            columns[name], _ = _mean_and_std(group, name)
        columns |= _slope(group)
        if level == "coarse" and arm in own:
            columns["own_minus_via_fine"] = own[arm].mean
            columns["own_minus_via_fine_ci95_low"] = own[arm].ci95_low
            columns["own_minus_via_fine_ci95_high"] = own[arm].ci95_high
        summary.append(SummaryRow(arm=arm, level=level, seeds=len(group), **columns))
    return summary


def differences(rows: Sequence[Row], comparison: Comparison) -> list[DifferenceRow]:
    """Compare each arm with each that follows it, per level, over the seeds that both were tested with.

    A single network of several seeds, such as an ensemble of all, is compared with the other arm's mean over these.
    """
    groups, by_fine = _tested(rows), _tested(_answered_via_fine(rows))
    arms = dict.fromkeys(arm for arm, _ in groups)
    found: dict[DifferenceRow, tuple[float, ...]] = {}
    for arm, other in combinations(arms, 2):
        for level in LEVELS:
            compared, via = (
                pairs(of.get((arm, level), []), of.get((other, level), []))
                for of in (groups, by_fine)
            )
            if compared:
                row = _difference((arm, other, level), compared, comparison.margin / 100)
                family, name = _family(row, comparison), compared[0][0][0].level_name
                row = replace(row, family=family, level_name=name, **_via_fine(via))
                found[row] = _seed_by_seed(compared)
    return _judged(found, comparison.margin)


def both_directions(rows: Sequence[DifferenceRow]) -> list[DifferenceRow]:
    """Add each row the other way round, so that ``minus == NAME`` finds all that NAME was taken from."""
    return [*rows, *(row.swapped() for row in rows)]


def own_minus_via_fine(rows: Sequence[Row]) -> list[DifferenceRow]:
    """Compare each arm's coarse head with the coarse class that its fine head gives, seed by seed."""
    groups = _tested(rows)
    found = []
    for (arm, level), answered in _tested(_answered_via_fine(rows)).items():
        if compared := pairs(groups.get((arm, level), []), answered):
            found.append(_difference((arm, VIA_FINE, level), compared, margin=None))
    return found


def _answered_via_fine(rows: Sequence[Row]) -> list[Row]:
    """Turn rows of fine heads into rows of coarse labels, with the accuracy of the coarse class that these give.

    Studies of before there was that metric have none.
    """
    return [
        replace(row, level="coarse", accuracy=value)
        for row in rows
        if row.level == "fine" and (value := getattr(row, VIA_FINE, None)) is not None
    ]


Pairs = Sequence[tuple[list[Row], list[Row]]]


def _seed_by_seed(compared: Pairs) -> tuple[float, ...]:
    return tuple(_mean_accuracy(one) - _mean_accuracy(other) for one, other in compared)


def _over_seeds(compared: Pairs) -> Estimate:
    values = _seed_by_seed(compared)
    shared = widening([one + other for one, other in compared])
    return estimate(values, widening=shared, rounding=OF_SIX_DIGITS)


def _ends(found: Estimate) -> tuple[float | None, float | None]:
    """Give the interval of a difference of two accuracies, which are at most 1 apart."""
    low, high = student(found)
    if low is None or high is None:
        return None, None
    return max(low, -1.0), min(high, 1.0)


def _difference(
    names: tuple[str, str, str], compared: Pairs, margin: float | None
) -> DifferenceRow:
    """Give the row of a difference; without a margin, none of the columns that need it."""
    found = _over_seeds(compared)
    tests: dict[str, Any] = {}
    if margin is not None:
        tests = {"margin": margin, "equivalence_p": equivalence(found, margin)}
        if found.error is not None:
            deviation = found.error * len(compared) ** 0.5
            tests["seeds_needed"] = seeds_needed(effect=margin, deviation=deviation)
    return DifferenceRow(
        *(*names, len(compared), found.mean, found.std, *_ends(found)),
        approximate=_approximate(found),
        p=paired_t(found),
        **tests,
    )


def _via_fine(compared: Pairs) -> dict[str, Any]:
    """Give the columns of a difference of coarse classes that fine heads give; none where nothing is compared."""
    if not compared:
        return {}
    found = _over_seeds(compared)
    low, high = _ends(found)
    return {"via_fine": found.mean, "via_fine_ci95_low": low, "via_fine_ci95_high": high}


def _negative(number: float | None) -> float | None:
    return None if number is None else -number


def _family(row: DifferenceRow, comparison: Comparison) -> str | None:
    arms = (row.arm, row.minus)
    if comparison.reference not in arms:
        return None
    return PRIMARY if comparison.primary in arms else REFERENCE


def _judged(found: Mapping[DifferenceRow, tuple[float, ...]], margin: float) -> list[DifferenceRow]:
    """Correct p within each family, and say what the contrasts of families show.

    Contrasts of equal differences seed by seed are one test: the mean of two specialists answers with its only member
    of a level.

    Args:
        found: the differences of each row, seed by seed.
        margin: in percentage points.
    """
    corrected: dict[DifferenceRow, DifferenceRow] = {}
    for family in (PRIMARY, REFERENCE):
        same: dict[tuple[Any, ...], list[DifferenceRow]] = {}
        for row, values in found.items():
            if row.family == family and row.p is not None:
                test = row.level, row.p, max(values, tuple(-value for value in values))
                same.setdefault(test, []).append(row)
        for p_holm, rows in zip(holm([p for _, p, _ in same]), same.values(), strict=True):
            for row in rows:
                word = verdict(p_holm, row.equivalence_p, margin=margin)
                corrected[row] = replace(row, tests=len(same), p_holm=p_holm, verdict=word)
    return [corrected.get(row, row) for row in found]


def _tested(rows: Sequence[Row]) -> Mapping[tuple[str, str], list[Row]]:
    """Group rows with a test accuracy by arm and level: of an arm fine before coarse, and other tasks last."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.accuracy is not None:
            groups.setdefault((row.arm, row.level), []).append(row)
    arms = list(dict.fromkeys(arm for arm, _ in groups))
    levels = (*LEVELS, *sorted({level for _, level in groups} - {*LEVELS}))
    keys = sorted(groups, key=lambda key: (arms.index(key[0]), levels.index(key[1])))
    return {key: groups[key] for key in keys}


def _approximate(found: Estimate) -> bool | None:
    """Say whether the interval is approximate; None where there is none."""
    return None if found.error is None else found.approximate


def _accuracy(row: Row) -> float:
    assert row.accuracy is not None
    return row.accuracy


def _mean_accuracy(rows: Sequence[Row]) -> float:
    return mean(_accuracy(row) for row in rows)


def _slope(group: Sequence[Row]) -> dict[str, float | None]:
    """The slope of the validation accuracy at the end of training, over the rows that have one."""
    known = [(row, row.val_slope) for row in group if row.val_slope is not None]
    if not known:
        return {}
    slopes, shared = [slope for _, slope in known], widening([(row,) for row, _ in known])
    found = estimate(slopes, widening=shared, rounding=OF_SIX_DIGITS)
    low, high = student(found)
    return {"val_slope": found.mean, "val_slope_ci95_low": low, "val_slope_ci95_high": high}


def _mean_and_std(rows: Sequence[Row], name: str) -> tuple[float | None, float | None]:
    known = [value for row in rows if (value := getattr(row, name)) is not None]
    return mean(known) if known else None, stdev(known) if len(known) > 1 else None
