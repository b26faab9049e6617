"""Run one stage: fit, pick the best checkpoint, test, write results; skip it if done, continue it if interrupted."""

import fcntl
import hashlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, Checkpoint, LearningRateMonitor, RichProgressBar
from pytorch_lightning.loggers import TensorBoardLogger

from common.callbacks import BestCheckpoint, EpochLines, LastCheckpoint, MetricsTable
from common.checkpoints import DurableCheckpoints, Record, load, read
from common.configuration import ROOT
from common.data import HierarchicalData
from common.environment import choose_precision, describe
from common.errors import UserError
from common.files import read_yaml, write_yaml
from common.fingerprint import fingerprint, identify, refuse_other
from common.interruption import signals
from common.randomness import derive
from common.results import print_summary, write_tables
from common.supervised import Supervised, by_level


@dataclass(frozen=True)
class Stage:
    """One arm with one seed: a plain description of work, apart from how it is executed.

    ``config`` is the resolved configuration of ``folder``'s trainer.py; ``needs`` names the stages whose
    checkpoints it builds on.
    """

    arm: str
    seed: int
    folder: str
    config: DictConfig
    needs: tuple[str, ...] = ()

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


def run_experiment(stages: Sequence[Stage], architectures: dict[str, Architecture]) -> None:
    """Run stages in order, then write and print the experiment's tables."""
    quieten()
    experiment = stages[0].experiment
    with _only_one(experiment):
        for leftover in experiment.rglob(".*.tmp"):  # of a command that was killed
            leftover.unlink()
        for stage in stages:
            run_stage(stage, architectures[stage.folder])
        summary = write_tables(experiment)
    print_summary(summary, title=f"{experiment.name}: test accuracy")
    print(f"Results: {experiment}/results.csv  summary.csv  summary.md")
    print(f"Checkpoints: {experiment}/<arm>/seed<n>/checkpoints/best.ckpt")
    if stages[0].config.logger.tensorboard:
        print(f"Curves: tensorboard --logdir {experiment}")


def run_stage(stage: Stage, architecture: Architecture) -> None:
    """Bring one stage to its result.yaml, from wherever an earlier run left it.

    Raises:
        UserError: its place holds a result of another configuration.
    """
    cfg = stage.config
    data = architecture.data(cfg, seed=derive(stage.seed, stage.arm))
    data.load()
    precision = choose_precision(cfg.trainer_params.precision, cfg.trainer_params.accelerator)
    parents = _parents(architecture.module.hemisphere_paths(cfg, stage.seed))
    identity = identify(cfg, data, precision, parents)
    refuse_other(stage.place.parent, identity)
    result = _finished(stage, identity)
    if result is not None and (result["test"] is not None or not cfg.evaluate):
        print(f"{stage.name}: done before")
        return

    pl.seed_everything(derive(stage.seed, stage.arm, "weights") % 2**32, verbose=False)
    module = architecture.module(cfg=cfg, record=record_of(stage, data, fingerprint(identity)))
    module.load_hemispheres(data)
    if result is None:
        write_yaml(stage.place / "config.yaml", _plain(cfg))
        write_yaml(stage.place / "environment.yaml", describe(cfg.trainer_params.accelerator, ROOT))
        write_yaml(stage.place / "fingerprint.yaml", identity)
        result = _train(stage, module, data, precision)
    if cfg.evaluate:
        trainer = make_trainer(stage, precision, [], logger=False)
        (metrics,) = trainer.test(
            module, datamodule=data, ckpt_path=stage.best, weights_only=True, verbose=False
        )
        result["test"] = by_level(metrics, "test", data.levels)
    write_yaml(stage.place / "result.yaml", result)


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
    )


def _train(
    stage: Stage, module: Supervised, data: HierarchicalData, precision: str
) -> dict[str, Any]:
    """Fit, from the last checkpoint if there is one, and say what came out; an ensemble is only validated."""
    rule = stage.config.ckpt_callback
    last = LastCheckpoint(stage.place / "checkpoints" / "last.ckpt")
    best = BestCheckpoint(
        dirpath=stage.best.parent,
        filename=stage.best.stem,
        monitor=rule.monitor,
        mode=rule.mode,
        save_top_k=rule.save_top_k,
        save_weights_only=True,
        enable_version_counter=rule.save_top_k > 1,
    )
    trainer = make_trainer(stage, precision, [best, *journal(stage), last], logger=events(stage))
    if trainer.world_size > 1:
        raise UserError(
            f"trainer_params.devices and num_nodes ask for {trainer.world_size} processes; allowed: 1 device."
        )
    continuing = last.path.is_file()
    print(f"{stage.name}: {'continued' if continuing else 'started'}", flush=True)
    if any(p.requires_grad for p in module.parameters()):
        path = last.path if continuing else None
        with signals.put_off():
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        _name_best(best, stage.best)
    else:
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.save_checkpoint(stage.best)
    content = load(stage.best)
    return {
        "arm": stage.arm,
        "seed": stage.seed,
        "fingerprint": module.record.fingerprint,
        "checkpoint": str(stage.best.relative_to(stage.place)),
        "sha256": _sha256(stage.best),
        "best_epoch": min(content["epoch"] + 1, trainer.current_epoch),
        "epochs": trainer.current_epoch,
        "seconds": round(last.seconds, 2),
        "validation": content["validation"],
        "test": None,
    }


def free_name(cfg: DictConfig) -> str:
    """The experiment's name, or with ``fresh`` the first of <name>, <name>-2, ... that is not taken."""
    name, number = cfg.exp_name, 1
    while cfg.fresh and (Path(cfg.save_dir) / name).exists():
        number += 1
        name = f"{cfg.exp_name}-{number}"
    if cfg.fresh:
        print(
            f"fresh=true: writing to {Path(cfg.save_dir) / name} (continue it with exp_name={name})"
        )
    return name


def _parents(paths: dict[str, Path]) -> dict[str, str]:
    """Fingerprints of the checkpoints that a stage builds on."""
    for level, path in paths.items():
        if not path.is_file():
            raise UserError(
                f"There is no checkpoint at {path} to load the {level} hemisphere from: train it first (in "
                f"arch_single_head: python trainer.py hparams.mode={level}), or correct hparams.model_path_{level}."
            )
    return {level: read(path)[0].fingerprint for level, path in paths.items()}


def _finished(stage: Stage, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The stage's result, if it is of this configuration and its checkpoint is the one recorded."""
    file = stage.place / "result.yaml"
    if not file.is_file() or not stage.best.is_file():
        return None
    result = read_yaml(file)
    if result["fingerprint"] != fingerprint(identity) or result["sha256"] != _sha256(stage.best):
        return None
    return result


def _name_best(best: BestCheckpoint, target: Path) -> None:
    """With save_top_k above 1 Lightning numbers the files as they come: give the best one its name."""
    found = Path(best.best_model_path)
    if found != target:
        spare = found.with_suffix(".swap")
        target.replace(spare)
        found.replace(target)
        spare.replace(found)


def journal(stage: Stage) -> list[Callback]:
    """The callbacks that keep metrics.csv and show progress."""
    callbacks: list[Callback] = []
    if stage.config.logger.csv:
        callbacks.append(MetricsTable(stage.place / "metrics.csv"))
    if stage.config.logger.tensorboard:
        callbacks.append(LearningRateMonitor("step"))
    if stage.config.trainer_params.enable_progress_bar:
        callbacks.append(RichProgressBar() if sys.stdout.isatty() else EpochLines(stage.name))
    return callbacks


def events(stage: Stage) -> Any:
    """The logger of TensorBoard events, or False."""
    return stage.config.logger.tensorboard and TensorBoardLogger(stage.place, name="", version="")


def make_trainer(
    stage: Stage, precision: str, callbacks: list[Callback], *, logger: Any
) -> pl.Trainer:
    """Lightning's Trainer with the stage's trainer_params."""
    options = _plain(stage.config.trainer_params) | {"precision": precision}
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
    ):
        warnings.filterwarnings("ignore", f".*{hint}.*")
