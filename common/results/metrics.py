"""The table of metrics: what evaluation measures, and how it is shown. Imports no torch.

A new one is a function (or a class) in `common/training/metrics.py` (or elsewhere) and a row here: columns of the
csv files, printed tables, what chance would give, test.py and docs/tables.md follow from the row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from common.settings.choices import Choice
from common.settings.levels import LEVELS

C = TypeVar("C", bound=type)

PERCENT = "percent"
NUMBER = "number"
NONE = "–"  # where there is no value
# Titles of printed tables.
BEYOND = "beyond accuracy"
VIA_FINE = "coarse class via the fine prediction"
MISTAKES = "mistakes of the fine prediction"
UNBALANCED = "classes of unequal size"


@dataclass(frozen=True)
class Metric(Choice):
    """A row: what is measured of the predictions of each level.

    Args:
        help: what it is, in one sentence.
        where: 'module:name' of a function or class, see `common.training.metrics`.
        title: heading of its column in printed tables.
        better: "higher" or "lower".
        shown: PERCENT for a fraction from 0 to 1, NUMBER for anything else.
        levels: those that it is measured of.
        needs: what must be there, else it is left out: levels that the network must predict too, and "hierarchy", the
            coarse class of each fine class.
        table: title of the printed table that holds its column; four columns fit on 80 characters.
        unless_accuracy: whether its column is left out of that table where it repeats the accuracy.
    """

    title: str
    better: str
    shown: str
    levels: tuple[str, ...] = LEVELS
    needs: tuple[str, ...] = ()
    table: str = BEYOND
    unless_accuracy: bool = False

    def measures(self, level: str) -> bool:
        """Say whether it is measured of a level, or of a task beside the levels, as what is measured of all is."""
        return level in self.levels or (level not in LEVELS and self.levels == LEVELS)

    def text(self, value: float | None, std: float | None = None) -> str:
        """Write a value as tables show it, with its standard deviation where there is one."""
        if value is None:
            return NONE
        if self.shown == PERCENT:
            return percent(value, std)
        return f"{value:.4f}" if std is None else f"{value:.4f} ± {std:.4f}"


METRICS = {
    "accuracy": Metric(
        "share of images whose highest output is the label's",
        "common.training.metrics:Accuracy",
        title="accuracy",
        better="higher",
        shown=PERCENT,
    ),
    "loss": Metric(
        "mean cross-entropy, without label smoothing",
        "common.training.metrics:CrossEntropy",
        title="loss",
        better="lower",
        shown=NUMBER,
    ),
    "top5": Metric(
        "share of images whose label is among the five highest outputs (always 1 with five classes or fewer)",
        "common.training.metrics:Top5",
        title="top-5",
        better="higher",
        shown=PERCENT,
    ),
    "consistency": Metric(
        "share of images whose fine prediction lies in the coarse class that the other head predicts, right or wrong; "
        "one value for both levels, of networks with two heads",
        "common.training.hierarchy_metrics:consistency",
        title="consistency",
        better="higher",
        shown=PERCENT,
        needs=("fine", "coarse", "hierarchy"),
    ),
    "within_family": Metric(
        "share of the wrong fine predictions that lie in the right coarse class: mistakes within one coarse class. The "
        "higher, the milder they are. Empty without a wrong prediction",
        "common.training.hierarchy_metrics:within_family",
        title="within family",
        better="higher",
        shown=PERCENT,
        levels=("fine",),
        needs=("hierarchy",),
        table=MISTAKES,
    ),
    "tice": Metric(
        "tree-based inconsistency error rate (Park et al. 2025), 1 - consistency: share of images whose two "
        "predictions are no path of the hierarchy",
        "common.training.hierarchy_metrics:tice",
        title="TICE",
        better="lower",
        shown=PERCENT,
        needs=("fine", "coarse", "hierarchy"),
    ),
    "path": Metric(
        "full-path accuracy: share of images whose fine and coarse predictions are both right; one value for both "
        "levels, of networks with two heads",
        "common.training.hierarchy_metrics:path",
        title="path",
        better="higher",
        shown=PERCENT,
        needs=("fine", "coarse"),
    ),
    "coarse_via_fine": Metric(
        "share of images whose fine prediction lies in the right coarse class: the coarse accuracy of a network that "
        "is asked for fine classes alone, with which every coarse head is to be compared",
        "common.training.hierarchy_metrics:coarse_via_fine",
        title="via fine",
        better="higher",
        shown=PERCENT,
        levels=("fine",),
        needs=("hierarchy",),
        table=VIA_FINE,
    ),
    "coarse_via_fine_sum": Metric(
        "the same by probabilities: share of images whose right coarse class has the highest sum of its fine classes' "
        "probabilities",
        "common.training.hierarchy_metrics:coarse_via_fine_sum",
        title="by sum",
        better="higher",
        shown=PERCENT,
        levels=("fine",),
        needs=("hierarchy",),
        table=VIA_FINE,
    ),
    "within_coarse": Metric(
        "share of images whose label has the highest fine output among the fine classes of its coarse class: fine "
        "accuracy where the coarse class is given",
        "common.training.hierarchy_metrics:within_coarse",
        title="in coarse",
        better="higher",
        shown=PERCENT,
        levels=("fine",),
        needs=("hierarchy",),
        table=VIA_FINE,
    ),
    "mistake_severity": Metric(
        "mean tree distance between a wrong fine prediction and the label (Bertinetto et al. 2020), by the height of "
        "their lowest common ancestor: 1 in the same coarse class, 2 in another. Empty without a wrong prediction",
        "common.training.hierarchy_metrics:mistake_severity",
        title="severity",
        better="lower",
        shown=NUMBER,
        levels=("fine",),
        needs=("hierarchy",),
        table=MISTAKES,
    ),
    "ahd1": Metric(
        "average hierarchical distance of the fine prediction (Bertinetto et al. 2020): mean tree distance to the "
        "label of all images, 0 where it is right",
        "common.training.hierarchy_metrics:ahd1",
        title="AHD@1",
        better="lower",
        shown=NUMBER,
        levels=("fine",),
        needs=("hierarchy",),
        table=MISTAKES,
    ),
    "ahd5": Metric(
        "the same of the five highest fine outputs: the mean of their five tree distances to the label",
        "common.training.hierarchy_metrics:ahd5",
        title="AHD@5",
        better="lower",
        shown=NUMBER,
        levels=("fine",),
        needs=("hierarchy",),
        table=MISTAKES,
    ),
    "balanced_accuracy": Metric(
        "mean over classes of the share of their images that are right, of classes that have test images: each class "
        "counts alike, however many images it has. It is the accuracy where all have equally many",
        "common.training.metrics:BalancedAccuracy",
        title="balanced accuracy",
        better="higher",
        shown=PERCENT,
        table=UNBALANCED,
        unless_accuracy=True,
    ),
}
# What training measures too; every network and every paradigm has these two.
BASIC = ("accuracy", "loss")
# What evaluation adds to them, in the order of tables.
FURTHER = tuple(name for name in METRICS if name not in BASIC)
# Columns for what chance would give (`common.training.chance`), and the metric of each.
CHANCE = {f"{name}_chance": name for name in ("accuracy", *FURTHER)}


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
        name: [level for level in levels if METRICS[name].measures(level)]
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


def chance_columns(kind: C) -> C:
    """Add the columns of CHANCE, by default None, behind those of a class, before it becomes a dataclass."""
    for column in CHANCE:
        kind.__annotations__[column] = float | None
        setattr(kind, column, None)
    return kind


def percent(share: float | None, std: float | None = None) -> str:
    """Write a fraction as a percentage, with its standard deviation where there is one."""
    if share is None:
        return NONE
    return f"{100 * share:.2f} %" if std is None else f"{100 * share:.2f} ± {100 * std:.2f} %"


def texts(values: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    """Write values of metrics as tables show them, in the order of the names."""
    return [METRICS[name].text(values[name]) for name in names]
