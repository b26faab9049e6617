"""Each key changes its own part of a run, as it enters its first training step, and no other."""

from collections.abc import Iterable
from typing import Any

import pytest
from helpers import CLASSES, SCRATCH, equal, optimised, shapes

import arch_dual_head.trainer
import arch_single_head.trainer
import common.training.callbacks as callbacks
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.settings.compose import ROOT, compose
from common.training.callbacks import EpochLines, MetricsTable

SINGLE = arch_single_head.trainer.main
DUAL = arch_dual_head.trainer.main


def facts(built) -> dict[str, object]:
    """What a run is made of, as it enters its first training step."""
    module, trainer, network = built.module, built.trainer, built.network
    group = built.optimizer.param_groups[0]
    schedulers = trainer.lr_scheduler_configs
    held = {type(callback): callback for callback in trainer.callbacks}
    best = held[callbacks.BestCheckpoint]
    found = {
        "levels": module.record.levels,
        "network": type(network).__name__,
        "head sizes": {level: h.linear.in_features for level, h in network.heads.items()},
        "dropout": {level: head.dropout.p for level, head in network.heads.items()},
        "optimised": optimised(built),
        "optimizer": type(built.optimizer).__name__,
        "lr": group.get("initial_lr", group["lr"]),
        "momentum": group.get("momentum"),
        "weight decay": group["weight_decay"],
        "schedule": schedulers
        and [round(schedulers[0].scheduler.lr_lambdas[0](step), 6) for step in range(5)],
        "first loss": built.loss,
        "batch": len(next(iter(built.batch.values()))),
        "batches": trainer.num_training_batches,
        "augmentation": (module.transforms.crop_padding, module.transforms.flip),
        "training images": module.record.train_images,
        "validation images": built.data.val_set.images[built.data.val_set.subset].sum().item(),
        "test images": built.data.test_digest(),
        "epochs": trainer.max_epochs,
        "precision": trainer.precision,
        "deterministic": built.deterministic,
        "clip": trainer.gradient_clip_val,
        "limits": (trainer.limit_val_batches, trainer.limit_test_batches),
        "log every": trainer.log_every_n_steps,
        "best": (best.monitor, best.mode),
        "kept": best.save_top_k,
        "lines": EpochLines in held,
        "csv": held[MetricsTable].path is not None,
        "tensorboard": len(trainer.loggers),
        "seed": module.record.seed,
        "folder": built.place.parent,
    }
    for level in CLASSES:
        hemisphere = getattr(network.hemispheres, level, None)
        found[f"{level} hemisphere"] = hemisphere and shapes(hemisphere.backbone)
        found[f"{level} frozen"] = hemisphere and hemisphere.frozen
        found[f"{level} plasticity"] = hemisphere and plasticity(built, hemisphere)
        # Not the statistics, which that step may have moved already.
        found[f"{level} weights"] = hemisphere and [
            p.double().sum().item() for p in hemisphere.backbone.parameters()
        ]
    return found


def plasticity(built, hemisphere) -> set[float]:
    """The learning rates of a hemisphere, as multiples of the heads'."""
    first, *_ = groups = built.optimizer.param_groups
    own = {id(p) for p in hemisphere.parameters()}
    return {g["lr"] / first["lr"] for g in groups if own & {id(p) for p in g["params"]}}


# What a change of hemisphere, of data or of batches brings with it.
SIZE = {"fine hemisphere", "head sizes", "fine weights", "first loss"}
# At this width both have 64 features.
KIND = SIZE - {"head sizes"} | {"optimised"}
IMAGES = {"training images", "validation images", "first loss"}
BATCHES = {"batch", "batches", "schedule", "first loss"}
LENGTH = {"batches", "schedule"}
# Of both folders: a key, another value than the base's, and the facts that follow.
RECIPE = {
    "lr": ("0.02", {"lr"}),
    "momentum": ("0.5", {"momentum"}),
    "weight_decay": ("0.3", {"weight decay"}),
    "optimizer": ("adamw", {"optimizer", "momentum"}),
    "schedule": ("constant", {"schedule"}),
    "warmup": ("0.5", {"schedule"}),
    "label_smoothing": ("0.4", {"first loss"}),
    "dropout": ("0.7", {"dropout", "first loss"}),
    "batch_size": ("50", BATCHES),
}
# Read in common alone, and therefore tried in one folder.
SHARED = {
    "exp_name": ("another", {"folder"}),
    "save_dir": ("{elsewhere}", {"folder"}),
    "seeds": ("[1]", {"seed", "first loss"}),
    "dataset.name": ("another", {"folder"}),
    "dataset.val_dir": ("{navon}/test/{tree}", IMAGES | LENGTH),
    "dataset.test_dir": ("{navon}/train/{tree}", {"test images"}),
    "dataset.split_seed": ("3", IMAGES),
    "dataset.crop_padding": ("2", {"augmentation", "first loss"}),
    "dataset.flip": ("true", {"augmentation", "first loss"}),
    "dataset.batch_size": ("50", BATCHES),
    "trainer_params.max_epochs": ("3", {"epochs", "schedule"}),
    "trainer_params.precision": ("bf16-mixed", {"precision", "first loss"}),
    "trainer_params.deterministic": ("true", {"deterministic"}),
    "trainer_params.gradient_clip_val": ("0.5", {"clip"}),
    "trainer_params.limit_train_batches": ("3", LENGTH),
    "trainer_params.limit_val_batches": ("2", {"limits"}),
    "trainer_params.limit_test_batches": ("2", {"limits"}),
    "trainer_params.log_every_n_steps": ("7", {"log every"}),
    "trainer_params.enable_progress_bar": ("false", {"lines"}),
    # One without the other would choose the worst epoch, and is refused.
    "ckpt_callback": ("{{monitor: val_loss, mode: min}}", {"best"}),
    "ckpt_callback.save_top_k": ("2", {"kept"}),
    "logger.tensorboard": ("true", {"tensorboard"}),
    "logger.csv": ("false", {"csv"}),
}
# Of one folder. What a network is made of is changed on a network from scratch.
SCRATCH_SEED = SHARED | {"seeds": ("[1]", {"seed", "first loss", "fine weights"})}
ONE_HEAD = SCRATCH_SEED | {
    "hparams.mode": (
        "coarse",
        {"levels", "head sizes", "dropout", "optimised", "first loss", "folder", "test images"}
        | {
            f"{level} {fact}"
            for level in CLASSES
            for fact in ("hemisphere", "frozen", "weights", "plasticity")
        },
    ),
    "hparams.arch": ("resnet18", KIND),
    "hparams.width": ("0.25", SIZE),
    "dataset.width": ("0.25", SIZE),
    "dataset.epochs.single": ("3", {"epochs", "schedule"}),
    "dataset.root": ("{other}", IMAGES | {"test images"}),
    "dataset.train_dir": ("{other}/train/fine", IMAGES),
    **{f"hparams.{name}": change for name, change in RECIPE.items()},
}
TWO_HEADS = {
    "seeds": SHARED["seeds"],
    "exp_name": SHARED["exp_name"],
    "trainer_params.max_epochs": SHARED["trainer_params.max_epochs"],
    "hparams.ffreeze": ("false", {"fine frozen", "fine plasticity", "optimised", "first loss"}),
    "hparams.cfreeze": ("false", {"coarse frozen", "coarse plasticity", "optimised", "first loss"}),
    "hparams.model_path_fine": ("{another_fine}", {"fine weights", "first loss"}),
    "hparams.model_path_coarse": ("{another_coarse}", {"coarse weights", "first loss"}),
    "hparams.macro_arch": (
        "unilateral",
        {"network", "head sizes", "first loss", "folder"}
        | {"coarse hemisphere", "coarse frozen", "coarse weights", "coarse plasticity"},
    ),
    "dataset.epochs.dual": ("3", {"epochs", "schedule"}),
    **{f"hparams.{name}": change for name, change in RECIPE.items()},
}
# Both hemispheres draw their first weights from one stream: another left one moves the right one's, but not its shape.
LEFT = SIZE | {"coarse weights"}
RIGHT = {"coarse hemisphere", "head sizes", "coarse weights", "first loss"}
TWO_HEADS_FROM_SCRATCH = {
    "hparams.farch": ("resnet18", KIND | {"coarse weights"}),
    "hparams.carch": ("resnet18", RIGHT - {"head sizes"} | {"optimised"}),
    "hparams.fine_width": ("0.25", LEFT),
    "hparams.coarse_width": ("0.25", RIGHT),
    "dataset.width": ("0.25", LEFT | RIGHT),
    "dataset.root": ("{other}", IMAGES | {"test images"}),
    "dataset.train_dir": ("{other}/train/fine", IMAGES),
}
# Parameters of a hemisphere that leave its weights as they are.
FUNCTION = {"k": "0.1", "per_k": "0.5", "low_pass": "4", "high_pass": "4", "residual": "false"}
for name, value in FUNCTION.items():
    ONE_HEAD[f"hparams.{name}"] = (value, {"first loss"})
    for side in CLASSES:
        TWO_HEADS_FROM_SCRATCH[f"hparams.{side}_{name}"] = (value, {"first loss"})
ONE_HEAD["hparams.plasticity"] = ("0.3", {"fine plasticity"})
for side in CLASSES:
    TWO_HEADS_FROM_SCRATCH[f"hparams.{side}_plasticity"] = ("0.3", {f"{side} plasticity"})


@pytest.mark.parametrize(
    ("side", "other", "schema"),
    [("single", "dual", SingleConfig), ("dual", "single", DualConfig)],
)
def test_a_recipes_values_are_those_of_its_folders_hyper_parameters(side, other, schema):
    values = {"max_epochs": "3"} | {name: value for name, (value, _) in RECIPE.items()}

    def composed(prefix: str) -> dict:
        """Hyper-parameters and epochs with all of these values given under a prefix."""
        overrides = [f"{prefix}{name}={value}" for name, value in values.items()]
        overrides += ["dataset=navon"]
        cfg = compose(ROOT / f"arch_{side}_head", schema=schema, overrides=overrides)
        return dict(cfg.hparams) | {"max_epochs": cfg.trainer_params.max_epochs}

    own = composed(f"recipe.{side}.")
    assert {name: str(own[name]) for name in values} == values
    assert not set(values.items()) & set(composed(f"recipe.{other}.").items())


@pytest.fixture(scope="session")
def at_base() -> dict[str, dict]:
    """Facts about each table's two_epochs, once they are known."""
    return {}


SGD = ("recipe.single.optimizer=sgd", "recipe.dual.optimizer=sgd")
ONE_HEAD_BASE = (SINGLE, *SGD)
SCRATCH_BASE = (DUAL, *SGD, *SCRATCH)


def some(keys: Iterable[str], *fast: str) -> list[Any]:
    """All of these keys, of which these alone are tried in a short run of the tests."""
    assert set(fast) <= set(keys)
    return [key if key in fast else pytest.param(key, marks=pytest.mark.slow) for key in keys]


def effect(first_step, at_base, others, main, *overrides, key, value) -> set[str]:
    """The facts that a change of one key changes."""
    if overrides not in at_base:
        at_base[overrides] = facts(first_step(main, *overrides))
    tree = "coarse" if key == "hparams.mode" else "fine"
    after = facts(first_step(main, *overrides, f"{key}={value.format(tree=tree, **others)}"))
    return {name for name, fact in at_base[overrides].items() if after[name] != fact}


@pytest.mark.parametrize(
    "key", some(ONE_HEAD, "seeds", "hparams.mode", "hparams.arch", "dataset.flip")
)
def test_a_key_of_one_head_changes_its_own_part_and_no_other(key, first_step, at_base, others):
    value, expected = ONE_HEAD[key]
    assert effect(first_step, at_base, others, *ONE_HEAD_BASE, key=key, value=value) == expected


@pytest.mark.slow
@pytest.mark.parametrize("key", TWO_HEADS)
def test_a_key_of_two_heads_changes_its_own_part_and_no_other(
    key, first_step, at_base, others, pretrained
):
    value, expected = TWO_HEADS[key]
    base = (DUAL, *SGD, *pretrained)
    assert effect(first_step, at_base, others, *base, key=key, value=value) == expected


@pytest.mark.parametrize(
    "key", some(TWO_HEADS_FROM_SCRATCH, "hparams.carch", "hparams.fine_plasticity")
)
def test_a_key_of_a_hemisphere_changes_the_hemisphere_that_it_names(
    key, first_step, at_base, others
):
    value, expected = TWO_HEADS_FROM_SCRATCH[key]
    assert effect(first_step, at_base, others, *SCRATCH_BASE, key=key, value=value) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer_params.devices=3", "devices"),
        ("trainer_params.num_nodes=2", "num_nodes"),
        ("trainer_params.strategy=nonsense", "is 'nonsense'; allowed: auto, ddp"),
        ("trainer_params.strategy=ddp_spawn", "is 'ddp_spawn'; allowed: auto, ddp"),
        ("trainer_params.accelerator=gpu", "trainer_params"),
    ],
)
def test_what_this_machine_or_project_cannot_do_is_refused(
    override, said, in_process, two_epochs, tmp_path
):
    status, _, err = in_process(SINGLE, *two_epochs, f"save_dir={tmp_path}", override)
    assert status == 1
    assert err.count("\n") == 1, err
    assert said in err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_seed_0_is_a_seed(first_step):
    first, again, other = (first_step(SINGLE, f"seeds=[{seed}]") for seed in (0, 0, 1))
    assert first.module.record.seed == 0
    assert first.batch["images"].equal(again.batch["images"])
    assert first.loss == again.loss
    assert equal(first.network.state_dict(), again.network.state_dict())
    assert not first.batch["images"].equal(other.batch["images"])
    assert not equal(first.network.state_dict(), other.network.state_dict())
