"""The results of a study on the page: its tables."""

from collections.abc import Sequence
from dataclasses import fields, replace

from analysis.report.cells import Cell, Column, Sheet, decimal, sheet
from analysis.study import FinishedStudy
from common.results.intervals import FEWEST
from common.results.statistics import (
    PRIMARY,
    DifferenceRow,
    SummaryRow,
    both_directions,
    own_minus_via_fine,
)
from study.arms import REFERENCE

# The most important columns of summary.csv; a phone shows the first three without scrolling.
RESULT = ("arm", "level", "mean", "std", "ci95_low", "seeds", "parameters")
# Columns that are shown in another table, or as a mark.
ELSEWHERE = (
    *("approximate", "own_minus_via_fine"),
    *(f"own_minus_via_fine_ci95_{end}" for end in ("low", "high")),
    *(f"val_slope_ci95_{end}" for end in ("low", "high")),
)


def results(study: FinishedStudy) -> Sheet:
    """Test accuracy over seeds; of a study without tests, what is known of each seed."""
    if study.summary and all(row.seeds < FEWEST for row in study.summary):
        return _values_by_seed(study)
    if study.summary:
        return sheet(
            "results",
            "summary.csv, test accuracy over seeds",
            study.summary,
            only=RESULT,
            titles={"mean": "accuracy, %"},
        )
    untested = ["checkpoint", "accuracy", "loss", *_losses(study)]
    return sheet("results", "results.csv", study.rows, leave_out=untested)


def _values_by_seed(study: FinishedStudy) -> Sheet:
    """Mean and both values of each arm, whose spread so few seeds do not tell."""
    only = [column for column in RESULT if column not in ("std", "ci95_low")]
    caption = "summary.csv, test accuracy over seeds; values from results.csv"
    table = sheet("results", caption, study.summary, only=only, titles={"mean": "accuracy, %"})
    place = only.index("mean") + 1
    table.columns.insert(place, Column("each seed, %"))
    for row, cells in zip(study.summary, table.rows, strict=True):
        values = sorted(study.accuracies(row.arm, row.level).values())
        shown = "; ".join(decimal(100 * value, 2) for value in values)
        highest = repr(values[-1]) if len(values) > 1 else ""
        cells.insert(place, Cell(shown, repr(values[0]), upper=highest, scale=100))
    return table


def seeds(study: FinishedStudy) -> Sheet:
    """Every row of results.csv."""
    return sheet("seeds", "results.csv", study.rows, leave_out=["checkpoint", *_losses(study)])


def why_no_losses(study: FinishedStudy) -> str | None:
    """Say why the losses of a study's arms are not shown beside each other; None where they are.

    The cross-entropy of the labels rises with the smoothing in training, which makes a network less sure of what it
    knows as well.
    """
    arms: dict[float, dict[str, None]] = {}
    for stage in study.stages:
        hparams = stage.yaml("config.yaml").get("hparams")
        # What trains nothing, an ensemble, was trained as its members.
        if isinstance(hparams, dict) and stage.result.get("trained_parameters") != 0:
            smoothing = hparams.get("label_smoothing")
            if isinstance(smoothing, int | float):
                arms.setdefault(float(smoothing), {})[stage.arm] = None
    if len(arms) < 2:
        return None
    groups = "; ".join(f"{', '.join(arms[one])}: {one:g}" for one in sorted(arms))
    return (
        "Losses are not shown, nor to be compared elsewhere: arms were trained with different label smoothing "
        f"({groups}), which makes a network less sure and so raises its loss, whatever it knows."
    )


def _losses(study: FinishedStudy) -> list[str]:
    """The columns of losses, if they are not to be compared."""
    return ["loss", "val_loss"] if why_no_losses(study) else []


def further(study: FinishedStudy) -> list[Sheet]:
    """All other columns of the summary, in two tables that fit on paper: further metrics; costs, slope and chance."""
    shown = [column for column in (*RESULT, *ELSEWHERE) if column not in ("arm", "level")]
    names = [field.name for field in fields(SummaryRow) if field.name not in shown]
    metrics = [name for name in names if name.endswith(("_mean", "_std"))]
    others = [name for name in names if name not in ("arm", "level", *metrics)]
    found = [
        sheet(name, f"summary.csv, {caption}", study.summary, only=("arm", "level", *columns))
        for name, caption, columns in (
            ("further", "further metrics, means over seeds", metrics),
            ("costs", "costs, slope of learning and chance", others),
        )
    ]
    return [table for table in found if len(table.columns) > 2]


def via_fine(study: FinishedStudy) -> Sheet | None:
    """Coarse heads minus the coarse class with most of the fine head's probability, and these of two arms compared."""
    ours = {row.minus: row for row in both_directions(study.differences) if row.arm == REFERENCE}
    found = own_minus_via_fine(study.rows)
    for index, row in enumerate(found):
        if other := ours.get(row.arm):
            found[index] = replace(
                row,
                via_fine=other.via_fine,
                via_fine_ci95_low=other.via_fine_ci95_low,
                via_fine_ci95_high=other.via_fine_ci95_high,
            )
    caption = "own coarse head minus the coarse class with most of the fine head's probability, percentage points"
    columns = ("arm", "mean", "std", "ci95_low", "via_fine", "via_fine_ci95_low", "seeds")
    titles = {"mean": "points", "std": "sd", "via_fine": f"{REFERENCE} minus arm, via fine"}
    table = sheet(
        "via-fine", caption, found, only=columns, titles=titles, plus=("mean", "via_fine")
    )
    return table if found else None


def differences(study: FinishedStudy) -> list[Sheet]:
    """The differences between the bilateral network and each other arm, the primary one first, and then all others.

    In the direction of the verdicts: bilateral minus the other arm.
    """
    first = [row for row in study.differences if REFERENCE in (row.arm, row.minus)]
    others = [row for row in study.differences if row not in first]
    first = [row if row.arm == REFERENCE else row.swapped() for row in first]
    first.sort(key=lambda row: row.family != PRIMARY)

    def table(name: str, arm: str, rows: Sequence[DifferenceRow]) -> Sheet:
        return sheet(
            name,
            f"differences.csv, {arm} minus another arm, percentage points",
            rows,
            only=("arm", "minus", "level", "mean", "std", "ci95_low", "seeds", "p", "p_holm"),
            titles={"mean": "points", "std": "sd"},
            plus=("mean",),
        )

    found = [table("differences", REFERENCE, first)] if first else []
    return found + ([table("further-differences", "an arm", others)] if others else [])
