"""Features and logits of trained networks."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from analysis.networks import FeatureCache


class Module(nn.Module):
    """Counts the images that a network is shown."""

    device = torch.device("cpu")
    cfg = SimpleNamespace(trainer_params=SimpleNamespace(precision="32-true", accelerator="cpu"))

    def __init__(self, network=None):
        super().__init__()
        self.network, self.images = network, 0

    def transforms(self, images):
        self.images += len(images)
        return images.float()


class Scaled(nn.Module):
    """A backbone with another filter before it than others that have the same weights."""

    def __init__(self, backbone, by):
        super().__init__()
        self.backbone, self.by = backbone, by

    def forward(self, images):
        return self.by * self.backbone(images).flatten(1)


@pytest.fixture
def images() -> torch.Tensor:
    some = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (100, 3, 4, 4), dtype=torch.uint8, generator=some)


def test_equal_hemispheres_see_images_once(images):
    """And others that have the same weights, but another filter before them, are not taken for them."""
    module, backbone, cache = Module(), nn.Conv2d(3, 2, 4), FeatureCache(images)
    one = cache.features(module, Scaled(backbone, 1))
    assert module.images == 108
    assert cache.features(module, Scaled(backbone, 1)) is one
    assert module.images == 116
    assert torch.allclose(cache.features(module, Scaled(backbone, 2)), 2 * one)


def test_the_network_itself_turns_features_into_logits(images):
    """So that another way of joining hemispheres needs no change here."""
    backbone = nn.Conv2d(3, 2, 4)
    network = SimpleNamespace(
        hemispheres={"fine": Scaled(backbone, 1), "coarse": Scaled(backbone, 3)},
        classify=lambda features: {"fine": features.prod(1, keepdim=True)},
    )
    module, cache = Module(network), FeatureCache(images)
    features = [cache.features(module, one) for one in network.hemispheres.values()]
    expected = torch.cat(features, 1).prod(1, keepdim=True)
    assert cache.logits(module)["fine"].equal(expected)
