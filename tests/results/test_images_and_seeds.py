"""Answers image by image: bootstrap over images and seeds, who is ahead, McNemar, error consistency."""

from time import process_time

import numpy as np
import pytest
from scipy.stats import binomtest

from common.results.agreement import error_consistency, mcnemar, outperformance
from common.results.bootstrap import images_and_seeds, seeds_with_their_images


def answers(seeds=5, images=400, accuracy=0.8, seed=0):
    return np.random.default_rng(seed).random((seeds, images)) < accuracy


# Bootstrap


def test_the_bootstrap_is_that_of_drawn_rows_and_columns():
    """A second way: rows and columns of the table of differences are drawn one by one."""
    ours, theirs = answers(4, 60), answers(4, 60, 0.6, seed=1)
    rng = np.random.default_rng(1)
    difference = ours.astype(int) - theirs
    drawn = [
        difference[rng.integers(4, size=4)][:, rng.integers(60, size=60)].mean()
        for _ in range(10_000)
    ]
    found = images_and_seeds(ours, theirs, draws=10_000)
    assert found.mean == pytest.approx(ours.mean() - theirs.mean())
    assert found[1:] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.006)


def test_one_seed_leaves_the_sampling_of_images():
    ours, theirs = answers(1, 4000), answers(1, 4000, 0.7, seed=1)
    found = images_and_seeds(ours, theirs)
    difference = ours[0].astype(float) - theirs[0]
    half = 1.96 * difference.std() / 4000**0.5
    expected = (difference.mean() - half, difference.mean() + half)
    assert found[1:] == pytest.approx(expected, abs=0.1 * half)


def test_the_bootstrap_is_the_same_each_time_and_turns_with_the_sign():
    ours, theirs = answers(), answers(accuracy=0.75, seed=1)
    found = images_and_seeds(ours, theirs)
    assert found == images_and_seeds(ours, theirs)
    assert found != images_and_seeds(ours, theirs, seed=1)
    mean, low, high = images_and_seeds(theirs, ours)
    assert (mean, low, high) == pytest.approx(
        (-found.mean, -found.ci95_high, -found.ci95_low), abs=0.006
    )
    assert images_and_seeds(ours, ours) == (0, 0, 0)


def test_2000_draws_of_5_seeds_and_10000_images_take_a_fraction_of_a_second():
    ours, theirs = answers(5, 10_000), answers(5, 10_000, 0.7, seed=1)
    start = process_time()
    images_and_seeds(ours, theirs)
    assert process_time() - start < 2


@pytest.mark.parametrize("shape", [(5, 399), (4, 400), (5,)])
def test_tables_of_different_seeds_or_images_are_refused(shape):
    with pytest.raises(ValueError, match="seeds, images"):
        images_and_seeds(answers(), np.ones(shape, bool))


def test_images_of_each_seed_are_drawn_apart():
    """A second way: for each drawn seed, images are drawn one by one from its own."""
    sizes = (40, 60, 90, 50)
    ours = [answers(1, n, 0.9, seed=n)[0] for n in sizes]
    theirs = [answers(1, n, 0.6, seed=n + 1)[0] for n in sizes]
    rng = np.random.default_rng(1)
    differences = [a.astype(int) - b for a, b in zip(ours, theirs, strict=True)]
    drawn = []
    for _ in range(10_000):
        seeds = [differences[s] for s in rng.integers(4, size=4)]
        drawn.append(np.mean([one[rng.integers(len(one), size=len(one))].mean() for one in seeds]))
    found = seeds_with_their_images(ours, theirs, draws=10_000)
    assert found.mean == pytest.approx(np.mean([one.mean() for one in differences]))
    assert found[1:] == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=0.006)
    assert seeds_with_their_images(ours, ours) == (0, 0, 0)


# Who is ahead


@pytest.mark.parametrize("ahead", range(6))
def test_outperformance_is_a_share_with_its_exact_interval(ahead):
    ours = np.full(5, 0.5)
    theirs = ours + np.where(np.arange(5) < ahead, -0.1, 0.1)
    found = outperformance(ours, theirs)
    expected = binomtest(ahead, 5).proportion_ci(method="exact")
    assert found == pytest.approx((ahead / 5, expected.low, expected.high))


def test_equal_accuracies_count_one_half():
    assert outperformance(np.array([0.5, 0.6]), np.array([0.5, 0.6])).share == 0.5
    assert outperformance(np.array([0.5, 0.7]), np.array([0.5, 0.6])).share == 0.75


# Image by image


def test_mcnemar_is_a_binomial_test_of_the_images_that_only_one_gets_right():
    ours, theirs = answers(6), answers(6, accuracy=0.75, seed=1)
    expected = [
        binomtest(int((a & ~b).sum()), int((a ^ b).sum())).pvalue
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert mcnemar(ours, theirs) == pytest.approx(expected)
    assert mcnemar(theirs, ours) == pytest.approx(expected)
    assert mcnemar(ours, ours) == pytest.approx(np.ones(6))


def test_mcnemar_of_equal_networks_errs_in_at_most_5_per_cent():
    found = mcnemar(answers(4000, 300), answers(4000, 300, seed=1))
    assert 0.03 < (found < 0.05).mean() <= 0.06


def test_error_consistency_is_cohens_kappa():
    """Both right 40, only the first 20, only the second 10, neither 30 of 100: (0.7 - 0.5) / (1 - 0.5)."""
    ours = np.repeat([True, True, False, False], [40, 20, 10, 30])[None]
    theirs = np.repeat([True, False, True, False], [40, 20, 10, 30])[None]
    assert error_consistency(ours, theirs) == pytest.approx([0.4])


def test_error_consistency_at_its_ends():
    ours = answers(2, 50_000)
    assert error_consistency(ours, ours) == pytest.approx([1, 1])
    assert error_consistency(ours, answers(2, 50_000, seed=1)) == pytest.approx([0, 0], abs=0.02)
    assert error_consistency(ours, ~ours)[0] < 0
    nothing_to_say = np.ones((1, 5), bool)
    assert np.isnan(error_consistency(nothing_to_say, nothing_to_say)).all()
