"""Train one network in several processes (DDP): start them, and exchange values among them.

Lightning would start them by running the command line again, Hydra and sweeps included. Here the command is the first
process, and alone it holds the lock, prints and writes; the others get their work from it.
"""

import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from common.system.errors import UserError, shown
from common.system.signals import HANDLED

ROOT = Path(__file__).resolve().parents[2]
# What the command on each machine must be told where there are several, as in Lightning.
NEEDED = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
POLL_S = 0.5
END_S = 60.0


def world_size() -> int:
    """Count the processes that train the network."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Give this process's number among them."""
    return dist.get_rank() if dist.is_initialized() else 0


def all_reduce_max(number: int) -> int:
    """Find the largest of the numbers that the processes give."""
    if world_size() == 1:
        return number
    # On the CPU, because asking a GPU at each step would wait for it.
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX, group=_cpu_group())
    return int(value)


def broadcast_from_first(tensors: Iterator[Tensor]) -> None:
    """Broadcast the first process's values to all."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@cache
def _cpu_group() -> Any:
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


@contextmanager
def together(work: Callable[[], None], *, devices: int, machines: "Machines") -> Iterator[None]:
    """Make this the first of several processes until the block ends; the others do ``work``.

    Args:
        work: a picklable call.
        devices: number of processes on each machine.
        machines: all machines that take part.
    """
    port = _free_port()
    environment = _environment(0, 0, machines.address, port)
    before = {name: os.environ.get(name) for name in environment}
    threads = torch.get_num_threads()
    others = _start(work, range(1, devices), 0, machines.address, port, threads // devices)
    ended = threading.Event()
    threading.Thread(target=_watch, args=(others, ended), daemon=True).start()
    try:
        machines.post((work, devices, port))
        os.environ |= environment
        torch.set_num_threads(threads // devices or 1)
        yield
        ended.set()
        _finish(others, END_S)
    except RuntimeError:
        # What the first process notices of another one's end is a lost connection.
        ended.set()
        _finish(others, POLL_S)
        raise
    finally:
        ended.set()
        _kill(others)
        if dist.is_initialized():
            dist.destroy_process_group()
        _cpu_group.cache_clear()
        torch.set_num_threads(threads)
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}


class Machines:
    """Let several machines train one network: the first leads, the others join.

    Args:
        nodes: how many machines there are, this one among them.

    Raises:
        UserError: the environment does not say where the first machine is, or which one this is.
    """

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.posted = 0
        self.address = "127.0.0.1"
        self.node = 0
        if nodes > 1:
            missing = [name for name in NEEDED if not os.environ.get(name)]
            if missing:
                raise UserError(
                    f"trainer_params.num_nodes is {nodes}, but {missing[0]} is not in the environment; start this "
                    f"command on each machine with {', '.join(NEEDED)} (docs/scaling.md)."
                )
            self.address = os.environ["MASTER_ADDR"]
            self.node = _number("NODE_RANK", 0, nodes - 1)
            self.port = _number("MASTER_PORT", 1, 65_535)

    @property
    def first(self) -> bool:
        """Say whether this is the first machine."""
        return self.node == 0

    @contextmanager
    def lead(self) -> Iterator[None]:
        """Let the other machines join until the block ends.

        Raises:
            UserError: the port is in use.
        """
        if self.nodes == 1:
            yield
            return
        try:
            self.store = self._store(leads=True)
        except dist.DistError as error:
            raise UserError(
                f"MASTER_PORT {self.port} cannot be opened on this machine ({_reason(error)}): give another one on all "
                "machines."
            ) from error
        yield
        self.store.set(f"work{self.posted}", "")
        deadline = time.monotonic() + END_S
        while self.store.add("left", 0) < self.nodes - 1 and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def post(self, work: Any) -> None:
        """Give the other machines their next work."""
        if self.nodes > 1:
            self.store.set(f"work{self.posted}", pickle.dumps(work).hex())
            self.posted += 1

    def join(self) -> None:
        """Do, on a machine that is not the first, what the first one posts, until it ends.

        Raises:
            UserError: a process of this machine or the first machine's command ended early.
        """
        number = 0
        try:
            store = self._store(leads=False)
            while True:
                while not store.check([f"work{number}"]):
                    time.sleep(POLL_S)
                content = store.get(f"work{number}")
                if not content:
                    store.add("left", 1)
                    return
                work, devices, port = pickle.loads(bytes.fromhex(content.decode()))
                threads = torch.get_num_threads() // devices
                processes = _start(work, range(devices), self.node, self.address, port, threads)
                try:
                    _finish(processes)
                finally:
                    _kill(processes)
                number += 1
        except dist.DistError as error:
            raise UserError(
                f"The command on {self.address} (MASTER_ADDR) is not there, or has ended."
            ) from error

    def _store(self, *, leads: bool) -> dist.TCPStore:
        return dist.TCPStore(
            self.address,
            self.port,
            is_master=leads,
            wait_for_workers=False,
            timeout=timedelta(minutes=10),
        )


def _number(name: str, low: int, high: int) -> int:
    """Read a whole number from the environment."""
    text = os.environ[name]
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise UserError(f"{name} is {shown(text)} in the environment; allowed: {low} to {high}.")
    return int(text)


def _reason(error: Exception) -> str:
    return "it is in use" if "EADDRINUSE" in str(error) else str(error).partition("\n")[0][:200]


def _environment(node: int, local: int, address: str, port: int) -> dict[str, str]:
    """Give the variables that Lightning's environment reads."""
    values = {"NODE_RANK": node, "LOCAL_RANK": local, "MASTER_ADDR": address, "MASTER_PORT": port}
    return {name: str(value) for name, value in values.items()}


def _start(
    work: Callable[[], None],
    local: Sequence[int],
    node: int,
    address: str,
    port: int,
    threads: int,
) -> list[subprocess.Popen]:
    processes = []
    for number in local:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = _environment(node, number, address, port) | {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": str(threads or 1),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "common.system.distributed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | environment,
        )
        assert process.stdin is not None
        # It stays open: its end tells the process that this one is gone.
        pickle.dump(work, process.stdin)
        process.stdin.flush()
        processes.append(process)
    return processes


def _finish(processes: Sequence[subprocess.Popen], seconds: float = math.inf) -> None:
    """Wait for processes to end, all of them or the first that fails; their work is done, or has ``seconds`` left."""
    deadline = time.monotonic() + seconds
    while True:
        ends = [process.poll() for process in processes]
        for process, status in zip(processes, ends, strict=True):
            if status:
                raise UserError(_ended_early(process))
        if None not in ends or time.monotonic() >= deadline:
            return
        time.sleep(POLL_S / 10)


def _kill(processes: Sequence[subprocess.Popen]) -> None:
    """Kill those that still run, wait for their end, and close what they got their work through."""
    for process in processes:
        with process:
            process.kill()


def _watch(processes: Sequence[subprocess.Popen], ended: threading.Event) -> None:
    """End the first process too when another one ends early: it would wait for ever."""
    while not ended.wait(POLL_S):
        for process in processes:
            if process.poll():
                print(f"error: {_ended_early(process)}", file=sys.stderr, flush=True)
                for other in processes:
                    other.kill()
                os._exit(1)


def _ended_early(process: subprocess.Popen) -> str:
    return (
        f"One of the stage's processes ended with status {process.returncode} (what it said stands above); "
        "run the same command to continue."
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def _end_with_first() -> None:
    # Not through sys.stdin, whose lock this thread would hold while Python shuts down.
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Do the work that comes through standard input, in a process that is not the first."""
    # The first process is told too, and all stop after the same step.
    for signum in HANDLED:
        signal.signal(signum, signal.SIG_IGN)
    work = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_first, daemon=True).start()
    work()
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
