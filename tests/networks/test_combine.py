"""Two trained networks that answer together, by hand and in numpy."""

import numpy as np
import pytest
import torch
from pretended_gpu import GPU, PretendedGpu
from scipy.special import log_softmax, softmax

from common.networks.combine import MeanOfNetworks, MeanOfSpecialists, ProductOfSpecialists
from common.system.errors import UserError

TREE = [0, 1, 0, 1, 1]  # the coarse class of each fine one


def logits() -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    fine = torch.randn(7, 5, generator=random)
    coarse = torch.randn(7, 2, generator=random)
    return [{"fine": fine}, {"coarse": coarse}]


def test_a_product_by_hand():
    """Left: 0.5, 0.3, 0.2 of the fine classes 0, 1, 2; right: 0.1, 0.9. Fine 0 lies in 0, fine 1 and 2 in 1."""
    left, right = torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.1, 0.9]]).log()
    found = ProductOfSpecialists([0, 1, 1], 2)([{"fine": left}, {"coarse": right}])
    total = 0.05 + 0.27 + 0.18
    torch.testing.assert_close(found["fine"].exp(), torch.tensor([[0.05, 0.27, 0.18]]) / total)
    torch.testing.assert_close(found["coarse"].exp(), torch.tensor([[0.05, 0.45]]) / total)


def test_a_product_and_a_mean_of_specialists_in_numpy():
    both = logits()
    fine = softmax(both[0]["fine"].numpy(), axis=1)
    right = softmax(both[1]["coarse"].numpy(), axis=1)
    summed = np.stack([fine[:, [0, 2]].sum(axis=1), fine[:, [1, 3, 4]].sum(axis=1)], axis=1)
    product = ProductOfSpecialists(TREE, 2)(both)
    raw = fine * right[:, TREE]
    np.testing.assert_allclose(product["fine"].exp(), raw / raw.sum(1, keepdims=True), rtol=1e-5)
    raw = summed * right
    np.testing.assert_allclose(product["coarse"].exp(), raw / raw.sum(1, keepdims=True), rtol=1e-5)
    mean = MeanOfSpecialists(TREE, 2)(both)
    np.testing.assert_allclose(mean["fine"], log_softmax(both[0]["fine"], axis=1), rtol=1e-5)
    np.testing.assert_allclose(mean["coarse"].exp(), (summed + right) / 2, rtol=1e-5)


def test_the_order_of_specialists_does_not_matter():
    both = logits()
    for combine in (ProductOfSpecialists(TREE, 2), MeanOfSpecialists(TREE, 2)):
        one, other = combine(both), combine(both[::-1])
        assert all(one[level].equal(other[level]) for level in one)


def test_probabilities_that_are_nearly_nothing_stay_numbers():
    left, right = torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]])
    found = ProductOfSpecialists([0, 1], 2)([{"fine": left}, {"coarse": right}])
    assert all(bool(torch.isfinite(one).all()) for one in found.values())


def test_a_mean_is_of_probabilities():
    ones = [{"fine": torch.tensor([[0.9, 0.1]]).log()}, {"fine": torch.tensor([[0.5, 0.5]]).log()}]
    torch.testing.assert_close(MeanOfNetworks()(ones)["fine"].exp(), torch.tensor([[0.7, 0.3]]))


@pytest.mark.parametrize("kind", [ProductOfSpecialists, MeanOfSpecialists])
def test_specialists_without_a_known_tree_are_refused(kind):
    with pytest.raises(UserError, match="needs the coarse class of each fine class"):
        kind([], 2)


@pytest.mark.parametrize("kind", [ProductOfSpecialists, MeanOfSpecialists])
def test_answers_on_the_cpu_are_combined_by_a_network_on_a_gpu(kind):
    """As analyses do: they classify on the GPU and collect on the CPU."""
    expected = kind(TREE, 2)(logits())
    with PretendedGpu():
        found = kind(TREE, 2).to(GPU)(logits())
    torch.testing.assert_close(found, expected)
