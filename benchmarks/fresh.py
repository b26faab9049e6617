"""A process of its own for each measurement, which ends in time. Imports no torch."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import Any

from common.system.errors import UserError

# Imported once, for all processes that measure.
HEAVY = [
    "torchvision",
    "pytorch_lightning",
    "arch_single_head.module",
    "common.runs.experiment",
]
# Seconds after which a measurement on a GPU counts as hung; compiling included, none should take half of that.
LIMIT_S = 180.0


def fresh(function: str, *arguments: Any, limit: float = LIMIT_S) -> Any:
    """The answer of a function, called in a new process, where its peak memory is its own.

    Args:
        function: of measure.py; of another module as MODULE.FUNCTION.
        arguments: for it.
        limit: seconds after which the process is killed.

    Raises:
        UserError: the process was killed, or broke off.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    started = time.monotonic()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(_call, function, arguments, limit).result()
        except BrokenProcessPool as error:
            if time.monotonic() - started >= limit:
                raise UserError(f"killed, for it took longer than {limit:.0f} s") from error
            raise UserError("its process broke off without a word") from error


def left(end: float, limit: float = LIMIT_S) -> float:
    """Seconds that a process may take that is to be done at ``end``, by time.monotonic: at most the limit."""
    return max(1.0, min(limit, end - time.monotonic()))


def failure(error: Exception) -> str:
    """Say in one line why a part of the measurements gave nothing."""
    sentence = str(error).strip().partition("\n")[0]
    return sentence if isinstance(error, UserError) else f"{type(error).__name__}: {sentence}"


def _call(function: str, arguments: tuple[Any, ...], limit: float) -> Any:
    # The kernel ends the process, whatever holds it up, and also where the one that waits for it has ended.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit)
    module, _, name = function.rpartition(".")
    called: Callable[..., Any] = getattr(import_module(module or "measure"), name)
    # A DataLoader here must start its workers as it does in any other program, not as this process was started.
    multiprocessing.set_start_method(None, force=True)
    return called(*arguments)
