"""A row of analysis/trials.csv. Imports no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """One answer: a row of analysis/trials.csv, in long form, as mixed models take it.

    ``side`` is the hemisphere that answers alone, or both; ``figure`` the picture's name; ``fine`` and ``coarse`` its
    two classes; ``task`` the label that is asked for, which the data set calls ``task_name``; ``error`` is empty,
    "other level" where the answer is the class of the other label, or "other class". ``congruent`` and ``correct`` are
    1 or 0.
    """

    arm: str
    seed: int
    side: str
    figure: str
    fine: str
    coarse: str
    congruent: int
    task: str
    task_name: str
    answer: str
    correct: int
    error: str
    confidence: float
