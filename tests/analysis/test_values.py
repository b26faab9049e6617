"""Numbers of the analyses over seeds: means, intervals, bounds."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats

from analysis.section import listed
from analysis.study import FinishedStage, FinishedStudy
from analysis.values import CORRELATION, SHARE, Bounds, ByImage, Values
from common.results.intervals import estimate, student


def test_networks_that_seeds_have_in_common_are_known():
    def study(*made_of: list[int]) -> FinishedStudy:
        stages = [
            FinishedStage("bilateral", number, Path(), {"seeds": seeds})
            for number, seeds in enumerate(made_of)
        ]
        return FinishedStudy(Path(), stages)

    for made_of, overlap in (
        (([0], [1]), False),
        (([0, 5], [1, 6]), False),
        (([0], [1, 0]), True),
    ):
        values = Values()
        values.networks |= study(*made_of).networks("bilateral")
        assert values.overlap() == overlap
        assert [[*map(int, one)] for one in values.networks.values()] == [*made_of]
    earlier = [FinishedStage("bilateral", number, Path(), {}) for number in range(2)]
    assert FinishedStudy(Path(), earlier).networks("bilateral") == {0: {"0": 1}, 1: {"1": 1}}


def test_values_have_an_interval_over_seeds_and_none_of_one_seed():
    values = Values()
    for seed, number in enumerate((0.5, 0.7, 0.6)):
        values.add("accuracy", number, level="fine", seed=seed)
    values.add("accuracy", 0.5, level="coarse", seed=0)
    values.add("accuracy", math.nan, level="coarse", seed=1)
    fine, coarse = values.get("accuracy", "fine"), values.get("accuracy", "coarse")
    assert (fine.seeds, fine.mean) == (3, pytest.approx(0.6))
    assert (fine.ci95_low, fine.ci95_high) == student(estimate([0.5, 0.7, 0.6]))
    assert (coarse.seeds, coarse.mean, coarse.ci95_low) == (1, 0.5, None)
    assert values.get("accuracy", "both") is None
    assert [*values] == [fine, coarse]


def test_networks_in_common_make_an_interval_wider_or_none():
    values = Values()
    ring = [{"0": 1, "1": 1}, {"1": 1, "2": 1}, {"2": 1, "0": 1}]
    for seed in range(3):
        values.add("gain", seed, seed=seed, side="own")
        values.add("gain", seed, seed=seed, side="ring", made_of=ring[seed])
        values.add("gain", seed, seed=seed, side="same", made_of={"0": 1})
    own, shared, same = (values.get("gain", "", side) for side in ("own", "ring", "same"))
    assert own.mean == shared.mean == same.mean == 1
    assert (own.approximate, shared.approximate, same.approximate) == (False, True, None)
    # The widening of a ring of three: sqrt(2 / (1 - 1 / 2)).
    assert shared.ci95_high - 1 == pytest.approx(2 * (own.ci95_high - 1))
    assert same.ci95_low is None
    assert own.ci95_high > 1  # a difference is not bounded
    values.independent = False
    assert values.get("gain", "", "own").ci95_low is None


@pytest.mark.parametrize(
    ("within", "numbers"),
    [
        (SHARE, (0.99, 1.0, 1.0)),
        (SHARE, (0.0, 0.004, 0.0)),
        (CORRELATION, (-1.0, -0.9, -0.99)),
        (Bounds(0, 2), (1.9, 2, 1.7)),
    ],
)
def test_no_interval_leaves_what_a_quantity_can_be(within, numbers):
    values = Values()
    for seed, number in enumerate(numbers):
        values.add("it", number, seed=seed, within=within)
    found = values.get("it")
    low, high = within
    scaled = (np.mean(numbers) - low) / (high - low)
    half = stats.t.ppf(0.975, 2) * np.std(numbers, ddof=1) / math.sqrt(3) / (high - low)
    ends = special.logit(scaled) + half / (scaled * (1 - scaled)) * np.array([-1, 1])
    expected = low + (high - low) * special.expit(ends)
    assert (found.ci95_low, found.ci95_high) == pytest.approx(expected)
    assert low <= found.ci95_low < found.mean < found.ci95_high <= high


def test_a_number_that_cannot_be_is_refused_and_rounding_is_not():
    values = Values()
    for number in (1.01, -0.01, math.inf):
        with pytest.raises(ValueError, match="lesions"):
            values.add("lesions", number, seed=0, within=SHARE)
    values.add("lesions", 1 + 1e-7, seed=0, within=SHARE)
    assert values.get("lesions").mean == 1


def test_a_sentence_names_some_and_counts_the_rest():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c", "d"]) == "a; b; c; d"
    assert listed(["a", "b", "c", "d", "e", "f"]) == "a; b; c; d; and 2 more"


def scored(values: Values, seed: int, images: object, *parts: list[float]) -> None:
    """Add a number that is the sum of means over images."""
    tensors = tuple(torch.tensor(part, dtype=torch.float64) for part in parts)
    number = sum(float(part.mean()) for part in tensors)
    values.add("asymmetry", number, seed=seed, by_image=ByImage(images, tensors))


def test_an_interval_that_counts_the_images_adds_their_variance_to_that_of_the_seeds():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.2, 0.3, (5, 8)), rng.normal(0.0, 0.3, (5, 50))
    values, images = Values(), object()
    for seed in range(5):
        scored(values, seed, images, few[seed].tolist(), many[seed].tolist())
    found = values.get("asymmetry")
    numbers = few.mean(axis=1) + many.mean(axis=1)
    variances = [one.mean(axis=0).var(ddof=1) / one.shape[1] for one in (few, many)]
    variances.append(numbers.var(ddof=1) / 5)
    freedom = sum(variances) ** 2 / sum(
        v**2 / f for v, f in zip(variances, (7, 49, 4), strict=True)
    )
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    assert found.mean == pytest.approx(numbers.mean())
    assert (found.ci95_low, found.ci95_high) == pytest.approx(
        (numbers.mean() - half, numbers.mean() + half)
    )


def test_images_of_each_seeds_own_are_counted_by_the_spread_over_seeds():
    values = Values()
    for seed in range(3):
        scored(values, seed, object(), [0.1 * seed, 0.5])
    found, numbers = values.get("asymmetry"), [0.05 * seed + 0.25 for seed in range(3)]
    assert (found.ci95_low, found.ci95_high) == pytest.approx(student(estimate(numbers)))


def test_one_image_alone_tells_nothing_of_others():
    values, images = Values(), object()
    for seed in range(3):
        scored(values, seed, images, [0.1 * seed], [0.2, 0.3])
    assert values.get("asymmetry").ci95_low is None
