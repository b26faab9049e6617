"""Three answers to how much a head relies on a hemisphere, side by side. A part of the section on contributions."""

from collections.abc import Iterator

from analysis.report.cells import Cell, Sheet, decimal, summary_cells, word_columns
from analysis.section import Findings
from analysis.sections.lesions import LOST, LOST_MORE
from analysis.specialisation.words import of_fewer
from analysis.values import Summary
from common.settings.levels import LEVELS, SIDES

EVIDENCE, MARGIN = "share of evidence", "share of margin"
# What a sentence calls them.
MEASURES = {EVIDENCE: "the evidence", MARGIN: "the margin", LOST: "silencing"}
MEANING = (
    "How much does a head rely on a hemisphere? The share of the evidence is its part of what lifts the correct class "
    "above the mean of all classes. The share of the margin is its part of what lifts the correct class above the "
    "strongest other one, which decides the answer. The accuracy lost is what silencing it costs: its features are "
    "then at their training mean in every image. The shares of both hemispheres add up to 100 %; the points lost "
    "need not, since what the other hemisphere can replace is not lost."
)


def reliance_table(found: Findings) -> Sheet:
    """The three measures, a row for each head and hemisphere."""
    return Sheet(
        "reliance",
        "How much each head relies on each hemisphere",
        word_columns(
            ("head", "hemisphere"),
            [
                title
                for measure in ("evidence, %", "margin, %", "lost, points")
                for title in (measure, "95 % interval")
            ],
        ),
        [
            [
                Cell(level, level, True),
                Cell(side, side, True),
                *(
                    cell
                    for of in MEASURES
                    for cell in summary_cells(found.values.get(of, level, side))
                ),
            ]
            for level in LEVELS
            for side in SIDES
        ],
    )


def which_is_shown(found: Findings) -> Iterator[str]:
    """For each head, which hemisphere each measure shows to be the more important one, and its numbers.

    A share shows it where its interval leaves out one half, the accuracy lost where that of left minus right leaves
    out 0.
    """
    for level in LEVELS:
        shares = {of: found.values.get(of, level, "left") for of in (EVIDENCE, MARGIN)}
        lost = {side: found.values.get(LOST, level, side) for side in SIDES}
        more = found.values.get(LOST_MORE, level)
        if not (lost["left"] and lost["right"] and more):
            continue
        named = {
            # Shares of some seeds alone are chosen by what came out.
            **{of: _more(one, equal=0.5, seeds=more.seeds) for of, one in shares.items()},
            LOST: _more(more, equal=0, seeds=more.seeds),
        }
        shown = ", ".join(
            f"{f'the {side} one' if side else 'not shown'} by {MEASURES[of]}"
            for of, side in named.items()
        )
        numbers = [
            f"{decimal(100 * share.mean, 0)} % of {MEASURES[of]}{of_fewer(share, more.seeds)}"
            for of, share in shares.items()
            if share
        ]
        gives = f"The left one gives {' and '.join(numbers)}. " if numbers else ""
        yield (
            f"The hemisphere that matters more for the {level} head is {shown}. {gives}"
            f"Silencing the left one costs {decimal(100 * lost['left'].mean, 1)} points, "
            f"silencing the right one {decimal(100 * lost['right'].mean, 1)}."
        )


def _more(measured: Summary | None, *, equal: float, seeds: int) -> str:
    """The side that an interval shows to matter more, or "" where it holds what is ``equal`` for both.

    Of fewer than all ``seeds``, none.
    """
    if measured is None or measured.seeds < seeds or measured.interval is None:
        return ""
    low, high = measured.interval
    return "left" if low > equal else "right" if high < equal else ""
