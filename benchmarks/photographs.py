"""Photographs whose originals are kept:  python benchmarks/photographs.py.

Draws JPEG files of the size that a camera gives, prepares them with --keep at 224 x 224, and measures the rate at which
a DataLoader gives decoded batches, beside torchvision's ImageFolder with as many workers, and the rate of training
torchvision's ResNet-18. Processor seconds of all processes stand beside, which other work on the machine disturbs less.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Clock
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from arch_single_head.datamodule import SingleHeadData
from arch_single_head.module import SingleHead
from arch_single_head.schema import SingleConfig
from common.data.folders.assemble import Options
from common.data.folders.prepare import prepare_folders
from common.data.folders.sources import Reading
from common.data.image_folder import load_folder
from common.data.pictures import Frame
from common.data.workers import loader_options
from common.runs.description import Stage
from common.runs.lightning import make_trainer, quieten
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.cores import cores
from common.system.environment import choose_precision

SIDE = 224
WORKERS = 2
BATCH = 32


def draw(root: Path, count: int, size: tuple[int, int]) -> None:
    """Draw photographs in two coarse classes of two fine ones: blurred noise, as JPEG of quality 90."""
    rng = np.random.default_rng(0)
    for number in range(count):
        fine = ("a1", "a2", "b1", "b2")[number % 4]
        folder = root / fine[0] / fine
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
        image = Image.fromarray(pixels).resize(size).filter(ImageFilter.GaussianBlur(2))
        image.save(folder / f"{number}.jpg", quality=90)


class Batches(torch.utils.data.Dataset):
    """The images of a folder as the project's loaders read them: whole batches by their indices."""

    def __init__(self, folder: Path) -> None:
        # More than may lie in memory: decoded when they are asked for.
        self.images = load_folder(folder, memory_gib=1e-9).images

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        """Decode a batch, uint8 (B, 3, H, W)."""
        return self.images[torch.as_tensor(indices)]


def _as_is(batch: Any) -> Any:
    return batch


def ours(folder: Path) -> Iterable:
    """Batches of the project."""
    data = Batches(folder)
    return DataLoader(data, batch_size=BATCH, collate_fn=_as_is, **loader_options(WORKERS))


def ordinary(folder: Path) -> Iterable:
    """Batches of torchvision's ImageFolder, as most tutorials read them."""
    whole = [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.ToTensor()]
    data = ImageFolder(str(folder), transforms.Compose(whole))
    return DataLoader(data, batch_size=BATCH, num_workers=WORKERS)


def rate(make: Callable[[Path], Iterable], folder: Path, count: int) -> dict[str, float]:
    """Go through a loader once: images per second, and processor milliseconds of an image, workers included."""
    loader = make(folder)
    before, start = _processor_s(), time.perf_counter()
    for _ in loader:
        pass
    wall = time.perf_counter() - start
    del loader  # its workers end, and their time is counted
    return {"images_per_s": count / wall, "cpu_ms": 1000 * (_processor_s() - before) / count}


def training(root: Path, steps: int) -> float:
    """Train ResNet-18 on the fine classes, decoding at each step: images per second after a step of warm-up."""
    batches = 1 + steps
    overrides = [
        "dataset=folders",
        f"dataset.root='{root}'",
        "dataset.memory_gb=1e-9",
        "dataset.width=1",
        f"hparams.num_workers={WORKERS}",
        f"hparams.batch_size={BATCH}",
        "hparams.arch=torchvision:resnet18",
        "logger=csv",
        "trainer_params.max_epochs=1",
        "trainer_params.enable_progress_bar=false",
        f"trainer_params.limit_train_batches={batches}",
    ]
    cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=overrides)
    cfg.trainer_params.limit_val_batches = 0
    cfg.save_dir = str(root.parent)
    data = SingleHeadData(cfg, seed=0)
    data.load()
    stage = Stage(arm="fine", seed=0, folder="arch_single_head", config=cfg)
    clock = Clock(warmup=1, steps=steps)
    precision = choose_precision("auto", "cpu")
    quieten()
    trainer = make_trainer(stage, precision, [clock], logger=False)
    trainer.fit(SingleHead(cfg=cfg, record=record_of(stage, data, "")), datamodule=data)
    return clock.rate


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Draw, prepare, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="photographs (default 320)")
    parser.add_argument("--size", default="1600x1200", help="of each (default 1600x1200)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--steps", type=int, default=4, help="training steps that are measured; 0: none"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    with tempfile.TemporaryDirectory() as place:
        photos, out = Path(place) / "photos", Path(place) / "SET"
        draw(photos, args.count, (width, height))
        prepare_folders(photos, out, Options(Frame(SIDE, SIDE), keep=True), Reading())
        found: dict = {}
        train = out / "train" / "fine"
        count = sum(1 for _ in train.rglob("*.jpg"))
        rates: dict[str, list[dict[str, float]]] = {"ours": [], "ordinary": []}
        load_folder(train, memory_gib=1e-9)  # once, so that its summary is there
        for turn in range(args.rounds):
            for name, make in (("ours", ours), ("ordinary", ordinary))[:: 1 - 2 * (turn % 2)]:
                rates[name].append(rate(make, train, count))
        for name, rounds in rates.items():
            for key in rounds[0]:
                found[f"{name}_{key}"] = statistics.median(one[key] for one in rounds)
        if args.steps:
            found["training_images_per_s"] = training(out, args.steps)
    found["cores"] = cores()
    for key, value in found.items():
        print(f"{key:28} {value:8.1f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
