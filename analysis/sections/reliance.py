"""Three answers to how much a head relies on a hemisphere, side by side. A part of the section on contributions."""

from collections.abc import Iterator

from analysis.report.cells import Cell, Sheet, decimal, summary_cells, word_columns
from analysis.section import Findings
from analysis.sections.lesions import LOST
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


def where_they_disagree(found: Findings) -> Iterator[str]:
    """For each head, which hemisphere each measure names as the more important one, and what is left to the other."""
    for level in LEVELS:
        numbers = {
            of: {side: found.values.get(of, level, side) for side in SIDES} for of in MEASURES
        }
        means = {
            of: {side: one.mean for side, one in sides.items() if one}
            for of, sides in numbers.items()
        }
        if any(len(set(sides.values())) < len(SIDES) for sides in means.values()):
            continue  # a number is missing, or a measure makes no difference
        named = {of: max(sides, key=lambda side: sides[side]) for of, sides in means.items()}
        first, second = sorted(SIDES, key=lambda side: -[*named.values()].count(side))
        dissent = [MEASURES[of] for of, side in named.items() if side == second]
        who = "the more important hemisphere"
        verdict = (
            f"{dissent[0]} names the {second} one as {who}, the other two the {first} one"
            if dissent
            else f"all three name the {first} one as {who}"
        )
        lost = means[LOST]
        yield (
            f"For the {level} head, {verdict}. To the {second} one they give "
            f"{decimal(100 * means[EVIDENCE][second], 0)} % of the evidence, "
            f"{decimal(100 * means[MARGIN][second], 0)} % of the margin and "
            f"{decimal(100 * lost[second], 1)} of {decimal(100 * sum(lost.values()), 1)} points lost."
        )
