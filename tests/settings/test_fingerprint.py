"""What makes a run another configuration: not a key that is neutral, nor one of a hemisphere that is not there."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig, SingleHparams
from common.networks.parameters import PARAMETERS
from common.runs.fingerprint import (
    fingerprint,
    identify,
    refuse_other_configuration,
    refuse_other_images,
)
from common.runs.schema import CkptCallback, Dataset, SingleTrainerParams
from common.settings.compose import ROOT, compose
from common.settings.schema import ALWAYS, key
from common.system.atomic_files import write_yaml
from common.system.errors import UserError

DATA = SimpleNamespace(digest="images", test_digest=lambda: "others")


@dataclass
class NewHparams(SingleHparams):
    """Hyper-parameters, and one that came later."""

    strength: float = key(1.0, "a value that changes nothing at 1", low=0)
    depth: int | None = key(None, "a value that changes nothing at null", low=1)


@dataclass
class NewDataset(Dataset):
    """A data set's keys, and one that came later."""

    noise: float = key(0.0, "noise", low=0)


@dataclass
class NewTrainerParams(SingleTrainerParams):
    """Trainer arguments, and one that came later."""

    accumulate: int = key(1, "steps", low=1)


@dataclass
class NewCallback(CkptCallback):
    """What chooses the best epoch, and a key that came later."""

    patience: int | None = key(None, "epochs", low=1)


@dataclass
class NewConfig(SingleConfig):
    """A later version of a folder's schema."""

    hparams: NewHparams = field(default_factory=NewHparams)
    dataset: NewDataset = field(default_factory=NewDataset)
    trainer_params: NewTrainerParams = field(default_factory=NewTrainerParams)
    ckpt_callback: NewCallback = field(default_factory=NewCallback)


NEW = {
    "hparams.strength": (1.0, 2.0),
    "hparams.depth": (None, 3),
    "dataset.noise": (0.0, 0.5),
    "trainer_params.accumulate": (1, 4),
    "ckpt_callback.patience": (None, 2),
}


@pytest.fixture(scope="module")
def single():
    return compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=["dataset=navon"])


def of_single(cfg, schema) -> str:
    return fingerprint(identify(cfg, DATA, "32-true", {}, schema=schema, sides=(None,)))


def with_new_keys(cfg, **changed):
    values = {name: default for name, (default, _) in NEW.items()} | changed
    cfg = OmegaConf.create(OmegaConf.to_container(cfg))
    for name, value in values.items():
        OmegaConf.update(cfg, name, value)
    return cfg


def test_a_key_that_came_later_leaves_the_fingerprint_while_it_has_its_default(single):
    assert of_single(with_new_keys(single), NewConfig) == of_single(single, SingleConfig)


@pytest.mark.parametrize("name", NEW)
def test_a_key_that_came_later_with_another_value_is_another_configuration(single, name):
    changed = with_new_keys(single, **{name: NEW[name][1]})
    assert of_single(changed, NewConfig) != of_single(single, SingleConfig)


def test_a_key_that_shapes_no_result_is_not_in_the_fingerprint(single):
    changed = single.copy()
    changed.hparams.num_workers = 3
    changed.trainer_params.devices = 2
    changed.dataset.memory_gb = 1
    assert of_single(changed, SingleConfig) == of_single(single, SingleConfig)
    changed.dataset.crop_padding = 3
    assert of_single(changed, SingleConfig) != of_single(single, SingleConfig)


def of_dual(macro_arch: str, *overrides: str) -> str:
    given = ["dataset=navon", f"hparams.macro_arch={macro_arch}", *overrides]
    cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=given)
    sides = DualHead.sides(cfg)
    return fingerprint(identify(cfg, DATA, "32-true", {}, schema=DualConfig, sides=sides))


CHANGES = {
    "arch": "vgg11",
    "width": "0.5",
    "k": "0.5",
    "per_k": "0.5",
    "plasticity": "0.5",
    "low_pass": "5",
    "high_pass": "2",
    "residual": "false",
    "pretrained": "IMAGENET1K_V1",
}


@pytest.mark.parametrize(
    "macro_arch", ["unilateral", pytest.param("bilateral", marks=pytest.mark.slow)]
)
def test_keys_of_a_hemisphere_count_only_where_there_is_one(macro_arch):
    for name, value in CHANGES.items():
        # Names of weights are torchvision's, for its backbones.
        theirs = ("hparams.farch=torchvision:resnet18", "hparams.carch=torchvision:resnet18")
        base = theirs if name == "pretrained" else ()
        before = of_dual(macro_arch, *base)
        left, right = (f"hparams.{key}={value}" for key in PARAMETERS[name].keys)
        assert of_dual(macro_arch, *base, left) != before, name
        assert (of_dual(macro_arch, *base, right) == before) == (macro_arch == "unilateral"), name


def test_plasticity_counts_as_it_takes_effect():
    product = of_dual("bilateral", "hparams.plasticity_factor=0.5")
    each = ["hparams.fine_plasticity=0.5", "hparams.coarse_plasticity=0.5"]
    assert product == of_dual("bilateral", *each)


def test_a_hyper_parameter_counts_with_a_loss_that_takes_it():
    changes = {"hierarchy_beta": "3", "decorrelation": "2"}
    taken = {
        "cross_entropy": set(),
        "soft_hierarchy": {"hierarchy_beta"},
        "decorrelated": {"decorrelation"},
    }
    for loss, names in taken.items():
        before = of_dual("bilateral", f"hparams.loss={loss}")
        changing = {
            key
            for key, value in changes.items()
            if of_dual("bilateral", f"hparams.loss={loss}", f"hparams.{key}={value}") != before
        }
        assert changing == names, loss


def test_another_configuration_is_refused_beside_another_seed_but_not_beside_a_copy(
    single, tmp_path
):
    identity = identify(single, DATA, "32-true", {}, schema=SingleConfig, sides=(None,))
    other = identity | {"hparams": identity["hparams"] | {"lr": 7.0}}
    for name in ("seed0-old", "seed1"):
        write_yaml(tmp_path / f"{name}/fingerprint.yaml", other | {"sources": {}})
        (tmp_path / name / "result.yaml").touch()
        if name == "seed0-old":
            refuse_other_configuration(tmp_path / "seed0", identity, {}, schema=SingleConfig)
    with pytest.raises(UserError, match=r"seed1 holds a run of another configuration \(.*lr was 7"):
        refuse_other_configuration(tmp_path / "seed0", identity, {}, schema=SingleConfig)


@pytest.mark.parametrize(
    ("own", "seed", "refused"),
    [
        ({}, 0, True),
        ({}, 1, True),
        ({"set": "per_seed"}, 0, True),
        ({"set": "per_seed"}, 1, False),
        ({"images": "all"}, 1, False),
    ],
)
def test_images_of_another_arm_are_compared_where_seeds_share_them(
    own, seed, refused, single, tmp_path
):
    there = tmp_path / "unspecialised/seed0"
    write_yaml(there / "config.yaml", OmegaConf.to_container(single, resolve=True))
    write_yaml(there / "fingerprint.yaml", {"data": {"train": "earlier", "test": "others"} | own})
    (there / "result.yaml").touch()
    data = {"train": "images", "test": "others"} | own
    with pytest.raises(UserError, match="training images") if refused else nullcontext():
        refuse_other_images(tmp_path / f"fine/seed{seed}", single, data)


def test_a_key_whose_default_belongs_to_a_group_is_always_in_the_fingerprint():
    item = key("${dataset.width}", "a value")
    assert item.metadata["neutral"] is ALWAYS
