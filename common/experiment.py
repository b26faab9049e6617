"""Run one stage: fit, pick the best checkpoint, test, write results; skip it if done, continue it if interrupted."""

import fcntl
import hashlib
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from common.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, MetricsTable
from common.checkpoints import DurableCheckpoints, Record, digest, load, read
from common.configuration import ROOT
from common.continuing import point
from common.costs import costs
from common.data import EVAL_BATCH, HierarchicalData, ImageSet
from common.environment import choose_precision, describe, use_fast_kernels
from common.errors import StageFailed, UserError
from common.files import read_yaml, replacing, write_yaml
from common.fingerprint import fingerprint, identify, refuse_other
from common.finite import FiniteLoss
from common.interruption import signals
from common.randomness import derive
from common.results import HOLE, read_result, write_result
from common.schema import LEVELS
from common.statistics import SummaryRow, summarise
from common.supervised import Supervised, by_level
from common.tables import print_holes, print_summary, write_tables

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
    module: type[Supervised]


def run_experiment(
    stages: Sequence[Stage], architectures: dict[str, Architecture]
) -> list[SummaryRow]:
    """Run stages in order, then write and print the experiment's tables; gives the summary.

    A stage that fails leaves a hole in them; the others go on, except those that need it.

    Raises:
        UserError: after all that, if there is a hole.
    """
    quieten()
    failed: list[str] = []
    experiment = stages[0].experiment
    with _only_one(experiment):
        for leftover in experiment.rglob(".*.tmp"):  # of a command that was killed
            leftover.unlink()
        refuse_unbuildable(stages, architectures)
        for stage in stages:
            try:
                lost = [need for need in stage.needs if need in failed]
                if lost:
                    raise StageFailed(f"{stage.name}: skipped, for it needs {' and '.join(lost)}.")
                run_stage(stage, architectures[stage.folder])
            except StageFailed as error:
                failed.append(stage.name)
                print(f"error: {error}", file=sys.stderr, flush=True)
                write_yaml(
                    stage.place / HOLE,
                    {"arm": stage.arm, "seed": stage.seed, "reason": str(error)},
                )
        for stage in stages:
            result = stage.place / "result.yaml"
            if stage.name not in failed and not result.is_file():
                raise UserError(
                    f"{result} vanished while the command ran: run the same command again."
                )
        rows = write_tables(experiment)
    if rows or not failed:
        print_summary(rows, title=experiment.name)
    print_holes(experiment)
    print(f"Results: {experiment}/results.csv  summary.csv  differences.csv  summary.md")
    print(f"Checkpoints: {experiment}/<arm>/seed<n>/checkpoints/best.ckpt")
    if stages[0].config.logger.tensorboard:
        print(f"Curves: tensorboard --logdir {experiment}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(stages)} stages could not be finished: {', '.join(failed)}."
        )
    return summarise(rows)


def refuse_unbuildable(stages: Sequence[Stage], architectures: dict[str, Architecture]) -> None:
    """Find out before the first stage is trained whether there are the backbones of all of them.

    Raises:
        UserError: one cannot be built as its hemisphere's parameters say.
    """
    asked = {
        substrate
        for stage in stages
        for substrate in architectures[stage.folder].module.substrates(stage.config).values()
    }
    for substrate in asked:
        # On the meta device, without memory. RegNet computes with values while it is built, after its checks.
        with torch.device("meta"), suppress(NotImplementedError):
            substrate.backbone()


def run_stage(stage: Stage, architecture: Architecture) -> None:
    """Bring one stage to its result.yaml, from wherever an earlier run left it.

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
    identity = identify(cfg, data, precision, parents)
    _set_other_pairing_aside(stage)
    refuse_other(stage.place, identity, sources)
    (stage.place / HOLE).unlink(missing_ok=True)
    result = _finished(stage, fingerprint(identity))
    if result is not None and (result["test"] is not None or not cfg.evaluate):
        print(f"{stage.name}: done before")
        return

    if cfg.evaluate:
        _refuse_untestable(data.load_test(), cfg)
    pl.seed_everything(derive(stage.seed, stage.arm, "weights") % 2**32, verbose=False)
    module = architecture.module(cfg=cfg, record=record_of(stage, data, fingerprint(identity)))
    module.load_hemispheres(data)
    if result is None:
        write_yaml(stage.place / "config.yaml", _plain(cfg))
        seeds = {"seeds": list(stage.seeds or (stage.seed,))}
        environment = describe(cfg.trainer_params.accelerator, ROOT)
        write_yaml(stage.place / "environment.yaml", environment | seeds)
        write_yaml(stage.place / "fingerprint.yaml", identity | {"sources": sources})
        result = _train(stage, module, data, precision)
    if cfg.evaluate:
        trainer = make_trainer(stage, precision, [], logger=False)
        (metrics,) = trainer.test(
            module, datamodule=data, ckpt_path=stage.best, weights_only=True, verbose=False
        )
        result["test"] = by_level(metrics, "test", data.levels)
    write_result(stage.place / "result.yaml", result)
    stage.best.with_name("previous.ckpt").unlink(missing_ok=True)


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
    )


def _train(
    stage: Stage, module: Supervised, data: HierarchicalData, precision: str
) -> dict[str, Any]:
    """Fit, from the last checkpoint if there is one, and say what came out; an ensemble is only validated."""
    rule = stage.config.ckpt_callback
    file = stage.best.with_name("last.ckpt")
    finite = FiniteLoss(stage.name, file, stride=stage.config.trainer_params.log_every_n_steps)
    last = LastCheckpoint(file, finite)
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
    found = point(stage.name, stage.best.parent, module.record.fingerprint)
    path, step = found or (None, None)
    callbacks = [finite, best, *journal(stage), last]
    trainer = make_trainer(stage, precision, callbacks, logger=events(stage, step))
    if trainer.world_size > 1:
        raise UserError(
            f"trainer_params.devices and num_nodes ask for {trainer.world_size} processes; allowed: 1 device."
        )
    print(f"{stage.name}: {'continued' if path else 'started'}", flush=True)
    if any(p.requires_grad for p in module.parameters()):
        if module.features_are_fixed:
            keep_features(stage, module, data, precision)
        with signals.put_off():
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        if Path(best.best_model_path) != stage.best:
            with replacing(stage.best) as temporary:
                shutil.copyfile(best.best_model_path, temporary)
    else:
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.save_checkpoint(stage.best)
    content = load(stage.best)
    return {
        "arm": stage.arm,
        "seed": stage.seed,
        "seeds": list(stage.seeds or (stage.seed,)),
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


def keep_features(stage: Stage, module: Supervised, data: HierarchicalData, precision: str) -> None:
    """Compute once what never changes: the features of all training and validation images.

    In a fixed order and fixed batches, so that continuing finds the same ones bit for bit. Where they would take
    too much memory, the network sees the images at every step.
    """
    trainer = make_trainer(stage, precision, [], logger=False)
    for images in (data.train_set, data.val_set):
        if len(images) * module.network.num_features * 4 > FEATURE_BYTES:  # type: ignore[operator]
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


def _taken(experiment: Path) -> bool:
    """Whether there is more than the lock of a command that was refused."""
    return experiment.is_dir() and any(child.name != ".lock" for child in experiment.iterdir())


def free_name(cfg: DictConfig) -> str:
    """The experiment's name, or with ``fresh`` the first of <name>, <name>-2, ... that is not taken."""
    name, number = cfg.exp_name, 1
    while cfg.fresh and _taken(Path(cfg.save_dir) / name):
        number += 1
        name = f"{cfg.exp_name}-{number}"
    if cfg.fresh:
        print(
            f"fresh=true: writing to {Path(cfg.save_dir) / name} (continue it with exp_name={name})"
        )
    return name


def _existing(paths: dict[str, Path]) -> dict[str, Path]:
    """The checkpoints that a stage builds on, all of them there."""
    for part, path in paths.items():
        if path.is_file():
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
    """In a longer list of seeds the last one of the shorter list has another next one: keep and rename what it was."""
    file = stage.place / "environment.yaml"
    if len(stage.seeds) < 2 or not file.is_file():
        return
    earlier = read_yaml(file).get("seeds", [stage.seed])
    if earlier != list(stage.seeds):
        aside = stage.place.with_name(
            f"earlier-{stage.place.name}-of-{'+'.join(map(str, earlier))}"
        )
        print(
            f"{stage.name}: made of seeds {earlier} before, of {list(stage.seeds)} now; kept as {aside}"
        )
        shutil.rmtree(aside, ignore_errors=True)
        stage.place.rename(aside)


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


def journal(stage: Stage) -> list[Callback]:
    """The callbacks that keep metrics.csv and show progress."""
    callbacks: list[Callback] = []
    if stage.config.logger.csv:
        callbacks.append(MetricsTable(stage.place / "metrics.csv"))
    if stage.config.logger.tensorboard:
        callbacks.append(LearningRateMonitor("step"))
    if stage.config.trainer_params.enable_progress_bar:
        callbacks.append(EpochLines(stage.name))
        if sys.stdout.isatty():
            callbacks.append(RichProgressBar())  # of the epoch that runs; its line then stays
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
    stage: Stage, precision: str, callbacks: list[Callback], *, logger: Any
) -> pl.Trainer:
    """Lightning's Trainer with the stage's trainer_params."""
    options = _plain(stage.config.trainer_params) | {"precision": precision}
    options["benchmark"] = use_fast_kernels(
        options["accelerator"], deterministic=options["deterministic"]
    )
    options["enable_progress_bar"] = options["enable_progress_bar"] and sys.stdout.isatty()
    try:
        return pl.Trainer(
            **options,
            default_root_dir=stage.place,
            logger=logger,
            callbacks=callbacks,
            plugins=[DurableCheckpoints()],
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


@contextmanager
def _only_one(experiment: Path) -> Iterator[None]:
    """Keep a second command out of an experiment; the kernel drops the lock with the process."""
    experiment.mkdir(parents=True, exist_ok=True)
    with (experiment / ".lock").open("w") as lock:
        # A process that loads images must not keep the lock when this one is killed.
        os.register_at_fork(after_in_child=lock.close)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another command is running in {experiment}: wait for it, or choose another exp_name."
            ) from None
        yield


def quieten() -> None:
    """Leave Lightning's hints about what is on purpose here out of the log."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for hint in (
        "num_workers",
        "in eval mode at the start",
        "log_every_n_steps",
        "LeafSpec",
        "is not empty",
        "is not resumable",
        "callbacks used to create",
    ):
        warnings.filterwarnings("ignore", f".*{hint}.*")
