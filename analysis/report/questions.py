"""What a study asks, by the arms that it has, and the one comparison that answers it."""

from typing import NamedTuple

from analysis.study import FinishedStudy
from study.arms import (
    ARMS,
    CONNECTED,
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


# What a study asks that has arms of its own, as these say (`Arm.study`).
OF_STUDY = {
    "asymmetry": Question(
        "Do hemispheres do better on the labels that suit their nature?", REFERENCE, EXCHANGED
    ),
    "paradigms": Question(
        "Do two hemispheres do better when both learn from labels?", REFERENCE, SELF_SUPERVISED
    ),
    "callosum": Question(
        "Do two hemispheres do better when they are connected?", CONNECTED, REFERENCE
    ),
}


def ask(study: FinishedStudy) -> Question:
    """Find what a study asks: what its own kind does, or the primary contrast, whichever it has the arms of."""
    if REFERENCE not in study.arms:
        some = plain_name(study.arms[0]) if len(study.arms) == 1 else "these networks"
        return Question(f"How well did {some} do?")
    kinds = {ARMS[arm].study for arm in study.arms if arm in ARMS}
    of_kind = [question for kind, question in OF_STUDY.items() if kind in kinds]
    known = {*study.arms, *study.planned_arms}
    for question in of_kind:
        if question.other in known:
            return question
    if PRIMARY in study.arms:
        text = "Do two specialised hemispheres do better than two unspecialised ones?"
        return Question(text, REFERENCE, PRIMARY)
    if of_kind:
        return of_kind[0]
    return Question("Do two specialised hemispheres do better than one?", REFERENCE, ONE_NETWORK)
