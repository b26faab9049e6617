"""HiResCAM and Grad-CAM: known answers, frozen hemispheres, every backbone, and nothing left behind."""

import pytest
import torch
import torchvision
from torch import nn

from common.networks.backbones import build_backbone, registered
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet, UnilateralNet
from common.system.errors import UserError
from common.trained.grad_cam import evidence, grad_cam, hires_cam, last_maps

CLASSES = {"fine": 4, "coarse": 2}


class Bright(nn.Module):
    """Maps that are the image itself, averaged: channels are features."""

    num_features = 3

    def __init__(self):
        super().__init__()
        self.maps = nn.AvgPool2d(2)

    def forward(self, images):
        return self.maps(images).mean(dim=(2, 3))


def bilateral(backbone, *, freeze=True):
    torch.manual_seed(0)
    return BilateralNet(
        left=Hemisphere(backbone(), freeze=freeze),
        right=Hemisphere(backbone(), freeze=freeze),
        num_classes=CLASSES,
        dropout=0.5,
    )


@pytest.mark.parametrize("method", [grad_cam, hires_cam])
def test_it_looks_where_the_evidence_is(method):
    network = UnilateralNet(
        hemisphere=Hemisphere(Bright()),
        num_classes={"fine": 2},
        dropout=0.5,
    )
    network.heads["fine"].linear.weight.data = torch.tensor([[1.0, 0, 0], [-1.0, 0, 1.0]])
    images = torch.zeros(3, 3, 8, 8)
    images[0, 0, :4, :4] = 2  # red, top left
    images[1, 2, 4:, 4:] = 3  # blue, bottom right
    images[2, 0, :4] = 1  # red that speaks against class 1, and blue that speaks for it
    images[2, 2, 6:] = 1

    def maps(*classes):
        return method(network, images, level="fine", side="left", classes=torch.tensor([*classes]))

    shown = maps(0, 1, 1)
    assert shown.shape == (3, 8, 8)
    assert shown.dtype == torch.float32
    assert not shown.requires_grad
    assert shown.amax(dim=(1, 2)).tolist() == [1, 1, 1]
    assert shown.amin() == 0
    assert shown[0, :3, :3].min() == 1
    assert shown[0, 5:, 5:].max() == 0
    assert shown[1, 5:, 5:].min() == 1
    assert shown[1, :3, :3].max() == 0
    assert shown[2, 7].min() == 1
    assert shown[2, :5].max() == 0
    # Without anything in favour there is no map, and no division by 0.
    assert not maps(1, 0, 1)[:2].any()


class Peaks(Bright):
    """The same maps, of which only the maximum counts."""

    def forward(self, images):
        return self.maps(images).amax(dim=(2, 3))


def test_after_a_maximum_only_hires_cam_looks_where_the_evidence_is():
    network = UnilateralNet(
        hemisphere=Hemisphere(Peaks()),
        num_classes={"fine": 1},
        dropout=0.5,
    )
    network.heads["fine"].linear.weight.data = torch.tensor([[1.0, 2.0, -1.0]])
    images = torch.zeros(1, 3, 8, 8)
    images[0, 0, :2, :2] = 5  # the maximum of red: the feature is 5, and so is its evidence
    images[0, 1, 6:, 6:] = 2  # the maximum of green: twice 2
    images[0, :2, 6:, :2] = torch.tensor([4.0, 1.9])[:, None, None]  # no maximum, but 4 + 2 x 1.9
    images[0, 2, 2:4, 2:4] = 3  # against
    asked = {"level": "fine", "side": "left", "classes": torch.tensor([0])}
    expected = torch.zeros(4, 4)
    expected[0, 0], expected[3, 3], expected[1, 1] = 5, 4, -3
    assert torch.allclose(evidence(network, images, **asked)[0], expected)
    shown = hires_cam(network, images, **asked)[0]
    assert torch.allclose(shown[[0, 7, 7], [0, 7, 0]], torch.tensor([1, 0.8, 0]))
    # Grad-CAM's gradients are those means over 16 cells, so it lights up where no maximum is.
    averaged = evidence(network, images, **asked, averaged=True)[0]
    assert averaged[[0, 3, 3], [0, 3, 0]].tolist() == pytest.approx([5 / 16, 4 / 16, 7.8 / 16])
    assert grad_cam(network, images, **asked)[0].argmax() == 7 * 8  # bottom left


@pytest.mark.parametrize("side", ["left", "right"])
def test_cells_add_up_to_what_a_hemisphere_adds_to_the_logit(side):
    network = bilateral(lambda: build_backbone("resnet9", width=0.125)).eval()
    images, classes = torch.randn(5, 3, 32, 32), torch.tensor([0, 1, 2, 3, 0])
    cells = evidence(network, images, level="fine", side=side, classes=classes)
    weight = network.split(network.heads["fine"].linear.weight)[side]
    added = (network.split(network.features(images))[side] * weight[classes]).sum(1)
    assert cells.shape == (5, 4, 4)
    assert torch.allclose(cells.sum((1, 2)), added, atol=1e-5)


def test_a_hemisphere_that_a_head_ignores_shows_nothing():
    network = bilateral(lambda: build_backbone("resnet9", width=0.125))
    half = network.num_features // 2
    for head in network.heads.values():
        head.linear.weight.data.abs_()
    network.heads["fine"].linear.weight.data[:, half:] = 0
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    assert grad_cam(network, images, level="fine", side="left", classes=classes).any()
    assert not grad_cam(network, images, level="fine", side="right", classes=classes).any()
    assert grad_cam(network, images, level="coarse", side="right", classes=classes % 2).any()


@pytest.mark.parametrize("arch", registered())
def test_every_backbone_frozen_or_not(arch):
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 0])
    maps = {}
    for freeze in (True, False):
        network = bilateral(lambda: build_backbone(arch, width=0.125), freeze=freeze)
        for head in network.heads.values():
            head.linear.weight.data.abs_()
        asked = {"level": "coarse", "side": "right", "classes": classes}
        maps[freeze] = [method(network, images, **asked) for method in (hires_cam, grad_cam)]
    for frozen, free in zip(maps[True], maps[False], strict=True):
        assert frozen.shape == (2, 32, 32)
        assert torch.equal(frozen, free)
        assert frozen.amax() == 1


def test_the_network_is_left_as_it_was():
    network = bilateral(lambda: build_backbone("resnet9", width=0.125)).train()
    images, classes = torch.randn(2, 3, 32, 32), torch.tensor([1, 0])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = {name: module.training for name, module in network.named_modules()}
    with torch.no_grad():
        grad_cam(network, images, level="fine", side="left", classes=classes)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(hemisphere.frozen for hemisphere in network.hemispheres.values())
    assert not any(p.requires_grad for p in network.hemispheres.parameters())
    assert not network.features(images).requires_grad
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "place"), [("densenet121", "features"), ("mobilenet_v3_small", "features")]
)
def test_the_layer_is_found_in_networks_from_elsewhere(name, place):
    backbone = getattr(torchvision.models, name)(weights=None).eval()
    assert last_maps(backbone, torch.zeros(1, 3, 64, 64)) is backbone.get_submodule(place)


def test_the_layer_is_the_last_one_with_more_than_one_pixel():
    backbone = build_backbone("vgg11", width=0.125)
    # Five halvings of 32 pixels leave one, so it is the last but one stage that has maps.
    assert last_maps(backbone, torch.zeros(1, 3, 32, 32)) is backbone.features[-2]
    assert last_maps(backbone, torch.zeros(1, 3, 64, 64)) is backbone.features


def test_without_maps_it_says_so():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5))
    with pytest.raises(UserError, match=r"Sequential has no layer with maps.* 8 x 8 pixels"):
        last_maps(backbone, torch.zeros(1, 3, 8, 8))
