"""Numbers of an analysis: one for each seed, and over seeds their mean with Student's 95 % interval."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import mean
from typing import Any

from common.statistics import confidence_interval


@dataclass(frozen=True)
class Value:
    """One number of one seed.

    ``of`` says which analysis and quantity ("lesions: accuracy"), ``level`` the head or the labels, ``side`` the
    hemisphere, ``item`` what is left: a class, a layer, a share.
    """

    of: str
    level: str
    side: str
    item: str
    seed: int
    value: float


@dataclass(frozen=True)
class Summary:
    """The same over seeds; without an interval if there is one seed."""

    of: str
    level: str
    side: str
    item: str
    seeds: int
    mean: float
    ci95_low: float | None
    ci95_high: float | None


class Values:
    """What `analysis.hemispheres` found, in the order in which it was found."""

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self.values: list[Value] = []
        self._summaries: dict[tuple[str, str, str, str], list[float]] = {}
        for value in values:
            self._add(value)

    def add(
        self, of: str, value: float, *, seed: int, level: str = "", side: str = "", item: str = ""
    ) -> None:
        """Note a number; NaN (of a class without test images) is no number."""
        self._add(Value(of, level, side, item, seed, float(value)))

    def _add(self, value: Value) -> None:
        if not math.isnan(value.value):
            self.values.append(value)
            place = (value.of, value.level, value.side, value.item)
            self._summaries.setdefault(place, []).append(value.value)

    def __iter__(self) -> Iterator[Summary]:
        for place, numbers in self._summaries.items():
            yield _summary(place, numbers)

    def get(self, of: str, level: str = "", side: str = "", item: str = "") -> Summary | None:
        """The summary of one quantity, or None where there is none."""
        numbers = self._summaries.get((of, level, side, item))
        return _summary((of, level, side, item), numbers) if numbers else None

    def by_seed(self, of: str, level: str = "", side: str = "") -> dict[int, dict[str, float]]:
        """One quantity's numbers by seed and item."""
        found: dict[int, dict[str, float]] = {}
        for value in self.values:
            if (value.of, value.level, value.side) == (of, level, side):
                found.setdefault(value.seed, {})[value.item] = value.value
        return found

    def items(self, of: str, level: str = "", side: str = "") -> dict[str, Summary]:
        """The summaries of one quantity by item."""
        return {s.item: s for s in self if (s.of, s.level, s.side) == (of, level, side)}


def _summary(place: tuple[str, str, str, str], numbers: Sequence[float]) -> Summary:
    low, high = confidence_interval(numbers) if len(numbers) > 1 else (None, None)
    return Summary(*place, len(numbers), mean(numbers), low, high)


def as_csv(rows: Sequence[Any], kind: type) -> str:
    """Dataclass rows as csv text."""
    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()
