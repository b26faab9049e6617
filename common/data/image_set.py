"""A set of images with labels, and batches of it that are picked where the set lies: in memory, or on the GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.weak import WeakTensorKeyDictionary

from common.data.images import Undecoded

CPU = torch.device("cpu")


class ImageSet(Dataset):
    """Images and their labels; a list of indices gives a whole batch at once.

    A batch of a set in memory is `Picks`: a step takes the indices alone from the CPU. Where images must be decoded,
    the batch is what `batch` gives, on the CPU.

    Args:
        images: uint8 (N, 3, H, W), in memory or decoded on demand.
        labels: per level int64 (N,).
        subset: which of the N images belong to this set, int64 (M,).
        device_bytes: up to which size images are copied to a GPU, once; larger ones stay in the CPU's memory.

    Once ``features`` (M, F) are set, batches hold them instead of the images: a network whose features never change
    does not need to see the images again.
    """

    def __init__(
        self,
        images: Tensor | Undecoded,
        labels: dict[str, Tensor],
        subset: Tensor,
        device_bytes: float = 0,
    ) -> None:
        self.images = images
        self.labels = labels
        self.subset = subset
        self.device_bytes = device_bytes
        self.features: Tensor | None = None

    @property
    def decodes(self) -> bool:
        """Say whether image files are decoded for each batch."""
        return self.features is None and isinstance(self.images, Undecoded)

    def __len__(self) -> int:
        return len(self.subset)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Give one image uint8 (3, H, W), or its features (F,), and its label per level."""
        return {name: value[0] for name, value in self.batch(torch.tensor([index])).items()}

    def __getitems__(self, indices: Sequence[int]) -> "Picks | dict[str, Tensor]":
        """Give a batch as a DataLoader takes it."""
        places = torch.as_tensor(indices)
        return self.batch(places) if self.decodes else Picks(self, places)

    def batch(self, places: Tensor, device: torch.device = CPU) -> dict[str, Tensor]:
        """Give images uint8 (B, 3, H, W), or features (B, F), and per level labels (B,), on a device.

        Args:
            places: of the images in this set, int64 (B,), on the CPU.
            device: where the batch is to be.
        """
        # Elsewhere than from pinned memory to a GPU, a step might read before the copy is there.
        pinned = device.type == "cuda"
        there = places.to(device, non_blocking=pinned)
        rows = on_device(self.subset, device)[there]
        labels = {level: on_device(y, device)[rows] for level, y in self.labels.items()}
        # index_select copies a row as a whole, an index each of its numbers: 15 times slower.
        if self.features is not None:
            return {"features": on_device(self.features, device).index_select(0, there)} | labels
        if isinstance(self.images, Tensor) and self.images.nbytes <= self.device_bytes:
            images = on_device(self.images, device).index_select(0, rows)
        else:
            images = self.images.index_select(0, self.subset[places])
            images = images.pin_memory() if pinned else images
            images = images.to(device, non_blocking=pinned)
        return {"images": images} | labels


class Picks:
    """Which images of a set in memory make a batch; Lightning asks for the batch itself by `to`, on its device."""

    def __init__(self, images: ImageSet, places: Tensor) -> None:
        self.images = images
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def pin_memory(self) -> "Picks":
        """Let the indices cross to a GPU while it is at work."""
        return Picks(self.images, self.places.pin_memory())

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """Pick the batch: see `ImageSet.batch`."""
        return self.images.batch(self.places, device)


# The copies of a tensor by device, as long as there is that tensor: the stages of a study share their images.
_copies: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Give a tensor that nobody changes on a device, copied there when it is first asked for."""
    if tensor.device == device:
        return tensor
    copies = _copies.setdefault(tensor, {})
    if device not in copies:
        copies[device] = tensor.to(device)
    return copies[device]
