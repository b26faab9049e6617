"""Which arms are compared with which, and by what a difference counts."""

from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 0.5  # percentage points


@dataclass(frozen=True)
class Comparison:
    """How the arms of an experiment are listed and compared.

    Args:
        order: arms in the order of the tables; others follow in the order of the alphabet.
        reference: the arm that each other one is compared with; its contrasts with all others, over both levels, are
            one family of tests.
        primary: the arm whose contrast with it was named beforehand: it stands first, and its levels are a family of
            their own.
        margin: within which a difference does not matter, in percentage points.
    """

    order: Sequence[str] = ()
    reference: str = ""
    primary: str = ""
    margin: float = MARGIN
