"""Run the stages of an experiment, each once those that it builds on are done, and write its tables."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

import torch

from common.checkpoints.pretrained import refuse_other_weights
from common.checkpoints.record import Record
from common.data.datamodule import load_folder_once
from common.data.image_folder import size_of_images
from common.data.labels import coarse_of_fine
from common.networks.hemisphere import HemisphereConfig
from common.results.caveats import titled
from common.results.comparison import Comparison
from common.results.rows import HOLE, PLAN
from common.results.tables import print_summary, write_tables
from common.runs.description import Architecture, Stage
from common.runs.engine import Engine, Serial
from common.runs.lightning import quieten
from common.runs.per_seed import for_seed
from common.runs.stage_ends import StageEnds
from common.system.atomic_files import open_lock, remove_leftovers, write_yaml
from common.system.distributed import Machines
from common.system.errors import StageFailed, Unfinished, UserError

_LOCKS: set[BinaryIO] = set()  # of the experiments that this process runs


def run_experiment(
    stages: Sequence[Stage],
    architectures: Mapping[str, Architecture],
    comparison: Comparison,
    engine: Engine | None = None,
) -> None:
    """Run stages, each after those it needs, then write and print the experiment's tables.

    A stage that fails is missing in them; the others go on, except those that need it.

    Args:
        stages: what to run.
        architectures: by the name of the experiment folder.
        comparison: how their arms are compared.
        engine: runs them; None: one after another in this process.

    Raises:
        Unfinished: after all that, if a stage failed.
    """
    quieten()
    # A set may have been prepared again since an experiment before this one in the same process.
    load_folder_once.cache_clear()
    experiment = stages[0].experiment
    machines = Machines(stages[0].config.trainer_params.num_nodes)
    if not machines.first:
        machines.join()
        return
    with _only_one(experiment), machines.lead():
        remove_leftovers(experiment)
        refuse_unbuildable(stages, architectures)
        with StageEnds(engine or Serial(architectures, machines), stages) as running:
            failed = run_ready(stages, running)
        for stage in stages:
            result = stage.place / "result.yaml"
            if stage.name not in failed and not result.is_file():
                raise UserError(
                    f"{result} vanished while the command ran: run the same command again."
                )
        tables = write_tables(experiment, comparison)
    if tables.summary:
        print_summary(tables.sections, titled(experiment.name, tables.caveats))
    elif tables.rows or not failed:
        print("Nothing was tested (evaluate=false); validation accuracies are in results.csv.")
    print("".join(f"{sentence}\n" for sentence in tables.caveats), end="")
    print(f"Results: {experiment}/results.csv  summary.csv  differences.csv  summary.md")
    print(f"Checkpoints: {experiment}/<arm>/seed<n>/checkpoints/best.ckpt")
    if stages[0].config.logger.tensorboard:
        print(f"Curves: tensorboard --logdir {experiment}")
    if failed:
        raise Unfinished(
            f"{len(failed)} of {len(stages)} stages could not be finished: {', '.join(failed)}."
        )


def refuse_unbuildable(stages: Sequence[Stage], architectures: Mapping[str, Architecture]) -> None:
    """Refuse, before the first stage is trained, networks and losses that cannot be built, and weights that do not fit.

    An arm is tried once for each size of images, whatever its seeds: they differ in what they load, which is not looked
    at, since no earlier stage may have written it yet.

    Raises:
        UserError: names the part of the network, the loss, or the weights.
    """
    size_of = cache(size_of_images)
    tried: set[tuple[str, tuple[int, int]]] = set()
    hemispheres: set[HemisphereConfig] = set()
    for stage in stages:
        directory = Path(for_seed(stage.config.dataset, stage.seed).train_dir)
        size = size_of(directory)
        if size is None or (stage.arm, size) in tried:
            continue
        tried.add((stage.arm, size))
        architecture = architectures[stage.folder]
        record = _blank_record(stage, architecture, directory, size)
        _without_memory(partial(architecture.module, cfg=stage.config, record=record))
        hemispheres |= {*architecture.module.hemisphere_configs(stage.config).values()}
    for config in hemispheres:
        refuse_other_weights(config)


def _blank_record(
    stage: Stage, architecture: Architecture, directory: Path, size: tuple[int, int]
) -> Record:
    """Say of a stage what its network is built by, without reading its images."""
    data = architecture.data(stage.config, seed=stage.seed)
    classes = data.read_classes(directory)
    return Record(
        folder=stage.folder,
        arm=stage.arm,
        seed=stage.seed,
        config={},
        label_ids={level: classes[level].ids for level in data.levels},
        class_names={level: classes[level].names for level in data.levels},
        mean=[0.0] * 3,
        std=[1.0] * 3,
        image_size=[*size],
        train_images="",
        fingerprint="",
        coarse_of_fine=coarse_of_fine(directory),
    )


def _without_memory(build: Callable[[], object]) -> None:
    """Build something on the meta device, where weights take no memory; what fails there the CPU judges.

    Where values are computed with, as RegNet does while it is built, that is left to the stage.
    """
    try:
        with torch.device("meta"):
            build()
            return
    except Exception as error:
        if isinstance(error.__cause__, NotImplementedError):
            return
    with torch.random.fork_rng(devices=[]):
        build()


def run_ready(stages: Sequence[Stage], engine: Engine) -> list[str]:
    """Give the engine each stage once those that it needs are done, in the order of the plan.

    Notes the plan beside the stages, so that a report misses those that nobody has begun.

    Returns:
        The names of the stages that could not be finished, including those that need another such stage.
    """
    waiting = list(stages)
    running: set[str] = set()
    done = {name for stage in stages for name in stage.needs} - {stage.name for stage in stages}
    failed: list[str] = []
    noted = False

    def fail(stage: Stage, failure: StageFailed) -> None:
        failed.append(stage.name)
        print(f"error: {failure}", file=sys.stderr, flush=True)
        hole = {"arm": stage.arm, "seed": stage.seed, "reason": str(failure)}
        write_yaml(stage.place / HOLE, hole)

    while waiting or running:
        for stage in list(waiting):
            lost = [need for need in stage.needs if need in failed]
            if lost:
                waiting.remove(stage)
                why = f"{stage.name}: skipped, for it needs {' and '.join(lost)}."
                fail(stage, StageFailed(why))
        ready = [stage for stage in waiting if done.issuperset(stage.needs)]
        for stage in ready[: engine.room - len(running)]:
            engine.start(stage)
            waiting.remove(stage)
            running.add(stage.name)
        if running:
            stage, failure = engine.next_end()
            if not noted:  # only now, for a run of another configuration is refused before
                write_yaml(stage.experiment / PLAN, [one.name for one in stages])
                noted = True
            running.remove(stage.name)
            if failure is None:
                done.add(stage.name)
            else:
                fail(stage, failure)
    return failed


@contextmanager
def _only_one(experiment: Path) -> Iterator[None]:
    """Keep a second command out of an experiment; the kernel drops the lock with the process."""
    try:
        experiment.mkdir(parents=True, exist_ok=True)
        held = open_lock(experiment / ".lock")
    except OSError as error:
        raise UserError(
            f"{experiment} cannot be written ({error.strerror}): choose another save_dir or exp_name."
        ) from error
    with held as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another command is running in {experiment}: wait for it, or choose another exp_name."
            ) from None
        _LOCKS.add(lock)
        try:
            yield
        finally:
            _LOCKS.discard(lock)


def _close_locks() -> None:
    while _LOCKS:
        _LOCKS.pop().close()


# A process that loads images must not keep a lock when this one is killed. Once here: a hook cannot be taken back.
os.register_at_fork(after_in_child=_close_locks)
