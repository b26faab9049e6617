"""Numbers of the analyses: one for each seed, and over seeds their mean with Student's 95 % interval."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from common.results.intervals import spread


@dataclass(frozen=True)
class Value:
    """One number of one seed.

    ``of`` says which analysis and quantity ("lesions"), ``level`` the head or the labels, ``side`` the
    hemisphere, ``item`` the rest: a class, a layer, a share.
    """

    of: str
    level: str
    side: str
    item: str
    seed: int
    value: float


@dataclass(frozen=True)
class Summary:
    """The same over seeds; without an interval if there are fewer than three, or the numbers are not independent."""

    of: str
    level: str
    side: str
    item: str
    seeds: int
    mean: float
    ci95_low: float | None
    ci95_high: float | None


class Values:
    """The numbers of all analyses, in the order in which they were added.

    ``independent``: whether the networks of several seeds share nothing; else no quantity has an interval.
    """

    def __init__(self) -> None:
        self.independent = True
        self.values: list[Value] = []
        self._numbers: dict[tuple[str, str, str, str], list[float]] = {}
        self._dependent: set[tuple[str, str, str, str]] = set()

    def add(
        self,
        of: str,
        value: float,
        *,
        seed: int,
        level: str = "",
        side: str = "",
        item: str = "",
        independent: bool = True,
    ) -> None:
        """Add a number, except NaN (of a class without test images).

        ``independent=False``: a network that shaped this number shaped that of another seed too.
        """
        self._add(Value(of, level, side, item, seed, float(value)))
        if not independent:
            self._dependent.add((of, level, side, item))

    def _add(self, value: Value) -> None:
        if not math.isnan(value.value):
            self.values.append(value)
            place = (value.of, value.level, value.side, value.item)
            self._numbers.setdefault(place, []).append(value.value)

    def __iter__(self) -> Iterator[Summary]:
        for place in self._numbers:
            yield self._summary(place)

    def get(self, of: str, level: str = "", side: str = "", item: str = "") -> Summary | None:
        """The summary of one quantity, or None where there is none."""
        place = (of, level, side, item)
        return self._summary(place) if place in self._numbers else None

    def by_seed(self, of: str, level: str = "", side: str = "") -> dict[int, dict[str, float]]:
        """One quantity's numbers by seed and item."""
        found: dict[int, dict[str, float]] = {}
        for value in self.values:
            if (value.of, value.level, value.side) == (of, level, side):
                found.setdefault(value.seed, {})[value.item] = value.value
        return found

    def items(self, of: str, level: str = "", side: str = "") -> dict[str, Summary]:
        """The summaries of one quantity by item."""
        # An interval takes its time: only those that are asked for are computed.
        places = [place for place in self._numbers if place[:3] == (of, level, side)]
        return {place[3]: self._summary(place) for place in places}

    def _summary(self, place: tuple[str, str, str, str]) -> Summary:
        numbers = self._numbers[place]
        found = spread(numbers, independent=self.independent and place not in self._dependent)
        return Summary(*place, len(numbers), found.mean, found.ci95_low, found.ci95_high)


def as_csv(rows: Sequence[Any], kind: type) -> str:
    """Dataclass rows as csv text."""
    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()
