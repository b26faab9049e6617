"""Bring together what a stage needs before anything is trained: its images, what it builds on, and what shapes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.checkpoints.files import digest, read
from common.checkpoints.record import Record
from common.data.datamodule import HierarchicalData
from common.results.rows import HOLE
from common.runs.description import Architecture, Stage
from common.runs.fingerprint import (
    fingerprint,
    identify,
    refuse_other_configuration,
    refuse_other_images,
)
from common.runs.lightning import make_trainer
from common.runs.needed import refuse_missing
from common.runs.pairing import set_other_pairing_aside
from common.runs.per_seed import for_seed, kinds
from common.system.environment import choose_precision
from common.system.errors import UserError
from common.system.randomness import derive


@dataclass(frozen=True)
class Prepared:
    """A stage before anything is trained.

    ``identity`` is everything that shapes its result, ``sources`` are digests of the weights that it builds on,
    ``parents`` the records of these, and ``processes`` train it together.
    """

    stage: Stage
    data: HierarchicalData
    precision: str
    processes: int
    identity: dict[str, Any]
    sources: dict[str, str]
    parents: list[Record]

    @property
    def name(self) -> str:
        """Give the stage's fingerprint."""
        return fingerprint(self.identity)


def prepare(stage: Stage, architecture: Architecture) -> Prepared:
    """Load the data and what the stage builds on, and identify all that shapes its result.

    Raises:
        UserError: a checkpoint that it builds on is missing, or its folder holds a run of another configuration.
    """
    cfg = stage.config.copy()
    per_seed = kinds(cfg.dataset)
    cfg.dataset = for_seed(cfg.dataset, stage.seed)
    data = architecture.data(cfg, seed=derive(stage.seed, stage.arm))
    data.load()
    cfg.trainer_params.max_epochs = architecture.module.epochs(cfg, data)
    stage = replace(stage, config=cfg)
    precision = choose_precision(cfg.trainer_params.precision, cfg.trainer_params.accelerator)
    paths = refuse_missing(architecture.module.hemisphere_paths(cfg, stage.seed))
    found = {part: read(path) for part, path in paths.items()}
    processes = make_trainer(stage, precision, [], logger=False).world_size
    if processes > 1:
        _check_processes(stage, data, processes)
    identity = identify(
        cfg,
        data,
        precision,
        {part: record.fingerprint for part, (record, _) in found.items()},
        schema=architecture.schema,
        sides=architecture.module.sides(cfg),
        processes=processes,
        per_seed=per_seed,
    )
    sources = {f"model_path_{part}": digest(weights) for part, (_, weights) in found.items()}
    set_other_pairing_aside(stage)
    parents = [record for record, _ in found.values()]
    stage = replace(stage, seeds=made_of(stage, parents))
    refuse_other_configuration(stage.place, identity, sources, schema=architecture.schema)
    refuse_other_images(stage.place, cfg, identity["data"])
    (stage.place / HOLE).unlink(missing_ok=True)
    return Prepared(stage, data, precision, processes, identity, sources, parents)


def made_of(stage: Stage, parents: Sequence[Record]) -> tuple[int, ...]:
    """List the seeds of all networks that a stage is made of: those planned first, then others of its checkpoints."""
    loaded = (seed for parent in parents for seed in parent.seeds or [parent.seed])
    return tuple(dict.fromkeys([*(stage.seeds or (stage.seed,)), *loaded]))


def _check_processes(stage: Stage, data: HierarchicalData, processes: int) -> None:
    asked = f"trainer_params.devices and num_nodes make {processes} processes"
    if data.batch_size % processes:
        raise UserError(
            f"{asked}, which cannot share batches of {data.batch_size}: hparams.batch_size counts the images of "
            f"all processes; allowed: a multiple of {processes}, at most {len(data.train_set)}."
        )
    if len(data.val_set) < processes:
        raise UserError(f"{asked}, but there are only {len(data.val_set)} validation images.")
