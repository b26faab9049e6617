"""The answer to a study's question in one line, and what the terminal ends with: the page says the same."""

from collections.abc import Sequence

from analysis.report.additions import missing_controls
from analysis.report.cells import decimal
from analysis.report.questions import ask
from analysis.report.verdicts import (
    BETTER,
    FEW,
    OPEN,
    SAME,
    UNDONE,
    WORSE,
    Verdict,
    compare,
    groups,
    in_points,
    per_cent,
    subject,
    upper,
)
from analysis.study import FinishedStudy
from common.results.rows import level_shown
from common.results.statistics import SummaryRow
from study.arms import plain_name

# How a line begins, by what the comparison shows.
WORDS = {
    BETTER: "yes",
    WORSE: "no",
    SAME: "no",
    OPEN: "not shown with {} seeds",
    FEW: "too few seeds to say",
}


def answer(study: FinishedStudy) -> str:
    """Answer the question of a study, from the levels of the one comparison that is about it."""
    asked = ask(study)
    if study.debug:
        return "Debug run: no result."
    if not study.summary:
        return "Not answered: nothing was tested."
    if not asked.ours:
        return _how_well(study)
    found = [*compare(study, asked.ours, asked.theirs).values()]
    if not found:
        return f"Not answered yet: {_lacking(study, asked.ours, asked.theirs)}."
    words = [WORDS[one.form].format(one.row.seeds) for one in found]
    labels = [f"on {level_shown(one.row)} labels" for one in found]
    rest = [_rest(one) for one in found]
    if len({*words}) > 1:
        said = zip(labels, words, rest, strict=True)
        return " ".join(_sentence(f"{where} {word}: {why}") for where, word, why in said)
    if len({*rest}) == 1:
        levels = " and ".join(level_shown(one.row) for one in found)
        return _sentence(f"{words[0]}: {rest[0]} on {levels} labels")
    why = "; ".join(f"{where} {why}" for where, why in zip(labels, rest, strict=True))
    return _sentence(f"{words[0]}: {why}")


def say(study: FinishedStudy) -> list[str]:
    """The lines that the terminal ends with, before where the report is."""
    if study.debug:
        return [answer(study)]
    found = groups(study)
    # Of a run that has no others, all of them.
    first = [group for group in found if group.open] or found
    shown = [line for group in first for line in group.lines]
    rest = sum(len(line.verdicts) for group in found if group not in first for line in group.lines)
    said = [f"{ask(study).text} {answer(study)}"]
    said += [f"{upper(subject())}, by test accuracy:"] if found else []
    said += [f"- {verdict.sentence}" for line in shown for verdict in line.verdicts.values()]
    if rest:
        said.append(f"- {rest} more comparison{'s' * (rest > 1)}: in the report.")
    if addition := missing_controls(study):
        said.append(" ".join(filter(None, addition)))
    return said


def _rest(one: Verdict) -> str:
    """What stands behind the first word: by how much, within what, or what is left open."""
    size = in_points(abs(100 * one.row.mean), digits=2).lstrip("+")
    by = f"{size} {'better' if one.row.mean > 0 else 'worse'}"
    low, high = one.row.ci95_low, one.row.ci95_high
    if one.form == SAME:
        return f"shown to be {one.words}"
    if one.form == FEW:
        return one.values
    if one.form in (BETTER, WORSE):
        return f"{by}, but shown to be less than {in_points(one.margin)}" if one.small else by
    if low is None or high is None:
        return one.numbers
    if one.corrected_away:
        return f"{by}, {UNDONE.format(one.row.tests)}"
    worst, best = (decimal(abs(100 * end), 2) for end in (low, high))
    about = "approximate " if one.row.approximate else ""
    return f"anything from {worst} points worse to {best} points better ({about}95 % interval)"


def _lacking(study: FinishedStudy, *arms: str) -> str:
    """Say which of the two arms of a comparison a study lacks."""
    tested = {row.arm for row in study.summary}
    gone = [plain_name(arm) for arm in arms if arm not in tested]
    if not gone:
        return "no seed was tested with both networks"
    return f"this study has no test of {' and '.join(gone)}"


def _how_well(study: FinishedStudy) -> str:
    """Give the accuracies of a study that has nothing to compare: of its network, or from the lowest to the highest."""
    said = {}
    for level, name in study.level_names.items():
        rows = sorted(
            (row for row in study.summary if row.level == level), key=lambda row: row.mean
        )
        if rows:
            ends = dict.fromkeys(per_cent(row.mean) for row in (rows[0], rows[-1]))
            said[f"{' to '.join(ends)} correct on {name} labels"] = _seeds(rows)
    if len({*said.values()}) > 1:
        return _sentence(", ".join(f"{one} ({seeds})" for one, seeds in said.items()))
    return _sentence(f"{', '.join(said)} ({next(iter(said.values()))})")


def _seeds(rows: Sequence[SummaryRow]) -> str:
    """Say of how many seeds the means of a level are."""
    numbers = [row.seeds for row in rows]
    low, high = min(numbers), max(numbers)
    if low != high:
        return f"means of {low} to {high} seeds"
    return "one seed" if high == 1 else f"mean of {high} seeds"


def _sentence(words: str) -> str:
    return f"{upper(words)}."
