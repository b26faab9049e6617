"""The primary contrast of a study in a sentence: what the page says first, and the terminal."""

import shlex
from pathlib import Path

from analysis.report.cells import decimal
from analysis.study import FinishedStudy
from common.results.contrasts import LEVEL
from common.results.intervals import FEWEST
from common.results.rows import level_shown
from common.results.statistics import PRIMARY as FAMILY
from common.results.statistics import DifferenceRow
from study.arms import PRIMARY, REFERENCE

NAME = f"{REFERENCE} minus {PRIMARY}"
STUDY = "train_system.py"


def primary_contrast(study: FinishedStudy) -> str | None:
    """Give difference, interval, corrected p and verdict of the reference minus its control, for each level.

    Where the control was not tested, how to add it; None where there is nothing that it is a control of.
    """
    rows = [row if row.arm == REFERENCE else row.swapped() for row in study.differences]
    rows = [row for row in rows if row.family == FAMILY]
    if rows:
        return f"Primary contrast, {NAME}, test accuracy in points: {'; '.join(map(_words, rows))}."
    if not any(row.arm == REFERENCE for row in study.summary):
        return None
    return f"The primary contrast, {NAME}, is missing; this adds it: {_command(study)}"


def _words(row: DifferenceRow) -> str:
    difference = f"{level_shown(row)} labels {decimal(100 * row.mean, 2, plus=True)}"
    if row.ci95_low is None or row.ci95_high is None or row.p_holm is None:
        why = (
            f"an interval and a test take {FEWEST} seeds or more"
            if row.seeds < FEWEST
            else "seeds do not differ or are not independent, so there is no interval and no test"
        )
        return f"{difference} ({why})"
    low, high = (decimal(100 * end, 2, plus=True) for end in (row.ci95_low, row.ci95_high))
    kind = "approximate 95 % interval" if row.approximate else "95 % interval"
    p = f"below {0.0001:g}" if row.p_holm < 0.0001 else f"{row.p_holm:.4f}"
    star = " *" if row.p_holm < LEVEL else ""
    return f"{difference} ({kind} {low} to {high}; p, Holm {p}{star}): {row.verdict}"


def _command(study: FinishedStudy) -> str:
    """The study's own command with one arm more; of a single run, what to ask of a study."""
    stages = study.of(REFERENCE).values()
    recorded = [stage.yaml("environment.yaml").get("command") for stage in stages]
    command = next(
        (
            one
            for one in recorded
            if isinstance(one, list) and one and Path(str(one[0])).name == STUDY
        ),
        [STUDY],
    )
    kept = [str(word) for word in command[1:] if not str(word).startswith("arms=")]
    return shlex.join(["python", STUDY, *kept, f"arms=[{REFERENCE},{PRIMARY}]"])
