"""What a network is shown is what torchvision's ordinary input would show it: images, normalisation, augmentation."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import moved
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import resized_crop as ordinary_resized_crop

from arch_single_head.datamodule import SingleHeadData
from arch_single_head.schema import SingleConfig
from common.data.image_folder import load_folder
from common.data.transforms import (
    Transforms,
    crop_boxes,
    random_crop,
    random_flip,
    resized_crop,
)
from common.settings.compose import ROOT, compose

DRAWS = 20_000
SIZE = (5, 7)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """Uint8 (3, 5, 7) whose pixels all differ, so that a crop tells where it was cut."""
    order = torch.randperm(3 * SIZE[0] * SIZE[1], generator=torch.Generator().manual_seed(0))
    return order.view(3, *SIZE).to(torch.uint8)


def counted(images: Tensor) -> Counter[bytes]:
    """How often each image occurs."""
    return Counter(image.contiguous().numpy().tobytes() for image in images)


def distance(ours: Counter[bytes], theirs: Counter[bytes]) -> tuple[float, int]:
    """Chi-square of two samples of equal size, and its degrees of freedom."""
    kinds = ours.keys() | theirs.keys()
    square = sum((ours[k] - theirs[k]) ** 2 / (ours[k] + theirs[k]) for k in kinds)
    return square, len(kinds) - 1


def limit(freedom: int) -> float:
    """What chi-square exceeds about once in ten thousand, by Wilson and Hilferty's approximation."""
    part = 2 / (9 * freedom)
    return freedom * (1 - part + 3.72 * part**0.5) ** 3


def ordinary(navon: Path, split: str) -> ImageFolder:
    return ImageFolder(str(navon / split / "fine"), transforms.PILToTensor())


def test_images_and_labels_are_those_of_torchvisions_image_folder(navon):
    for split in ("train", "test"):
        theirs = ordinary(navon, split)
        ours = load_folder(navon / split / "fine")
        row = {name: i for i, name in enumerate(ours.names)}
        assert len(theirs) == len(ours.names)
        for (path, _), (image, label) in zip(theirs.samples, theirs, strict=True):
            i = row[Path(path).name]
            assert torch.equal(ours.images[i], image)
            assert ours.labels[i] == int(theirs.classes[label])


@pytest.mark.parametrize("mode", ["fine", "coarse"])
def test_what_evaluation_shows_is_what_to_tensor_and_normalize_show(navon, mode):
    overrides = ["dataset=navon", f"dataset.root={navon}", f"hparams.mode={mode}"]
    cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=overrides)
    data = SingleHeadData(cfg, seed=0)
    data.setup("fit")
    data.setup("test")
    caches = Transforms(mean=data.mean, std=data.std, crop_padding=4, flip=True).eval()
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
    )
    theirs = ImageFolder(str(navon / "test" / mode), transform)
    by_name = {Path(path).name: i for i, (path, _) in enumerate(theirs.samples)}
    names = sorted(by_name)
    (batch,) = map(moved, data.test_dataloader())
    expected = torch.stack([theirs[by_name[name]][0] for name in names])
    torch.testing.assert_close(caches(batch["images"]).contiguous(), expected, atol=1e-5, rtol=1e-5)
    ids = [int(theirs.classes[theirs[by_name[name]][1]]) for name in names]
    assert [data.classes[mode].ids[i] for i in batch[mode].tolist()] == ids


@pytest.mark.parametrize(
    ("our", "their", "kinds"),
    [
        (lambda images: random_crop(images, 1), transforms.RandomCrop(SIZE, 1), 3 * 3),
        (lambda images: random_crop(images, 2), transforms.RandomCrop(SIZE, 2), 5 * 5),
        (random_flip, transforms.RandomHorizontalFlip(), 2),
    ],
)
def test_crops_and_flips_are_those_of_torchvision_and_as_frequent(picture, our, their, kinds):
    torch.manual_seed(0)
    ours = counted(our(picture.expand(DRAWS, -1, -1, -1)))
    theirs = counted(torch.stack([their(picture) for _ in range(DRAWS)]))
    assert ours.keys() == theirs.keys()
    assert len(ours) == kinds
    square, freedom = distance(ours, theirs)
    assert square < limit(freedom)


def test_crop_and_flip_together_are_those_of_torchvision_and_as_frequent(picture):
    torch.manual_seed(0)
    mean, std = (0.5, 0.25, 0.75), (0.25, 0.5, 0.125)
    caches = Transforms(mean=mean, std=std, crop_padding=1, flip=True).train()
    plain = Transforms(mean=mean, std=std, crop_padding=0, flip=False)
    ours = counted(caches(picture.expand(DRAWS, -1, -1, -1)))
    both = transforms.Compose([transforms.RandomCrop(SIZE, 1), transforms.RandomHorizontalFlip()])
    theirs = counted(plain(torch.stack([both(picture) for _ in range(DRAWS)])))
    assert ours.keys() == theirs.keys()
    assert len(ours) == 9 * 2
    square, freedom = distance(ours, theirs)
    assert square < limit(freedom)


@pytest.mark.parametrize("size", [(5, 7), (12, 12), (40, 5)])
@pytest.mark.parametrize("scale", [0.35, 0.9])
def test_boxes_are_those_of_random_resized_crop_and_as_frequent(size, scale):
    torch.manual_seed(0)
    boxes = torch.stack(crop_boxes(DRAWS, size, scale, torch.device("cpu")), 1)
    ours = Counter(tuple(int(x) for x in box) for box in boxes.tolist())
    crop, image = transforms.RandomResizedCrop(size, (scale, 1)), torch.zeros(3, *size)
    theirs = Counter(tuple(crop.get_params(image, crop.scale, crop.ratio)) for _ in range(DRAWS))
    # Boxes that hardly occur count together: chi-square is an approximation.
    rare = {box for box in ours.keys() | theirs.keys() if ours[box] + theirs[box] < 10}
    for counts in (ours, theirs):
        counts["rare"] = 1 + sum(counts.pop(box, 0) for box in rare)
    square, freedom = distance(ours, theirs)
    assert square < limit(max(1, freedom))


def test_a_part_is_enlarged_as_torchvision_does(picture):
    boxes = [(0, 0, 5, 7), (1, 2, 3, 4), (4, 6, 1, 1), (0, 3, 2, 4), (2, 0, 3, 2)]
    images = picture.float().expand(len(boxes), -1, -1, -1)
    parts = resized_crop(images, *torch.tensor(boxes, dtype=torch.float32).T)
    theirs = [ordinary_resized_crop(picture.float(), *box, list(SIZE)) for box in boxes]
    torch.testing.assert_close(parts, torch.stack(theirs), atol=1e-3, rtol=1e-4)


def test_training_sees_parts_and_evaluation_the_whole(picture):
    torch.manual_seed(0)
    images = picture.expand(64, -1, -1, -1)
    shown = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_padding": 0, "flip": False}
    parts, whole = Transforms(**shown, crop_scale=0.35), Transforms(**shown)
    assert torch.equal(parts.eval()(images), whole.train()(images))
    assert len(counted(parts.train()(images))) > 16
    assert parts.augments
    assert not whole.augments
