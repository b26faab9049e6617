"""A process of its own for each measurement. Imports no torch."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

# Imported once, for all processes that measure.
HEAVY = [
    "torchvision",
    "pytorch_lightning",
    "arch_single_head.module",
    "common.runs.experiment",
]


def fresh(function: str, *arguments: Any) -> Any:
    """The answer of a function of measure.py, called in a new process, where its peak memory is its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_call, function, arguments).result()


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    import measure  # late: the first process needs no torch

    # A DataLoader here must start its workers as it does in any other program, not as this process was started.
    multiprocessing.set_start_method(None, force=True)
    called: Callable[..., Any] = getattr(measure, function)
    return called(*arguments)
