"""The callosum: what flows where, by how much, with which sign; frozen hemispheres stay what they are."""

import numpy as np
import pytest
import torch
from torch import nn

from common.networks.backbones import build_backbone
from common.networks.callosum import Callosum
from common.networks.costs import costs, training_macs
from common.networks.crossings import KINDS, CallosumKeys
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet
from common.networks.resizing import resized
from common.system.errors import UserError
from common.training.optimisers import parameter_groups

CLASSES = {"fine": 6, "coarse": 3}
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = {"fine": torch.tensor([0, 1, 2, 3]), "coarse": torch.tensor([0, 1, 2, 0])}
# Who sends and who receives, as the names say, and not as the code does.
DIRECTIONS = {"left_to_right": ("left", "right"), "right_to_left": ("right", "left")}
WAYS = ("both", *DIRECTIONS)


def network(*, archs=("resnet9", "resnet9"), frozen=False, off=False, **keys) -> BilateralNet:
    torch.manual_seed(0)
    found = CallosumKeys(**{"kind": "add", **keys})
    left, right = (build_backbone(arch, width=0.125) for arch in archs)
    return BilateralNet(
        left=Hemisphere(left, freeze=frozen),
        right=Hemisphere(right, freeze=frozen),
        num_classes=CLASSES,
        dropout=0.0,
        callosum=None if off else (lambda sides: Callosum(sides, found)),
    ).eval()


def excited(net: BilateralNet) -> BilateralNet:
    """Crossings of weights that are far from zero, of the sign that they may have."""
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in net.callosum.parameters():
            weight.add_(torch.randn(weight.shape, generator=dice) / 8)
    net.constrain()
    return net


def step(net: BilateralNet, optimizer: torch.optim.Optimizer) -> None:
    """One step of training."""
    logits = net(IMAGES)
    loss = sum(nn.functional.cross_entropy(logits[level], LABELS[level]) for level in CLASSES)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    net.constrain()


def optimiser(net: BilateralNet, rate: float = 0.05) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameter_groups(net, lr=rate, plasticity={}))


def features(net: BilateralNet) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return net.split(net.features(IMAGES))


# ---------------------------------------------------------------- where training starts


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_starts_from_two_hemispheres_that_do_not_know_of_each_other(kind, way):
    apart = network(off=True)
    net = network(kind=kind, direction=way, at=["layer1", "layer3"])
    for level, logits in net(IMAGES).items():
        assert logits.equal(apart(IMAGES)[level])
    with net.callosum.severed("both"):
        assert net(IMAGES)["fine"].equal(apart(IMAGES)["fine"])
    assert {k: v for k, v in net.state_dict().items() if "callosum" not in k}.keys() == (
        apart.state_dict().keys()
    )


@pytest.mark.parametrize("arch", ["sparse_resnet9", "resnet18", "vgg11"])
def test_so_do_other_backbones_in_training_mode(arch):
    apart, net = (network(archs=(arch, arch), off=off).train() for off in (True, False))
    for one in (apart, net):
        torch.manual_seed(1)  # dropout within VGG
        one.found = one.outputs(IMAGES).features
    for side in DIRECTIONS["left_to_right"]:
        assert net.found[side].equal(apart.found[side])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [{}, {"rank": 2}, {"sign": "inhibitory", "rank": 2}])
def test_gradients_reach_its_weights_from_the_first_step(kind, keys):
    net = network(kind=kind, **keys)
    before = {name: p.clone() for name, p in net.callosum.named_parameters()}
    for _ in range(2 if keys else 1):
        step(net, optimiser(net))
    for name, parameter in net.callosum.named_parameters():
        assert not parameter.equal(before[name]), name


# ---------------------------------------------------------------- what flows where


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", DIRECTIONS)
def test_one_direction_reaches_one_hemisphere(kind, way):
    sender, receiver = DIRECTIONS[way]
    net = excited(network(kind=kind, direction=way))
    assert net.callosum.directions == (way,)
    assert [net.callosum.receives(side) for side in (sender, receiver)] == [False, True]
    apart, found = features(network(off=True)), features(net)
    assert found[sender].equal(apart[sender])
    assert not torch.allclose(found[receiver], apart[receiver], atol=1e-3)
    gradients = torch.autograd.grad(
        net.outputs(IMAGES).features[receiver].sum(),
        [*net.sides[sender].backbone.prep.parameters()],
    )
    assert any(one.abs().sum() > 0 for one in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_silences_one_direction_or_both(kind):
    net = excited(network(kind=kind))
    whole = features(net)
    for way, (sender, receiver) in DIRECTIONS.items():
        with net.callosum.severed(way):
            cut = features(net)
        # What the sender hears of the other one is as before, and so is what it has to say.
        assert cut[sender].equal(whole[sender])
        assert not cut[receiver].equal(whole[receiver])
    with net.callosum.severed("both"):
        cut = features(net)
    own = network(kind=kind)
    if kind == "concatenate":  # projections of the own maps stay
        for way in DIRECTIONS:
            for theirs, ours in zip(own.callosum.links[way], net.callosum.links[way], strict=True):
                theirs.own.load_state_dict(ours.own.state_dict())
    for side, one in features(own).items():
        assert torch.allclose(cut[side], one, atol=1e-5)
    assert features(net)["left"].equal(whole["left"])


@pytest.mark.parametrize("kind", ["add", "gate", "attend", "concatenate"])
def test_what_arrives_is_what_the_kind_says(kind):
    net = excited(network(kind=kind, at="layer1", width=0.5, direction="left_to_right"))
    (link,) = net.callosum.links["left_to_right"]
    dice = torch.Generator().manual_seed(2)
    own, other = (torch.randn(2, 16, 3, 3, generator=dice) for _ in range(2))
    with torch.no_grad():
        found = link(own, other).numpy()
    own, other = own.double().numpy(), other.double().numpy()
    weight = link.up.weight.detach().double().numpy()[:, :, 0, 0]
    assert weight.shape == (16, 8)  # the first half of the channels cross
    message = np.einsum("oc,bchw->bohw", weight, other[:, :8])
    means = other[:, :8].mean(axis=(2, 3))
    expected = {
        "add": lambda: own + message,
        "gate": lambda: own * (1 + np.tanh(message)),
        "attend": lambda: own * 2 / (1 + np.exp(-(means @ weight.T)))[:, :, None, None],
        "concatenate": lambda: (
            message
            + np.einsum("oc,bchw->bohw", link.own.weight.detach().double().numpy()[:, :, 0, 0], own)
        ),
    }[kind]()
    assert found == pytest.approx(expected, abs=1e-5)


def by_hand(net: BilateralNet, at: int, arrives: int) -> dict[str, torch.Tensor]:
    """The features where maps cross both ways after a stage of ResNet-9, and arrive at another, added."""
    stages = {side: [*one.backbone.stages().values()] for side, one in net.sides.items()}
    maps, made = dict.fromkeys(stages, IMAGES), {}
    for place in range(4):
        for side, own in stages.items():
            for module in own[place]:
                maps[side] = module(maps[side])
        if place == at:
            made = dict(maps)
        if place == arrives:
            for way, (sender, receiver) in DIRECTIONS.items():
                (link,) = net.callosum.links[way]
                weight = link.up.weight[:, :, 0, 0]
                sent = torch.einsum("oc,bchw->bohw", weight, made[sender])
                sent = nn.functional.adaptive_avg_pool2d(sent, maps[receiver].shape[2:])
                maps[receiver] = maps[receiver] + sent
    return {side: one.amax(dim=(2, 3)) for side, one in maps.items()}


@pytest.mark.parametrize(("at", "delay"), [(1, 0), (2, 0), (3, 0), (1, 1), (0, 3)])
@torch.no_grad()
def test_maps_cross_after_the_stage_and_arrive_as_many_stages_later(at, delay):
    net = excited(network(at=at + 1, delay=delay))
    expected, found = by_hand(net, at, at + delay), features(net)
    for side, one in expected.items():
        assert torch.allclose(found[side], one, rtol=1e-4, atol=1e-4)


def test_stages_are_named_numbered_or_paired():
    names = {"left": ["a", "b", "c"], "right": ["a", "b", "x", "y"]}

    def places(at):
        return CallosumKeys(at=at).places(names)

    assert places("b") == [{"left": 1, "right": 1}]
    assert places(-1) == places("c:y") == places(["c:-1"]) == [{"left": 2, "right": 3}]
    assert places([1, "b:y"]) == [{"left": 0, "right": 0}, {"left": 1, "right": 3}]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"at": "layer7"},
            r"at=layer7: the left hemisphere has no such stage; it has prep, layer1",
        ),
        ({"at": 0}, "no such stage"),
        ({"at": 5}, "no such stage"),
        ({"at": "--2"}, "at=--2: the left hemisphere has no such stage"),
        ({"at": []}, "names no stage"),
        ({"at": ["layer1", 2]}, "names a stage of the left hemisphere twice"),
        (
            {"at": -1, "delay": 1},
            "behind the last stage of the left hemisphere, layer3; allowed: at most 0, or an",
        ),
        (
            {"at": 1, "delay": 4},
            "last stage of the left hemisphere, layer3; allowed: at most 3, or an",
        ),
        ({"at": ["layer1:layer2", "layer2:layer1"]}, "wait for each other"),
    ],
)
def test_places_that_cannot_be_are_refused_in_one_sentence(keys, said):
    with pytest.raises(UserError, match=said):
        network(**keys)


# ---------------------------------------------------------------- other backbones


def test_other_sizes_are_averaged_over_cells_or_repeated():
    maps = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    for size in ((3, 5), (2, 2), (4, 7), (12, 10)):
        like = torch.empty(2, 1, *size)
        expected = nn.functional.adaptive_avg_pool2d(maps, size)
        assert torch.allclose(resized(maps, like.shape[2:]), expected, atol=1e-6)
    assert resized(maps, maps.shape[2:]) is maps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("archs", [("resnet9", "vgg11"), ("inverted_resnet9", "resnet18")])
def test_hemispheres_may_be_of_other_backbones_and_widths(kind, archs):
    net = excited(network(archs=archs, kind=kind, at=[2, -1]))
    apart, found = features(network(archs=archs, off=True)), features(net)
    for side in DIRECTIONS["left_to_right"]:
        assert found[side].shape == apart[side].shape
        assert not found[side].equal(apart[side])


# ---------------------------------------------------------------- signs, width, rank


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("kind", ["add", "gate", "attend"])
def test_a_sign_is_held_and_says_which_way_maps_go(kind, rank):
    plain = features(network(off=True))
    for sign, way in (("excitatory", 1), ("inhibitory", -1)):
        net = network(kind=kind, sign=sign, at="layer3", rank=rank)
        optimizer = optimiser(net, rate=1e-3)
        moved = False
        for _ in range(4):
            step(net, optimizer)
            for name, weight in net.callosum.named_parameters():
                allowed = weight >= 0 if way > 0 or "down" in name else weight <= 0
                assert allowed.all()
                moved |= "up" in name and bool((weight != 0).any())
        assert moved
        net = excited(network(kind=kind, sign=sign, at="layer3", rank=rank))
        for side, one in features(net).items():  # maps after a ReLU are not negative
            assert (way * (one - plain[side]) >= -1e-5).all()
            assert (way * (one - plain[side]) > 1e-3).any()


def test_a_weight_of_the_wrong_sign_stops_at_zero_and_may_come_back():
    net = network(sign="excitatory")
    (link,) = net.callosum.links["left_to_right"]
    with torch.no_grad():
        link.up.weight.fill_(-1.0)
    net.constrain()
    assert link.up.weight.eq(0).all()
    net(IMAGES)["fine"].sum().backward()
    assert link.up.weight.grad.abs().sum() > 0


def test_free_weights_take_both_signs():
    net = network()
    step(net, optimiser(net))
    (link,) = net.callosum.links["left_to_right"]
    assert link.up.weight.min() < 0 < link.up.weight.max()


def test_width_and_rank_say_how_many_weights_there_are():
    def count(**keys) -> int:
        return sum(p.numel() for p in network(at="layer1", **keys).callosum.parameters())

    # layer1 of ResNet-9 at an eighth of its width: 16 channels.
    assert count() == 2 * 16 * 16
    assert count(width=0.25) == 2 * 4 * 16
    assert count(rank=3) == 2 * 3 * (16 + 16)
    assert count(kind="concatenate", direction="left_to_right") == 2 * 16 * 16


# ---------------------------------------------------------------- frozen hemispheres


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_hemispheres_stay_bit_for_bit_while_gradients_pass_through_them(kind):
    net = network(kind=kind, frozen=True, at="layer1").train()
    assert not net.features_are_fixed
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = optimiser(net)
    for _ in range(3):
        step(net, optimizer)
    changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    # The maps cross early: what reaches these weights came through three frozen stages.
    assert {name.split(".")[0] for name in changed} == {"callosum", "heads"}
    assert changed >= {name for name in before if name.startswith("callosum.")}
    assert all(p.grad is None for one in net.sides.values() for p in one.parameters())
    assert not any(one.backbone.training for one in net.sides.values())


def test_frozen_hemispheres_answer_otherwise_once_something_crosses():
    net = network(frozen=True).train()
    apart = features(net)
    step(net, optimiser(net))
    assert not features(net)["left"].equal(apart["left"])


# ---------------------------------------------------------------- costs


def test_its_parameters_and_operations_count():
    size = (32, 32)
    plain, net = network(off=True), network(at="layer1")
    more = {name: value - costs(plain, size)[name] for name, value in costs(net, size).items()}
    assert more["parameters"] == more["trained_parameters"] == 2 * 16 * 16
    assert more["macs"] == 2 * 16 * 16 * 16 * 16  # 16 x 16 pixels


def test_training_counts_what_passes_through_frozen_hemispheres():
    size = (32, 32)
    for way, passes in (("both", 2 + 2), ("left_to_right", 1 + 2)):
        net = network(frozen=True, direction=way)
        hemisphere = costs(net.sides["left"], size)["macs"]
        learning = costs(net, size)["macs"] - 2 * hemisphere
        found = training_macs(net, size, images=10, distinct=4)
        assert found == 10 * (3 * learning + passes * hemisphere)
