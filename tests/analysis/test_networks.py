"""Features and logits of trained networks."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
import yaml
from pretended_gpu import GPU, PretendedGpu
from torch import nn

from analysis import networks
from analysis.networks import FeatureCache, classify, halves_of, silence
from analysis.seed import checkpoint_alone
from analysis.study import FinishedStage, FinishedStudy
from common.networks.backbones import build_backbone
from common.networks.hemisphere import Hemisphere
from common.networks.join import Concatenate, Join
from common.networks.macro import BilateralNet
from common.system.errors import UserError


def test_a_checkpoint_of_another_run_than_the_result_is_refused(checkpoints):
    place = checkpoints["fine"].parents[1]
    own = yaml.safe_load((place / "result.yaml").read_text())
    assert networks.network_of(FinishedStage("fine", 0, place, own)).record.seed == 0
    with pytest.raises(UserError, match=r"best.ckpt and .*result.yaml are of different runs"):
        networks.network_of(FinishedStage("fine", 0, place, own | {"fingerprint": "another"}))


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
        callosum=None,
        hemispheres={"fine": Scaled(backbone, 1), "coarse": Scaled(backbone, 3)},
        classify=lambda features: {"fine": features.prod(1, keepdim=True)},
    )
    module, cache = Module(network), FeatureCache(images)
    features = [cache.features(module, one) for one in network.hemispheres.values()]
    expected = torch.cat(features, 1).prod(1, keepdim=True)
    assert cache.logits(module)["fine"].equal(expected)


class Weighed(Join):
    """The left features twice, the right ones three times."""

    def __init__(self, num_features):
        super().__init__(num_features)
        self.num_features = sum(num_features.values())

    def forward(self, features):
        return torch.cat([2 * features["left"], 3 * features["right"]], dim=1)


@pytest.mark.parametrize("join", [Concatenate, Weighed])
def test_what_features_add_to_logits_is_asked_of_the_join(join):
    network = BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        right=Hemisphere(build_backbone("resnet9", width=0.25), freeze=True),
        num_classes={"fine": 6, "coarse": 3},
        dropout=0.5,
        join=join,
    ).eval()
    features = torch.randn(5, network.num_features, generator=torch.Generator().manual_seed(0))
    parts = network.split(features)
    for level, halves in halves_of(network, features).items():
        added = sum(parts[side] @ half.T for side, half in halves.items())
        logits = network.classify(features)[level].detach()
        assert torch.allclose(added + network.heads[level].linear.bias, logits, atol=1e-5)


def test_silenced_features_on_a_gpu_stay_there_until_all_are_classified(monkeypatch):
    monkeypatch.setattr(networks, "as_tested", lambda module: nullcontext())
    network = SimpleNamespace(classify=lambda x: {"fine": x[:, :2] - x[:, 1:], "coarse": 2 * x})
    module, features = SimpleNamespace(device=GPU), torch.arange(1800.0).view(600, 3)
    mean, which = torch.tensor([7.0, 8, 9]), torch.tensor([False, True, False])
    with PretendedGpu() as gpu:
        there = silence(features.to(GPU), mean, which)
        assert gpu.asked["to meta"] == 3
        logits = classify(module, network, there)  # in three batches
        # One for each head: a GPU is waited for twice.
        assert (gpu.asked["to meta"], gpu.asked["to cpu"]) == (3, 2)
    expected = features.clone()
    expected[:, 1] = 8
    assert logits["coarse"].equal(2 * expected)
    assert logits["fine"].equal(expected[:, :2] - expected[:, 1:])


def test_a_network_alone_is_one_whose_file_is_there(tmp_path):
    given = tmp_path / "given-seed7.ckpt"
    path = f"{tmp_path}/given-seed{{seed}}.ckpt"
    stage = FinishedStage("fine", 7, tmp_path, {"checkpoint": "fine.ckpt"})
    study = FinishedStudy(tmp_path, [stage])
    assert checkpoint_alone(study, "fine", 7, path) is None
    given.touch()
    assert checkpoint_alone(study, "fine", 7, path) == given
    assert checkpoint_alone(study, "coarse", 7, None) is None
    (tmp_path / "fine.ckpt").touch()
    assert checkpoint_alone(study, "fine", 7, path) == tmp_path / "fine.ckpt"
