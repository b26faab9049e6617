"""The section on the callosum, on a small network whose accuracies are computed a second way."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from analysis.networks import FeatureCache, features_of
from analysis.section import Findings
from analysis.sections.callosum import (
    INTACT,
    LOST,
    OF,
    OF_CLASS,
    PARAMETERS,
    SILENCED,
    CallosumCut,
)
from analysis.seed import FeatureSet
from common.networks.backbones import build_backbone
from common.networks.callosum import Callosum
from common.networks.crossings import CallosumKeys
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet
from study.arms import plain_name

CLASSES = {"fine": 4, "coarse": 2}
DICE = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 255, (60, 3, 16, 16), dtype=torch.uint8, generator=DICE)
TRAIN = torch.arange(40)


class Module(nn.Module):
    """Holds a network as a LightningModule does."""

    device = torch.device("cpu")
    cfg = SimpleNamespace(trainer_params=SimpleNamespace(precision="32-true", accelerator="cpu"))

    def __init__(self, network):
        super().__init__()
        self.network = network

    @staticmethod
    def transforms(images):
        return images.float() / 100 - 1


def network(connected: bool = True) -> BilateralNet:
    torch.manual_seed(0)
    keys = CallosumKeys(kind="add", at=["layer1", "layer2"])
    net = BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        right=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        num_classes=CLASSES,
        dropout=0.0,
        callosum=partial(Callosum, keys=keys) if connected else None,
    ).eval()
    for one in net.callosum.parameters() if connected else ():
        nn.init.normal_(one, std=0.3)
    with torch.no_grad():  # so that not all images get one answer
        features = net.features(Module.transforms(IMAGES))
        for level, logits in net.classify(features).items():
            net.heads[level].linear.bias -= logits.mean(0)
    return net


@torch.no_grad()
def answers() -> dict[str, torch.Tensor]:
    """What the network that is connected says, so that it is always right."""
    found = network()(Module.transforms(IMAGES))
    return {level: one.argmax(1) for level, one in found.items()}


LABELS = answers()


def seed(net: BilateralNet) -> SimpleNamespace:
    module = Module(net)
    whole = SimpleNamespace(images=IMAGES)
    test, train = FeatureCache(IMAGES), FeatureCache(IMAGES, TRAIN)
    return SimpleNamespace(
        number=0,
        arm="callosal",
        study=SimpleNamespace(networks=lambda _: {seed: {str(seed): 1.0} for seed in range(9)}),
        module=module,
        network=net,
        test=FeatureSet(test.of_network(module, net), LABELS),
        train=FeatureSet(train.of_network(module, net), LABELS),
        images=SimpleNamespace(
            test=whole,
            data=SimpleNamespace(train_set=whole),
            train_rows=TRAIN,
            classes=CLASSES,
            unique_names=lambda level: [f"{level} {i}" for i in range(CLASSES[level])],
        ),
    )


@torch.no_grad()
def expected(net: BilateralNet, cut: str | None, silenced: str | None = None):
    """Which images each head has right, by the network itself, part by part."""
    images = Module.transforms(IMAGES)
    with net.callosum.severed(cut):
        parts = net.split(net.features(images))
    if silenced:
        mean = parts[silenced][TRAIN].mean(0)
        parts = parts | {silenced: mean.expand_as(parts[silenced])}
    logits = net.classify(torch.cat([*parts.values()], dim=1))
    return {level: (one.argmax(1) == LABELS[level]).double() for level, one in logits.items()}


def test_accuracies_are_those_of_the_network_that_is_cut():
    net, found, section = network(), Findings(), CallosumCut()
    section.compute(seed(net), found)
    whole = expected(net, None)
    seen = set()
    for cut in (INTACT, "left_to_right", "right_to_left", "both"):
        now = expected(net, None if cut == INTACT else cut)
        for level in CLASSES:
            share = found.values.get(OF, level, "", f"callosal: {cut}").mean
            assert share == pytest.approx(now[level].mean().item())
            lost = found.values.get(LOST, level, "", f"callosal: {cut}").mean
            assert lost == pytest.approx((whole[level] - now[level]).mean().item())
            seen.add((level, round(share, 4)))
    assert len(seen) > 4  # cuts do something here, each its own
    assert all(one.mean() == 1 for one in whole.values())
    assert net.callosum.cut == frozenset()
    for cut in (INTACT, "both"):
        for side in ("left", "right"):
            now = expected(net, None if cut == INTACT else cut, side)
            for level in CLASSES:
                share = found.values.get(SILENCED, level, side, f"callosal: {cut}").mean
                assert share == pytest.approx(now[level].mean().item())
    both = expected(net, "both")
    for i in range(4):
        of_class = LABELS["fine"] == i
        lost = (whole["fine"] - both["fine"])[of_class].mean().item()
        found_lost = found.values.get(OF_CLASS, "fine", "", f"callosal: fine {i}").mean
        assert found_lost == pytest.approx(lost)
    # Two crossings of 16 and of 32 channels, both ways.
    own = 2 * (16 * 16 + 32 * 32)
    size = sum(p.numel() for p in net.parameters())
    assert found.values.get(PARAMETERS, item="callosal").mean == pytest.approx(own / size)


def test_the_page_shows_each_cut_lesions_and_classes():
    found, section = Findings(), CallosumCut()
    section.compute(seed(network()), found)
    part = section.render(found)
    assert part.text[0].startswith(f"Cutting the callosum of {plain_name('callosal')}, which holds")
    cuts, lesions, *classes = part.tables
    assert [row[1].text for row in cuts.rows][::2] == [
        "intact",
        "left to right",
        "right to left",
        "both ways",
    ]
    assert len(lesions.rows) == 4
    assert [len(one.rows) for one in classes] == [4, 2]
    assert f"Accuracy with the callosum cut, {plain_name('callosal')}" in part.figures[0][0]


def test_networks_without_one_are_not_shown():
    found, section = Findings(), CallosumCut()
    section.compute(seed(network(connected=False)), found)
    assert section.render(found) is None
    assert not found.values.values


def test_features_hold_what_a_hemisphere_hears():
    net = network()
    module, cache = Module(net), FeatureCache(IMAGES)
    with torch.no_grad():
        images = Module.transforms(IMAGES)
        whole, alone = net.split(net.features(images)), net.sides["left"](images)
        found = cache.of_network(module, net)
        assert torch.allclose(found["left"], whole["left"], atol=1e-5)
        assert not torch.allclose(found["left"], alone, atol=1e-2)
        assert features_of(net, net.sides["left"], images).equal(whole["left"])
        with net.callosum.severed("both"):
            assert torch.allclose(cache.of_network(module, net)["left"], alone, atol=1e-5)
        expected = net.classify(torch.cat([*whole.values()], dim=1))
        assert torch.allclose(cache.logits(module)["fine"], expected["fine"], atol=1e-4)
