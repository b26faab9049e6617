"""What a network with two hemispheres loses without either of them."""

from analysis.networks import classify, without
from analysis.seed import Seed
from analysis.specialisation import measures
from analysis.specialisation.rows import Index
from analysis.specialisation.tasks import right
from common.settings.levels import SIDES


def necessities(seed: Seed) -> list[Index]:
    """Measure 5 of each hemisphere and task, and its laterality, on the heads that were trained with both.

    A silenced hemisphere has for every image the mean of its features over training images. NaN is left out.
    """
    labels, parents = seed.test.labels, seed.images.parents
    whole = right(seed.logits, labels, parents)
    silenced = {}
    for side in SIDES:
        features = without(side, seed.test.features, seed.train.features, seed.network.join)
        logits = classify(seed.module, seed.network, features)
        silenced[side] = right(logits, labels, parents)
    found = []
    for task, guessing in seed.images.guessing.items():
        accuracy = float(whole[task].double().mean())
        lost = {
            side: measures.necessity(accuracy, float(one[task].double().mean()), guessing)
            for side, one in silenced.items()
        }
        values = {("necessity", side): value for side, value in lost.items()}
        values["necessity laterality", ""] = measures.laterality(**lost)
        found += [
            Index(seed.arm, seed.number, None, measure, task, side, value)
            for (measure, side), value in values.items()
            if value == value  # not NaN
        ]
    return found
