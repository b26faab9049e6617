"""Known defects of published implementations of this study: none of them is here.

Numbered as in the list that they come from. All at the level of real runs on a small Navon set.
"""

import csv
import inspect
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import common.data.datamodule as data
import common.data.transforms as augment
import common.networks.backbones as backbones
import common.networks.macro as macro
import common.training.callbacks as callbacks
import common.training.supervised as supervised
import train_system
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.supervised import DualHead
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.supervised import SingleHead
from common.checkpoints.files import read
from common.data.index import read_index
from common.data.raw import Raw, RawSplit, write_raw
from common.data.tree import write_tree
from common.networks.backbones import build_backbone
from common.runs.description import Architecture
from common.settings.compose import compose, keys_of
from common.settings.schema import DualConfig, RecipeValues, SingleConfig
from common.trained.evaluate import load_module
from common.training.callbacks import EpochLines, MetricsTable
from common.training.metrics import FURTHER, LevelMetrics
from common.training.supervised import Supervised
from data_scripts.make_navon import make_navon

ROOT = Path(__file__).resolve().parents[2]
SINGLE = arch_single_head.trainer.main
DUAL = arch_dual_head.trainer.main
ARCHITECTURES = {
    "arch_single_head": Architecture(SingleHeadData, SingleHead),
    "arch_dual_head": Architecture(DualHeadData, DualHead),
}
CLASSES = {"fine": 100, "coarse": 20}


def content(file: Path) -> dict:
    return torch.load(file, weights_only=True)


def weights(file: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    found = {k: v for k, v in content(file)["state_dict"].items() if k.startswith(prefix)}
    assert found
    return found


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit, names included."""
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype and one[k].equal(other[k]) for k in one
    )


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if not one[name].equal(other[name])}


def result_of(place: Path) -> dict:
    return yaml.safe_load((place / "result.yaml").read_text())


@pytest.fixture(scope="session")
def base(navon) -> list[str]:
    """Overrides for two epochs over all of the small set, in float32; none of them is a hyper-parameter."""
    return [
        "dataset=navon",
        f"dataset.root={navon}",
        "dataset.width=0.125",
        "dataset.batch_size=32",
        "dataset.epochs.single=2",
        "dataset.epochs.dual=2",
        "trainer_params.precision=32-true",
        "logger=csv",
    ]


@pytest.fixture(scope="session")
def study(base, succeed, tmp_path_factory) -> SimpleNamespace:
    """One seed of the study, and the pixels of every image that each of its stages was shown."""
    save_dir = tmp_path_factory.mktemp("study")
    shown = defaultdict(lambda: defaultdict(set))
    pixels_of = {}
    with pytest.MonkeyPatch.context() as patch:
        for split in ("training", "validation", "test"):
            step = getattr(Supervised, f"{split}_step")

            def noting(self, batch, batch_idx, split=split, step=step):
                if "features" in batch:
                    pixels = {pixels_of[row.numpy().tobytes()] for row in batch["features"]}
                else:
                    pixels = {image.numpy().tobytes() for image in batch["images"]}
                shown[self.record.arm][split] |= pixels
                return step(self, batch, batch_idx)

            patch.setattr(Supervised, f"{split}_step", noting)
        predict_step = Supervised.predict_step

        def remembering(self, batch, batch_idx):
            seen = predict_step(self, batch, batch_idx)
            for row, image in zip(seen["features"], batch["images"], strict=True):
                pixels_of[row.numpy().tobytes()] = image.numpy().tobytes()
            return seen

        patch.setattr(Supervised, "predict_step", remembering)
        place = (f"save_dir={save_dir}", "exp_name=study")
        succeed(train_system.main, *base, *place, "num_seeds=1", "analyse=false")
    place = save_dir / "study"
    best = {arm: place / arm / "seed0/checkpoints/best.ckpt" for arm in shown}
    return SimpleNamespace(place=place, shown=shown, best=best)


@pytest.fixture(scope="session")
def pretrained(study) -> list[str]:
    """Overrides that load both hemispheres from the study."""
    return [f"hparams.model_path_{level}={study.best[level]}" for level in CLASSES]


SCRATCH = [
    "hparams.model_path_fine=null",
    "hparams.model_path_coarse=null",
    "hparams.ffreeze=false",
    "hparams.cfreeze=false",
]


@pytest.fixture(scope="session")
def unilateral(base, study, succeed, tmp_path_factory) -> dict[str, Path]:
    """Run folders of a network of one hemisphere with two heads: its hemisphere frozen, and not."""
    save_dir = tmp_path_factory.mktemp("unilateral")
    for name, freeze in (("frozen", "true"), ("plastic", "false")):
        succeed(
            DUAL,
            *base,
            f"save_dir={save_dir}",
            f"exp_name={name}",
            "hparams.macro_arch=unilateral",
            f"hparams.model_path_fine={study.best['fine']}",
            f"hparams.ffreeze={freeze}",
        )
    return {name: save_dir / name / "unilateral/seed0" for name in ("frozen", "plastic")}


class Reached(BaseException):
    """A run has come to its first training step."""

    def __init__(self, module, batch, loss):
        self.module, self.batch, self.loss = module, batch, loss
        self.deterministic = torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def build(monkeypatch, base, tmp_path):
    """Run a trainer up to its first training step; gives the module, its trainer, its data and that step."""

    def to_first_step(main, *overrides: str) -> SimpleNamespace:
        step = Supervised.training_step

        def stop(module, batch, batch_idx):
            raise Reached(module, batch, step(module, batch, batch_idx).item())

        with monkeypatch.context() as patch:
            patch.setattr(Supervised, "training_step", stop)
            patch.setattr(sys, "argv", ["program", *base, f"save_dir={tmp_path}", *overrides])
            with pytest.raises(Reached) as reached:
                main()
        torch.use_deterministic_algorithms(False)
        first = reached.value
        trainer = first.module.trainer
        place = Path(trainer.default_root_dir)
        shutil.rmtree(place)
        return SimpleNamespace(
            module=first.module,
            network=first.module.network,
            trainer=trainer,
            data=trainer.datamodule,
            optimizer=trainer.optimizers[0],
            batch=first.batch,
            loss=first.loss,
            deterministic=first.deterministic,
            place=place.relative_to(tmp_path) if place.is_relative_to(tmp_path) else place,
        )

    return to_first_step


# 1. Validation and test images are held out, in every stage


def test_all_stages_validate_and_test_on_the_same_held_out_images(study, navon):
    index = read_index(navon)
    pixels = defaultdict(set)
    for split, image, fine, held in zip(
        index.split, index.image, index.fine, index.held_out, strict=True
    ):
        part = "validation" if held else {"train": "training"}.get(split, split)
        file = Image.open(navon / split / "fine" / str(fine) / image)
        pixels[part].add(np.asarray(file).transpose(2, 0, 1).tobytes())
    assert {part: len(images) for part, images in pixels.items()} == {
        "training": 500,
        "validation": 100,
        "test": 200,
    }
    assert set(study.shown) == {"fine", "coarse", "bilateral"}
    for arm, shown in study.shown.items():
        assert shown["validation"] == pixels["validation"], arm
        assert shown["test"] == pixels["test"], arm
        # The last, incomplete batch of an epoch is left out, each time another one.
        assert shown["training"] <= pixels["training"], arm
        assert len(shown["training"]) > 490, arm


def test_no_stage_trains_on_another_stages_validation_or_test_image(study):
    for arm, shown in study.shown.items():
        for other in study.shown:
            assert not shown["training"] & study.shown[other]["validation"], (arm, other)
            assert not shown["training"] & study.shown[other]["test"], (arm, other)


# 2. The best epoch is tested, not the last one


@pytest.fixture
def scripted(monkeypatch):
    """Let validation report given accuracies, one per epoch; gives the weights after each epoch."""

    def script(accuracies: list[float]) -> list[dict[str, torch.Tensor]]:
        after_epoch: list[dict[str, torch.Tensor]] = []
        compute, end = LevelMetrics.compute, Supervised.on_validation_epoch_end

        def ending(self):
            told = torch.tensor(accuracies[len(after_epoch)])
            after_epoch.append({k: v.clone() for k, v in self.network.state_dict().items()})

            def telling(metrics):
                values = compute(metrics)
                return {k: told if k.endswith("accuracy") else v for k, v in values.items()}

            with monkeypatch.context() as patch:
                patch.setattr(LevelMetrics, "compute", telling)
                end(self)

        monkeypatch.setattr(Supervised, "on_validation_epoch_end", ending)
        return after_epoch

    return script


def by_hand(file: Path, navon: Path, level: str, split: str = "test") -> dict:
    """A checkpoint's accuracy and loss on test or validation images, without metrics, loaders or modules of ours."""
    state = weights(file, "network.")
    backbone, head = build_backbone("resnet9", width=0.125), nn.Linear(64, CLASSES[level])
    for part, prefix in (
        (backbone, f"network.hemispheres.{level}.backbone."),
        (head, f"network.heads.{level}.linear."),
    ):
        part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if prefix in k})
    index = read_index(navon)
    mean, std = _pixel_statistics(navon)
    images, labels = [], []
    for part, image, label, held in zip(
        index.split, index.image, getattr(index, level), index.held_out, strict=True
    ):
        if (part == "test") if split == "test" else held:
            pixels = np.asarray(Image.open(navon / part / level / str(label) / image)) / 255
            images.append(((pixels - mean) / std).transpose(2, 0, 1))
            labels.append(label)
    with torch.no_grad():
        logits = head(backbone.eval()(torch.tensor(np.array(images)).float()))
    right = [x == label for x, label in zip(logits.argmax(1).tolist(), labels, strict=True)]
    loss = nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    return {
        "accuracy": pytest.approx(sum(right) / len(right)),
        "loss": pytest.approx(loss, rel=1e-4),
        **dict.fromkeys(FURTHER, ANY),  # tests/test_metrics.py computes these
    }


@cache
def _pixel_statistics(navon: Path) -> tuple[np.ndarray, np.ndarray]:
    index = read_index(navon)
    images = [
        np.asarray(Image.open(navon / "train/fine" / str(fine) / image)) / 255
        for split, image, fine, held in zip(
            index.split, index.image, index.fine, index.held_out, strict=True
        )
        if split == "train" and not held
    ]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images])
    return pixels.mean(0), pixels.std(0)


@pytest.mark.parametrize(
    ("accuracies", "best", "more"),
    [
        ([0.2, 0.6, 0.1], 1, []),
        pytest.param([0.6, 0.6, 0.1], 0, [], marks=pytest.mark.slow),
        ([0.1, 0.6, 0.6], 1, []),
        pytest.param([0.0, 0.0, 0.0], 0, [], marks=pytest.mark.slow),
        pytest.param([0.1, 0.2, 0.3], 2, [], marks=pytest.mark.slow),
        ([0.2, 0.3, 0.6], 2, ["ckpt_callback.save_top_k=2"]),
        pytest.param([0.6, 0.6, 0.6], 0, ["ckpt_callback.save_top_k=3"], marks=pytest.mark.slow),
    ],
)
def test_the_earliest_best_epoch_is_tested(
    accuracies, best, more, scripted, in_process, base, navon, tmp_path
):
    after_epoch = scripted(accuracies)
    status, _, err = in_process(
        SINGLE,
        *base,
        *more,
        f"save_dir={tmp_path}",
        "exp_name=run",
        "hparams.mode=coarse",
        "trainer_params.max_epochs=3",
        "trainer_params.limit_train_batches=5",
    )
    assert status == 0, err
    place = tmp_path / "run/coarse/seed0"
    state = {f"network.{k}": v for k, v in after_epoch[best].items()}
    assert equal(weights(place / "checkpoints/best.ckpt"), state)
    result = result_of(place)
    assert (result["best_epoch"], result["epochs"]) == (best + 1, 3)
    told = pytest.approx(accuracies[best])
    assert result["validation"]["coarse"]["accuracy"] == told
    assert result["test"]["coarse"] == by_hand(place / "checkpoints/best.ckpt", navon, "coarse")


# 3. Frozen means bit-identical, BatchNorm statistics included


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("level", CLASSES)
def test_a_frozen_hemisphere_is_its_own_checkpoint_bit_for_bit(study, level, file):
    prefix = f"network.hemispheres.{level}."
    own = weights(study.best[level], prefix)
    assert any("running_var" in name for name in own)
    assert any("num_batches_tracked" in name for name in own)
    assert equal(weights(study.place / "bilateral/seed0/checkpoints" / file, prefix), own)


def test_only_the_heads_of_the_bilateral_network_learn(study, build, base, pretrained):
    before = {f"network.{k}": v for k, v in build(DUAL, *pretrained).network.state_dict().items()}
    after = weights(study.place / "bilateral/seed0/checkpoints/last.ckpt")
    assert differing(before, after) == {
        f"network.heads.{level}.linear.{part}" for level in CLASSES for part in ("weight", "bias")
    }


def test_a_hemisphere_that_is_not_frozen_changes_its_statistics_too(study, unilateral):
    prefix = "network.hemispheres.fine."
    own = weights(study.best["fine"], prefix)
    frozen = weights(unilateral["frozen"] / "checkpoints/last.ckpt", prefix)
    plastic = weights(unilateral["plastic"] / "checkpoints/last.ckpt", prefix)
    assert equal(frozen, own)
    assert differing(plastic, own) == set(own)


def test_a_loaded_bilateral_network_stays_frozen_in_training_mode(study):
    module = load_module(
        study.best["bilateral"],
        folder="arch_dual_head",
        architecture=ARCHITECTURES["arch_dual_head"],
    )
    before = {k: v.clone() for k, v in module.network.state_dict().items()}
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    module.train()
    module.network(module.transforms(images))["fine"].sum().backward()
    assert equal(module.network.state_dict(), before)
    hemispheres = module.network.hemispheres
    assert all(parameter.grad is None for parameter in hemispheres.parameters())


# 4. Both architectures and both freeze flags count; the optimiser gets what learns


def shapes(module: nn.Module) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_each_hemisphere_is_built_from_its_own_arch_and_width(build):
    built = build(
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
    ffreeze, cfreeze, build, pretrained
):
    flags = [f"hparams.ffreeze={ffreeze}".lower(), f"hparams.cfreeze={cfreeze}".lower()]
    built = build(DUAL, *pretrained, *flags)
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
def test_ffreeze_counts_in_a_unilateral_network(freeze, build, pretrained):
    built = build(
        DUAL, *pretrained, "hparams.macro_arch=unilateral", f"hparams.ffreeze={freeze}".lower()
    )
    assert list(built.network.hemispheres) == ["fine"]
    assert optimised(built) == {
        name
        for name, _ in built.network.named_parameters()
        if name.startswith("heads.") or not freeze
    }


def optimised(built) -> set[str]:
    """Names of the parameters that the optimiser holds."""
    held = {id(p) for group in built.optimizer.param_groups for p in group["params"]}
    return {name for name, p in built.network.named_parameters() if id(p) in held}


# 5. and 6. Repeated names, and label ids as numbers


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> SimpleNamespace:
    """A set of 12 fine classes in 3 coarse ones; in each split, classes 2 and 11 (both of coarse class 2)
    have an image named baby.png. The first pixel of each image is its fine label."""
    rng = np.random.default_rng(0)

    def split(per_class: int) -> RawSplit:
        fine = [label for label in range(12) for _ in range(per_class)]
        images = rng.integers(0, 256, (len(fine), 3, 16, 16), np.uint8)
        images[:, 0, 0, 0] = fine
        names = [f"image{i:02}.png" for i in range(len(fine))]
        for label in (2, 11):
            names[label * per_class] = "baby.png"
        return RawSplit(images, fine, [label % 3 for label in fine], names)

    folder = tmp_path_factory.mktemp("twins")
    names = [f"f{i}" for i in range(12)], [f"c{i}" for i in range(3)]
    raw = Raw(split(4), split(2), *names)
    write_raw(raw, folder / "raw")
    write_tree(raw, folder / "SET", split_seed=0)
    return SimpleNamespace(root=folder / "SET", raw=folder / "raw", sizes={"train": 48, "test": 24})


def everything(module: type, folder: str, schema: type, *overrides: str) -> dict[str, list]:
    """All images of both splits as a DataModule gives them out: images, and labels per level."""
    cfg = compose(
        ROOT / folder,
        schema=schema,
        overrides=["dataset=navon", *overrides, "hparams.batch_size=1000"],
    )
    loaded = module(cfg, seed=0)
    loaded.setup("fit")
    loaded.setup("test")
    found = defaultdict(list)
    loaders = {
        "train": [loaded.train_dataloader(), loaded.val_dataloader()],
        "test": [loaded.test_dataloader()],
    }
    for split, parts in loaders.items():
        for loader in parts:
            for batch in loader:
                found[split].append(batch)
    return {
        split: {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        for split, batches in found.items()
    }


def test_both_images_of_a_repeated_name_reach_the_network_with_their_labels(twins):
    root = f"dataset.root={twins.root}"
    single, dual = (
        (SingleHeadData, "arch_single_head", SingleConfig),
        (
            DualHeadData,
            "arch_dual_head",
            DualConfig,
        ),
    )
    roads = {
        "fine tree": everything(*single, root, "hparams.mode=fine"),
        "coarse tree": everything(*single, root, "hparams.mode=coarse"),
        "index": everything(*dual, root, *SCRATCH),
        "raw files": everything(*dual, root, f"dataset.raw_data_dir={twins.raw}", *SCRATCH),
    }
    for road, splits in roads.items():
        for split, size in twins.sizes.items():
            batch = splits[split]
            truth = batch["images"][:, 0, 0, 0].long()
            assert torch.bincount(truth).tolist() == [size // 12] * 12, (road, split)
            if "fine" in batch:
                assert batch["fine"].equal(truth), (road, split)
            if "coarse" in batch:
                assert batch["coarse"].equal(truth % 3), (road, split)
            assert len(batch["images"].flatten(1).unique(dim=0)) == size, (road, split)


def test_label_ids_are_numbers_and_not_places_among_sorted_folder_names(study, navon):
    assert sorted(os.listdir(navon / "train/fine"))[2] == "10"
    for level in CLASSES:
        record, _ = read(study.best[level])
        assert record.label_ids[level] == list(range(CLASSES[level]))
    # With the wrong order, hardly any of these would agree.
    places = study.place / "fine/seed0/result.yaml", study.place / "coarse/seed0/result.yaml"
    for level, file in zip(CLASSES, places, strict=True):
        told = yaml.safe_load(file.read_text())["test"][level]
        assert told == by_hand(study.best[level], navon, level)


def test_label_ids_may_have_gaps(twins, tmp_path, in_process, base):
    root = tmp_path / "GAPS"
    shutil.copytree(twins.root, root, ignore=shutil.ignore_patterns(".cache"))
    hierarchy = yaml.safe_load((root / "hierarchy.yaml").read_text())
    renumbered = {label: 10 * label + 7 for label in range(12)}
    for split in ("train", "test"):
        for label in reversed(range(12)):
            (root / split / "fine" / str(label)).rename(
                root / split / "fine" / str(renumbered[label])
            )
    with (root / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["fine"] = renumbered[int(row["fine"])]
    with (root / "index.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for key in ("fine", "parent", "fine_to_coarse"):
        if key in hierarchy:
            hierarchy[key] = {renumbered[k]: v for k, v in hierarchy[key].items()}
    (root / "hierarchy.yaml").write_text(yaml.safe_dump(hierarchy, sort_keys=False))

    overrides = [*base, f"dataset.root={root}", f"save_dir={tmp_path}", "exp_name=gaps"]
    status, _, err = in_process(SINGLE, *overrides, "hparams.batch_size=12")
    assert status == 0, err
    best = tmp_path / "gaps/fine/seed0/checkpoints/best.ckpt"
    assert read(best)[0].label_ids == {"fine": list(renumbered.values())}
    status, _, err = in_process(
        arch_single_head.test.main, f"checkpoint={best}", "hparams.mode=feature"
    )
    assert status == 0, err
    features = np.load(tmp_path / "gaps/fine/seed0/features.npz")
    assert sorted(features["fine"].tolist()) == sorted([*renumbered.values()] * 2)


# 7. A hemisphere's file must be the right one


def altered(file: Path, target: Path, change) -> Path:
    """A copy of a checkpoint, changed by ``change(content)``."""
    held = content(file)
    change(held)
    torch.save(held, target)
    return target


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["hparams.farch=resnet18"], ["model_path_fine", "resnet9", "resnet18"]),
        (["hparams.carch=resnet18"], ["model_path_coarse", "resnet9", "resnet18"]),
        (["hparams.fine_width=0.25"], ["model_path_fine", "width 0.125", "width 0.25"]),
        (["hparams.coarse_width=0.25"], ["model_path_coarse", "width 0.125", "width 0.25"]),
        (["hparams.fine_k=0.5"], ["model_path_fine", "k 1.0", "k 0.5"]),
        (["hparams.coarse_low_pass=8"], ["model_path_coarse", "low_pass null", "low_pass 8.0"]),
        (["hparams.coarse_residual=false"], ["model_path_coarse", "residual true", "false"]),
        (["hparams.model_path_fine={coarse}"], ["model_path_fine", "coarse", "fine"]),
        (["hparams.model_path_coarse={fine}"], ["model_path_coarse", "fine", "coarse"]),
        (["hparams.model_path_fine={bilateral}"], ["model_path_fine", "fine and coarse"]),
        (["dataset.split_seed=5"], ["model_path_fine", "other images", "held-out split"]),
        (["dataset.root={twins}"], ["model_path_fine", "other images", "another data set"]),
    ],
)
def test_a_wrong_hemisphere_is_refused_by_what_it_is_and_what_it_should_be(
    overrides, names, study, twins, in_process, base, pretrained, tmp_path
):
    places = {**study.best, "twins": twins.root}
    filled = [item.format(**places) if "{" in item else item for item in overrides]
    status, _, err = in_process(DUAL, *base, *pretrained, f"save_dir={tmp_path}", *filled)
    assert status == 1
    assert err.count("\n") == 1, err
    assert [name for name in names if name not in err] == [], err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("change", ["a weight is missing", "a weight too many", "another shape"])
def test_a_hemisphere_is_loaded_completely_or_not_at_all(
    change, study, in_process, base, pretrained, tmp_path
):
    def alter(held):
        state = held["state_dict"]
        name = next(k for k in state if "running_mean" in k)
        if change == "a weight is missing":
            del state[name]
        elif change == "a weight too many":
            state[f"{name}_of_another"] = state[name]
        else:
            state[name] = state[name][:-1]

    file = altered(study.best["fine"], tmp_path / "altered.ckpt", alter)
    status, _, err = in_process(
        DUAL, *base, *pretrained, f"save_dir={tmp_path}", f"hparams.model_path_fine={file}"
    )
    assert status == 1
    assert err.count("\n") == 1
    assert "altered.ckpt does not fit the network" in err
    assert "running_mean" in err


def test_hemispheres_of_other_pixel_statistics_are_refused(
    study, in_process, base, pretrained, tmp_path
):
    def alter(held):
        held["bilateral"]["mean"] = [0.1, 0.2, 0.3]

    file = altered(study.best["coarse"], tmp_path / "altered.ckpt", alter)
    status, _, err = in_process(
        DUAL, *base, *pretrained, f"save_dir={tmp_path}", f"hparams.model_path_coarse={file}"
    )
    assert status == 1
    assert "model_path_coarse" in err
    assert "pixel statistics" in err


# 8. Loading a checkpoint runs nothing


class Hostile:
    """Makes a folder when it is unpickled in the ordinary way."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture
def hostile(study, tmp_path) -> SimpleNamespace:
    """Checkpoints of one hemisphere and of both that do harm when loaded carelessly."""
    mark = tmp_path / "harm"
    files = {}
    for arm, file in study.best.items():
        files[arm] = altered(
            file, tmp_path / f"{arm}.ckpt", lambda held: held.update(extra=Hostile(mark))
        )
    torch.load(files["fine"], weights_only=False)
    mark.rmdir()
    return SimpleNamespace(files=files, mark=mark)


@pytest.mark.parametrize(
    "where", ["test.py of one head", "test.py of two", "model_path", "ensemble", "trained_models"]
)
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    where, hostile, study, in_process, base, pretrained, tmp_path
):
    here = f"save_dir={tmp_path}"
    fine, both = hostile.files["fine"], hostile.files["bilateral"]
    models = tmp_path / "models.yaml"
    models.write_text(f"fine: [{fine}]\ncoarse: [{study.best['coarse']}]\n")
    commands = {
        "test.py of one head": (arch_single_head.test.main, f"checkpoint={fine}"),
        "test.py of two": (arch_dual_head.test.main, f"checkpoint={both}"),
        "model_path": (DUAL, *base, *pretrained, here, f"hparams.model_path_fine={fine}"),
        "ensemble": (
            DUAL,
            *base,
            here,
            "hparams.macro_arch=ensemble",
            f"hparams.model_path_fine=[{both}]",
        ),
        "trained_models": (
            train_system.main,
            *base,
            here,
            "num_seeds=1",
            f"trained_models={models}",
        ),
    }
    status, _, err = in_process(*commands[where])
    assert not hostile.mark.exists()
    assert status == 1
    assert err.count("\n") == 1
    assert "more than plain containers and tensors" in err


def test_a_hostile_checkpoint_to_continue_from_is_set_aside_and_does_not_run(
    study, in_process, base, tmp_path
):
    shutil.copytree(study.place, tmp_path / "study")
    place = tmp_path / "study/fine/seed0"
    (place / "result.yaml").unlink()
    last = place / "checkpoints/last.ckpt"
    mark = tmp_path / "harm"
    altered(last, last, lambda held: held.update(extra=Hostile(mark)))
    status, out, err = in_process(
        train_system.main,
        *base,
        "analyse=false",
        f"save_dir={tmp_path}",
        "exp_name=study",
        "num_seeds=1",
    )
    assert not mark.exists()
    assert (status, err) == (0, "")
    assert f"{last} is damaged; it is set aside as last.ckpt.damaged" in out


def kinds(value) -> set[type]:
    """The types of everything within nested containers."""
    found = {type(value)}
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    else:
        parts = value if isinstance(value, list | tuple) else []
    return found.union(*map(kinds, parts))


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("arm", ["fine", "coarse", "bilateral"])
def test_checkpoints_hold_plain_containers_and_tensors(study, arm, file):
    held = content(study.place / arm / "seed0/checkpoints" / file)
    plain = {"dict", "OrderedDict", "defaultdict", "list", "tuple", "Tensor"}
    plain |= {"int", "float", "str", "bool", "NoneType"}
    assert {kind.__name__ for kind in kinds(held)} <= plain


# 9. Names of files can be given on Hydra's command line


@pytest.mark.slow
def test_no_file_that_a_run_writes_has_an_equals_sign(in_process, base, study, tmp_path):
    status, _, err = in_process(
        SINGLE,
        *base,
        "logger=default",
        f"save_dir={tmp_path}",
        "ckpt_callback.save_top_k=2",
        "trainer_params.limit_train_batches=1",
        "hparams.lr=0.001,0.002",
        "--multirun",
    )
    assert status == 0, err
    found = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")]
    assert (
        sum(name.endswith(".ckpt") for name in found) == 2 * 4
    )  # best, last and the two that are kept
    assert any("events.out.tfevents" in name for name in found)
    assert len(list(tmp_path.iterdir())) == 2
    found += [str(p.relative_to(study.place)) for p in study.place.rglob("*")]
    assert [name for name in found if "=" in name] == []


# 10. Accuracy is counted on the device


@pytest.mark.parametrize("level", CLASSES)
def test_accuracy_is_the_share_of_right_answers(study, navon, level):
    result = result_of(study.place / level / "seed0")
    for split, told in (("test", result["test"]), ("validation", result["validation"])):
        assert told[level] == by_hand(study.best[level], navon, level, split)


def test_accuracy_and_loss_do_not_depend_on_how_images_are_batched(study, in_process, monkeypatch):
    command = arch_single_head.test.main, f"checkpoint={study.best['coarse']}"
    whole = in_process(*command)
    # 200 test images: the last batch has 2.
    monkeypatch.setattr(data, "EVAL_BATCH", 66)
    parts = in_process(*command)
    assert parts == whole
    accuracy = result_of(study.place / "coarse/seed0")["test"]["coarse"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in whole[1]


def test_steps_leave_everything_on_the_device(study):
    """Tensors of the meta device have no values: copying one to the CPU or reading one is an error."""
    record, _ = read(study.best["bilateral"])
    with torch.device("meta"):
        module = DualHead(cfg=OmegaConf.create(record.config), record=record)
    module.to("meta")
    batch = {"images": torch.zeros(8, 3, 32, 32, dtype=torch.uint8, device="meta")}
    batch |= {level: torch.zeros(8, dtype=torch.long, device="meta") for level in CLASSES}
    # Whatever augmentation does belongs to the step.
    module.transforms.crop_padding, module.transforms.flip = 4, True
    with pytest.raises((RuntimeError, NotImplementedError)):
        batch["fine"].cpu()
    loss = module.training_step(batch, batch_idx=1)
    module.validation_step(batch, batch_idx=1)
    module.test_step(batch, batch_idx=1)
    assert loss.device.type == "meta"
    for metrics in (module.train_metrics, module.val_metrics, module.test_metrics):
        for metric in (*metrics.accuracy.values(), *metrics.loss.values()):
            assert metric.device.type == "meta"
            assert metric.update_count == 1
            assert {state.device.type for state in metric.metric_state.values()} == {"meta"}


# 11. and 12. Every key does something, and to the right part


def facts(built) -> dict[str, object]:
    """What a run is made of, as it enters its first training step."""
    module, trainer, network = built.module, built.trainer, built.network
    loader = trainer.train_dataloader
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
        "workers": loader.num_workers,
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
    "hparams.num_workers": ("1", {"workers"}),
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
# Keys whose effect is not there yet at a first training step.
TESTED_ELSEWHERE = {
    "ckpt_callback.monitor": "the mapping ckpt_callback above",
    "ckpt_callback.mode": "the mapping ckpt_callback above",
    "evaluate": "test_study.py",
    "fresh": "test_study.py",
    "dataset.memory_gb": "test_memory.py",
    "hparams.compile": "test_compile.py",
    "dataset.raw_data_dir": "test_both_images_of_a_repeated_name_reach_the_network_with_their_labels",
    "hparams.mode": "test_commands.py",
    "arm": "test_arms.py",
    "hparams.fine_speciality": "test_arms.py",
    "hparams.coarse_speciality": "test_arms.py",
    "hparams.model_path": "test_arms.py",
    "trainer_params.accelerator": "test_what_this_machine_or_project_cannot_do_is_refused",
    "trainer_params.devices": "test_what_this_machine_or_project_cannot_do_is_refused",
    "trainer_params.num_nodes": "test_what_this_machine_or_project_cannot_do_is_refused",
    "trainer_params.strategy": "test_what_this_machine_or_project_cannot_do_is_refused",
}
OTHER_FOLDERS = {SingleConfig: ["dataset.epochs.dual"], DualConfig: ["dataset.epochs.single"]}


@pytest.mark.parametrize(
    ("schema", "changes"),
    [(SingleConfig, ONE_HEAD), (DualConfig, SHARED | TWO_HEADS | TWO_HEADS_FROM_SCRATCH)],
)
def test_every_key_of_the_schema_is_changed_by_a_test(schema, changes):
    # A recipe's values are those of hparams and trainer_params: see the next test.
    skipped = ("recipe.", *OTHER_FOLDERS[schema])
    keys = {key for key in keys_of(schema) if not key.startswith(skipped)}
    assert keys - changes.keys() == TESTED_ELSEWHERE.keys() & keys - changes.keys()


@pytest.mark.parametrize(
    ("side", "other", "schema"),
    [("single", "dual", SingleConfig), ("dual", "single", DualConfig)],
)
def test_a_recipes_values_are_those_of_its_folders_hyper_parameters(side, other, schema):
    values = {"max_epochs": "3"} | {name: value for name, (value, _) in RECIPE.items()}
    assert values.keys() == {item.name for item in fields(RecipeValues)}

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
def others(base, study, navon, succeed, tmp_path_factory) -> dict[str, object]:
    """Another data set, another place, and hemispheres of another seed."""
    folder = tmp_path_factory.mktemp("others")
    write_tree(make_navon(train=600, test=200, seed=1), folder / "OTHER", split_seed=0)
    short = "trainer_params.limit_train_batches=1"
    succeed(
        train_system.main,
        *base,
        short,
        f"save_dir={folder}",
        "exp_name=another",
        "seeds=[1]",
        "no_bilateral=true",
        "analyse=false",
    )
    hemispheres = {
        f"another_{level}": folder / "another" / level / "seed1/checkpoints/best.ckpt"
        for level in CLASSES
    }
    return {"other": folder / "OTHER", "elsewhere": folder, "navon": navon} | hemispheres


@pytest.fixture(scope="session")
def at_base() -> dict[str, dict]:
    """Facts about each table's base, once they are known."""
    return {}


SGD = ("recipe.single.optimizer=sgd", "recipe.dual.optimizer=sgd")
ONE_HEAD_BASE = (SINGLE, *SGD)
SCRATCH_BASE = (DUAL, *SGD, *SCRATCH)


def some(keys: Iterable[str], *fast: str) -> list[Any]:
    """All of these keys, of which these alone are tried in a short run of the tests."""
    assert set(fast) <= set(keys)
    return [key if key in fast else pytest.param(key, marks=pytest.mark.slow) for key in keys]


def effect(build, at_base, others, main, *overrides, key, value) -> set[str]:
    """The facts that a change of one key changes."""
    if overrides not in at_base:
        at_base[overrides] = facts(build(main, *overrides))
    tree = "coarse" if key == "hparams.mode" else "fine"
    after = facts(build(main, *overrides, f"{key}={value.format(tree=tree, **others)}"))
    return {name for name, fact in at_base[overrides].items() if after[name] != fact}


@pytest.mark.parametrize(
    "key", some(ONE_HEAD, "seeds", "hparams.mode", "hparams.arch", "dataset.flip")
)
def test_a_key_of_one_head_changes_its_own_part_and_no_other(key, build, at_base, others):
    value, expected = ONE_HEAD[key]
    assert effect(build, at_base, others, *ONE_HEAD_BASE, key=key, value=value) == expected


@pytest.mark.slow
@pytest.mark.parametrize("key", TWO_HEADS)
def test_a_key_of_two_heads_changes_its_own_part_and_no_other(
    key, build, at_base, others, pretrained
):
    value, expected = TWO_HEADS[key]
    base = (DUAL, *SGD, *pretrained)
    assert effect(build, at_base, others, *base, key=key, value=value) == expected


@pytest.mark.parametrize(
    "key", some(TWO_HEADS_FROM_SCRATCH, "hparams.carch", "hparams.fine_plasticity")
)
def test_a_key_of_a_hemisphere_changes_the_hemisphere_that_it_names(key, build, at_base, others):
    value, expected = TWO_HEADS_FROM_SCRATCH[key]
    assert effect(build, at_base, others, *SCRATCH_BASE, key=key, value=value) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer_params.devices=3", "devices"),
        ("trainer_params.num_nodes=2", "num_nodes"),
        ("trainer_params.strategy=nonsense", "nonsense"),
        pytest.param(
            "trainer_params.accelerator=gpu",
            "trainer_params",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_this_machine_or_project_cannot_do_is_refused(
    override, said, in_process, base, tmp_path
):
    status, _, err = in_process(SINGLE, *base, f"save_dir={tmp_path}", override)
    assert status == 1
    assert err.count("\n") == 1, err
    assert said in err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_seed_0_is_a_seed(build):
    first, again, other = (build(SINGLE, f"seeds=[{seed}]") for seed in (0, 0, 1))
    assert first.module.record.seed == 0
    assert first.batch["images"].equal(again.batch["images"])
    assert first.loss == again.loss
    assert equal(first.network.state_dict(), again.network.state_dict())
    assert not first.batch["images"].equal(other.batch["images"])
    assert not equal(first.network.state_dict(), other.network.state_dict())


def functions_of(module) -> list:
    """A module's own classes and functions."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", [macro, supervised, augment])
def test_networks_are_built_from_named_arguments(module):
    for kind in functions_of(module):
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        if len(parameters) > 1:
            assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}, kind


def test_a_backbone_takes_all_but_its_name_as_named_arguments():
    _, *parameters = inspect.signature(backbones.build_backbone).parameters.values()
    assert {p.kind for p in parameters} == {inspect.Parameter.KEYWORD_ONLY}
