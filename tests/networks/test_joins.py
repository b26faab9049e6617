"""Joins: what heads see of the hemispheres, for every row of the table and for joins that a student may add."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from common.networks.backbones import build_backbone
from common.networks.join import Concatenate, Join
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.training.optimisers import parameter_groups

CLASSES = {"fine": 6, "coarse": 3}
IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Mean(Join):
    """The mean of features of equal number."""

    def __init__(self, num_features):
        super().__init__(num_features)
        (self.num_features,) = set(num_features.values())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return torch.stack([*features.values()]).mean(dim=0)


class Gate(Join):
    """Weights of each image, from all its features, that add up to 1 over the hemispheres."""

    def __init__(self, num_features):
        super().__init__(num_features)
        (self.num_features,) = set(num_features.values())
        self.gate = nn.Linear(sum(num_features.values()), len(num_features))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        weights = self.gate(torch.cat([*features.values()], dim=1)).softmax(dim=1)
        return (torch.stack([*features.values()], dim=1) * weights.unsqueeze(2)).sum(dim=1)


def network(join=Concatenate, **freeze) -> BilateralNet:
    torch.manual_seed(0)
    return BilateralNet(
        left_backbone=build_backbone("resnet9", width=0.125),
        right_backbone=build_backbone("resnet9", width=0.125),
        num_classes=CLASSES,
        dropout=0.0,
        join=join,
        **{"freeze_left": True, "freeze_right": True, **freeze},
    ).eval()


ROWS = {name: row.load() for name, row in JOINS.items()}


@pytest.mark.parametrize("join", [*ROWS.values(), Mean, Gate])
def test_heads_see_what_the_join_makes_of_features_that_stay_as_they_are(join):
    net, plain = network(join), network()
    features = net.features(IMAGES)
    # Side by side, whatever the join: this is what is kept of frozen hemispheres.
    assert features.equal(plain.features(IMAGES))
    assert net.num_features == 128
    parts = net.split(features)
    assert list(parts) == list(net.sides) == ["left", "right"]
    for side, part in parts.items():
        assert part.equal(net.sides[side](IMAGES))
    joined = net.join(parts)
    assert joined.shape == (5, net.join.num_features)
    for level, logits in net.classify(features).items():
        assert logits.equal(net.heads[level](joined))
        assert logits.equal(net(IMAGES)[level])
    outputs = net.outputs(IMAGES)
    assert torch.cat([*outputs.features.values()], dim=1).equal(features)


def test_concatenation_adds_nothing_to_a_checkpoint_and_a_gate_its_parameters():
    plain, gated = (set(network(join).state_dict()) for join in (Concatenate, Gate))
    assert {name.split(".")[0] for name in plain} == {"hemispheres", "heads"}
    assert gated - plain == {"join.gate.weight", "join.gate.bias"}
    assert plain <= gated


def test_a_join_learns_at_the_rate_of_the_heads_and_leaves_frozen_features_fixed():
    net = network(Gate)
    assert net.features_are_fixed
    assert not network(Gate, freeze_right=False).features_are_fixed
    (group,) = parameter_groups(net, lr=0.5, plasticity={"left": 3.0, "right": 3.0})
    ids = {id(p) for p in group["params"]}
    assert {id(p) for p in net.join.parameters()} <= ids
    assert group["lr"] == 0.5
    net.classify(net.features(IMAGES))["fine"].sum().backward()
    assert all(p.grad is not None for p in net.join.parameters())


def test_an_ensemble_splits_and_classifies_as_its_members_do():
    make = partial(UnilateralNet, num_classes=CLASSES, dropout=0.0)
    members = [make(backbone=build_backbone("resnet9", width=w)) for w in (0.125, 0.25)]
    ensemble = EnsembleNet(networks=members)
    features = ensemble.features(IMAGES)
    parts = ensemble.split(features)
    assert {side: part.shape for side, part in parts.items()} == {
        "member0.left": (5, 64),
        "member1.left": (5, 128),
    }
    for level, logits in ensemble.classify(features).items():
        assert logits.equal(ensemble(IMAGES)[level])
    assert ensemble.part("member1.left") == (members[1], "left")
