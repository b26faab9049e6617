"""The ordinary way, to compare with: image files decoded in worker processes at every step, float32, plain Lightning.

What most tutorials show: torchvision's ImageFolder, PIL transforms, a DataLoader with workers, a LightningModule
that logs at every step, frozen parts that are frozen by `requires_grad_(False)` alone.
"""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchmetrics import Accuracy
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models.vgg import VGG, cfgs, make_layers

from common.networks.backbones import build_backbone
from common.networks.backbones.layers import scaled
from common.system.cores import cores

WORKERS = min(8, cores())  # as many as there are cores, and not absurdly many
NORMALIZE = transforms.Normalize((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


class FineAndCoarse(ImageFolder):
    """Images (3, H, W) with the class of their folder and the coarse class that index.csv gives them."""

    def __init__(self, root: Path, transform: Any) -> None:
        super().__init__(str(root), transform)
        with (root.parent.parent / "index.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == root.parent.name]
        self.coarse = {row["image"]: int(row["coarse"]) for row in rows}
        self.coarse_classes = max(self.coarse.values()) + 1

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Image, fine label, coarse label."""
        image, fine = super().__getitem__(index)
        return image, fine, self.coarse[Path(self.samples[index][0]).name]


def ordinary_data(
    data_dir: Path, *, phase: str, batch_size: int
) -> tuple[DataLoader[Any], list[int]]:
    """A loader over the training folder, and the number of classes per head.

    Args:
        data_dir: the data set.
        phase: single, dual or eval; eval neither shuffles nor augments.
        batch_size: images in a batch.
    """
    augment = [transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip()]
    transform = transforms.Compose(
        [*([] if phase == "eval" else augment), transforms.ToTensor(), NORMALIZE]
    )
    root = data_dir / "train" / "fine"
    if phase == "single":
        images = ImageFolder(str(root), transform)
        classes = [len(images.classes)]
    else:
        images = FineAndCoarse(root, transform)
        classes = [len(images.classes), images.coarse_classes]
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_size=batch_size,
        shuffle=phase != "eval",
        drop_last=phase != "eval",
        num_workers=WORKERS,
        pin_memory=torch.cuda.is_available(),
    )
    return loader, classes


def ordinary_backbone(name: str, width: float) -> tuple[nn.Module, int]:
    """The same architecture as the project's, and its number of features; VGG-11 as torchvision runs it."""
    if name != "vgg11":
        backbone = build_backbone(name, width=width)
        return backbone, backbone.num_features
    config = [scaled(c, width) if isinstance(c, int) else c for c in cfgs["A"]]
    vgg = VGG(make_layers(config), init_weights=False)
    features = scaled(4096, width)
    if width != 1:
        vgg.classifier[0] = nn.Linear(scaled(512, width) * 49, features)
        vgg.classifier[3] = nn.Linear(features, features)
    vgg.classifier = vgg.classifier[:-1]
    return vgg, features


class Ordinary(pl.LightningModule):
    """One or two backbones and as many heads as there are class counts.

    Args:
        backbone: name of the architecture.
        width: its width multiplier.
        classes: classes per head; with two, two frozen backbones stand below both heads.
    """

    def __init__(self, *, backbone: str, width: float, classes: list[int]) -> None:
        super().__init__()
        built = [ordinary_backbone(backbone, width) for _ in classes]
        self.backbones = nn.ModuleList([module for module, _ in built])
        num_features = sum(features for _, features in built)
        self.heads = nn.ModuleList([nn.Linear(num_features, count) for count in classes])
        self.accuracies = nn.ModuleList(
            [Accuracy(task="multiclass", num_classes=count) for count in classes]
        )
        if len(classes) > 1:
            self.backbones.requires_grad_(False)
        self.predictions: list[Tensor] = []

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to logits (B, C) of each head."""
        features = torch.cat([backbone(images) for backbone in self.backbones], dim=1)
        return [head(features) for head in self.heads]

    def _step(self, batch: list[Tensor], split: str) -> Tensor:
        images, *labels = batch
        loss = torch.zeros((), device=self.device)
        for i, (logits, label) in enumerate(zip(self(images), labels, strict=True)):
            loss = loss + functional.cross_entropy(logits, label)
            self.predictions.append(logits.argmax(1).cpu())
            self.accuracies[i](logits, label)
            self.log(f"{split}_accuracy_{i}", self.accuracies[i])  # type: ignore[arg-type]
        self.log(f"{split}_loss", loss)
        return loss

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """The loss summed over heads."""
        return self._step(batch, "train")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Log loss and accuracy."""
        self._step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD as it comes."""
        return torch.optim.SGD(self.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
