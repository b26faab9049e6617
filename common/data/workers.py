"""Choose how many processes load images, within the shared memory that they need."""

import logging
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch

from common.system.signals import outlive_notices

log = logging.getLogger(__name__)
SHARED_MEMORY = Path("/dev/shm")  # Linux passes batches on through it; Docker gives it 64 MB
PREFETCHED = 2  # batches of each process that may wait there
# Longer than any batch takes, so that a process that is stuck ends the wait.
TIMEOUT_S = 600.0


def loading_processes(asked: int | None, *, decodes: bool, batch_bytes: int) -> int:
    """Choose how many processes load images; none where shared memory is too small for them.

    Args:
        asked: hparams.num_workers; None: as many as torch has threads.
        decodes: whether image files are decoded for each batch; if not, there is nothing to load.
        batch_bytes: the size of a batch, that of all processes together where several train.
    """
    if not decodes:
        return 0
    processes = torch.get_num_threads() if asked is None else asked
    needed = (PREFETCHED * processes + 1) * batch_bytes
    # With too little, torch would wait for a batch that never comes.
    if processes and SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < needed:
        _say_once(
            f"{SHARED_MEMORY} has less than the {needed / 1e6:,.0f} MB that hparams.num_workers={processes} takes: "
            "images are loaded without further processes (Docker gives more with --shm-size)."
        )
        return 0
    return processes


@cache
def _say_once(sentence: str) -> None:
    log.warning(sentence)


def loader_options(processes: int) -> dict[str, Any]:
    """Give the arguments of a DataLoader for this many processes."""
    if not processes:
        return {}
    return {
        "num_workers": processes,
        "prefetch_factor": PREFETCHED,
        "persistent_workers": True,
        "timeout": TIMEOUT_S,
        "worker_init_fn": outlive_notices,
    }
