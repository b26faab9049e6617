"""Parameters and multiply-adds: counted by hand, and as torchvision publishes them."""

import pytest
import torch
import yaml
from torch import nn
from torchvision.models import get_model, get_model_weights

import arch_single_head.trainer
from arch_single_head.schema import SingleConfig
from common.networks.backbones import build_backbone
from common.networks.costs import costs, training_macs
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.settings.compose import ROOT, compose

CLASSES = {"fine": 10, "coarse": 4}


def test_a_convolution_and_a_linear_layer_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    found = costs(network, (6, 10))
    # 3 x 5 positions of 8 channels, each a sum over 3 x 3 x 3; then 8 x 5.
    assert found["macs"] == 3 * 5 * 8 * 27 + 8 * 5
    assert found["parameters"] == 8 * 27 + 2 * 8 + 8 * 5 + 5
    assert found["trained_parameters"] == found["parameters"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32"])
def test_published_numbers(name):
    """Billions of multiply-adds and parameters as torchvision gives them, of grouped convolutions and attention too."""
    found = costs(get_model(name), (224, 224))
    published = get_model_weights(name).DEFAULT.meta
    assert found["macs"] / 1e9 == pytest.approx(published["_ops"], abs=6e-4)
    assert found["parameters"] == published["num_params"]


def test_what_is_done_once_for_a_batch_is_not_counted():
    """VGG-11 of 32 x 32 images folds its first linear layer's 49 repeated columns into one before it is used."""
    convolutions = [(3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8), (256, 512, 4)]
    convolutions += [(512, 512, 4), (512, 512, 2), (512, 512, 2)]
    macs = sum(9 * before * after * size**2 for before, after, size in convolutions)
    assert costs(build_backbone("vgg11"), (32, 32))["macs"] == macs + 512 * 4096 + 4096 * 4096


def bilateral(freeze: bool) -> BilateralNet:
    return BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=freeze),
        right=Hemisphere(build_backbone("resnet9", width=0.125), freeze=freeze),
        num_classes=CLASSES,
        dropout=0.5,
    )


def test_frozen_hemispheres_are_run_but_not_trained():
    frozen, free = costs(bilateral(True), (32, 32)), costs(bilateral(False), (32, 32))
    one = costs(build_backbone("resnet9", width=0.125), (32, 32))
    heads = 2 * 64 * (10 + 4)
    assert frozen["macs"] == free["macs"] == 2 * one["macs"] + heads
    assert frozen["parameters"] == free["parameters"] == 2 * one["parameters"] + heads + 10 + 4
    assert free["trained_parameters"] == free["parameters"]
    assert frozen["trained_parameters"] == heads + 10 + 4


def test_an_ensemble_costs_what_its_members_cost_and_trains_nothing():
    def member() -> UnilateralNet:
        backbone = build_backbone("resnet9", width=0.125)
        return UnilateralNet(
            hemisphere=Hemisphere(backbone),
            num_classes=CLASSES,
            dropout=0,
        )

    one, three = (
        costs(member(), (32, 32)),
        costs(EnsembleNet(networks=[member() for _ in "123"]), (32, 32)),
    )
    assert three == {
        "parameters": 3 * one["parameters"],
        "trained_parameters": 0,
        "macs": 3 * one["macs"],
    }


def test_counting_changes_nothing():
    network = bilateral(True).train()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    costs(network, (32, 32))
    assert [module.training for module in network.modules()] == modes
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert torch.get_rng_state().equal(random)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_operations_of_training_by_hand():
    """Forward and backward are three passes through what learns; frozen, one for each distinct image."""
    one = costs(build_backbone("resnet9", width=0.125), (32, 32))["macs"]
    features = build_backbone("resnet9", width=0.125).num_features
    heads = 2 * features * sum(CLASSES.values())
    frozen = training_macs(bilateral(True), (32, 32), images=100, distinct=7)
    assert frozen == 3 * 100 * heads + 7 * 2 * one
    free = training_macs(bilateral(False), (32, 32), images=100, distinct=7)
    assert free == 3 * 100 * (heads + 2 * one)


def test_a_stage_records_its_costs(tiny, in_process, tmp_path, navon):
    status, _, err = in_process(arch_single_head.trainer.main, *tiny, f"save_dir={tmp_path}")
    assert status == 0, err
    result = yaml.safe_load((tmp_path / "single-NAVON/fine/seed0/result.yaml").read_text())
    cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=tiny)
    backbone = costs(build_backbone("resnet9", width=cfg.hparams.width), (32, 32))
    assert result["macs"] == backbone["macs"] + 64 * 100
    assert result["parameters"] == backbone["parameters"] + 64 * 100 + 100
    assert result["trained_parameters"] == result["parameters"]
    assert result["seeds"] == [0]
