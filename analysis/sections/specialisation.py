"""How specialised two hemispheres are: seven measures of each network that has two, and their course over training."""

from collections.abc import Sequence

from analysis.report.part import Part
from analysis.section import Findings, Section, listed
from analysis.seed import Seed
from analysis.specialisation.course import course
from analysis.specialisation.measures import DEAD, competence, sign_flip_p
from analysis.specialisation.necessity import necessities
from analysis.specialisation.page import part
from analysis.specialisation.reading import Reading, read
from analysis.specialisation.rows import Competence, Index
from analysis.specialisation.seeds import Pair, between_seeds, pair_of, same_networks
from analysis.specialisation.tasks import COARSE, first_task
from analysis.values import CORRELATION, Bounds, Item

# Measures whose sign a coin would choose if two hemispheres were the same.
SIGNED = ("laterality", "double dissociation", "simple effect", "necessity laterality")
SPLIT = "other seed"
# Measures between -1 and 1 that are no difference of competences: indices of two numbers against their sum, and kappa.
INDICES = ("laterality", "necessity laterality", "error consistency")


class Specialisation(Section):
    """The measures of docs/specialisation.md, for every arm with two hemispheres."""

    order = 15
    csv_order = 110
    every_pair = True

    def __init__(self) -> None:
        self.competences: list[Competence] = []
        self.indices: list[Index] = []
        self.tests: list[Index] = []
        self.pairs: dict[str, dict[int, Pair]] = {}
        self.networks: dict[str, dict[int, dict[str, float]]] = {}
        self.at_end: dict[str, None] = {}

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add what needs one seed: competences and indices of the trained network and at each saved epoch."""
        trained = read(
            seed.arm,
            seed.number,
            None,
            seed.images,
            seed.fits,
            train=seed.train,
            validation=seed.validation,
            scored=seed.test,
        )
        over_training = course(seed, trained, found.leave_out)
        if not over_training:
            found.leave_out(
                f"the course of specialisation over the training of {seed.arm}; there are no features of the same "
                "images of both stages in which its hemispheres learned (none are saved where training is short)."
            )
        for reading in (*over_training, trained):
            self.competences += reading.competences()
            self.indices += reading.indices()
        self.indices += necessities(seed)
        pairs = self.pairs.setdefault(seed.arm, {})
        images = next((one.images for one in pairs.values()), seed.images)
        pairs[seed.number] = pair_of(seed, trained, images)
        self.networks[seed.arm] = seed.study.networks(seed.arm)
        self._note_ends(trained)

    def _note_ends(self, reading: Reading) -> None:
        for half, level in reading.at_end:
            task = COARSE if level == "coarse" else first_task(reading.chance)
            # Where nothing can be read, chance alone chooses the penalty.
            if task in reading.chance and reading.kappa(half, task) >= DEAD:
                self.at_end[f"{level} labels off {half} of {reading.arm}, seed {reading.seed}"] = (
                    None
                )

    def finish(self, found: Findings) -> None:
        """Add what is computed between seeds, and the numbers of the trained networks to ``found.values``."""
        for pairs in self.pairs.values():
            self.indices += between_seeds(pairs)
        for row in self.competences:
            if row.epoch is None:
                self._add(found, "competence", row.kappa, row.arm, row.seed, row.task, row.side)
        # Their differences add up to 0 over all seeds by construction.
        reordered = {arm for arm, pairs in self.pairs.items() if same_networks([*pairs.values()])}
        compared = [
            index
            for index in self.indices
            if index.epoch is None and not (index.arm in reordered and index.measure in SIGNED)
        ]
        for index in compared:
            if index.seed is not None:
                place = index.arm, index.seed, index.task, index.side
                self._add(found, index.measure, index.value, *place)
        self.tests = sign_flips(compared)
        found.tables["specialisation"] = (Competence, self.competences)
        found.tables["specialisation_indices"] = (Index, [*self.indices, *self.tests])

    def _add(
        self, found: Findings, of: str, value: float, arm: str, seed: int, task: str, side: str
    ) -> None:
        networks = self.networks[arm]
        made_of = dict(networks[seed])
        others = [one for one in self.pairs[arm] if one != seed]
        if of == "dissimilarity" or side.endswith(SPLIT):
            # The mean over the other seeds, each of which has such a mean too.
            for name in (name for other in others for name in networks[other]):
                made_of[name] = made_of.get(name, 0) + 1 / len(others)
        found.values.add(
            of,
            value,
            level=task,
            side=side,
            item=arm,
            seed=seed,
            within=self._bounds(of, arm, seed, task),
            made_of=made_of,
            means=Item(arm),
        )

    def _bounds(self, of: str, arm: str, seed: int, task: str) -> Bounds | None:
        """What a measure can be; a competence is an accuracy from 0 to 1, scaled."""
        if of == "competence":
            chance = self.pairs[arm][seed].reading.chance[task]
            return Bounds(competence(0, chance), 1)
        return CORRELATION if of in INDICES else None

    def render(self, found: Findings) -> Part | None:
        """The section of the page."""
        if not self.pairs:
            return None
        if not self.competences:
            found.leave_out(
                "how specialised the hemispheres are; with one coarse class, and one fine class in it, there is "
                "nothing to tell apart."
            )
            return None
        order = [arm for arm in found.pairs if arm in self.pairs]
        over_training = [row for row in self.competences if row.epoch is not None]
        page = part(found.values, order, over_training, self.tests)
        if self.at_end:
            page.notes.append(
                "Warning: the penalty chosen is the strongest or the weakest that was tried for the probe of "
                f"{listed([*self.at_end])}. A better one may lie beyond, so that more could be read."
            )
        return page


def sign_flips(indices: Sequence[Index]) -> list[Index]:
    """The p of the test by sign flips over seeds, for each signed measure of which there are six seeds or more.

    Args:
        indices: of trained networks, by seed.
    """
    values: dict[tuple[str, str, str], list[float]] = {}
    for index in indices:
        if index.measure in SIGNED:
            values.setdefault((index.arm, index.measure, index.task), []).append(index.value)
    found = [
        Index(arm, None, None, f"{measure}, p of sign flips", task, "", sign_flip_p(numbers))
        for (arm, measure, task), numbers in values.items()
    ]
    return [index for index in found if index.value == index.value]  # not NaN: enough seeds
