"""How hard drawn figures are to see: amounts within ranges, as options of the scripts that draw, and colours apart."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from common.system.errors import UserError

Kind = TypeVar("Kind", bound="Amounts")


def amount(default: float, most: float, what: str) -> Any:
    """Make a field of `Amounts`: its default, its range from 0 to ``most``, and what it is, for a command's help."""
    return field(default=default, metadata={"most": most, "what": what})


@dataclass(frozen=True)
class Amounts:
    """A base of dataclasses whose fields are made by `amount`.

    Raises:
        UserError: a value that is out of range.
    """

    def __post_init__(self) -> None:
        """Check the ranges."""
        for one in fields(self):
            value, most = getattr(self, one.name), one.metadata["most"]
            if not 0 <= value <= most:
                raise UserError(f"--{one.name} {value:g}: allowed are 0 to {most:g}")


def add_amounts(
    parser: argparse.ArgumentParser, kind: type[Kind]
) -> Callable[[argparse.Namespace], Kind]:
    """Add an option for each amount to a parser; gives what reads them, which may raise a UserError."""
    for one in fields(kind):
        parser.add_argument(
            f"--{one.name}",
            type=float,
            default=one.default,
            help=f"{one.metadata['what']} (default {one.default:g})",
        )
    return lambda args: kind(*(getattr(args, one.name) for one in fields(kind)))


def colours(
    count: int, rng: np.random.Generator, contrast: float, *, each: int
) -> tuple[np.ndarray, ...]:
    """Draw ``each`` colours for every figure, float32 (N, 3) one after the other, any two of them far enough apart.

    Those of a figure of which two are too similar are drawn again.
    """
    found = np.zeros((count, each, 3), np.float32)
    todo = np.arange(count)
    while len(todo):
        found[todo] = rng.uniform(0, 255, (len(todo), each, 3))
        distances = [
            np.sqrt(np.mean((found[todo, one] - found[todo, other]) ** 2, axis=1))
            for one, other in combinations(range(each), 2)
        ]
        todo = todo[np.min(distances, axis=0) < contrast]
    return tuple(found.swapaxes(0, 1))
