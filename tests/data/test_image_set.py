"""Batches are picked where a set lies: indices cross to a GPU, and each tensor of a set crosses once."""

import gc
import weakref

import numpy as np
import pytest
import torch

import common.data.image_set as image_set
from common.data.image_set import ImageSet, on_device

# It has no memory: what is done on it shows only where tensors are, as on a GPU that is not there.
ELSEWHERE = torch.device("meta")
IMAGES = torch.arange(6 * 3 * 2 * 2, dtype=torch.uint8).view(6, 3, 2, 2)


@pytest.fixture
def part() -> ImageSet:
    labels = {"fine": torch.arange(6) * 10, "coarse": torch.arange(6) % 2}
    return ImageSet(IMAGES.clone(), labels, torch.tensor([5, 1, 3, 0]), device_bytes=1e6)


@pytest.fixture
def copied(monkeypatch) -> list[torch.Tensor]:
    """The tensors of which there was asked for a copy elsewhere."""
    asked = []

    def noting(tensor, device):
        asked.append(tensor)
        return on_device(tensor, device)

    monkeypatch.setattr(image_set, "on_device", noting)
    return asked


def test_a_loader_gives_indices_and_the_device_gives_the_batch(part):
    picks = part.__getitems__([3, 0, 3])
    assert picks.places.tolist() == [3, 0, 3]
    assert len(picks) == 3
    batch = picks.to(torch.device("cpu"))
    rows = np.array([5, 1, 3, 0])[[3, 0, 3]]
    assert np.array_equal(batch["images"].numpy(), IMAGES.numpy()[rows])
    assert batch["fine"].tolist() == [10 * row for row in rows]
    assert batch["coarse"].tolist() == [row % 2 for row in rows]
    assert set(batch) == {"images", "fine", "coarse"}


def test_features_take_the_place_of_images(part):
    part.features = torch.arange(8.0).view(4, 2)
    batch = part.__getitems__([2, 1]).to(torch.device("cpu"))
    assert batch["features"].tolist() == [[4, 5], [2, 3]]
    assert batch["fine"].tolist() == [30, 10]
    assert "images" not in batch


@pytest.mark.parametrize("features", [False, True])
def test_all_of_a_batch_is_on_the_device_that_asks(part, features):
    part.features = torch.zeros(4, 2) if features else None
    batch = part.__getitems__([2, 1]).to(ELSEWHERE)
    assert {value.device for value in batch.values()} == {ELSEWHERE}
    assert [len(value) for value in batch.values()] == [2] * 3


@pytest.mark.parametrize(("device_bytes", "there"), [(IMAGES.nbytes, True), (IMAGES.nbytes - 1, False)])  # fmt: skip
def test_images_above_the_limit_stay_in_memory(part, copied, device_bytes, there):
    part.device_bytes = device_bytes
    batch = part.__getitems__([2, 1]).to(ELSEWHERE)
    assert batch["images"].device == ELSEWHERE
    assert any(one is part.images for one in copied) == there


def test_a_tensor_is_copied_once_and_its_copy_goes_with_it():
    tensor = torch.zeros(3)
    copy = weakref.ref(on_device(tensor, ELSEWHERE))
    assert on_device(tensor, ELSEWHERE) is copy()
    assert on_device(tensor, torch.device("cpu")) is tensor
    del tensor
    gc.collect()
    assert copy() is None
