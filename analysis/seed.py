"""What an analysis may use: the images of a study, and of one seed its networks, their features and logits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from analysis.logistic import Fits
from analysis.networks import FeatureCache, load, side_by_side
from analysis.specialisation.tasks import chances, most_common
from analysis.study import FinishedStage, FinishedStudy
from common.checkpoints.files import digest, read
from common.data.datamodule import HierarchicalData
from common.data.image_set import ImageSet
from common.data.samplers import drawn
from common.networks.macro import HemispheresAndHeads
from common.settings.levels import LEVELS, SIDES
from common.training.module import TrainingModule
from study.arms import REFERENCE

# Whose features: of one hemisphere, or of both side by side.
HALVES = (*SIDES, "both")
# Bounds, so that large sets do not take long. What is counted over test images is counted over all of them.
REFERENCE_IMAGES = 3_000  # training images: mean and spread of features, and probes
OF_A_CLASS = 10  # of these, on average, where there are so many classes that they would be fewer
VALIDATION_IMAGES = 1_000  # to choose the ridge of a probe


class Caches:
    """What the networks of one seed share: features by kind of images, and fitted probes.

    Args:
        images: of the study.
        device: of the networks, on which probes are fitted too.
    """

    def __init__(self, images: "StudyImages", device: torch.device) -> None:
        self.train = FeatureCache(images.data.train_set.images, images.train_rows)
        self.validation = FeatureCache(images.data.val_set.images, images.validation_rows)
        self.test = FeatureCache(images.test.images)
        self.fits = Fits(device)


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

    def counts(self) -> dict[str, int]:
        """How many images there are for what."""
        sets = {"training": self.data.train_set, "validation": self.data.val_set, "test": self.test}
        return {use: len(images) for use, images in sets.items()}

    @cached_property
    def parents(self) -> Tensor:
        """The coarse class of each fine class, int64 (C,); empty where the two labels are independent."""
        # As hierarchy.yaml says: a class may have no training image.
        return torch.tensor(self.data.coarse_of_fine, dtype=torch.int64)

    @property
    def nested(self) -> bool:
        """Whether every fine class belongs to one coarse class."""
        return len(self.data.coarse_of_fine) > 0

    @cached_property
    def guessing(self) -> dict[str, float]:
        """By task, how often the best answer without an image is right, of all test images."""
        return chances(_labels(self.test), self.parents)

    @cached_property
    def guessing_validation(self) -> dict[str, float]:
        """The same of all validation images, which may be spread over the classes in another way."""
        return chances(_labels(self.data.val_set), self.parents)

    @cached_property
    def chance(self) -> dict[str, float]:
        """By level, how often the most common class of all test images is right."""
        return {level: most_common(y) for level, y in _labels(self.test).items()}

    @cached_property
    def train_rows(self) -> Tensor:
        """Rows of the training images to which the analyses refer, one or more of each class that has any."""
        train = self.data.train_set
        most = max(REFERENCE_IMAGES, OF_A_CLASS * max(self.classes.values()))
        rows = train.subset[drawn(len(train), len(train), "reference")]
        chosen = rows[:most]
        for labels in train.labels.values():
            # Chance may pass over a rare class, which no probe could then name.
            classes, first = np.unique(labels[rows].numpy(), return_index=True)
            missed = ~np.isin(classes, labels[chosen].numpy())
            chosen = torch.cat([chosen, rows[first[missed]]])
        return chosen

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


def _labels(images: ImageSet) -> dict[str, Tensor]:
    return {level: y[images.subset] for level, y in images.labels.items()}


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
    """One seed of a study, as a network of two hemispheres, and each of these alone, see the images.

    ``number`` is the seed, ``arm`` the network's; ``module`` holds it; ``logits`` (N, C) by level are those for the
    test images. ``alone`` are the logits of the networks that were trained on one level, by that level, where
    their checkpoints are still there. ``train`` and ``validation`` are samples of those images, ``test`` is all.
    ``alone_held_out`` are as ``alone``, for the validation images. ``fits`` are probes that were fitted already.
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
    arm: str = REFERENCE
    alone_held_out: dict[str, Tensor] = field(default_factory=dict)
    fits: Fits = field(default_factory=Fits)

    @property
    def network(self) -> HemispheresAndHeads:
        """The network of two hemispheres."""
        return cast(HemispheresAndHeads, self.module.network)

    def mean(self, side: str) -> Tensor:
        """The mean of each feature of a hemisphere over training images, (F,)."""
        return self.train.features[side].mean(0)


def see(
    stage: FinishedStage,
    study: FinishedStudy,
    images: StudyImages,
    module: TrainingModule,
    caches: Caches,
    leave_out: Callable[[str], None],
) -> Seed:
    """Compute the features and logits of one seed.

    Args:
        stage: whose network has two hemispheres.
        study: whose networks are asked.
        images: its images.
        module: holds the network of the stage.
        caches: of the seed.
        leave_out: takes a sentence about what has to be left out.
    """
    network = cast(HemispheresAndHeads, module.network)

    def sample(cache: FeatureCache, labels: dict[str, Tensor]) -> FeatureSet:
        features = cache.of_network(module, network)
        return FeatureSet(features, {level: labels[level][cache.rows] for level in LEVELS})

    alone = _networks_alone(stage, study, module.cfg.hparams, leave_out)
    return Seed(
        number=stage.seed,
        arm=stage.arm,
        study=study,
        images=images,
        module=module,
        train=sample(caches.train, images.data.train_set.labels),
        validation=sample(caches.validation, images.data.val_set.labels),
        test=sample(caches.test, images.test.labels),
        logits=caches.test.logits(module),
        alone={level: caches.test.logits(one)[level] for level, one in alone.items()},
        alone_held_out={
            level: caches.validation.logits(one)[level] for level, one in alone.items()
        },
        fits=caches.fits,
    )


def _networks_alone(
    stage: FinishedStage,
    study: FinishedStudy,
    hparams: DictConfig,
    leave_out: Callable[[str], None],
) -> dict[str, TrainingModule]:
    """The networks of one level whose hemispheres a stage has loaded, by that level."""
    loaded = stage.yaml("fingerprint.yaml").get("sources") or {}
    found = {}
    for level in LEVELS:
        key = f"model_path_{level}"
        if hparams[f"{level}_speciality"] != level:
            continue
        given = hparams[key]
        if path := checkpoint_alone(study, level, stage.seed, given, weights=loaded.get(key)):
            found[level] = load(path)
        elif path := checkpoint_alone(study, level, stage.seed, given):
            leave_out(
                f"the {level} network alone with seed {stage.seed}; {path} has other weights now than those that "
                f"{stage.arm} was built on."
            )
    return found


def checkpoint_alone(
    study: FinishedStudy, level: str, seed: int, given: str | None, *, weights: str | None = None
) -> Path | None:
    """The checkpoint of the network that was trained on one level: the study's, or else the ``given`` one.

    Args:
        study: its own networks come first.
        level: that the network was trained on.
        seed: of the network.
        given: the path from which its hemisphere was loaded, which may contain {seed}; None if none was loaded.
        weights: the digest of the weights that were loaded; None takes any.
    """
    if not given:
        return None
    stage = study.of(level).get(seed)
    paths = [stage.checkpoint] if stage is not None else []
    paths.append(Path(given.replace("{seed}", str(seed))))
    there = (path for path in paths if path.is_file())
    loaded = (path for path in there if weights is None or digest(read(path)[1]) == weights)
    return next(loaded, None)


def sides_of(half: str) -> tuple[str, ...]:
    """The sides that a half, left, right or both, stands for."""
    return SIDES if half == "both" else (half,)
