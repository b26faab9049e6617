"""Run one stage: fit, pick the best checkpoint, test, write results; skip it if done, resume it if interrupted."""

import hashlib
import math
import shutil
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf

from common.checkpoints.files import load
from common.checkpoints.record import Record
from common.checkpoints.resume import find_resume_checkpoint, remove_previous
from common.data.datamodule import HierarchicalData
from common.networks.costs import costs
from common.results.arithmetic import ARITHMETIC
from common.results.predictions import PREDICTIONS, write_predictions
from common.results.rows import read_result, write_result
from common.runs.description import Architecture, Stage
from common.runs.effort import training_of
from common.runs.lightning import (
    checkpoint_callbacks,
    feature_callbacks,
    make_trainer,
    progress_callbacks,
    quieten,
)
from common.runs.loggers import loggers_of
from common.runs.prepare import Prepared, prepare
from common.settings.compose import ROOT
from common.settings.levels import LEVEL_NAMES
from common.system.atomic_files import read_mapping, replacing, write_yaml
from common.system.distributed import Machines, together
from common.system.environment import describe
from common.system.errors import StageFailed, UserError
from common.system.randomness import derive
from common.system.signals import Interrupted, signals
from common.training.callbacks import validation_curve
from common.training.metrics import by_level
from common.training.module import TrainingModule
from common.training.predictions import Predictions

# Features of more bytes, counted as float32, are not kept. No key: keeping them may change the last bits of results.
FEATURE_BYTES = 8 * 2**30


def run_stage(stage: Stage, architecture: Architecture, machines: Machines) -> None:
    """Bring one stage to its result.yaml, from wherever an earlier run left it.

    Several processes train together; the first of them, which is this one, then tests alone.

    Raises:
        UserError: its folder holds a result of another configuration.
        StageFailed: its loss is NaN or infinite.
    """
    asked, prepared = stage, prepare(stage, architecture)
    stage, data = prepared.stage, prepared.data
    evaluate = stage.config.evaluate
    result = _finished(stage, prepared.name)
    if result is not None:
        _keep_note(stage)
    if result is not None and (result["test"] is not None or not evaluate):
        print(f"{stage.name}: done before")
        return
    if result is not None:
        print(f"{stage.name}: trained before, tested now")
    data.check_validation()
    if evaluate:
        _check_test_images(data, stage.config)
    module = _build(prepared, architecture)
    if result is None:
        if asked.config.trainer_params.max_epochs is None:
            epochs = stage.config.trainer_params.max_epochs
            print(
                f"{stage.name}: {epochs} epochs, to be trained as much as the bilateral network in all"
            )
        _describe(prepared)
        result = _fit(prepared, module, architecture, machines)
    if evaluate:
        result |= _test(prepared, module)
    write_result(stage.place / "result.yaml", result)
    remove_previous(stage.best.parent)


def _build(prepared: Prepared, architecture: Architecture) -> TrainingModule:
    """Build the network, with its initial weights and what it loads."""
    stage, data = prepared.stage, prepared.data
    pl.seed_everything(derive(stage.seed, stage.arm, "weights") % 2**32, verbose=False)
    module = architecture.module(cfg=stage.config, record=record_of(stage, data, prepared.name))
    module.load_hemispheres(data)
    module.record = replace(module.record, training=training_of(module, data, prepared.parents))
    module.fast_steps.alike = stage.alike
    return module


def _describe(prepared: Prepared) -> None:
    """Write config.yaml, environment.yaml and fingerprint.yaml."""
    stage = prepared.stage
    write_yaml(stage.place / "config.yaml", _plain(stage.config))
    environment = describe(stage.config.trainer_params.accelerator, ROOT)
    write_yaml(stage.place / "environment.yaml", environment | {"seeds": list(stage.seeds)})
    identity = prepared.identity | {"sources": prepared.sources}
    write_yaml(stage.place / "fingerprint.yaml", identity)


def _keep_note(stage: Stage) -> None:
    """Put the note of this command in place of an earlier one: people also write theirs once a run has ended."""
    file, note = stage.place / "config.yaml", stage.config.note
    if not note or not file.is_file():
        return
    kept = read_mapping(file)
    if kept.get("note") != note:
        write_yaml(file, kept | {"note": note})


def _fit(
    prepared: Prepared, module: TrainingModule, architecture: Architecture, machines: Machines
) -> dict[str, Any]:
    """Fit, from the last checkpoint if there is one, and give the result without a test; only validate an ensemble."""
    stage, data, precision = prepared.stage, prepared.data, prepared.precision
    finite, best, last = checkpoint_callbacks(stage)
    found = find_resume_checkpoint(stage.name, stage.best.parent, module.record.fingerprint)
    path, step = found or (None, None)
    print(f"{stage.name}: {'continued' if path else 'started'}", flush=True)
    if any(p.requires_grad for p in module.parameters()):
        if module.features_are_fixed:
            keep_features(stage, module, data, precision)
        with (
            signals.put_off(),
            loggers_of(stage, module.record.fingerprint, step) as loggers,
            _other_processes(prepared, architecture, path, machines),
        ):
            kept = feature_callbacks(stage, module)
            callbacks = [finite, best, *progress_callbacks(stage), *kept, last]
            trainer = make_trainer(stage, precision, callbacks, logger=loggers)
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
        curve = validation_curve(callbacks, data.levels)
        if Path(best.best_model_path) != stage.best:
            with replacing(stage.best) as temporary:
                shutil.copyfile(best.best_model_path, temporary)
    else:
        trainer = make_trainer(stage, precision, [], logger=False, alone=True)
        trainer.validate(module, datamodule=data, verbose=False)
        trainer.save_checkpoint(stage.best)
        curve = {}
    content = load(stage.best)
    return {
        "arm": stage.arm,
        "seed": stage.seed,
        "seeds": module.record.seeds,
        "fingerprint": module.record.fingerprint,
        "arithmetic": ARITHMETIC,
        "checkpoint": str(stage.best.relative_to(stage.place)),
        "sha256": _sha256(stage.best),
        "best_epoch": min(content["epoch"] + 1, trainer.current_epoch),
        "epochs": trainer.current_epoch,
        "seconds": round(last.seconds, 2),
        "acceleration": module.fast_steps.used._asdict(),
        **costs(module.network, module.record.image_size),
        "training": module.record.training,
        **_labels(module.record, data),
        "validation": content["validation"],
        "validation_curve": curve,
        "test": None,
    }


def _other_processes(
    prepared: Prepared, architecture: Architecture, path: Path | None, machines: Machines
) -> AbstractContextManager[None]:
    """Let other processes, if there are several, train along from the checkpoint at ``path`` until the block ends."""
    if prepared.processes == 1:
        return nullcontext()
    work = partial(_train_along, prepared.stage, architecture, prepared.precision, path)
    return together(work, devices=prepared.processes // machines.nodes, machines=machines)


def _test(prepared: Prepared, module: TrainingModule) -> dict[str, Any]:
    """Test the best checkpoint on one device, and write what it answers to each image.

    Gives ``test``, each metric of each level, ``chance``, what chance would give, and ``predictions``, a digest of the
    file of answers.
    """
    stage, data = prepared.stage, prepared.data
    predictions = Predictions(data.test_names(), module.record.label_ids, data.train_set)
    trainer = make_trainer(
        stage, prepared.precision, [predictions], logger=False, alone=prepared.processes > 1
    )
    (metrics,) = trainer.test(
        module, datamodule=data, ckpt_path=stage.best, weights_only=True, verbose=False
    )
    found = predictions.collected()
    if found:
        write_predictions(stage.place / PREDICTIONS, found)
    return {
        "test": by_level(metrics, "test", data.levels),
        "chance": module.objective.chance(data.test_set.labels),
        "predictions": _sha256(stage.place / PREDICTIONS) if found else None,
    }


def record_of(stage: Stage, data: HierarchicalData, name: str) -> Record:
    """Make the record that the stage's checkpoints hold; ``name`` is its fingerprint."""
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
        level_names=data.level_names if data.level_names != LEVEL_NAMES else {},
        fit=data.made.fit if data.made else "",
        peak=data.made.peak if data.made else 0,
    )


def _labels(record: Record, data: HierarchicalData) -> dict[str, Any]:
    """What tables must know of the labels, where these are not fine and coarse classes, one within the other."""
    found: dict[str, Any] = {"level_names": record.level_names} if record.level_names else {}
    return found if data.coarse_of_fine else found | {"nested": False}


def _train_along(
    stage: Stage, architecture: Architecture, precision: str, path: Path | None
) -> None:
    """Run the same fit in a process that is not the first, without writing anything."""
    quieten()
    signals.pending = None
    data = architecture.data(stage.config, seed=derive(stage.seed, stage.arm))
    data.load()
    module = architecture.module(cfg=stage.config, record=record_of(stage, data, ""))
    module.load_hemispheres(data)
    trainer = make_trainer(stage, precision, list(checkpoint_callbacks(stage)), logger=False)
    # The first process stops too, and says why.
    with suppress(Interrupted, StageFailed):
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)


def keep_features(
    stage: Stage, module: TrainingModule, data: HierarchicalData, precision: str
) -> None:
    """Compute once what never changes: the features of validation images, and of training images without augmentation.

    In a fixed order and fixed batches, so that a resumed run finds the same ones bit for bit. Where they would take
    too much memory, the network sees the images at every step.
    """
    trainer = make_trainer(stage, precision, [], logger=False)
    if trainer.world_size > 1:  # each process would need its own: they see the images
        return
    fixed = [data.val_set] if module.transforms.augments else [data.train_set, data.val_set]
    for images in fixed:
        if len(images) * module.network.num_features * 4 > FEATURE_BYTES:
            continue
        batches: Any = trainer.predict(module, data.in_order(images))
        images.features = torch.cat([batch["features"] for batch in batches])


def _check_test_images(data: HierarchicalData, cfg: DictConfig) -> None:
    """Warn before training of classes that cannot be tested; refuse images of another size, and too few batches.

    Lightning would refuse a share that leaves none of these after training.
    """
    share = cfg.trainer_params.limit_test_batches
    images = data.load_test()
    data.check_test(images)
    batches = math.ceil(len(images) / data.evaluation_batch(images))
    if isinstance(share, float) and int(share * batches) == 0:
        raise UserError(
            f"trainer_params.limit_test_batches={share:g} leaves none of {batches} test batches; "
            f"allowed: a number of batches, or a share of at least {1 / batches:.2g}."
        )


def _finished(stage: Stage, name: str) -> dict[str, Any] | None:
    """Read the stage's result, if its checkpoint is the one recorded.

    A result whose checkpoint is missing or has changed does not count: the stage starts anew. One that is damaged is
    made anew from the last checkpoint.

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
            f"{stage.place} holds a run of another configuration, by its {file.name}: choose another exp_name, or give "
            "fresh=true; or put the file back, if another run's was copied over it."
        )
    aside = file.with_name(f"{file.name}.unused")
    if not result:
        print(f"{stage.name}: {file} is damaged and is made anew (it is kept as {aside.name})")
        file.replace(aside)
        return None
    if stage.best.is_file() and result.get("sha256") == _sha256(stage.best):
        return _with_answers(stage, result)
    if not stage.best.is_file():
        why = f"{stage.best} is missing"
    else:
        why = f"{stage.best} is not the checkpoint that result.yaml records"
    print(f"{stage.name}: {why}; starting anew (the old result is kept as {aside.name})")
    file.replace(aside)
    stage.best.with_name("last.ckpt").unlink(missing_ok=True)
    remove_previous(stage.best.parent)
    return None


def _with_answers(stage: Stage, result: dict[str, Any]) -> dict[str, Any]:
    """Give a result as that of an untested stage if the answers to the test images are not those that it records."""
    file, recorded = stage.place / PREDICTIONS, result.get("predictions")
    if recorded is None or (file.is_file() and _sha256(file) == recorded):
        return result
    why = "not the file that result.yaml records" if file.is_file() else "missing"
    print(f"{stage.name}: {file.name} is {why}")
    return result | {"test": None}


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _plain(cfg: DictConfig) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(cfg, resolve=True)
    return container
