"""What heads take from a hemisphere: contributions, shares of evidence and margin, and what is shown by them."""

import math

import pytest
import torch

from analysis.section import Findings
from analysis.sections.contributions import (
    class_means,
    contribution,
    evidence,
    margin,
    share,
    strongest_other,
)
from analysis.sections.reliance import which_is_shown


def test_contributions_and_the_constant_sum_to_the_logits(some):
    features, weight, bias = (torch.randn(*s, generator=some) for s in ((9, 5), (4, 5), (4,)))
    mean = torch.randn(5, generator=some)
    left = contribution(features[:, :2], weight[:, :2], mean[:2])
    right = contribution(features[:, 2:], weight[:, 2:], mean[2:])
    logits = features @ weight.T + bias
    assert torch.allclose(bias + weight @ mean + left + right, logits, atol=1e-5)


def test_a_head_that_ignores_a_half_takes_no_evidence_from_it(some):
    features = torch.randn(50, 6, generator=some)
    weight = torch.randn(3, 6, generator=some)
    weight[:, 3:] = 0
    labels = (features @ weight.T).argmax(1)
    halves = [
        evidence(contribution(features[:, part], weight[:, part], torch.zeros(3)), labels)
        for part in (slice(0, 3), slice(3, 6))
    ]
    assert halves[1].abs().max() == 0
    assert share(*halves) == 1
    assert share(*reversed(halves)) == 0


def test_what_is_added_to_all_logits_alike_is_no_evidence(some):
    terms, labels = torch.randn(8, 3, generator=some), torch.arange(8) % 3
    assert torch.allclose(evidence(terms, labels), evidence(terms + 7, labels), atol=1e-5)


def test_class_means_of_a_class_without_images_are_no_number():
    means = class_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3)
    assert means[[0, 2]].tolist() == [2, 5]
    assert means[1].isnan()


@pytest.mark.parametrize(("classes", "same"), [([0, 1, 2], True), ([0, 0, 2], False)])
def test_the_share_depends_on_the_mean_only_where_classes_differ_in_size(some, classes, same):
    features, weight = (torch.randn(*s, generator=some).double() for s in ((60, 6), (3, 6)))
    labels = torch.tensor(classes).repeat(20)
    features += 3 * weight[labels]  # so that both halves speak for the correct class
    halves = (slice(0, 3), slice(3, 6))

    def left(mean: torch.Tensor) -> float:
        return share(
            *(evidence(contribution(features[:, h], weight[:, h], mean[h]), labels) for h in halves)
        )

    means = torch.randn(2, 6, generator=some).double()
    assert (left(means[0]) == pytest.approx(left(means[1]), rel=1e-9)) == same


def test_the_margin_is_against_the_strongest_other_class():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 5.0, 6.0]])
    labels = torch.tensor([0, 1, 2])
    rivals = strongest_other(logits, labels)
    assert rivals.tolist() == [2, 0, 1]
    assert margin(logits, labels, rivals).tolist() == [1, -2, 1]


def test_halves_and_a_constant_add_up_to_the_margin(some):
    features, weight, bias = (torch.randn(*s, generator=some) for s in ((9, 6), (4, 6), (4,)))
    mean, labels = features.mean(0), torch.arange(9) % 4
    logits = features @ weight.T + bias
    rivals = strongest_other(logits, labels)
    halves = [
        margin(contribution(features[:, h], weight[:, h], mean[h]), labels, rivals)
        for h in (slice(0, 3), slice(3, 6))
    ]
    constant = (bias + weight @ mean)[labels] - (bias + weight @ mean)[rivals]
    whole = logits[torch.arange(9), labels] - logits[torch.arange(9), rivals]
    assert torch.allclose(sum(halves) + constant, whole, atol=1e-5)


def test_there_is_no_share_where_a_half_favours_other_classes():
    assert share(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0])) == 1
    assert share(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0])) == 0.75
    for left, right in ((-3.0, 1.0), (1.0, -3.0), (3.0, -1.0), (-1.0, 3.0), (-1.0, -1.0), (0, 0)):
        assert math.isnan(share(torch.tensor([left]), torch.tensor([right])))


def relied_on(seeds: int, spread: float) -> Findings:
    """A head that takes most from the right hemisphere in the mean over seeds, these so far apart."""
    found = Findings()
    for seed in range(seeds):
        by_seed = spread * (seed - (seeds - 1) / 2)
        for of, left in (("share of evidence", 0.4), ("share of margin", 0.3)):
            for side, part in (("left", left + by_seed), ("right", 1 - left - by_seed)):
                found.values.add(of, part, level="coarse", side=side, seed=seed)
        for side, lost in (("left", 0.05 + by_seed), ("right", 0.01)):
            found.values.add(
                "accuracy lost when silenced", lost, level="coarse", side=side, seed=seed
            )
        more = 0.04 + by_seed
        found.values.add(
            "accuracy lost when silenced, left minus right", more, level="coarse", seed=seed
        )
    return found


@pytest.mark.parametrize(
    ("seeds", "spread", "shown"),
    [
        (
            3,
            0.01,
            "the right one by the evidence, the right one by the margin, the left one by silencing",
        ),
        (3, 0.05, "not shown by the evidence, the right one by the margin, not shown by silencing"),
        (3, 0.2, "not shown by the evidence, not shown by the margin, not shown by silencing"),
        (2, 0.01, "not shown by the evidence, not shown by the margin, not shown by silencing"),
    ],
)
def test_a_hemisphere_matters_more_where_the_interval_shows_it(seeds, spread, shown):
    """Whatever the means are: they are the same in each case."""
    assert [*which_is_shown(relied_on(seeds, spread))] == [
        f"The hemisphere that matters more for the coarse head is {shown}. The left one gives 40 % of the evidence and "
        "30 % of the margin. Silencing the left one costs 5.0 points, silencing the right one 1.0."
    ]


def test_shares_of_some_seeds_alone_show_nothing():
    """They are the seeds in which neither hemisphere speaks against the answer, chosen by what came out."""
    found = relied_on(3, 0.01)
    for of in ("accuracy lost when silenced", "accuracy lost when silenced, left minus right"):
        for side in ("left", "right") if of.endswith("silenced") else ("",):
            found.values.add(of, 0.04, level="coarse", side=side, seed=3)
    (said,) = which_is_shown(found)
    assert (
        "is not shown by the evidence, not shown by the margin, the left one by silencing" in said
    )
    assert "40 % of the evidence in 3 of 4 seeds" in said
