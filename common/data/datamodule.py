"""Turn folders of images into the split, the batches and the loaders that both experiment folders train on."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from common.data.held_out import held_out
from common.data.hierarchy import read_hierarchy
from common.data.image_folder import ImageFolder, load_folder
from common.data.image_set import ImageSet
from common.data.images import count_pixels, pixel_statistics
from common.data.labels import Classes, classes_of, coarse_of_fine, rows_of
from common.data.prepared import read_made
from common.data.samplers import EpochSampler, ShareSampler
from common.data.workers import loader_options, loading_processes
from common.system.distributed import rank, world_size
from common.system.environment import uses_gpu
from common.system.errors import UserError
from common.system.randomness import derive
from common.system.words import first_of

# The numbers change only the speed. More fit, but with more their activations leave a CPU's cache.
EVAL_BATCH = 256
# Of 256 images of 32 x 32 a GPU has the answers before Python has launched the metrics of the last ones.
GPU_EVAL_PIXELS = 1024 * 32 * 32
SHOWN = 5  # of the classes that a warning names


class HierarchicalData(pl.LightningDataModule, ABC):
    """Load images with fine and coarse labels, hold out a validation set, and make batches.

    After `load`: ``classes`` per level, and ``level_names``, what people read in place of fine and coarse;
    ``coarse_of_fine`` as the function of that name gives it, empty where the two labels are independent; ``mean`` and
    ``std`` (3 values, of training pixels scaled to 0..1); ``image_size`` (H, W); ``digest`` of all that shapes a
    result; ``images_digest`` of the same however it is split; ``train_images``, a digest of the training images'
    names, the same for both levels' folders; ``made`` how photographs became the set, None for other sets.
    """

    levels: tuple[str, ...]

    def __init__(self, cfg: DictConfig, *, seed: int) -> None:
        super().__init__()
        self.cfg = cfg
        self.seed = seed
        self._loaded = False
        self._position = {"epoch": 0, "batches": 0}

    @abstractmethod
    def labels(self, directory: Path, folder: ImageFolder) -> dict[str, np.ndarray]:
        """Find the label ids of a folder's images, int64 (N,) per level."""

    def read_classes(self, directory: Path) -> dict[str, Classes]:
        """Read the classes of each level of the set that a folder belongs to."""
        return classes_of(directory)

    def load(self) -> None:
        """Read the training and validation images; a second call does nothing."""
        if self._loaded:
            return
        directory = Path(self.cfg.dataset.train_dir)
        folder = self._folder(directory)
        self.classes = self.read_classes(directory)
        self.coarse_of_fine = coarse_of_fine(directory)
        self.level_names = read_hierarchy(directory.parent.parent).level_names
        self.made = read_made(directory.parent.parent)
        everything = torch.arange(len(folder.names))
        left_out = everything[:0]
        if self.cfg.dataset.val_dir is None:
            held = torch.from_numpy(self._held_out(directory, folder))
            train, left_out = everything[~held], everything[held]
            self.train_set = self._image_set(directory, folder, train)
            self.val_set = self._image_set(directory, folder, left_out)
            images = [folder.digest]
            content = [*images, held.numpy().tobytes().hex()]
        else:
            train = everything
            val_dir = Path(self.cfg.dataset.val_dir)
            val_folder = self._folder(val_dir)
            self.train_set = self._image_set(directory, folder, train)
            self.val_set = self._image_set(val_dir, val_folder, torch.arange(len(val_folder.names)))
            images = content = [folder.digest, val_folder.digest]
        for part, name in ((self.train_set, "training"), (self.val_set, "validation")):
            if len(part) == 0:
                raise UserError(f"{directory} leaves no {name} images: more images are needed.")
        self._warn_of_absent(
            self.train_set,
            f"{directory.parent} has no training image of",
            "networks cannot learn it",
        )
        self.mean, self.std = pixel_statistics(
            folder.pixel_counts - count_pixels(folder.images, left_out)
        )
        self.image_size = tuple(folder.images.shape[2:])
        self._refuse_other_size(self.val_set, self.cfg.dataset.val_dir or directory)
        labels = [self.train_set.labels[level].numpy().tobytes().hex() for level in self.levels]
        # Independent labels that happen to be nested are another set: other metrics are measured.
        independent = [] if self.coarse_of_fine else ["independent"]
        self.digest = f"{derive(0, *content, *labels, *independent):016x}"
        self.images_digest = f"{derive(0, *images):016x}"
        self.train_images = f"{derive(0, *(folder.names[i] for i in train.tolist())):016x}"
        self._loaded = True

    def check_validation(self) -> None:
        """Refuse to choose the best epoch on training images.

        Raises:
            UserError: the validation folder holds those, under whatever path.
        """
        train_dir, val_dir = self.cfg.dataset.train_dir, self.cfg.dataset.val_dir
        if val_dir is not None and self._folder(Path(val_dir)).has_images_of(
            self._folder(Path(train_dir))
        ):
            raise UserError(
                f"dataset.val_dir: {val_dir} holds the training images of {train_dir}, and the best epoch is to be "
                "chosen on others; null holds a part of them out."
            )

    def check_test(self, images: ImageSet) -> None:
        """Warn of the classes of which a study's test set has no image.

        Raises:
            UserError: its images are of another size than the training images; or they are these, or the validation
                images under another path.
        """
        dataset = self.cfg.dataset
        self._refuse_other_size(images, dataset.test_dir)
        test = self._folder(Path(dataset.test_dir))
        if test.has_images_of(self._folder(Path(dataset.train_dir))):
            raise UserError(
                f"dataset.test_dir: {dataset.test_dir} holds the training images of {dataset.train_dir}; allowed are "
                "others, or evaluate=false."
            )
        if dataset.val_dir not in (None, dataset.test_dir) and test.has_images_of(
            self._folder(Path(dataset.val_dir))
        ):
            raise UserError(
                f"dataset.val_dir: {dataset.val_dir} holds the test images of {dataset.test_dir}: give both the same "
                "path, so that the tables say that epochs were chosen on them, or other images."
            )
        lacks = f"{Path(self.cfg.dataset.test_dir).parent} has no test image of"
        self._warn_of_absent(images, lacks, "how well it is recognised is not measured")

    def _refuse_other_size(self, images: ImageSet, directory: Path | str) -> None:
        """Refuse images of another size than the training images, which a network would answer to all the same."""
        size = tuple(images.images.shape[2:])
        if size != self.image_size:
            theirs, ours = (f"{width} x {height}" for height, width in (size, self.image_size))
            raise UserError(
                f"{directory} holds images of {theirs} pixels, and {self.cfg.dataset.train_dir} of {ours}: prepare "
                "both in one size."
            )

    def _warn_of_absent(self, images: ImageSet, lacks: str, so: str) -> None:
        """Warn of the classes of which a set has no image, and of what follows."""
        for level in (one for one in self.levels if one in self.level_names):
            classes = self.classes[level]
            seen = images.labels[level][images.subset]
            counts = torch.bincount(seen, minlength=len(classes.ids)).tolist()
            absent = [
                f"{label} ({name})"
                for label, name, count in zip(classes.ids, classes.names, counts, strict=True)
                if count == 0
            ]
            if absent:
                warn_once(
                    f"{lacks} {self.level_names[level]} class {first_of(absent, SHOWN)}: {so}."
                )

    def load_test(self) -> ImageSet:
        """Load the test images."""
        directory = Path(self.cfg.dataset.test_dir)
        folder = self._folder(directory)
        if not self._loaded:
            self.classes = self.read_classes(directory)
        return self._image_set(directory, folder, torch.arange(len(folder.names)))

    def test_digest(self) -> str | None:
        """Give a digest of the test images and labels; None where there are none."""
        directory = Path(self.cfg.dataset.test_dir)
        return self._folder(directory).digest if directory.is_dir() else None

    def test_names(self) -> list[str]:
        """Give the names of the test images, in order."""
        return self._folder(Path(self.cfg.dataset.test_dir)).names

    def _folder(self, directory: Path) -> ImageFolder:
        return load_folder_once(directory, self.cfg.dataset.memory_gb)

    def _image_set(self, directory: Path, folder: ImageFolder, subset: Tensor) -> ImageSet:
        ids = self.labels(directory, folder)
        labels = {
            level: self.classes[level].to_index(ids[level], directory) for level in self.levels
        }
        limit = self.cfg.dataset.device_gb * 2**30
        return ImageSet(folder.images, labels, subset, device_bytes=limit)

    def _held_out(self, directory: Path, folder: ImageFolder) -> np.ndarray:
        """Say which images of the training folder are held out for validation, bool (N,)."""
        index, row = rows_of(directory, folder)
        split_seed = self.cfg.dataset.split_seed
        if split_seed is None:
            return index.held_out[row]
        if self.made and self.made.grouped:
            raise UserError(
                f"dataset.split_seed={split_seed} would divide the groups of {directory.parent.parent}: prepare it "
                "with another --split-seed in place of this, or leave it out."
            )
        coarse = None if self.coarse_of_fine else index.coarse[row].tolist()
        return held_out(index.fine[row].tolist(), folder.names, split_seed, coarse=coarse)

    # What Lightning calls

    def setup(self, stage: str) -> None:
        """Read what a stage of the Trainer needs."""
        if stage in ("fit", "validate"):
            self.load()
        if stage in ("test", "predict"):
            self.test_set = self.load_test()

    def state_dict(self) -> dict[str, int]:
        """Save how far the epoch is, so that a resumed epoch shows no image twice and misses none."""
        assert self.trainer is not None
        given_out = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return {"epoch": self.trainer.current_epoch, "batches": given_out}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next loader start there."""
        self._position = state_dict

    @property
    def batch_size(self) -> int:
        """Count the images of a training batch, over all processes."""
        return min(self.cfg.hparams.batch_size, len(self.train_set))

    def train_dataloader(self) -> DataLoader:
        """Make batches in another order in each epoch."""
        batch_size = self.batch_size
        sampler = EpochSampler(len(self.train_set), seed=self.seed)
        sampler.enter(**self._position, batch_size=batch_size)
        if world_size() > 1:
            batches = ShareSampler(sampler, batch_size, drop_last=True)
            return DataLoader(
                self.train_set,
                batch_sampler=batches,
                collate_fn=_as_is,
                **self._loading(self.train_set, batch_size),
            )
        return DataLoader(
            self.train_set,
            sampler=sampler,
            batch_size=batch_size,
            # A short last batch would weigh more than the others and, of one image, break BatchNorm.
            drop_last=True,
            collate_fn=_as_is,
            **self._loading(self.train_set, batch_size),
        )

    def val_dataloader(self) -> DataLoader:
        """Make batches of the validation images, in order."""
        return self.in_order(self.val_set)

    def test_dataloader(self) -> DataLoader:
        """Make batches of the test images, in order."""
        return self.in_order(self.test_set)

    def predict_dataloader(self) -> DataLoader:
        """Make batches of the test images, in order."""
        return self.in_order(self.test_set)

    def in_order(self, images: ImageSet) -> DataLoader:
        """Make large batches of a set in order; each process gets other images, and none is repeated."""
        size = self.evaluation_batch(images)
        return DataLoader(
            images,
            # Lightning's own sampler would pad.
            sampler=range(rank(), len(images), world_size()),
            batch_size=size,
            collate_fn=_as_is,
            **self._loading(images, size * world_size()),
        )

    def evaluation_batch(self, images: ImageSet) -> int:
        """Count the images of a full batch of evaluation of a set, in each process."""
        params = self.cfg.trainer_params
        gpu, limits = uses_gpu(params.accelerator), limits_of(params)
        return evaluation_batch(images.images.shape[-2:], gpu=gpu, limits=limits)

    def _loading(self, images: ImageSet, batch_size: int) -> dict[str, Any]:
        processes = loading_processes(
            self.cfg.hparams.num_workers,
            decodes=images.decodes,
            batch_bytes=batch_size * math.prod(images.images.shape[1:]),
        )
        return {
            "pin_memory": uses_gpu(self.cfg.trainer_params.accelerator),
            **loader_options(processes),
        }


def limits_of(params: DictConfig) -> tuple[int | float, int | float]:
    """Give the limits of evaluation batches among trainer_params: a number of them, or a share."""
    return params.limit_val_batches, params.limit_test_batches


def evaluation_batch(
    image_size: Sequence[int], *, gpu: bool, limits: Sequence[int | float] = ()
) -> int:
    """Count the images of a full batch of evaluation, in each process.

    Args:
        image_size: height and width.
        gpu: whether they are evaluated on a GPU.
        limits: of batches; a number or a share of them means the same images on any device.
    """
    limited = any(isinstance(limit, int) or limit < 1 for limit in limits)
    fit = GPU_EVAL_PIXELS // math.prod(image_size) if gpu and not limited else 0
    return max(1, max(EVAL_BATCH, fit) // world_size())


def _as_is(batch: Any) -> Any:
    """Give a batch as `ImageSet` made it; at the top of the module, so that worker processes can import it."""
    return batch


@cache
def warn_once(sentence: str) -> None:
    """Print a warning once in a process: the stages of a study share their images."""
    if rank() == 0:
        print(f"warning: {sentence}", file=sys.stderr)


@lru_cache(maxsize=8)
def load_folder_once(directory: Path, memory_gib: float = math.inf) -> ImageFolder:
    """Call `load_folder` once for each folder in an experiment: its stages share their images."""
    return load_folder(directory, memory_gib=memory_gib)
