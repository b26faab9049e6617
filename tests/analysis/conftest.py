"""What tests of the analyses share: random numbers, images, and one seed of a study that was never trained."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from analysis.seed import FeatureSet, Seed, StudyImages
from analysis.study import FinishedStudy
from common.data.image_set import ImageSet


@pytest.fixture
def some() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class ByRows:
    """Images that can be asked for by their rows alone, as those that do not fit into memory."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.shape = images, images.shape

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        assert isinstance(rows, torch.Tensor)
        return self.images[rows]


def sorted_set(classes: int, each: int) -> ImageSet:
    """Images class after class, each of the colour of its class; two fine classes in a coarse one."""
    labels = torch.arange(classes).repeat_interleave(each)
    images = labels.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    both = {"fine": labels, "coarse": labels // 2}
    return ImageSet(ByRows(images), both, torch.arange(len(labels)))


@pytest.fixture
def images() -> StudyImages:
    """Of 10 fine classes, 300 images each for training, validation and test."""
    these = sorted_set(10, 300)
    classes = {
        level: SimpleNamespace(names=[f"{level} {i}" for i in range(count)], ids=[*range(count)])
        for level, count in (("fine", 10), ("coarse", 5))
    }
    parents = [label // 2 for label in range(10)]
    data = SimpleNamespace(classes=classes, coarse_of_fine=parents, train_set=these, val_set=these)
    return StudyImages(data, test=these)


def one_seed(
    number: int,
    images: StudyImages,
    left: nn.Module | None = None,
    said: dict[str, torch.Tensor] | None = None,
) -> Seed:
    """One seed; ``said`` are logits: of the left alone fine ones, of the right alone and of both coarse ones."""
    hemispheres = {"fine": left or nn.Linear(2, 2), "coarse": nn.Linear(2, 2)}
    nothing = FeatureSet({}, {})
    return Seed(
        number=number,
        study=FinishedStudy(Path(), []),
        images=images,
        module=SimpleNamespace(network=SimpleNamespace(hemispheres=hemispheres)),
        train=nothing,
        validation=nothing,
        test=FeatureSet({}, images.test.labels),
        logits={"fine": said["left"], "coarse": said["together"]} if said else {},
        alone={"fine": said["left"], "coarse": said["right"]} if said else {},
    )


@pytest.fixture
def seed() -> Callable[..., Seed]:
    """Make a seed: `one_seed`."""
    return one_seed
