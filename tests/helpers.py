"""What tests of several rooms use."""

import csv
import importlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
import yaml
from lightning_fabric.utilities import move_data_to_device
from PIL import Image
from torch import nn

from common.data.index import read_index
from common.networks.backbones import build_backbone
from common.results.metrics import FURTHER
from common.results.rows import Row

ROOT = Path(__file__).resolve().parents[1]
CLASSES = {"fine": 100, "coarse": 20}
# Overrides for two heads on hemispheres that nobody has trained.
SCRATCH = [
    "hparams.model_path_fine=null",
    "hparams.model_path_coarse=null",
    "hparams.ffreeze=false",
    "hparams.cfreeze=false",
]


def tracked(*patterns: str) -> list[str]:
    """Files of the repository, those not yet added too; a test is skipped in a copy without git, which cannot tell."""
    if not (ROOT / ".git").exists():
        pytest.skip(
            "git is not here to say what belongs to the repository", allow_module_level=True
        )
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def moved(batch) -> dict[str, torch.Tensor]:
    """A loader's batch as a step on the CPU takes it."""
    return move_data_to_device(batch, torch.device("cpu"))


def rows(table: Path) -> list[dict[str, str]]:
    """A table without what may differ between equal results."""
    with table.open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in ("seconds", "checkpoint")}
            for row in csv.DictReader(file)
        ]


def wrap(where: str, before) -> None:
    """Call ``before()`` ahead of each call of ``module:name`` or ``module:Class.name``."""
    module, _, path = where.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        before()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


class Killed(BaseException):
    """The process ends here."""


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def before_step(number: int, act: Callable[[], None]) -> Iterator[None]:
    """Call ``act()`` ahead of the training step of this number, from 1, of the commands run meanwhile."""
    from common.training.module import TrainingModule

    step, taken = TrainingModule.training_step, []

    def counting(self, batch, batch_idx):
        taken.append(batch_idx)
        if len(taken) == number:
            act()
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", counting)
        yield
    assert len(taken) >= number, f"only {len(taken)} training steps were taken"


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


def altered(file: Path, target: Path, change) -> Path:
    """A copy of a checkpoint, changed by ``change(content)``."""
    held = content(file)
    change(held)
    torch.save(held, target)
    return target


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
    mean, std = pixel_statistics(navon)
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
def pixel_statistics(navon: Path) -> tuple[np.ndarray, np.ndarray]:
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


def shapes(module: nn.Module) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def optimised(built) -> set[str]:
    """Names of the parameters that the optimiser holds."""
    held = {id(p) for group in built.optimizer.param_groups for p in group["params"]}
    return {name for name, p in built.network.named_parameters() if id(p) in held}


def row(arm="fine", seed=0, accuracy=0.5, *, level="fine", seeds=None, **other) -> Row:
    """A row of results.csv, with numbers as wide as they come."""
    values = {
        "loss": 1.0,
        **dict.fromkeys(FURTHER),
        "val_accuracy": 0.25,
        "val_loss": 2.0,
        "best_epoch": 1,
        "epochs": 2,
        "parameters": 12_345_678,
        "trained_parameters": 1_234_567,
        "macs": 1_234_500_000,
        "seeds": str(seed) if seeds is None else seeds,
        "seconds": 1234.5,
        "checkpoint": "best.ckpt",
    }
    return Row(arm=arm, seed=seed, level=level, accuracy=accuracy, **(values | other))


def arm(name: str, *accuracies: float, seeds=None, **other) -> list[Row]:
    """Rows of seeds 0, 1, ...; ``seeds`` names the networks that each is built from."""
    return [
        row(name, seed, accuracy, seeds=seeds and seeds[seed], **other)
        for seed, accuracy in enumerate(accuracies)
    ]


def finish(experiment, arm, seed, result, **levels):
    """The result.yaml that a finished stage leaves; of each level its metrics."""
    place = experiment / arm / f"seed{seed}"
    place.mkdir(parents=True)
    common = {
        "arm": arm,
        "seed": seed,
        "checkpoint": "checkpoints/best.ckpt",
        "best_epoch": 1,
        "epochs": 2,
        "seconds": 3.5,
        "validation": levels,
        "test": levels,
    }
    (place / "result.yaml").write_text(yaml.safe_dump(common | result))
