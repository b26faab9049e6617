"""What an analysis may use: the images of a study, and of one seed its networks, their features and logits."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from analysis.networks import FeatureCache, load, side_by_side, sides
from analysis.study import FinishedStudy
from common.data.datamodule import HierarchicalData, ImageSet
from common.networks.macro import HemispheresAndHeads
from common.settings.levels import LEVELS, SIDES
from common.system.randomness import derive
from common.training.module import TrainingModule

# Whose features: of one hemisphere, or of both side by side.
HALVES = (*SIDES, "both")
# Bounds, so that large sets do not take long. What is counted over test images is counted over all of them.
REFERENCE_IMAGES = 3_000  # training images: mean and spread of features, and probes
VALIDATION_IMAGES = 1_000  # to choose the ridge of a probe


class StudyImages:
    """The images and classes of a study.

    Args:
        data: images with their labels, loaded.
        test: its test images.
    """

    def __init__(self, data: HierarchicalData, test: ImageSet) -> None:
        self.data = data
        self.test = test
        self.class_names = {level: classes.names for level, classes in data.classes.items()}
        self.classes = {level: len(names) for level, names in self.class_names.items()}

    @cached_property
    def parents(self) -> Tensor:
        """The coarse class of each fine class, int64 (C,)."""
        labels = self.data.train_set.labels
        parents = torch.zeros(self.classes["fine"], dtype=torch.long)
        parents[labels["fine"]] = labels["coarse"]
        return parents

    @cached_property
    def train_rows(self) -> Tensor:
        """Rows of the training images to which the analyses refer."""
        train = self.data.train_set
        return train.subset[drawn(len(train), REFERENCE_IMAGES, "reference")]

    @cached_property
    def validation_rows(self) -> Tensor:
        """Rows of some validation images."""
        # Drawn by chance, as those for training: images may be stored class after class.
        validation = self.data.val_set
        return validation.subset[drawn(len(validation), VALIDATION_IMAGES, "validation")]

    def unique_names(self, level: str) -> list[str]:
        """The names of a level's classes; those that several classes share get the label id behind them."""
        names = self.class_names[level]
        return [
            name if names.count(name) == 1 else f"{name} ({number})"
            for name, number in zip(names, self.data.classes[level].ids, strict=True)
        ]


@dataclass(frozen=True)
class FeatureSet:
    """Features (N, F) by side, and labels (N,) by level, of the same images."""

    features: dict[str, Tensor]
    labels: dict[str, Tensor]

    def of(self, half: str) -> Tensor:
        """The features of the left or the right hemisphere, or of both side by side."""
        return side_by_side([self.features[side] for side in sides_of(half)])


@dataclass(frozen=True)
class Seed:
    """One seed of a study, as its bilateral network and its two hemispheres alone see the images.

    ``number`` is the seed; ``module`` holds the bilateral network; ``logits`` (N, C) by level are those for the
    test images. ``alone`` are the logits of the networks that were trained on one level, by that level, where
    their checkpoints are still there. ``train`` and ``validation`` are samples of those images, ``test`` is all.
    """

    number: int
    study: FinishedStudy
    images: StudyImages
    module: TrainingModule
    train: FeatureSet
    validation: FeatureSet
    test: FeatureSet
    logits: dict[str, Tensor]
    alone: dict[str, Tensor]

    @property
    def network(self) -> HemispheresAndHeads:
        """The bilateral network."""
        return cast(HemispheresAndHeads, self.module.network)

    def mean(self, side: str) -> Tensor:
        """The mean of each feature of a hemisphere over training images, (F,)."""
        return self.train.features[side].mean(0)


def see(
    number: int,
    study: FinishedStudy,
    images: StudyImages,
    module: TrainingModule,
    cache: FeatureCache,
) -> Seed:
    """Compute the features and logits of one seed.

    Args:
        number: the seed.
        study: whose networks are asked.
        images: its images.
        module: holds the bilateral network of that seed.
        cache: holds the test images.
    """
    network = cast(HemispheresAndHeads, module.network)

    def features(cache: FeatureCache) -> dict[str, Tensor]:
        return {side: cache.features(module, one) for side, one in sides(network).items()}

    def sample(part: ImageSet, rows: Tensor) -> FeatureSet:
        labels = {level: y[rows] for level, y in part.labels.items()}
        return FeatureSet(features(FeatureCache(part.images, rows)), labels)

    hparams = module.cfg.hparams
    given = {level: hparams[f"model_path_{level}"] for level in LEVELS}
    alone = {level: checkpoint_alone(study, level, number, given[level]) for level in LEVELS}
    return Seed(
        number=number,
        study=study,
        images=images,
        module=module,
        train=sample(images.data.train_set, images.train_rows),
        validation=sample(images.data.val_set, images.validation_rows),
        test=FeatureSet(features(cache), {level: images.test.labels[level] for level in LEVELS}),
        logits=cache.logits(module),
        alone={level: cache.logits(load(path))[level] for level, path in alone.items() if path},
    )


def checkpoint_alone(study: FinishedStudy, level: str, seed: int, given: str | None) -> Path | None:
    """The checkpoint of the network that was trained on one level: the study's, or else the ``given`` one.

    ``given`` is the path from which the bilateral network loaded that hemisphere, and may contain {seed}.
    """
    stage = study.of(level).get(seed)
    paths = [stage.checkpoint] if stage is not None else []
    paths += [Path(given.replace("{seed}", str(seed)))] if given else []
    return next((path for path in paths if path.is_file()), None)


def sides_of(half: str) -> tuple[str, ...]:
    """The sides that a half, left, right or both, stands for."""
    return SIDES if half == "both" else (half,)


def drawn(count: int, most: int, purpose: str) -> Tensor:
    """Up to ``most`` of ``count`` places, int64: by chance, and always the same ones for one purpose."""
    order = torch.Generator().manual_seed(derive(0, purpose))
    return torch.randperm(count, generator=order)[:most]
