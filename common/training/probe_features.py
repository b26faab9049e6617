"""Save the features of some images while hemispheres learn, so that specialisation can be followed over training.

A file of an epoch, ``features/epoch0004.npz`` in a stage's folder, holds ``fingerprint`` of the stage, and for each of
``train`` and ``validation`` the images' places in that set (``train_places``, int64 (N,)) and float16 features (N, F)
by side (``train_left``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from common.data.datamodule import HierarchicalData
from common.data.image_set import ImageSet
from common.data.samplers import drawn
from common.networks.macro import Outputs
from common.system.atomic_files import replacing
from common.system.distributed import rank, world_size
from common.training.features import features_of
from common.training.module import TrainingModule

FOLDER = "features"
SPLITS = ("train", "validation")
# Of the passes that training makes, a training image counting as three: the backward pass costs about two forward ones.
SHARE = 0.012
MOST = 3_000  # training images
FEWEST = 200  # fewer would not tell classes apart: then nothing is saved
LARGEST = torch.finfo(torch.float16).max


def saving_epochs(epochs: int) -> list[int]:
    """List the epochs after which features are saved, counted from 1: powers of two, and the last."""
    return [*(2**i for i in range(epochs.bit_length()) if 2**i < epochs), epochs]


def affordable(train_images: int, passes: int, saves: int) -> int:
    """Count the training images whose features can be saved each time at `SHARE` of the training's cost; maybe 0.

    Args:
        train_images: in the set.
        passes: images that all training steps together see.
        saves: how often features are saved.
    """
    count = min(MOST, train_images, int(SHARE * 3 * passes / saves))
    return count if count >= FEWEST else 0


@dataclass(frozen=True)
class SavedFeatures:
    """What a file holds: by split (`SPLITS`) the places of images (N,), and their features (N, F) by side."""

    fingerprint: str
    places: Mapping[str, Tensor]
    features: Mapping[str, Mapping[str, Tensor]]

    def write(self, file: Path) -> None:
        """Write the file in one step; equal contents give equal files."""
        arrays: dict[str, Any] = {"fingerprint": np.array(self.fingerprint)}
        for split in SPLITS:
            arrays[f"{split}_places"] = self.places[split].numpy()
            for side, values in self.features[split].items():
                arrays[f"{split}_{side}"] = values.numpy()
        with replacing(file) as temporary, temporary.open("wb") as target:
            np.savez(target, **arrays)

    @classmethod
    def read(cls, file: Path) -> "SavedFeatures":
        """Read a file; features as float32.

        Raises:
            ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile: it is damaged.
        """
        with np.load(file) as arrays:
            places = {split: torch.from_numpy(arrays[f"{split}_places"]) for split in SPLITS}
            features = {
                split: {
                    name.removeprefix(f"{split}_"): torch.from_numpy(arrays[name]).float()
                    for name in arrays.files
                    if name.startswith(f"{split}_") and name != f"{split}_places"
                }
                for split in SPLITS
            }
            return cls(str(arrays["fingerprint"]), places, features)


class ProbeFeatures(Checkpoint):
    """Saves features after the epochs of `saving_epochs`, before the checkpoint to continue from is written.

    So the checkpoint of an epoch never exists without that epoch's file. Training images are seen once more, without
    augmentation; those of the validation images are what ``validation_step`` gives as it goes. Nothing random is drawn,
    and the network is left as it was.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = torch.arange(0)
        self.epochs: list[int] = []
        self.validation: list[Mapping[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find out which images can be afforded, and when."""
        data: HierarchicalData = trainer.datamodule  # type: ignore[attr-defined]
        passes = int(trainer.estimated_stepping_batches) * data.batch_size
        epochs = saving_epochs(trainer.max_epochs or 1)
        count = affordable(len(data.train_set), passes, len(epochs))
        self.places = drawn(len(data.train_set), count, "reference")
        # The first of several processes, whose share of the validation images is enough.
        self.epochs = epochs if count and trainer.is_global_zero else []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the features of validation images in an epoch whose features are saved."""
        assert isinstance(pl_module, TrainingModule)
        assert isinstance(outputs, Outputs)
        if trainer.current_epoch + 1 in self.epochs:
            features = {side: as_half(values) for side, values in outputs.features.items()}
            self.validation.append(features)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch's features; its validation is over."""
        validation, self.validation = self.validation, []
        if not validation:
            return
        assert isinstance(pl_module, TrainingModule)
        data: HierarchicalData = trainer.datamodule  # type: ignore[attr-defined]
        joined = {side: torch.cat([one[side] for one in validation]) for side in validation[0]}
        seen = len(next(iter(joined.values())))
        places = {
            "train": self.places,
            "validation": torch.arange(rank(), len(data.val_set), world_size())[:seen],
        }
        train = self._seen(trainer, pl_module, data.train_set, self.places)
        features = {"train": train, "validation": joined}
        saved = SavedFeatures(pl_module.record.fingerprint, places, features)
        saved.write(self.folder / f"epoch{trainer.current_epoch + 1:04d}.npz")

    def _seen(
        self, trainer: pl.Trainer, module: TrainingModule, images: ImageSet, places: Tensor
    ) -> dict[str, Tensor]:
        """Compute features (N, F) by side, in evaluation mode and the precision of training."""
        modes = [(part, part.training) for part in module.modules()]
        module.eval()
        try:
            with trainer.precision_plugin.forward_context():
                parts = [as_half(some) for some in features_of(module, images, places)]
        finally:
            for part, training in modes:
                part.training = training
        return {
            name: values.clone() for name, values in module.network.split(torch.cat(parts)).items()
        }


def as_half(features: Tensor) -> Tensor:
    """Give features as float16 on the CPU; beyond its range, its largest number."""
    return features.float().clamp(-LARGEST, LARGEST).half().cpu()
