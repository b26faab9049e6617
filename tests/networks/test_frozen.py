"""In real runs frozen means bit-identical, statistics of BatchNorm included; each hemisphere has its own keys."""

from pathlib import Path

import pytest
import torch
from helpers import CLASSES, SCRATCH, differing, equal, optimised, shapes, weights

import arch_dual_head.trainer
from architectures import ARCHITECTURES
from common.networks.backbones import build_backbone
from common.trained.load import load_module

DUAL = arch_dual_head.trainer.main


@pytest.fixture(scope="session")
def unilateral(two_epochs, small_study, succeed, tmp_path_factory) -> dict[str, Path]:
    """Run folders of a network of one hemisphere with two heads: its hemisphere frozen, and not."""
    save_dir = tmp_path_factory.mktemp("unilateral")
    for name, freeze in (("frozen", "true"), ("plastic", "false")):
        succeed(
            DUAL,
            *two_epochs,
            f"save_dir={save_dir}",
            f"exp_name={name}",
            "hparams.macro_arch=unilateral",
            f"hparams.model_path_fine={small_study.best['fine']}",
            f"hparams.ffreeze={freeze}",
        )
    return {name: save_dir / name / "unilateral/seed0" for name in ("frozen", "plastic")}


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("level", CLASSES)
def test_a_frozen_hemisphere_is_its_own_checkpoint_bit_for_bit(small_study, level, file):
    prefix = f"network.hemispheres.{level}."
    own = weights(small_study.best[level], prefix)
    assert any("running_var" in name for name in own)
    assert any("num_batches_tracked" in name for name in own)
    assert equal(weights(small_study.place / "bilateral/seed0/checkpoints" / file, prefix), own)


def test_only_the_heads_of_the_bilateral_network_learn(
    small_study, first_step, two_epochs, pretrained
):
    before = {
        f"network.{k}": v for k, v in first_step(DUAL, *pretrained).network.state_dict().items()
    }
    after = weights(small_study.place / "bilateral/seed0/checkpoints/last.ckpt")
    assert differing(before, after) == {
        f"network.heads.{level}.linear.{part}" for level in CLASSES for part in ("weight", "bias")
    }


def test_a_hemisphere_that_is_not_frozen_changes_its_statistics_too(small_study, unilateral):
    prefix = "network.hemispheres.fine."
    own = weights(small_study.best["fine"], prefix)
    frozen = weights(unilateral["frozen"] / "checkpoints/last.ckpt", prefix)
    plastic = weights(unilateral["plastic"] / "checkpoints/last.ckpt", prefix)
    assert equal(frozen, own)
    assert differing(plastic, own) == set(own)


def test_a_loaded_bilateral_network_stays_frozen_in_training_mode(small_study):
    module = load_module(small_study.best["bilateral"], ARCHITECTURES)
    before = {k: v.clone() for k, v in module.network.state_dict().items()}
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    module.train()
    module.network(module.transforms(images))["fine"].sum().backward()
    assert equal(module.network.state_dict(), before)
    hemispheres = module.network.hemispheres
    assert all(parameter.grad is None for parameter in hemispheres.parameters())


def test_each_hemisphere_is_built_from_its_own_arch_and_width(first_step):
    built = first_step(
        DUAL,
        *SCRATCH,
        "hparams.farch=resnet18",
        "hparams.fine_width=0.0625",
        "hparams.carch=resnet9",
        "hparams.coarse_width=0.25",
    )
    for level, arch, width in (("fine", "resnet18", 0.0625), ("coarse", "resnet9", 0.25)):
        backbone = built.network.hemispheres[level].backbone
        assert shapes(backbone) == shapes(build_backbone(arch, width=width))


@pytest.mark.parametrize(
    ("ffreeze", "cfreeze"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_each_freeze_flag_freezes_its_hemisphere_and_keeps_it_from_the_optimiser(
    ffreeze, cfreeze, first_step, pretrained
):
    flags = [f"hparams.ffreeze={ffreeze}".lower(), f"hparams.cfreeze={cfreeze}".lower()]
    built = first_step(DUAL, *pretrained, *flags)
    assert optimised(built) == {
        name
        for name, _ in built.network.named_parameters()
        if name.startswith("heads.")
        or (name.startswith("hemispheres.fine.") and not ffreeze)
        or (name.startswith("hemispheres.coarse.") and not cfreeze)
    }
    for level, frozen in (("fine", ffreeze), ("coarse", cfreeze)):
        assert all(part.training != frozen for part in built.network.hemispheres[level].modules())


@pytest.mark.parametrize("freeze", [True, False])
def test_ffreeze_counts_in_a_unilateral_network(freeze, first_step, pretrained):
    built = first_step(
        DUAL, *pretrained, "hparams.macro_arch=unilateral", f"hparams.ffreeze={freeze}".lower()
    )
    assert list(built.network.hemispheres) == ["fine"]
    assert optimised(built) == {
        name
        for name, _ in built.network.named_parameters()
        if name.startswith("heads.") or not freeze
    }
