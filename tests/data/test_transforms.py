"""Crop, flip and normalisation: known answers and distributions."""

import pytest
import torch
from torch.nn import functional
from torchvision.transforms import v2

from common.data.transforms import Transforms, random_crop, random_flip

MEAN, STD = (0.5, 0.25, 0.75), (0.25, 0.5, 0.125)


def pictures(batch: int, height: int = 5, width: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


def transforms(*, crop_padding=2, flip=True) -> Transforms:
    return Transforms(mean=MEAN, std=STD, crop_padding=crop_padding, flip=flip)


def offsets(crops: torch.Tensor, image: torch.Tensor, padding: int) -> list[tuple[int, int]]:
    """The window of the padded image that each crop is; fails where it is none, or more than one."""
    padded = functional.pad(image, (padding,) * 4)
    height, width = image.shape[-2:]
    windows = {
        padded[:, row : row + height, column : column + width].numpy().tobytes(): (row, column)
        for row in range(2 * padding + 1)
        for column in range(2 * padding + 1)
    }
    assert len(windows) == (2 * padding + 1) ** 2
    return [windows[crop.contiguous().numpy().tobytes()] for crop in crops]


def test_evaluation_normalises_as_torchvision_does():
    images = pictures(8)
    expected = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])(images)
    seen = transforms().eval()(images)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, expected)


def test_evaluation_draws_no_random_numbers():
    images = pictures(8)
    caches = transforms().eval()
    before = torch.get_rng_state()
    assert torch.equal(caches(images), caches(images))
    assert torch.equal(torch.get_rng_state(), before)


def test_training_without_augmentation_is_evaluation():
    images = pictures(8)
    plain = transforms(crop_padding=0, flip=False)
    assert torch.equal(plain.train()(images), plain.eval()(images))


def test_training_crops_and_flips_what_evaluation_sees():
    """Padding is black before normalisation, as torchvision's crop of an image is."""
    images = pictures(64)
    torch.manual_seed(0)
    expected = transforms().eval()(random_flip(random_crop(images, 2)))
    torch.manual_seed(0)
    assert torch.equal(transforms().train()(images), expected)
    assert not torch.equal(expected, transforms().eval()(images))


def test_only_what_is_asked_for_happens():
    images = pictures(64)
    torch.manual_seed(0)
    flipped = transforms(crop_padding=0).train()(images)
    torch.manual_seed(0)
    assert torch.equal(flipped, transforms().eval()(random_flip(images)))
    torch.manual_seed(0)
    cropped = transforms(flip=False).train()(images)
    torch.manual_seed(0)
    assert torch.equal(cropped, transforms().eval()(random_crop(images, 2)))


def test_output_is_channels_last_and_the_input_is_left_alone():
    images = pictures(8)
    before = images.clone()
    seen = transforms().train()(images)
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_statistics_are_no_weights():
    assert list(transforms().state_dict()) == []
    assert list(transforms().parameters()) == []


def test_every_crop_is_a_window_and_every_window_is_as_likely():
    torch.manual_seed(0)
    (image,) = pictures(1)
    draws, padding = 5000, 2
    crops = random_crop(image.expand(draws, -1, -1, -1), padding)
    assert crops.dtype == torch.uint8
    counts = torch.zeros(2 * padding + 1, 2 * padding + 1)
    for row, column in offsets(crops, image, padding):
        counts[row, column] += 1
    expected = draws / counts.numel()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 51.2  # 24 degrees of freedom, one in a thousand


def test_images_of_a_batch_are_cropped_independently():
    torch.manual_seed(1)
    (image,) = pictures(1)
    found = offsets(random_crop(image.expand(4000, -1, -1, -1), 1), image, 1)
    pairs = torch.zeros(9, 9)
    for (a, b), (c, d) in zip(found[::2], found[1::2], strict=True):
        pairs[3 * a + b, 3 * c + d] += 1
    expected = len(found) / 2 / 81
    assert ((pairs - expected) ** 2 / expected).sum() < 124.8  # 80 degrees of freedom


def test_crop_keeps_each_image_apart():
    torch.manual_seed(0)
    images = pictures(32)
    for crop, image in zip(random_crop(images, 1), images, strict=True):
        offsets(crop[None], image, 1)


def test_crop_without_padding_changes_nothing():
    images = pictures(8)
    assert torch.equal(random_crop(images, 0), images)


def test_flip_mirrors_half_of_the_images_and_leaves_the_others():
    torch.manual_seed(0)
    images = pictures(2000, 2, 3)
    result = random_flip(images)
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    same = (result == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 900 < mirrored.sum() < 1100  # 4.5 standard deviations
    # A neighbour's flip says nothing of one's own.
    assert (
        400
        < (mirrored[::2] & mirrored[1::2]).sum() + (~mirrored[::2] & ~mirrored[1::2]).sum()
        < 600
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_same_seed_gives_the_same_images_and_another_seed_others(seed):
    images = pictures(32)
    caches = transforms().train()
    torch.manual_seed(seed)
    first = caches(images)
    torch.manual_seed(seed)
    assert torch.equal(caches(images), first)
    torch.manual_seed(seed + 1)
    assert not torch.equal(caches(images), first)
