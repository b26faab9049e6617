"""Run stages on Ray: several on one GPU, on all GPUs of a machine, or on a cluster. Imported only for engine=ray."""

import io
import logging
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, redirect_stdout
from typing import Any

import torch

from common.runs.description import Architecture, Stage
from common.runs.lightning import quieten
from common.runs.progress import Progress
from common.runs.stage import run_stage
from common.settings.explain import explain
from common.system.atomic_files import remove_leftovers
from common.system.cores import cores
from common.system.distributed import Machines
from common.system.errors import StageFailed, UserError
from common.system.signals import Interrupted, signals

# How often a stage may lose its worker or node; each time it goes on from its checkpoint.
MAX_RETRIES = 10
# Ray must not report to its makers about a study.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Without this it would start a stage that needs more memory than there is again and again, for ever.
os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))
try:
    import ray
    from ray.exceptions import RayError, TaskCancelledError
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise UserError(
        "engine=ray needs Ray: python -m pip install -r requirements-ray.txt"
    ) from error

POLL_S = 0.5
# Stopping lets a step and its checkpoint end.
STOP_S = 60.0


class RayEngine(AbstractContextManager):
    """Run each stage as a task, where there is room; Ray retries a task whose worker or node died.

    A task may be repeated at any point, because `run_stage` continues from what lies on the (shared) storage.

    Args:
        stages: all stages of the study.
        architectures: of the experiment folders.
        address: of a running cluster; None starts Ray on this machine.
        stages_per_gpu: how many stages share a GPU.

    Raises:
        UserError: stages of several processes, a cluster that cannot be reached, no GPU where one is asked for.
    """

    room = sys.maxsize  # Ray itself lets tasks wait

    def __init__(
        self,
        stages: Sequence[Stage],
        architectures: Mapping[str, Architecture],
        *,
        address: str | None,
        stages_per_gpu: int,
    ) -> None:
        for stage in stages:
            params = stage.config.trainer_params
            if params.devices != 1 or params.num_nodes != 1:
                raise UserError(
                    "engine=ray gives each stage one device: leave trainer_params.devices and num_nodes at 1 "
                    "(several GPUs for one network need engine=serial)."
                )
        self.stages = stages
        self.architectures = architectures
        self.address = address
        self.stages_per_gpu = stages_per_gpu
        self.running: dict[Any, Stage] = {}
        self.began: dict[str, float] = {}
        bars = stages[0].config.trainer_params.enable_progress_bar
        self.progress = Progress([stage.name for stage in stages], live=bars)

    def __enter__(self) -> "RayEngine":
        with ExitStack() as entered:
            # Ray's own code must not be interrupted: `next_end` looks for signals.
            entered.enter_context(signals.put_off())
            entered.callback(ray.shutdown)
            _connect(self.address)
            signals.install()  # Ray has taken over SIGTERM
            # Beside this process, which reads it: another node may go.
            node = ray.get_runtime_context().get_node_id()
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            self.lines = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
            entered.enter_context(self.progress)
            self.leaving = entered.pop_all()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        with self.leaving:
            if self.running:
                self._stop()
            signals.pending = None

    def start(self, stage: Stage) -> None:
        """Hand a stage to Ray."""
        threads = _threads()
        takes = self.resources(stage, threads)
        # What has begun on one GPU stays there, whichever the next stage is given.
        several = "num_gpus" in takes and ray.cluster_resources().get("GPU", 0) > 1
        task = ray.remote(max_calls=1 if several else 0)(run_remotely).options(
            name=stage.name,
            max_retries=MAX_RETRIES,
            retry_exceptions=False,
            **takes,
        )
        arguments = (stage, self.architectures[stage.folder], threads, sys.argv, self.lines)
        self.running[task.remote(*arguments)] = stage
        self.progress.set_state(stage.name, "queued")
        if not fits(takes):
            # A cluster may grow; what it has now may never do.
            words = ", ".join(f"{n:g} {name.removeprefix('num_')}" for name, n in takes.items())
            self.progress.say(
                stage.name, f"{stage.name}: waits for a machine with {words}: the cluster has none."
            )

    def next_end(self) -> tuple[Stage, StageFailed | None]:
        """Wait until a stage ends; give it, and why it could not be finished.

        Raises:
            UserError: what stops the whole study, as in one process.
            Interrupted: a signal has come.
        """
        ended: list[Any] = []
        while not ended:
            ended, _ = ray.wait(list(self.running), timeout=POLL_S)
            self._show()
            if (
                signals.pending is not None
            ):  # left pending, so that a second signal ends this process
                raise Interrupted(signals.pending)
        stage = self.running[ended[0]]
        try:
            outcome, sentence = ray.get(ended[0])
        except RayError as error:
            if isinstance(error, ray.exceptions.RayTaskError):
                raise  # a defect, with its traceback
            outcome, sentence = "failed", _lost(stage, error)
        del self.running[ended[0]]
        self.began.pop(stage.name, None)
        if outcome == "refused":
            raise UserError(sentence)
        self.progress.set_state(stage.name, outcome)
        return stage, StageFailed(sentence) if outcome == "failed" else None

    def _show(self) -> None:
        """Show the lines that stages have printed."""
        for stage, line in self.lines.get_nowait_batch(self.lines.qsize()):
            if line.startswith(BEGINS):
                self.began[stage] = time.monotonic()
                self.progress.begin(stage, line.removeprefix(BEGINS))
            else:
                self.progress.say(stage, line)

    def resources(self, stage: Stage, threads: int) -> dict[str, float]:
        """Compute what a stage takes: a share of a GPU where there is one, else cores.

        Raises:
            UserError: it asks for a GPU and Ray finds none.
        """
        there = ray.cluster_resources()
        accelerator = stage.config.trainer_params.accelerator
        takes = threads + (stage.config.hparams.num_workers or 0)
        if accelerator in ("gpu", "cuda") or (accelerator == "auto" and there.get("GPU")):
            if self.address is None and not there.get("GPU"):
                raise UserError(
                    f"trainer_params.accelerator is {accelerator}, and Ray finds no GPU here."
                )
            # Ray counts in ten-thousandths.
            return {"num_cpus": 1, "num_gpus": 10_000 // self.stages_per_gpu / 10_000}
        # More than a machine has would wait for ever.
        return {"num_cpus": min(takes, int(there["CPU"])) if self.address is None else takes}

    def _stop(self) -> None:
        """Let the stages that run end their step and write a checkpoint."""
        for task in self.running:
            ray.cancel(task, force=False)
        ray.wait(list(self.running), num_returns=len(self.running), timeout=STOP_S)
        self._show()


BEGINS = "\0"  # marks a line that says where a stage runs


class _Lines(io.TextIOBase):
    """Send each complete line that is written to a queue, with the stage's name."""

    def __init__(self, stage: str, queue: Queue) -> None:
        self.stage = stage
        self.actor: Any = queue.actor
        self.rest = ""
        self.sent: Any = None

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.send(line)
        return len(text)

    def send(self, line: str) -> None:
        """Send a line without waiting: while a task waits, Ray gives its core to another task for good."""
        self.sent = self.actor.put_nowait.remote((self.stage, line))

    def close(self) -> None:
        """Wait until all lines have arrived."""
        if not self.closed:
            ray.wait([self.sent])
        super().close()


def run_remotely(
    stage: Stage, architecture: Architecture, threads: int, command: list[str], lines: Queue
) -> tuple[str, str]:
    """Run one stage in a worker; give an outcome (done, failed, refused) and its sentence.

    `ray.cancel` comes as SIGINT, which is treated as in one process: a checkpoint after the step. SIGTERM stays
    with Ray: the worker dies, and the stage is retried elsewhere.
    """
    sys.argv = command
    torch.set_num_threads(threads)
    quieten()
    remove_leftovers(stage.place)
    gpus = ", ".join(f"GPU {number}" for number in ray.get_gpu_ids())
    said = _Lines(stage.name, lines)
    said.send(BEGINS + ", ".join(filter(None, (platform.node(), gpus))))
    earlier = signal.getsignal(signal.SIGINT)
    try:
        signals.install(signal.SIGINT)
        with said, redirect_stdout(said):
            run_stage(stage, architecture, Machines(1))
    except Interrupted:
        return "failed", f"{stage.name} was stopped: run the same command to continue."
    except StageFailed as error:
        return "failed", str(error)
    except Exception as error:
        # Said here: Ray would wrap it in a traceback.
        sentence = explain(error, architecture.schema)
        if sentence is None:
            raise
        return "refused", sentence
    finally:
        signal.signal(signal.SIGINT, earlier)
    return "done", ""


def _connect(address: str | None) -> None:
    # A cluster's size is its own affair; "local" also where RAY_ADDRESS is set.
    options: dict[str, Any] = {"address": address} if address else {"address": "local"}
    if not address:
        options["include_dashboard"] = False
        # Ray counts those of the machine, also where a scheduler such as SLURM gives this command some of them.
        if cores() < (os.cpu_count() or 1):
            options["num_cpus"] = cores()
    try:
        _refuse_unreachable(address)
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (
        Exception
    ) as error:  # Ray raises this very class when a busy machine starts it too slowly
        raise UserError(
            f"ray_address={address or 'null'}: Ray cannot be used there: {' '.join(str(error).split())}"
        ) from error


def _refuse_unreachable(address: str | None) -> None:
    """Raise OSError at once if nothing answers at the address: Ray would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _threads() -> int:
    """Count the threads of a stage on a CPU: OMP_NUM_THREADS, else one, so that stages fill the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else 1


def fits(takes: Mapping[str, float]) -> bool:
    """Say whether some machine would have what a stage takes if nothing else ran there."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return any(
        machine.get("CPU", 0) >= takes["num_cpus"]
        and machine.get("GPU", 0) >= takes.get("num_gpus", 0)
        for machine in machines
    )


def _lost(stage: Stage, error: RayError) -> str:
    if isinstance(error, TaskCancelledError):
        return f"{stage.name} was cancelled by Ray: run the same command to continue."
    why = " ".join(str(error).split()).partition(". ")[0]
    return (
        f"{stage.name} lost its worker more than {MAX_RETRIES} times ({why}); "
        "is there enough memory? Run the same command to continue."
    )
