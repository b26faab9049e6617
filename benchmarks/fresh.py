"""A process of its own for each measurement. Imports no torch."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import Any

# Imported once, for all processes that measure.
HEAVY = [
    "torchvision",
    "pytorch_lightning",
    "arch_single_head.module",
    "common.runs.experiment",
]


def fresh(function: str, *arguments: Any) -> Any:
    """The answer of a function, called in a new process, where its peak memory is its own.

    Args:
        function: of measure.py; of another module as MODULE.FUNCTION.
        arguments: for it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_call, function, arguments).result()


def failure(error: Exception) -> str:
    """Say in one line why a part of the measurements gave nothing."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    module, _, name = function.rpartition(".")
    called: Callable[..., Any] = getattr(import_module(module or "measure"), name)
    # A DataLoader here must start its workers as it does in any other program, not as this process was started.
    multiprocessing.set_start_method(None, force=True)
    return called(*arguments)
