"""Silence features of a network whose answers are known."""

import torch
from torch import nn

from analysis.networks import silence
from analysis.sections.lesions import accuracy, most_used, use


def test_silencing_nothing_changes_nothing_and_all_leaves_the_mean(some):
    features, mean = torch.randn(4, 6, generator=some), torch.arange(6.0)
    half = torch.tensor([True] * 3 + [False] * 3)
    order = torch.rand(6, generator=some)
    assert silence(features, mean, most_used(order, half, 0.0)).equal(features)
    silenced = silence(features, mean, most_used(order, half, 1.0))
    assert silenced[:, :3].equal(mean[:3].expand(4, 3))
    assert silenced[:, 3:].equal(features[:, 3:])


def test_a_network_that_ignores_one_half_loses_nothing_when_it_is_silenced(some):
    features, head = torch.randn(200, 8, generator=some), nn.Linear(8, 5)
    with torch.no_grad():
        head.weight[:, 4:] = 0
    labels = head(features).argmax(1)
    half = torch.arange(8) < 4
    mean = features.mean(0)
    assert accuracy(head(silence(features, mean, ~half)), labels) == 1
    assert accuracy(head(silence(features, mean, half)), labels) < 0.9


def test_the_most_used_features_fall_silent_first():
    half = torch.tensor([False, True, True, True, True])
    order = torch.tensor([9.0, 1.0, 4.0, 2.0, 3.0])
    assert most_used(order, half, 0.25).nonzero()[:, 0].tolist() == [2]
    assert most_used(order, half, 0.5).nonzero()[:, 0].tolist() == [2, 4]
    assert most_used(order, half, 1.0).nonzero()[:, 0].tolist() == [1, 2, 3, 4]


def test_use_counts_both_heads_alike_and_not_what_is_the_same_for_all_classes():
    first = torch.tensor([[1.0, 0.0, 5.0], [-1.0, 0.0, 5.0]])
    second = torch.tensor([[0.0, 100.0, 5.0], [0.0, -100.0, 5.0]])
    assert use([first, second], torch.ones(3)).tolist() == [1, 1, 0]
    # Of a constant feature nothing can be made.
    assert use([first], torch.tensor([0.0, 1.0, 1.0])).tolist() == [0, 0, 0]
