"""The rows of analysis/specialisation.csv and analysis/specialisation_indices.csv. Imports no torch."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Competence:
    """What one kind of probe reads off the features of the ``left``, the ``right`` or ``both`` hemispheres.

    ``epoch`` counts from 1 and is None for the trained network, the one that was tested. ``task`` is one of
    `analysis.specialisation.tasks.TASKS`; ``kappa`` is the accuracy scaled so that chance is 0 and perfection 1.
    """

    arm: str
    seed: int
    epoch: int | None
    task: str
    side: str
    accuracy: float
    kappa: float


@dataclass(frozen=True)
class Index:
    """A measure that compares two hemispheres (docs/specialisation.md).

    ``seed`` is None for what is computed over seeds, ``epoch`` as in `Competence`; ``task`` and ``side`` are empty
    where the measure is of both.
    """

    arm: str
    seed: int | None
    epoch: int | None
    measure: str
    task: str
    side: str
    value: float


class Specialised(NamedTuple):
    """What is found out about a study: the rows of both files."""

    competences: list[Competence]
    indices: list[Index]
