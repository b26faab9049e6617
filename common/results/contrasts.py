"""Tests of a mean difference over seeds: does it differ from 0, is it within a margin, and which of many survive."""

from collections.abc import Sequence

from common.results.intervals import Estimate

LEVEL = 0.05
DIFFERS, UNDECIDED = "differs", "undecided"


def paired_t(found: Estimate) -> float | None:
    """Compute the two-sided p of a difference of 0 (Student 1908), from the mean of paired differences."""
    return None if found.error is None else 2 * _tail(found, abs(found.mean) / found.error)


def equivalence(found: Estimate, margin: float) -> float | None:
    """Compute p of two one-sided t-tests: that the mean difference is as large as ``margin``, or larger.

    TOST (Schuirmann 1987): both tests, of -margin and of margin, must be passed, so the larger p is theirs.
    """
    return None if found.error is None else _tail(found, (margin - abs(found.mean)) / found.error)


def holm(family: Sequence[float]) -> list[float]:
    """Correct the p of a family of tests so that at most 5 % of families of equal arms have one below 0.05 (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than one before it.
    """
    corrected = [0.0] * len(family)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(family)), key=lambda index: family[index])):
        highest = max(highest, min(1.0, (len(family) - rank) * family[index]))
        corrected[index] = highest
    return corrected


def same_within(margin: float) -> str:
    """Give the word for what an equivalence test has shown; ``margin`` in percentage points."""
    return f"the same within {margin:g}"


def less_than(margin: float) -> str:
    """Give the word for a difference that is shown, and shown to be small; ``margin`` in percentage points."""
    return f"{DIFFERS} by less than {margin:g}"


def verdict(p_holm: float, equivalence_p: float | None, *, margin: float) -> str:
    """Say in words what the tests of a contrast show, at 5 %: that it is not 0, that it is small, both, or neither."""
    small = equivalence_p is not None and equivalence_p < LEVEL
    if p_holm < LEVEL:
        return less_than(margin) if small else DIFFERS
    return same_within(margin) if small else UNDECIDED


def _tail(found: Estimate, t: float) -> float:
    """The probability that Student's t lies above a value."""
    from scipy.special import stdtr

    return float(stdtr(found.freedom, -t))
