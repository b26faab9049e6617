"""Choose images: the order of training, from seed and epoch, from any step on, for several processes; and samples."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

from common.system.distributed import rank, world_size
from common.system.randomness import derive


def drawn(count: int, most: int, purpose: str) -> Tensor:
    """Draw up to ``most`` of ``count`` places, int64: always the same ones, in the same order, for one purpose.

    With a smaller ``most`` they are the first of these.
    """
    order = torch.Generator().manual_seed(derive(0, purpose))
    return torch.randperm(count, generator=order)[:most]


class EpochSampler(Sampler[int]):
    """Draw a permutation that depends only on the seed and the epoch, and that can be entered in the middle.

    Lightning calls `set_epoch` before each epoch.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.length

    def enter(self, *, epoch: int, batches: int, batch_size: int) -> None:
        """Start after some batches of an epoch; if those were all, `set_epoch` begins the next one."""
        self.epoch = epoch
        self.start = min(batches * batch_size, self.length)

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation; another epoch than the present one starts at its beginning."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive(self.seed, "order", self.epoch))
        yield from torch.randperm(self.length, generator=generator)[self.start :].tolist()


class ShareSampler(BatchSampler):
    """Give each process an equal share of every batch, so that the batches are those of one process."""

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // world_size()
        start = rank() * share
        for batch in super().__iter__():
            yield batch[start : start + share]
