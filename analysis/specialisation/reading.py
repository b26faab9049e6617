"""What probes read off two hemispheres: which images are right on each task, competences, and indices from these."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from analysis.logistic import STRENGTHS, Fits, Probe
from analysis.seed import HALVES, FeatureSet, StudyImages
from analysis.specialisation import measures
from analysis.specialisation.rows import Competence, Index
from analysis.specialisation.tasks import COARSE, first_task, right
from common.settings.levels import LEVELS, SIDES


@dataclass(frozen=True)
class Reading:
    """Two hemispheres of an arm and seed at one epoch (None: the trained network), as probes see them.

    ``right`` says by half (left, right, both) and task which images are right, bool (N,); ``chance`` is by task.
    ``strengths`` are those of the probes by (half, level); ``at_end`` names the probes whose penalty is at the end of
    the grid, likewise.
    """

    arm: str
    seed: int
    epoch: int | None
    right: Mapping[str, Mapping[str, Tensor]]
    chance: Mapping[str, float]
    strengths: Mapping[tuple[str, str], float]
    at_end: tuple[tuple[str, str], ...]

    def accuracy(self, half: str, task: str) -> float:
        """The share of images that are right."""
        return float(self.right[half][task].double().mean())

    def kappa(self, half: str, task: str) -> float:
        """The competence."""
        return measures.competence(self.accuracy(half, task), self.chance[task])

    def competences(self) -> list[Competence]:
        """The rows of specialisation.csv."""
        return [
            Competence(
                self.arm,
                self.seed,
                self.epoch,
                task,
                half,
                self.accuracy(half, task),
                self.kappa(half, task),
            )
            for task in self.chance
            for half in HALVES
        ]

    def indices(self) -> list[Index]:
        """Measures 2 to 4, and the consistency of errors where it is defined."""
        found = indices_of(self.competences())
        for task in self.chance:
            answers = (self.right[side][task] for side in SIDES)
            value = measures.error_consistency(*answers)
            if not math.isnan(value):
                place = self.arm, self.seed, self.epoch
                found.append(Index(*place, "error consistency", task, "left-right", value))
        return found


def indices_of(competences: Sequence[Competence]) -> list[Index]:
    """Compute measures 2 to 4 from all competences of one arm, seed and epoch. NaN is left out."""
    kappa = {(row.task, row.side): row.kappa for row in competences}
    tasks = dict.fromkeys(row.task for row in competences)
    found: list[tuple[str, str, str, float]] = []
    for task in tasks:
        left, right, both = (kappa[task, half] for half in HALVES)
        parts = measures.commonality(left, right, both)
        found += [
            ("laterality", task, "", measures.laterality(left, right)),
            ("unique", task, "left", parts.left),
            ("unique", task, "right", parts.right),
            ("shared", task, "", parts.shared),
        ]
    first = first_task(tasks)
    if first in tasks and COARSE in tasks:
        effects = measures.dissociation(
            *((kappa[task, "left"], kappa[task, "right"]) for task in (first, COARSE))
        )
        found += [
            ("double dissociation", "", "", effects.double),
            ("simple effect", first, "", effects.within),
            ("simple effect", COARSE, "", effects.coarse),
        ]
    return [
        Index(row.arm, row.seed, row.epoch, *one)
        for row in competences[:1]
        for one in found
        if not math.isnan(one[-1])
    ]


Probes = Mapping[tuple[str, str], Probe]


def read(
    arm: str,
    seed: int,
    epoch: int | None,
    images: StudyImages,
    fits: Fits,
    *,
    train: FeatureSet,
    validation: FeatureSet,
    scored: FeatureSet,
    chance: Mapping[str, float] | None = None,
    strengths: Mapping[tuple[str, str], float] | None = None,
) -> Reading:
    """Fit a probe of each level on the left, the right and both hemispheres, and see which images are right.

    Args:
        arm: of the network.
        seed: of the network.
        epoch: of the features; None: of the trained network.
        images: whose classes are read.
        fits: probes that were fitted already.
        train: what is fitted on.
        validation: what the penalty is chosen by.
        scored: what is asked.
        chance: of guessing, by task; None: among the study's test images.
        strengths: of the penalties by half and level; None: chosen on ``validation``.
    """
    probes = fit_probes(images, fits, train=train, validation=validation, strengths=strengths)
    return Reading(
        arm,
        seed,
        epoch,
        {half: ask(probes, half, images, scored) for half in HALVES},
        images.guessing if chance is None else chance,
        {place: probe.strength for place, probe in probes.items()},
        tuple(place for place, probe in probes.items() if probe.at_end),
    )


def fit_probes(
    images: StudyImages,
    fits: Fits,
    *,
    train: FeatureSet,
    validation: FeatureSet,
    strengths: Mapping[tuple[str, str], float] | None = None,
) -> Probes:
    """Fit a probe of each half and level, by both; arguments are those of `read`."""
    return {
        (half, level): fits.fit(
            (train.of(half), train.labels[level]),
            (validation.of(half), validation.labels[level]),
            images.classes[level],
            STRENGTHS if strengths is None else (strengths[half, level],),
        )
        for half in HALVES
        for level in LEVELS
    }


def ask(probes: Probes, half: str, images: StudyImages, scored: FeatureSet) -> dict[str, Tensor]:
    """Say by task which images the probes of a half have right, bool (N,).

    The fine class within the coarse one is read by the fine probe: the likeliest child of the true coarse class. Of
    independent labels each is read by its own probe.

    Args:
        probes: as `fit_probes` gives them.
        half: left, right or both.
        images: whose classes are read.
        scored: what is asked.
    """
    logits = {level: probes[half, level].logits(scored.of(half)) for level in LEVELS}
    return right(logits, scored.labels, images.parents)
