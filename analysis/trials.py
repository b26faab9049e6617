"""Congruent and conflicting pictures, as in Navon's experiment: what is asked, what is answered, what that measures.

Two independent labels of a picture share their classes: the small letters and the large ones are the same ten. A
picture is congruent where both labels are the same class, and conflicting where they are not. The task is to name one
label.

    Navon, D. (1977). Forest before trees: The precedence of global features in visual perception. Cognitive
    Psychology, 9(3), 353-383.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.trial import Trial
from common.settings.levels import LEVELS

CONGRUENT, CONFLICTING = KINDS = ("congruent", "conflicting")
OTHER_LEVEL = dict(zip(LEVELS, reversed(LEVELS), strict=True))


@dataclass(frozen=True)
class Answered:
    """What is answered in one task, (N,) each.

    ``answer`` is the class, ``confidence`` its probability, ``right`` whether it is the label's, and ``intruded``
    whether it is the class of the other label instead.
    """

    answer: Tensor
    confidence: Tensor
    right: Tensor
    intruded: Tensor


def shared_classes(names: Mapping[str, Sequence[str]], *, nested: bool) -> dict[str, Tensor] | None:
    """Give for each class of the other level the class of the same name, int64 (C,), by the level that is asked for.

    None where congruence is not defined: in nested classes, or where the two labels have not the same classes.

    Args:
        names: of the classes, by level.
        nested: whether every fine class lies in a coarse one.
    """
    fine, coarse = (names[level] for level in LEVELS)
    if nested or len({*fine}) < len(fine) or sorted(fine) != sorted(coarse):
        return None
    return {
        level: torch.tensor([names[level].index(name) for name in names[OTHER_LEVEL[level]]])
        for level in LEVELS
    }


def congruence(labels: Mapping[str, Tensor], same: Mapping[str, Tensor]) -> Tensor:
    """Say which pictures have one class in both labels, bool (N,); ``same`` as `shared_classes` gives it."""
    return labels["fine"] == same["fine"][labels["coarse"]]


def answered(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], same: Mapping[str, Tensor]
) -> dict[str, Answered]:
    """Read the answers in both tasks from logits (N, C) by level."""
    found = {}
    for level in LEVELS:
        confidence, answer = logits[level].float().softmax(dim=1).max(dim=1)
        right = answer == labels[level]
        other = same[level][labels[OTHER_LEVEL[level]]]
        found[level] = Answered(answer, confidence, right, ~right & (answer == other))
    return found


@dataclass(frozen=True)
class Effects:
    """What congruence does to the answers of one network, as fractions; NaN where there is nothing to measure.

    By kind of picture and task: ``accuracy``, and the mean ``confidence``. By task: ``intrusions``, of the wrong
    answers to conflicting pictures the share that name the other label. ``scores`` are those of the pictures in the
    means that interference (by task), advantage and asymmetry are sums of: (N,) for each mean. Precedence of the coarse
    (global) level is that advantage and asymmetry are above 0.
    """

    accuracy: dict[tuple[str, str], float]
    confidence: dict[tuple[str, str], float]
    intrusions: dict[str, float]
    scores: dict[str, tuple[Tensor, ...]]

    @property
    def interference(self) -> dict[str, float]:
        """Accuracy on congruent pictures less that on conflicting ones, by task."""
        return {level: self._sum(level) for level in LEVELS}

    @property
    def advantage(self) -> float:
        """Accuracy in the coarse task less that in the fine one, both on conflicting pictures."""
        return self._sum("advantage")

    @property
    def asymmetry(self) -> float:
        """Interference in the fine task less that in the coarse one."""
        return self._sum("asymmetry")

    def _sum(self, name: str) -> float:
        return sum(float(scores.mean()) for scores in self.scores[name])


def effects(found: Mapping[str, Answered], congruent: Tensor) -> Effects:
    """Measure what congruence does, from the answers in both tasks and which pictures are congruent, bool (N,)."""

    def mean(values: Tensor, where: Tensor) -> float:
        return float(values[where].double().mean())

    kinds = dict(zip(KINDS, (congruent, ~congruent), strict=True))
    # What pictures add to each difference: a mean over the congruent ones minus one over the others.
    right = {level: found[level].right.double() for level in LEVELS}
    more = right["fine"] - right["coarse"]
    scores = {
        **{level: (one[congruent], -one[~congruent]) for level, one in right.items()},
        "advantage": (-more[~congruent],),
        "asymmetry": (more[congruent], -more[~congruent]),
    }
    return Effects(
        accuracy={
            (kind, level): mean(found[level].right, where)
            for kind, where in kinds.items()
            for level in LEVELS
        },
        confidence={
            (kind, level): mean(found[level].confidence, where)
            for kind, where in kinds.items()
            for level in LEVELS
        },
        intrusions={
            level: mean(found[level].intruded, ~congruent & ~found[level].right) for level in LEVELS
        },
        scores=scores,
    )


def trials(
    found: Mapping[str, Answered],
    labels: Mapping[str, Tensor],
    congruent: Tensor,
    *,
    figures: Sequence[str],
    names: Mapping[str, Sequence[str]],
    level_names: Mapping[str, str],
    arm: str,
    seed: int,
    side: str,
) -> Iterator[Trial]:
    """Give a row for each picture and task.

    Args:
        found: the answers.
        labels: (N,) by level.
        congruent: bool (N,).
        figures: names of the pictures.
        names: of classes, by level.
        level_names: what the data set calls the levels.
        arm: of the network.
        seed: of the network.
        side: that answers.
    """
    fine, coarse = ([names[level][one] for one in labels[level].tolist()] for level in LEVELS)
    for level, task in found.items():
        columns = (task.answer, task.right, task.intruded, task.confidence, congruent)
        for figure, one, other, (answer, right, intruded, confidence, same) in zip(
            figures,
            fine,
            coarse,
            zip(*(column.tolist() for column in columns), strict=True),
            strict=True,
        ):
            yield Trial(
                arm=arm,
                seed=seed,
                side=side,
                figure=figure,
                fine=one,
                coarse=other,
                congruent=int(same),
                task=level,
                task_name=level_names.get(level, level),
                answer=names[level][answer],
                correct=int(right),
                error="" if right else "other level" if intruded else "other class",
                confidence=round(confidence, 6),
            )
