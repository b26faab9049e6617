"""What came out of an experiment, for Python: rows that pandas takes, tables, and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

from common.results.caveats import caveats, titled
from common.results.comparison import Comparison
from common.results.rows import Row, collect, finished, level_shown, nothing_finished
from common.results.sections import Section, sections
from common.results.statistics import (
    DifferenceRow,
    SummaryRow,
    both_directions,
    differences,
    summarise,
)
from common.results.tables import as_text, margin_of, markdown
from common.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Outcome(Sequence[SummaryRow]):
    """The tables of an experiment; printed, it is the table, and as a sequence, the rows of ``summary``.

    ``results``, ``summary`` and ``differences`` are the rows of the csv files of these names, which
    ``pandas.DataFrame(outcome.results)`` takes. Accuracies are fractions, 0 to 1.
    """

    place: Path
    results: list[Row]
    summary: list[SummaryRow]
    differences: list[DifferenceRow]
    comparison: Comparison

    @overload
    def __getitem__(self, item: int) -> SummaryRow: ...
    @overload
    def __getitem__(self, item: slice) -> list[SummaryRow]: ...
    def __getitem__(self, item: int | slice) -> SummaryRow | list[SummaryRow]:
        return self.summary[item]

    def __len__(self) -> int:
        return len(self.summary)

    def __repr__(self) -> str:
        """The tables that the command line prints."""
        limits = self._caveats()
        return as_text(self._sections(), titled(self.place.name, limits), limits)

    def _repr_markdown_(self) -> str:
        """The same in a notebook."""
        return markdown(self._sections(), self._caveats())

    def _sections(self) -> list[Section]:
        return sections(self.results, self.comparison)

    def _caveats(self) -> list[str]:
        return caveats(self.place, finished(self.place))

    def plot(self) -> Figure:
        """Draw the accuracy of each arm and level: the mean, its 95 % interval, and every seed.

        Raises:
            UserError: nothing was tested.
        """
        if not self.summary:
            raise UserError(
                f"Nothing was tested in {self.place} (evaluate=false): no accuracy can be drawn; run the study again "
                "with evaluate=true."
            )
        # Imported late: matplotlib takes a second, which a study on a cluster need not.
        from common.system.letters import families
        from common.system.notebook import NotebookFigure

        levels = list(dict.fromkeys(row.level for row in self.summary))
        arms = list(dict.fromkeys(row.arm for row in self.summary))
        figure = NotebookFigure(
            figsize=(1 + 3.5 * len(levels), 1.2 + 0.3 * len(arms)), layout="constrained"
        )
        for axes, level in zip(
            figure.subplots(1, len(levels), sharey=True, squeeze=False)[0], levels, strict=True
        ):
            for row in (row for row in self.summary if row.level == level):
                y = arms.index(row.arm)
                found = [
                    100 * one.accuracy
                    for one in self.results
                    if (one.arm, one.level) == (row.arm, level) and one.accuracy is not None
                ]
                axes.plot(found, [y] * len(found), "o", ms=3, color="0.6", zorder=1)
                axes.plot(100 * row.mean, y, "o", color="black", zorder=3)
                if row.ci95_low is not None and row.ci95_high is not None:
                    ends = [100 * row.ci95_low, 100 * row.ci95_high]
                    axes.plot(ends, [y, y], color="black", lw=1.5, zorder=2)
            called = next(level_shown(row) for row in self.summary if row.level == level)
            axes.set_title(f"{called} labels", fontfamily=families())
            axes.set_xlabel("test accuracy, %")
            axes.set_yticks(range(len(arms)), arms)
            axes.grid(axis="x", color="0.9")
            axes.set_axisbelow(True)
        axes.invert_yaxis()  # the first arm on top, as in the tables; the axes share it
        return figure


def read_outcome(place: Path, comparison: Comparison, *, margin: float | None = None) -> Outcome:
    """Read what an experiment has found so far, from the result.yaml files below its folder.

    Args:
        place: the experiment's folder.
        comparison: how its arms are compared.
        margin: takes the place of the comparison's; None: the one of the experiment's differences.csv does.

    Raises:
        UserError: nothing was finished there, or no such margin.
    """
    rows = collect(finished(place), order=comparison.order)
    if not rows:
        raise nothing_finished(place)
    if margin is None:
        margin = margin_of(place)
    elif isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 100:
        raise UserError(
            f"margin is {margin!r}; allowed: percentage points, above 0 and at most 100, or None for the study's own."
        )
    comparison = replace(comparison, margin=margin)
    found = both_directions(differences(rows, comparison))
    return Outcome(place, rows, summarise(rows), found, comparison)
