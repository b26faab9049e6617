"""What a study asks, by the arms that it has, and the one comparison that answers it."""

from typing import NamedTuple

from analysis.study import FinishedStudy
from study.arms import (
    ARMS,
    CONNECTED,
    CONNECTS,
    EXCHANGED,
    ONE_NETWORK,
    PRIMARY,
    REFERENCE,
    SELF_SUPERVISED,
    plain_name,
)


class Question(NamedTuple):
    """The question, and the arms that answer it: does ``ours`` do better than ``theirs``? Empty without any such."""

    text: str
    ours: str = ""
    theirs: str = ""

    @property
    def other(self) -> str:
        """The arm that the reference is compared with."""
        return self.ours if self.theirs == REFERENCE else self.theirs


def ask(study: FinishedStudy) -> Question:
    """Find what a study asks."""
    rows = [ARMS[arm] for arm in study.arms if arm in ARMS]
    if REFERENCE not in study.arms:
        some = plain_name(study.arms[0]) if len(study.arms) == 1 else "these networks"
        return Question(f"How well did {some} do?")
    if any(row.study == "asymmetry" for row in rows):
        text = "Do hemispheres do better on the labels that suit their nature?"
        return Question(text, REFERENCE, EXCHANGED)
    if any(row.study == "paradigms" for row in rows):
        text = "Do two hemispheres do better when both learn from labels?"
        return Question(text, REFERENCE, SELF_SUPERVISED)
    if any(row.callosum == CONNECTS for row in rows):
        text = "Do two hemispheres do better when they are connected?"
        return Question(text, CONNECTED, REFERENCE)
    if PRIMARY in study.arms:
        text = "Do two specialised hemispheres do better than two unspecialised ones?"
        return Question(text, REFERENCE, PRIMARY)
    return Question("Do two specialised hemispheres do better than one?", REFERENCE, ONE_NETWORK)
