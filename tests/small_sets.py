"""Small data sets of any shape, and studies of untrained networks on them, written in a fraction of a second."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from omegaconf import DictConfig
from PIL import Image

from architectures import ARCHITECTURES
from common.data.index import SPLITS
from common.data.raw import Raw, RawSplit
from common.results.rows import write_result
from common.runs.description import Stage
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.atomic_files import write_yaml
from common.system.randomness import derive
from common.training.metrics import by_level
from common.training.module import TrainingModule

FOLDERS = {"fine": "arch_single_head", "coarse": "arch_single_head", "bilateral": "arch_dual_head"}


@dataclass(frozen=True)
class Shape:
    """A data set: how many pictures each fine class has in each split, by its coarse class; and their size."""

    classes: Mapping[int, Sequence[Mapping[str, int]]]
    width: int
    height: int
    seeds: int = 1


def shape(
    classes: Sequence[Sequence[tuple[int, int]]], size: tuple[int, int] = (16, 16), seeds: int = 1
) -> Shape:
    """A set whose fine classes have so many (training, test) pictures; a list of these for each coarse class."""
    counts = [[dict(zip(SPLITS, one, strict=True)) for one in group] for group in classes]
    return Shape(dict(enumerate(counts)), *size, seeds)


@st.composite
def shapes(draw: st.DrawFn, seeds: int = 1) -> Shape:
    """1 to 5 coarse classes of 1 to 4 fine ones, of 1 to 6 pictures each; any class may be missing from any split."""
    numbers = st.one_of(st.integers(1, 6), st.just(0))
    one = st.tuples(numbers, numbers)
    groups = draw(st.lists(st.lists(one, min_size=1, max_size=4), min_size=1, max_size=5))
    sizes = st.integers(8, 60)
    return shape(groups, (draw(sizes), draw(sizes)), draw(st.integers(1, seeds)))


def write_set(root: Path, of: Shape) -> Path:
    """Draw a set as labelled folders: noise around a colour of each fine class."""
    rng = np.random.default_rng(0)
    fine = 0
    for coarse, group in of.classes.items():
        for counts in group:
            colour = rng.integers(0, 256, 3)
            for split, count in counts.items():
                for number in range(count):
                    noise = rng.normal(0, 40, (of.height, of.width, 3))
                    pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                    files = [
                        root / split / level / str(label) / f"im{fine}_{number}.ppm"
                        for level, label in (("fine", fine), ("coarse", coarse))
                    ]
                    for file in files:
                        file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(files[0])
                    os.link(*files)
            fine += 1
    return root


@cache
def _configuration(arm: str) -> DictConfig:
    """The configuration of an arm on the small sets, composed once."""
    folder = FOLDERS[arm]
    mode = [f"hparams.mode={arm}"] if arm in ("fine", "coarse") else []
    return compose(
        ROOT / folder,
        schema=ARCHITECTURES[folder].schema,
        overrides=["dataset=navon", "dataset.width=0.125", "logger=csv", "exp_name=study", *mode],
    )


def write_study(place: Path, root: Path, seeds: int = 1) -> dict[Path, TrainingModule]:
    """Write the finished study of untrained networks on a set: the fine, the coarse and the bilateral arm.

    Returns:
        The networks by the path of their checkpoint.

    Raises:
        UserError: the set cannot be trained on.
    """
    stages = [(arm, seed) for seed in range(seeds) for arm in FOLDERS]
    return dict(_write_stage(place, root, arm, seed) for arm, seed in stages)


def _write_stage(place: Path, root: Path, arm: str, seed: int) -> tuple[Path, TrainingModule]:
    cfg = _configuration(arm).copy()
    tree = "coarse" if arm == "coarse" else "fine"
    cfg.save_dir, cfg.exp_name = str(place.parent), place.name
    cfg.seeds = [0, 1]
    cfg.dataset.root = str(root)
    cfg.dataset.train_dir, cfg.dataset.test_dir = f"{root}/train/{tree}", f"{root}/test/{tree}"
    if arm == "bilateral":
        for level in ("fine", "coarse"):
            path = place / level / f"seed{seed}/checkpoints/best.ckpt"
            cfg.hparams[f"model_path_{level}"] = str(path)
    architecture = ARCHITECTURES[FOLDERS[arm]]
    data = architecture.data(cfg, seed=0)
    data.load()
    test = data.load_test()
    stage = Stage(arm, seed, FOLDERS[arm], cfg)
    torch.manual_seed(derive(seed, arm) % 2**32)
    module = architecture.module(cfg=cfg, record=record_of(stage, data, f"{arm}{seed}"))
    module.load_hemispheres(data)
    module.eval()
    stage.best.parent.mkdir(parents=True)
    state = {f"network.{name}": value for name, value in module.network.state_dict().items()}
    torch.save({"state_dict": state, "bilateral": module.record.as_dict()}, stage.best)
    measured = {
        split: _measure(module, images) for split, images in (("val", data.val_set), ("test", test))
    }
    smoothing = {"label_smoothing": cfg.hparams.label_smoothing}
    config = {"dataset": {"name": cfg.dataset.name, "root": str(root)}, "hparams": smoothing}
    write_yaml(stage.place / "config.yaml", config)
    result = {"arm": arm, "seed": seed, "seeds": [seed], "fingerprint": module.record.fingerprint}
    result |= {"checkpoint": "checkpoints/best.ckpt", "best_epoch": 1, "epochs": 1, "seconds": 0.1}
    result |= {"validation": measured["val"], "test": measured["test"]}
    write_result(stage.place / "result.yaml", result)
    return stage.best, module


@torch.no_grad()
def _measure(module, images) -> dict:
    metrics = module.test_metrics
    metrics.reset()
    logits = module.network(module.transforms(images.images[images.subset]))
    metrics.update(
        logits, {level: labels[images.subset] for level, labels in images.labels.items()}
    )
    return by_level(
        {f"test_{name}": value for name, value in metrics.compute().items()},
        "test",
        module.record.levels,
    )


def two_labels(train: int = 12, test: int = 4) -> Raw:
    """Images with two independent labels: fine A to C (how red), coarse A to D (how green); so many of each pair."""
    rng = np.random.default_rng(0)

    def split(count: int) -> RawSplit:
        pairs = [(fine, coarse) for fine in range(3) for coarse in range(4) for _ in range(count)]
        fine, coarse = (list(labels) for labels in zip(*pairs, strict=True))
        images = rng.integers(0, 256, (len(pairs), 3, 32, 32), np.uint8)
        images[:, 0] = 80 * np.array(fine)[:, None, None]
        images[:, 1] = 60 * np.array(coarse)[:, None, None]
        return RawSplit(images, fine, coarse, [f"p{i:03}.png" for i in range(len(pairs))])

    names = {"fine_names": ["A", "B", "C"], "coarse_names": ["A", "B", "C", "D"]}
    return Raw(split(train), split(test), **names, independent=["local", "global"])
