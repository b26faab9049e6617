"""Joins: what heads see of the hemispheres, for every row of the table and for one that a student may add."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from analysis.networks import without
from common.networks.attention import Attention
from common.networks.backbones import build_backbone
from common.networks.gate import Gate
from common.networks.hemisphere import Hemisphere
from common.networks.join import Concatenate, Join, Mean, Product
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.networks.winner import Winner
from common.system.errors import UserError
from common.training.optimisers import parameter_groups
from common.training.predictions import answers_alone

CLASSES = {"fine": 6, "coarse": 3}
IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Difference(Join):
    """What a student may add: the left features minus the right ones."""

    def __init__(self, num_features):
        super().__init__(num_features)
        (self.num_features,) = set(num_features.values())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        first, *others = features.values()
        return first - sum(others)


def network(join=Concatenate, right_width=0.125, freeze_right=True) -> BilateralNet:
    torch.manual_seed(0)
    return BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        right=Hemisphere(build_backbone("resnet9", width=right_width), freeze=freeze_right),
        num_classes=CLASSES,
        dropout=0.0,
        join=join,
        auxiliary=True,
    ).eval()


def excited(net: BilateralNet) -> BilateralNet:
    """Weights that are far from where training starts, so that nothing is equal by chance."""
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part, scale in ((net.join, 0.02), (net.heads, 0.25), (net.auxiliary, 0.25)):
            for parameter in part.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=dice) * scale)
    return net


ROWS = {name: row.load() for name, row in JOINS.items()}


@pytest.mark.parametrize("join", [*ROWS.values(), Difference])
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
    net.join.train()  # a join may let other heads answer in evaluation
    for level, logits in net.classify(features).items():
        assert logits.equal(net.heads[level](joined))
        assert logits.equal(net(IMAGES)[level])
    outputs = net.outputs(IMAGES)
    assert torch.cat([*outputs.features.values()], dim=1).equal(features)


@pytest.mark.parametrize("join", ROWS.values())
def test_a_join_of_one_hemisphere_takes_it(join):
    backbone = build_backbone("resnet9", width=0.125)
    net = UnilateralNet(
        hemisphere=Hemisphere(backbone),
        num_classes=CLASSES,
        dropout=0.0,
        join=join,
        auxiliary=True,
    ).eval()
    assert {level: one.shape for level, one in net(IMAGES).items()} == {
        "fine": (5, 6),
        "coarse": (5, 3),
    }


def two(left: list, right: list) -> dict[str, Tensor]:
    return {"left": torch.tensor(left), "right": torch.tensor(right)}


def test_the_mean_and_the_product_are_those_of_each_feature():
    features = two([[1.0, 2.0], [0.0, 5.0]], [[3.0, -2.0], [7.0, 1.0]])
    widths = {"left": 2, "right": 2}
    assert Mean(widths)(features).tolist() == [[2.0, 0.0], [3.5, 3.0]]
    assert Product(widths)(features).tolist() == [[3.0, -4.0], [0.0, 5.0]]


@pytest.mark.parametrize("join", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("training", [True, False])
def test_neither_a_join_nor_its_gradient_waits_for_the_device(join, training):
    """As a stand-in for tensors would not show: torch computes some gradients otherwise for these."""
    net = excited(network(join)).train(training)
    features = torch.randn(5, net.num_features).relu().requires_grad_()
    with profile(activities=[ProfilerActivity.CPU]) as noted:
        torch.cat([*net.classify(features).values()], dim=1).sum().backward()
    names = {one.key for one in noted.key_averages()}
    assert "aten::linear" in names
    assert "aten::item" not in names


@pytest.mark.parametrize("name", ["mean", "product"])
def test_hemispheres_of_other_widths_are_refused_in_one_sentence(name):
    with pytest.raises(UserError, match=rf"join={name} .* left has 64 and right has 128"):
        network(ROWS[name], right_width=0.25)


@pytest.mark.parametrize("name", ["concatenate", "gate", "attention", "winner"])
def test_other_joins_take_hemispheres_of_any_widths(name):
    assert network(ROWS[name], right_width=0.25)(IMAGES)["fine"].shape == (5, 6)


def test_a_gate_is_a_mixture_of_two_heads():
    net = excited(network(Gate))
    features = net.features(IMAGES)
    left, right = (one.numpy().astype(float) for one in net.split(features).values())
    weight, bias = (p.detach().numpy().astype(float) for p in net.join.gate.parameters())
    raw = np.exp(np.hstack([left, right]) @ weight.T + bias)
    shares = raw / raw.sum(1, keepdims=True)
    assert np.ptp(shares[:, 0]) > 1e-3  # another one for each image
    for level, logits in net.classify(features).items():
        assert net.choices(features)[level].detach().numpy() == pytest.approx(shares, abs=1e-5)
        head, constant = (
            p.detach().numpy().astype(float) for p in net.heads[level].linear.parameters()
        )
        experts = left @ head[:, :64].T, right @ head[:, 64:].T
        expected = sum(shares[:, [i]] * one for i, one in enumerate(experts)) + constant
        assert logits.detach().numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_gate_starts_from_equal_weights():
    net = network(Gate)
    assert net.choices(net.features(IMAGES))["fine"].equal(torch.full((5, 2), 0.5))


def test_attention_is_that_of_pytorch():
    torch.manual_seed(0)
    join, theirs = (
        Attention({"left": 3, "right": 4}),
        nn.MultiheadAttention(4, 1, batch_first=True),
    )
    features = {"left": torch.randn(6, 3), "right": torch.randn(6, 4)}
    with torch.no_grad():
        layers = (join.query, join.key, join.value)
        theirs.in_proj_weight.copy_(torch.cat([one.weight for one in layers]))
        theirs.in_proj_bias.copy_(torch.cat([one.bias for one in layers]))
        theirs.out_proj.weight.copy_(torch.eye(4))
        theirs.out_proj.bias.zero_()
        tokens = torch.stack([join.tokens[side](features[side]) for side in features], dim=1)
        expected, shares = theirs(tokens, tokens, tokens)
        assert torch.allclose(join(features), expected.mean(1), atol=1e-6)
        assert torch.allclose(join.shares(features), shares.mean(1), atol=1e-6)
    assert join.num_features == 4


def test_the_winner_is_the_more_confident_hemisphere_of_each_image_and_level():
    net = excited(network(Winner))
    features = net.features(IMAGES)
    parts, found, chosen = net.split(features), net.classify(features), net.choices(features)
    won = set()
    for level in CLASSES:
        own = {side: net.auxiliary[name][level] for side, name in NAMES.items()}
        said = {side: head(parts[side]) for side, head in own.items()}
        for image in range(len(IMAGES)):
            sure = {side: one[image].softmax(0).max().item() for side, one in said.items()}
            winner = max(sure, key=lambda side: sure[side])
            won.add(winner)
            assert found[level][image].equal(said[winner][image])
            assert chosen[level][image].tolist() == [float(side == winner) for side in NAMES]
    assert won == {"left", "right"}
    net.train()  # then it is concatenation, with the other heads beside it
    plain = net.heads["fine"](torch.cat([*parts.values()], dim=1))
    assert net.classify(features)["fine"].equal(plain)
    assert set(net.outputs(IMAGES).auxiliary) == {"left", "right"}


NAMES = {"left": "fine", "right": "coarse"}


@pytest.mark.parametrize("silent", ["left", "right"])
def test_where_the_surer_hemisphere_answers_a_silent_one_never_does(silent):
    net = excited(network(Winner))
    parts = net.split(net.features(IMAGES))
    (other,) = NAMES.keys() - {silent}
    features = without(silent, parts, parts, net.join)
    said = net.classify(features)
    alone = answers_alone(net, parts, {side: one.mean(0) for side, one in parts.items()}, other)
    for level in CLASSES:
        own = net.auxiliary[NAMES[other]][level](parts[other])
        assert said[level].equal(own)
        assert alone[level].equal(own.argmax(1))


@pytest.mark.parametrize("join", [Concatenate, Product])
def test_elsewhere_a_silent_hemisphere_is_at_its_mean(join):
    net = excited(network(join))
    parts = net.split(net.features(IMAGES))
    held = net.split(without("left", parts, parts, net.join))
    assert held["right"].equal(parts["right"])
    assert held["left"].equal(parts["left"].mean(0).expand_as(parts["left"]))


def test_a_winner_without_heads_of_its_own_is_refused():
    with pytest.raises(UserError, match=r"hparams\.auxiliary=1"):
        UnilateralNet(
            hemisphere=Hemisphere(build_backbone("resnet9", width=0.125)),
            num_classes=CLASSES,
            dropout=0.0,
            join=Winner,
        )


@pytest.mark.parametrize("join", [Concatenate, Mean, Gate, Attention, Difference])
def test_parts_of_hemispheres_add_up_to_what_heads_see(join):
    net = excited(network(join))
    parts = net.split(net.features(IMAGES))
    found = net.join.parts(parts)
    assert list(found) == ["left", "right"]
    nothing = net.join({side: torch.zeros_like(one) for side, one in parts.items()})
    # Zeros have weights of their own; where hemispheres are weighed, parts leave nothing over.
    rest = 0 if net.choices(net.features(IMAGES)) else nothing
    assert torch.allclose(sum(found.values()) + rest, net.join(parts), atol=1e-4)


@pytest.mark.parametrize("join", [Product, Winner])
def test_where_there_is_no_sum_over_hemispheres_there_are_no_parts(join):
    net = excited(network(join))
    assert net.join.parts(net.split(net.features(IMAGES))) is None


@pytest.mark.parametrize("join", [Concatenate, Mean, Product, Difference])
def test_a_join_that_weighs_all_images_alike_chooses_nothing(join):
    net = network(join)
    assert net.choices(net.features(IMAGES)) is None


def test_concatenation_adds_nothing_to_a_checkpoint_and_a_gate_its_parameters():
    plain, gated = (set(network(join).state_dict()) for join in (Concatenate, Gate))
    assert {name.split(".")[0] for name in plain} == {"hemispheres", "heads", "auxiliary"}
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
    members = [
        make(hemisphere=Hemisphere(build_backbone("resnet9", width=w))) for w in (0.125, 0.25)
    ]
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
