"""Run one stage: fit, pick the best checkpoint, test, write results; skip it if done, continue it if interrupted."""

import hashlib
import logging
import math
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment

from common.checkpoints.files import DurableCheckpoints, Record, digest, load, read
from common.checkpoints.resume import find_resume_checkpoint
from common.data.datamodule import EVAL_BATCH, HierarchicalData, ImageSet
from common.networks.costs import costs
from common.results.rows import HOLE, read_result, write_result
from common.runs.fingerprint import fingerprint, identify, refuse_other_configuration
from common.settings.compose import ROOT
from common.settings.levels import LEVELS
from common.system.atomic_files import read_mapping, replacing, write_yaml
from common.system.distributed import Machines, together
from common.system.environment import choose_precision, describe, use_fast_kernels
from common.system.errors import StageFailed, UserError
from common.system.randomness import derive
from common.system.signals import Interrupted, signals
from common.training.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, MetricsTable
from common.training.finite import FiniteLoss
from common.training.metrics import by_level
from common.training.module import TrainingModule

# More than this is not kept, counted as float32. No key: with and without kept features results may differ in bits.
FEATURE_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Stage:
    """One arm with one seed: a plain description of work, apart from how it is executed.

    ``config`` is the resolved configuration of ``folder``'s trainer.py; ``needs`` names the stages whose
    checkpoints it builds on; ``seeds`` are those of all networks it is made of, its own if empty.
    """

    arm: str
    seed: int
    folder: str
    config: DictConfig
    needs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Arm and seed, unique within an experiment."""
        return f"{self.arm}/seed{self.seed}"

    @property
    def experiment(self) -> Path:
        """The experiment's folder."""
        return Path(self.config.save_dir) / self.config.exp_name

    @property
    def place(self) -> Path:
        """Where the stage's files lie."""
        return self.experiment / self.arm / f"seed{self.seed}"

    @property
    def best(self) -> Path:
        """Its best checkpoint, once it is done."""
        return self.place / "checkpoints" / "best.ckpt"


class Architecture(NamedTuple):
    """What an experiment folder brings."""

    data: type[HierarchicalData]
    module: type[TrainingModule]
    schema: type


def run_stage(stage: Stage, architecture: Architecture, machines: Machines) -> None:
    """Bring one stage to its result.yaml, from wherever an earlier run left it.

    Several processes train together; the first of them, which is this one, then tests alone.

    Raises:
        UserError: its place holds a result of another configuration.
        StageFailed: its loss is no longer finite.
    """
    cfg = stage.config
    data = architecture.data(cfg, seed=derive(stage.seed, stage.arm))
    data.load()
    precision = choose_precision(cfg.trainer_params.precision, cfg.trainer_params.accelerator)
    paths = _existing(architecture.module.hemisphere_paths(cfg, stage.seed))
    found = {level: read(path) for level, path in paths.items()}
    parents = {level: record.fingerprint for level, (record, _) in found.items()}
    sources = {f"model_path_{level}": digest(weights) for level, (_, weights) in found.items()}
    processes = make_trainer(stage, precision, [], logger=False).world_size
    if processes > 1:
        _check_processes(stage, data, processes)
    identity = identify(
        cfg,
        data,
        precision,
        parents,
        schema=architecture.schema,
        sides=architecture.module.sides(cfg),
        processes=processes,
    )
    _set_other_pairing_aside(stage)
    stage = replace(stage, seeds=made_of(stage, [record for record, _ in found.values()]))
    refuse_other_configuration(stage.place, identity, sources)
    (stage.place / HOLE).unlink(missing_ok=True)
    result = _finished(stage, fingerprint(identity))
    if result is not None and (result["test"] is not None or not cfg.evaluate):
        print(f"{stage.name}: done before")
        return
    if result is not None:
        print(f"{stage.name}: trained before, tested now")

    if cfg.evaluate:
        _refuse_untestable(data.load_test(), cfg)
    pl.seed_everything(derive(stage.seed, stage.arm, "weights") % 2**32, verbose=False)
    module = architecture.module(cfg=cfg, record=record_of(stage, data, fingerprint(identity)))
    module.load_hemispheres(data)
    if result is None:
        write_yaml(stage.place / "config.yaml", _plain(cfg))
        seeds = {"seeds": list(stage.seeds)}
        environment = describe(cfg.trainer_params.accelerator, ROOT)
        write_yaml(stage.place / "environment.yaml", environment | seeds)
        write_yaml(stage.place / "fingerprint.yaml", identity | {"sources": sources})

        def others(path: Path | None) -> AbstractContextManager[None]:
            if processes == 1:
                return nullcontext()
            work = partial(_train_along, stage, architecture, precision, path)
            return together(work, devices=processes // machines.nodes, machines=machines)

        result = _train(stage, module, data, precision, others)
    if cfg.evaluate:
        trainer = make_trainer(stage, precision, [], logger=False, alone=processes > 1)
        (metrics,) = trainer.test(
            module, datamodule=data, ckpt_path=stage.best, weights_only=True, verbose=False
        )
        result["test"] = by_level(metrics, "test", data.levels)
    write_result(stage.place / "result.yaml", result)
    stage.best.with_name("previous.ckpt").unlink(missing_ok=True)


def made_of(stage: Stage, parents: Sequence[Record]) -> tuple[int, ...]:
    """The seeds of all networks that a stage is made of: those it was planned with, then others of its checkpoints."""
    loaded = (seed for parent in parents for seed in parent.seeds or [parent.seed])
    return tuple(dict.fromkeys([*(stage.seeds or (stage.seed,)), *loaded]))


def record_of(stage: Stage, data: HierarchicalData, name: str) -> Record:
    """What the stage's checkpoints say about themselves; ``name`` is its fingerprint."""
    return Record(
        folder=stage.folder,
        arm=stage.arm,
        seed=stage.seed,
        config=_plain(stage.config),
        label_ids={level: data.classes[level].ids for level in data.levels},
        class_names={level: data.classes[level].names for level in data.levels},
        mean=data.mean,
        std=data.std,
        image_size=list(data.image_size),
        train_images=data.train_images,
        fingerprint=name,
        coarse_of_fine=data.coarse_of_fine,
        seeds=list(stage.seeds or (stage.seed,)),
    )


def checkpoints(stage: Stage) -> tuple[FiniteLoss, BestCheckpoint, LastCheckpoint]:
    """The callbacks that save, after the one that keeps them from saving what is no number."""
    rule = stage.config.ckpt_callback
    file = stage.best.with_name("last.ckpt")
    finite = FiniteLoss(stage.name, file, stride=stage.config.trainer_params.log_every_n_steps)
    best = BestCheckpoint(
        dirpath=stage.best.parent,
        # Lightning numbers several files as they come; the best of them is then copied.
        filename=stage.best.stem if rule.save_top_k == 1 else "top",
        monitor=rule.monitor,
        mode=rule.mode,
        save_top_k=rule.save_top_k,
        save_weights_only=True,
        enable_version_counter=rule.save_top_k > 1,
    )
    return finite, best, LastCheckpoint(file, finite)


def _train_along(
    stage: Stage, architecture: Architecture, precision: str, path: Path | None
) -> None:
    """What another process than the first does: the same fit, of which it keeps no record."""
    quieten()
    signals.pending = None
    data = architecture.data(stage.config, seed=derive(stage.seed, stage.arm))
    data.load()
    module = architecture.module(cfg=stage.config, record=record_of(stage, data, ""))
    module.load_hemispheres(data)
    trainer = make_trainer(stage, precision, list(checkpoints(stage)), logger=False)
    # The first process stops too, and says why.
    with suppress(Interrupted, StageFailed):
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)


def _check_processes(stage: Stage, data: HierarchicalData, processes: int) -> None:
    params = stage.config.trainer_params
    asked = f"trainer_params.devices and num_nodes make {processes} processes"
    if params.strategy not in ("auto", "ddp"):
        raise UserError(
            f"trainer_params.strategy is {params.strategy}; allowed with several devices: auto, ddp."
        )
    if data.batch_size % processes:
        raise UserError(
            f"{asked}, which cannot share batches of {data.batch_size}: hparams.batch_size counts the images of "
            f"all processes; allowed: a multiple of {processes}, at most {len(data.train_set)}."
        )
    if len(data.val_set) < processes:
        raise UserError(f"{asked}, but there are only {len(data.val_set)} validation images.")


def _train(
    stage: Stage,
    module: TrainingModule,
    data: HierarchicalData,
    precision: str,
    others: Callable[[Path | None], AbstractContextManager[None]],
) -> dict[str, Any]:
    """Fit, from the last checkpoint if there is one, and say what came out; an ensemble is only validated.

    ``others(path)`` is entered while other processes train along from the checkpoint at ``path``.
    """
    finite, best, last = checkpoints(stage)
    found = find_resume_checkpoint(stage.name, stage.best.parent, module.record.fingerprint)
    path, step = found or (None, None)
    print(f"{stage.name}: {'continued' if path else 'started'}", flush=True)
    if any(p.requires_grad for p in module.parameters()):
        if module.features_are_fixed:
            keep_features(stage, module, data, precision)
        with signals.put_off(), others(path):
            callbacks = [finite, best, *progress_callbacks(stage), last]
            trainer = make_trainer(stage, precision, callbacks, logger=events(stage, step))
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        if Path(best.best_model_path) != stage.best:
            with replacing(stage.best) as temporary:
                shutil.copyfile(best.best_model_path, temporary)
    else:
        trainer = make_trainer(stage, precision, [], logger=False, alone=True)
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.save_checkpoint(stage.best)
    content = load(stage.best)
    return {
        "arm": stage.arm,
        "seed": stage.seed,
        "seeds": module.record.seeds,
        "fingerprint": module.record.fingerprint,
        "checkpoint": str(stage.best.relative_to(stage.place)),
        "sha256": _sha256(stage.best),
        "best_epoch": min(content["epoch"] + 1, trainer.current_epoch),
        "epochs": trainer.current_epoch,
        "seconds": round(last.seconds, 2),
        **costs(module.network, module.record.image_size),
        "validation": content["validation"],
        "test": None,
    }


def keep_features(
    stage: Stage, module: TrainingModule, data: HierarchicalData, precision: str
) -> None:
    """Compute once what never changes: the features of all training and validation images.

    In a fixed order and fixed batches, so that continuing finds the same ones bit for bit. Where they would take
    too much memory, the network sees the images at every step.
    """
    trainer = make_trainer(stage, precision, [], logger=False)
    if trainer.world_size > 1:  # each process would need its own: they see the images
        return
    for images in (data.train_set, data.val_set):
        if len(images) * module.network.num_features * 4 > FEATURE_BYTES:
            continue
        batches: Any = trainer.predict(module, data.in_order(images))
        images.features = torch.cat([batch["features"] for batch in batches])


def _refuse_untestable(images: ImageSet, cfg: DictConfig) -> None:
    """Find out before training what Lightning would find out after it."""
    share = cfg.trainer_params.limit_test_batches
    batches = math.ceil(len(images) / EVAL_BATCH)
    if isinstance(share, float) and int(share * batches) == 0:
        raise UserError(
            f"trainer_params.limit_test_batches={share:g} leaves none of {batches} test batches; "
            f"allowed: a number of batches, or a share of at least {1 / batches:.2g}."
        )


def _existing(paths: dict[str, Path]) -> dict[str, Path]:
    """The checkpoints that a stage builds on, all of them there."""
    for part, path in paths.items():
        if path.is_file():
            training = path.with_name("last.ckpt").is_file() and path.parent.name == "checkpoints"
            if training and not (path.parent.parent / "result.yaml").is_file():
                raise UserError(
                    f"{path} is of a training that was not finished: run its command again first."
                )
            continue
        what, remedy = f"the {part}", "train it first, or correct the key that names it"
        if part in LEVELS:
            what = f"the {part} hemisphere"
            remedy = (
                f"train it first (in arch_single_head: python trainer.py hparams.mode={part}), "
                f"or correct hparams.model_path_{part}"
            )
        raise UserError(f"There is no checkpoint at {path} to load {what} from: {remedy}.")
    return paths


def _set_other_pairing_aside(stage: Stage) -> None:
    """In a longer list of seeds the last one of the shorter list has another next one: keep and rename what it was.

    What was kept of the pairing that is wanted now is taken back.
    """
    file = stage.place / "environment.yaml"
    if len(stage.seeds) < 2:
        return

    def kept(seeds: Sequence[int]) -> Path:
        return stage.place.with_name(f"earlier-{stage.place.name}-of-{'+'.join(map(str, seeds))}")

    wanted = list(stage.seeds)
    earlier = read_mapping(file).get("seeds", [stage.seed]) if file.is_file() else wanted
    # Further ones are of checkpoints that it was given; whether those are the same tells its fingerprint.
    if earlier[: len(wanted)] != wanted:
        aside = kept(earlier)
        if (aside / "result.yaml").is_file():
            shutil.rmtree(stage.place)  # nothing that is not there already, finished
        else:
            shutil.rmtree(aside, ignore_errors=True)
            stage.place.rename(aside)
        print(f"{stage.name}: made of seeds {earlier} before, of {wanted} now; kept as {aside}")
    if kept(wanted).is_dir() and not stage.place.exists():
        kept(wanted).rename(stage.place)


def _finished(stage: Stage, name: str) -> dict[str, Any] | None:
    """The stage's result, if its checkpoint is the one recorded.

    A result that is damaged, or whose checkpoint is gone or has changed, is worth nothing: the stage starts anew.

    Raises:
        UserError: the result's fingerprint is not ``name``, and no fingerprint.yaml says what differs.
    """
    file = stage.place / "result.yaml"
    if not file.is_file():
        return None
    result = read_result(file)
    if result and (result["arm"], result["seed"]) != (stage.arm, stage.seed):
        raise UserError(
            f"{file} is the result of {result['arm']}/seed{result['seed']}: delete {stage.place}, or move it back."
        )
    if result and result.get("fingerprint") != name:
        raise UserError(
            f"{stage.place} holds a run of another configuration: choose another exp_name, or give fresh=true."
        )
    if result and stage.best.is_file() and result.get("sha256") == _sha256(stage.best):
        return result
    print(
        f"{stage.name}: {stage.best} is not the checkpoint that result.yaml records; starting anew"
    )
    file.unlink()
    for other in ("last.ckpt", "previous.ckpt"):
        stage.best.with_name(other).unlink(missing_ok=True)
    return None


def progress_callbacks(stage: Stage) -> list[Callback]:
    """The callbacks that keep metrics.csv and show progress."""
    table = stage.place / "metrics.csv" if stage.config.logger.csv else None
    callbacks: list[Callback] = [MetricsTable(table)]
    if stage.config.logger.tensorboard:
        callbacks.append(LearningRateMonitor("step"))
    if stage.config.trainer_params.enable_progress_bar:
        callbacks.append(EpochLines(stage.name))
        if sys.stdout.isatty():
            # Of the epoch that runs; its line then stays. A hundred redraws a second would keep steps waiting.
            callbacks.append(RichProgressBar(refresh_rate=5))
    return callbacks


class Events(TensorBoardLogger):
    """Lightning's own without its hparams.yaml, which would be empty: config.yaml says it all."""

    def save(self) -> None:
        """Flush."""
        self.experiment.flush()


def events(stage: Stage, step: int | None) -> Any:
    """The logger of TensorBoard events, or False; continuing hides what was written from ``step`` on."""
    return stage.config.logger.tensorboard and Events(
        stage.place, name="", version="", purge_step=step
    )


def make_trainer(
    stage: Stage, precision: str, callbacks: list[Callback], *, logger: Any, alone: bool = False
) -> pl.Trainer:
    """Lightning's Trainer with the stage's trainer_params; ``alone``: on one device."""
    options = _plain(stage.config.trainer_params) | {"precision": precision}
    options["benchmark"] = use_fast_kernels(
        options["accelerator"], deterministic=options["deterministic"]
    )
    options["enable_progress_bar"] = options["enable_progress_bar"] and sys.stdout.isatty()
    if alone:
        options |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    try:
        return pl.Trainer(
            **options,
            default_root_dir=stage.place,
            logger=logger,
            callbacks=callbacks,
            # Whoever started this command, such as SLURM, has no part in how a stage's processes are started.
            plugins=[DurableCheckpoints(), LightningEnvironment()],
            num_sanity_val_steps=0,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (TypeError, ValueError) as error:
        raise UserError(
            f"Lightning refuses trainer_params: {' '.join(str(error).split())}"
        ) from error


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _plain(cfg: DictConfig) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(cfg, resolve=True)
    return container


def quieten() -> None:
    """Leave Lightning's hints about what is on purpose here out of the log."""
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.WARNING)
    for hint in (
        "num_workers",
        "DataLoader will create",
        "in eval mode at the start",
        "log_every_n_steps",
        "LeafSpec",
        "is not empty",
        "is not resumable",
        "callbacks used to create",
        "sync_dist=True",  # metrics are of all processes before they are logged
    ):
        warnings.filterwarnings("ignore", f".*{hint}.*")
