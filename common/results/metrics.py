"""The table of metrics: what evaluation measures, and how it is shown. Imports no torch.

A new one is a function (or a class) in `common/training/metrics.py` (or elsewhere) and a row here: columns of the
csv files, printed tables, test.py and docs/tables.md follow from the row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar

from common.settings.levels import LEVELS

C = TypeVar("C", bound=type)

PERCENT = "percent"
NUMBER = "number"
NONE = "–"  # where there is no value


@dataclass(frozen=True)
class Metric:
    """A row: what is measured of the predictions of each level.

    Args:
        title: heading of its column in printed tables.
        help: what it is, in one sentence.
        compute: 'module:name' of a function or class, see `common.training.metrics`.
        better: "higher" or "lower".
        shown: PERCENT for a fraction from 0 to 1, NUMBER for anything else.
        levels: those that it is measured of.
        needs: what must be there, else it is left out: levels that the network must predict too, and "hierarchy", the
            coarse class of each fine class.
    """

    title: str
    help: str
    compute: str
    better: str
    shown: str
    levels: tuple[str, ...] = LEVELS
    needs: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the function or class."""
        return resolve_name(self.compute)

    def text(self, value: float | None, std: float | None = None) -> str:
        """Write a value as tables show it, with its standard deviation where there is one."""
        if value is None:
            return NONE
        if self.shown == PERCENT:
            return percent(value, std)
        return f"{value:.4f}" if std is None else f"{value:.4f} ± {std:.4f}"


METRICS = {
    "accuracy": Metric(
        "accuracy",
        "share of images whose highest output is the label's",
        "common.training.metrics:Accuracy",
        better="higher",
        shown=PERCENT,
    ),
    "loss": Metric(
        "loss",
        "mean cross-entropy, without label smoothing",
        "common.training.metrics:CrossEntropy",
        better="lower",
        shown=NUMBER,
    ),
    "top5": Metric(
        "top-5",
        "share of images whose label is among the five highest outputs (always 1 with five classes or fewer)",
        "common.training.metrics:Top5",
        better="higher",
        shown=PERCENT,
    ),
    "consistency": Metric(
        "consistency",
        "share of images whose fine prediction lies in the coarse class that the other head predicts, right or wrong; "
        "one value for both levels, of networks with two heads",
        "common.training.metrics:consistency",
        better="higher",
        shown=PERCENT,
        needs=("fine", "coarse", "hierarchy"),
    ),
    "severity": Metric(
        "severity",
        "share of the wrong fine predictions that lie in the right coarse class: mistakes within one coarse class. The "
        "higher, the milder they are. Empty without a wrong prediction",
        "common.training.metrics:severity",
        better="higher",
        shown=PERCENT,
        levels=("fine",),
        needs=("hierarchy",),
    ),
}
# What training measures too; every network and every paradigm has these two.
BASIC = ("accuracy", "loss")
# What evaluation adds to them, in the order of tables.
FURTHER = tuple(name for name in METRICS if name not in BASIC)


def applicable(
    names: Sequence[str], levels: Sequence[str], *, hierarchy: bool
) -> dict[str, list[str]]:
    """List, for each metric, the levels under which it is measured.

    Args:
        names: of metrics.
        levels: that the network predicts.
        hierarchy: whether the coarse class of each fine class is known.
    """
    there = {*levels, *(["hierarchy"] if hierarchy else [])}
    return {
        name: [level for level in levels if level in METRICS[name].levels]
        for name in names
        if there.issuperset(METRICS[name].needs)
    }


def further_columns(*, after: str, ends: Sequence[str] = ("",)) -> Callable[[C], C]:
    """Add a column for each further metric to a class, before it becomes a dataclass.

    Args:
        after: the column that they follow.
        ends: added to the metric's name: a column for each.
    """
    columns = [f"{name}{end}" for name in FURTHER for end in ends]

    def add(kind: C) -> C:
        found: dict[str, Any] = {}
        for name, annotation in kind.__annotations__.items():
            found[name] = annotation
            if name == after:
                found |= dict.fromkeys(columns, float | None)
        kind.__annotations__ = found
        return kind

    return add


def percent(share: float | None, std: float | None = None) -> str:
    """Write a fraction as a percentage, with its standard deviation where there is one."""
    if share is None:
        return NONE
    return f"{100 * share:.2f} %" if std is None else f"{100 * share:.2f} ± {100 * std:.2f} %"


def texts(values: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    """Write values of metrics as tables show them, in the order of the names."""
    return [METRICS[name].text(values[name]) for name in names]
