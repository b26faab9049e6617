"""Compute in full precision within autocast."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Switch autocast off on a kind of device; meta has none."""
    # torch.amp is not asked: torch.compile of PyTorch 2.11 cannot look into that, and compiled every step anew.
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)
