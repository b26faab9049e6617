"""Measures 6 and 7 between seeds, for one arm: how alike two hemispheres are beside two of a kind.

Two networks are compared on the same images. Where each seed has test images of its own, those of the arm's first seed
are shown to all its networks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from torch import Tensor

from analysis.alignment import CKA_IMAGES, cka, gram
from analysis.networks import FeatureCache, sides, weights_of
from analysis.seed import FeatureSet, Seed, StudyImages
from analysis.specialisation import measures
from analysis.specialisation.reading import Reading, read
from analysis.specialisation.rows import Index
from common.data.samplers import drawn
from common.settings.levels import SIDES


@dataclass(frozen=True)
class Pair:
    """The two hemispheres of one seed: what probes read off them; by side features' `gram`, and weights' digest.

    ``images`` are those on which all seeds of the arm are compared: reading and grams are of its test images.
    """

    images: StudyImages
    reading: Reading
    grams: Mapping[str, Tensor]
    weights: Mapping[str, str]


def pair_of(seed: Seed, reading: Reading, images: StudyImages) -> Pair:
    """Keep of a seed what is compared with other seeds.

    Args:
        seed: of the arm.
        reading: of its trained network and its own test images.
        images: of the arm's first seed, whose test images all networks of the arm see.
    """
    features = seed.test.features
    if images is not seed.images:
        test, cache = images.test, FeatureCache(images.test.images)
        features = {
            side: cache.features(seed.module, one) for side, one in sides(seed.network).items()
        }
        # The probes are those that were fitted already.
        reading = read(
            seed.arm,
            seed.number,
            None,
            images,
            seed.fits,
            train=seed.train,
            validation=seed.validation,
            scored=FeatureSet(features, test.labels),
        )
    rows = drawn(len(images.test), CKA_IMAGES, "cka")
    return Pair(
        images,
        reading,
        {side: gram(features[side][rows]) for side in SIDES},
        {side: weights_of(one) for side, one in sides(seed.network).items()},
    )


def same_networks(pairs: Sequence[Pair]) -> bool:
    """Say whether the left hemispheres of all pairs are their right ones, in another order."""
    left, right = (sorted(pair.weights[side] for pair in pairs) for side in SIDES)
    return left == right


def between_seeds(pairs: Mapping[int, Pair]) -> list[Index]:
    """Give `measures.dissimilarity` of each seed, and how consistent the errors of two seeds' equal hemispheres are.

    A seed is compared with every other one; hemispheres that two seeds share are no two of a kind, and left out.

    Args:
        pairs: of one arm, by seed.
    """
    alike: dict[tuple[int, str], list[float]] = {}
    errors: dict[tuple[int, str, str], list[float]] = {}
    for (one, a), (other, b) in combinations(pairs.items(), 2):
        for side in SIDES:
            if a.weights[side] == b.weights[side]:
                continue
            similarity = cka(a.grams[side], b.grams[side])
            for seed in (one, other):
                alike.setdefault((seed, side), []).append(similarity)
            for task in a.reading.chance:
                answers = (pair.reading.right[side][task] for pair in (a, b))
                value = measures.error_consistency(*answers)
                for seed in (one, other) if not math.isnan(value) else ():
                    errors.setdefault((seed, side, task), []).append(value)
    found = []
    for seed, pair in pairs.items():
        arm = pair.reading.arm
        if all((seed, side) in alike for side in SIDES):
            rho = measures.dissimilarity(
                cka(pair.grams["left"], pair.grams["right"]),
                *(mean(alike[seed, side]) for side in SIDES),
            )
            found.append(Index(arm, seed, None, "dissimilarity", "", "", rho))
        found += [
            Index(arm, seed, None, "error consistency", task, f"{side}-other seed", mean(values))
            for (number, side, task), values in errors.items()
            if number == seed
        ]
    return [index for index in found if index.value == index.value]  # not NaN
