"""Numbers of the analyses: one for each seed, and over seeds their mean with Student's 95 % interval.

Who adds a number says what it can be: `SHARE`, `CORRELATION`, other bounds, or none. An interval never leaves the
bounds, because it is computed on a scale that has none, and is never cut off. Differences have no bounds here although
they are between -1 and 1: what counts is 0, and tests of differences are on the plain scale.
"""

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from common.results.intervals import estimate, student, student_within, with_images
from common.results.sharing import widening_of_weights


class Bounds(NamedTuple):
    """The lowest and the highest number that a quantity can be."""

    lowest: float
    highest: float


SHARE = Bounds(0, 1)  # of images, of evidence; an accuracy, a confidence
CORRELATION = Bounds(
    -1, 1
)  # also CKA, cosines, kappa and other indices of two things against their size
# What rounding may add to a number at its bound.
ROUNDING = 1e-5

# The weight of each network that shaped a number, by a name of the network.
Networks = Mapping[str, float]


class ByImage(NamedTuple):
    """The images that a number is a sum of means over: what they are known by, and their scores, (N,) for each mean."""

    images: Hashable
    parts: tuple[Tensor, ...]


@dataclass(frozen=True)
class Item:
    """What the ``item`` of a number says, in columns of one type each; empty or None where it does not say that.

    ``arm``, the name of a class, ``case`` (one of several, such as "left only" or a cut), names of layers ("features"
    are what the heads see; ``other_layer`` is that of the right hemisphere), a share of features, a bin of confidence,
    the centre of an octave of noise in cycles per image.
    """

    arm: str = ""
    class_name: str = ""
    case: str = ""
    layer: str = ""
    other_layer: str = ""
    share: float | None = None
    bin: int | None = None
    cycles: int | None = None


@dataclass(frozen=True)
class Value:
    """One number of one seed.

    ``of`` says which analysis and quantity ("lesions"), ``level`` the head or the labels, ``side`` the
    hemisphere, ``item`` the rest: a class, a layer, a share, which ``means`` holds in columns of their own;
    ``level_name`` is what the data set calls the level.
    """

    of: str
    level: str
    side: str
    item: str
    seed: int
    value: float
    level_name: str = ""
    means: Item = field(default_factory=Item)


@dataclass(frozen=True)
class Summary:
    """The same over seeds, with an interval from three of them on.

    ``approximate``: it was widened because networks shaped the numbers of several seeds; None: there is none.
    """

    of: str
    level: str
    side: str
    item: str
    seeds: int
    mean: float
    ci95_low: float | None
    ci95_high: float | None
    approximate: bool | None = None
    level_name: str = ""
    means: Item = field(default_factory=Item)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, also an approximate one; None where there is none."""
        if self.ci95_low is None or self.ci95_high is None:
            return None
        return self.ci95_low, self.ci95_high


class Values:
    """The numbers of all analyses, in the order in which they were added.

    ``networks`` are those that each seed's numbers come from, where that is not one of its own. ``independent`` is
    False where seeds share networks in an unknown way; then no quantity has an interval.
    """

    def __init__(self) -> None:
        self.independent = True
        self.values: list[Value] = []
        self.level_names: dict[str, str] = {}  # what the data set calls fine and coarse
        self._numbers: dict[tuple[str, str, str, str], list[float]] = {}
        self.networks: dict[int, Networks] = {}
        self._made_of: dict[tuple[str, str, str, str], list[tuple[int, Networks | None]]] = {}
        self._bounds: dict[tuple[str, str, str, str], Bounds | None] = {}
        self._by_image: dict[tuple[str, str, str, str], list[ByImage]] = {}
        self._items: dict[tuple[str, str, str, str], Item] = {}

    def add(
        self,
        of: str,
        value: float,
        *,
        seed: int,
        level: str = "",
        side: str = "",
        item: str = "",
        within: Bounds | None = None,
        made_of: Networks | None = None,
        means: Item | None = None,
        by_image: ByImage | None = None,
    ) -> None:
        """Add a number, except NaN (of a class without test images).

        Args:
            of: see `Value`.
            value: the number.
            seed: see `Value`; so are ``level``, ``side`` and ``item``.
            level: see ``seed``.
            side: see ``seed``.
            item: see ``seed``.
            within: what the quantity can be; None: a difference, or anything.
            made_of: the networks that shaped the number, if not those of the seed.
            means: what ``item`` says, for the typed columns of the csv files.
            by_image: if given, the interval counts the images as a sample too, where all seeds have the same ones.

        Raises:
            ValueError: the number cannot be one of that quantity.
        """
        value = float(value)
        if math.isnan(value):
            return
        if within is not None:
            slack = ROUNDING * (within.highest - within.lowest)
            if not within.lowest - slack <= value <= within.highest + slack:
                raise ValueError(
                    f"{of} of {value} is not within {within.lowest} and {within.highest}"
                )
            value = min(max(value, within.lowest), within.highest)
        place = (of, level, side, item)
        said = means or Item()
        self.values.append(Value(*place, seed, value, self.level_names.get(level, level), said))
        self._items[place] = said
        self._numbers.setdefault(place, []).append(value)
        self._made_of.setdefault(place, []).append((seed, made_of))
        self._bounds[place] = within
        if by_image is not None:
            self._by_image.setdefault(place, []).append(by_image)

    def networks_of(self, seed: int) -> Networks:
        """The networks that shaped a seed's numbers; one of its own where nothing else is known."""
        return self.networks.get(seed, {str(seed): 1.0})

    def overlap(self) -> bool:
        """Whether it is known that seeds share networks."""
        names = [name for networks in self.networks.values() for name in networks]
        return len(set(names)) < len(names)

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
        made_of = [
            self.networks_of(seed) if own is None else own for seed, own in self._made_of[place]
        ]
        widening = widening_of_weights(made_of) if self.independent else None
        found, bounds = estimate(numbers, widening=widening), self._bounds[place]
        scores = self._by_image.get(place, [])
        # Where each seed has images of its own, they are a part of what differs between seeds.
        if len({one.images for one in scores}) == 1:
            every = zip(*(one.parts for one in scores), strict=True)
            found = with_images(found, [torch.stack(part).mean(0).tolist() for part in every])
        low, high = student(found) if bounds is None else student_within(found, *bounds)
        approximate = None if low is None else found.approximate
        called = self.level_names.get(place[1], place[1])
        return Summary(
            *place, len(numbers), found.mean, low, high, approximate, called, self._items[place]
        )
