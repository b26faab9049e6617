"""Do many jobs of one kind in as many processes as this one may use cores."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from common.system.cores import cores
from common.system.errors import UserError

Job = TypeVar("Job")
Done = TypeVar("Done")
# Jobs for each process that are drawn ahead, so that not all of them lie in memory at once.
WAITING = 8


def in_processes(
    work: Callable[[Job], Done], jobs: Iterable[Job], *, at_once: int = 1
) -> Iterator[Done]:
    """Do the jobs, in order, in as many processes as this one may use cores; with one core, in this one.

    Args:
        work: what is done with each; it and the jobs can be pickled.
        jobs: are drawn as they are needed.
        at_once: jobs that a process takes at a time; more where each is short.

    Raises:
        UserError: the system ended a process.
    """
    processes = cores()
    if processes < 2:
        yield from map(work, jobs)
        return
    # Not forked: a progress bar has a thread of its own.
    start = multiprocessing.get_context("spawn")
    rest = iter(jobs)
    try:
        with ProcessPoolExecutor(
            processes, start, signal.signal, (signal.SIGINT, signal.SIG_IGN)
        ) as pool:
            while some := [*islice(rest, WAITING * at_once * processes)]:
                yield from pool.map(work, some, chunksize=at_once)
    except BrokenProcessPool:
        raise UserError(
            "a process that writes images ended: there may be too little memory for the largest of them"
        ) from None
