"""Test a trained network, as test.py of both folders does: its accuracy, or its features."""

from contextlib import AbstractContextManager, nullcontext
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError
from rich.console import Console
from rich.table import Table

from common.data.datamodule import HierarchicalData, load_folder_once
from common.networks.crossings import BOTH_WAYS
from common.networks.macro import HemispheresAndHeads
from common.results.metrics import METRICS
from common.results.predictions import write_predictions
from common.runs.description import Architecture, Stage
from common.runs.lightning import make_trainer, quieten
from common.runs.per_seed import for_seed
from common.settings.levels import SIDES
from common.system.atomic_files import refuse_unwritable, replacing
from common.system.environment import precision_of_test
from common.system.errors import UserError
from common.trained.load import load_module
from common.training.metrics import by_level
from common.training.module import TrainingModule
from common.training.paradigms import WITHOUT_LABELS
from common.training.predictions import Predictions


def run_test(cfg: DictConfig, *, folder: str, architecture: Architecture) -> None:
    """Print a checkpoint's test accuracy, or with ``hparams.mode=feature`` write its features to features.npz.

    With ``predictions`` what it answers to each image is written there, too. With ``cut`` nothing crosses the callosum
    in that direction.

    Raises:
        UserError: a checkpoint that is missing, damaged or of the other folder, or a data set that does not fit.
    """
    if cfg.predictions and cfg.hparams.mode == "feature":
        raise UserError("hparams.mode=feature writes features alone: leave predictions out.")
    if cfg.predictions and not str(cfg.predictions).endswith(".csv.gz"):
        raise UserError(
            f"predictions is {cfg.predictions!r}; allowed: a file whose name ends in .csv.gz."
        )
    if cfg.predictions:
        refuse_unwritable("predictions", Path(cfg.predictions))
    quieten()
    # The set may have been prepared again since a test before this one in the same process.
    load_folder_once.cache_clear()
    checkpoint = Path(cfg.checkpoint)
    module = load_module(checkpoint, {folder: architecture})
    if cfg.predictions and {*module.record.levels} & {*WITHOUT_LABELS}:
        raise UserError(
            f"predictions={cfg.predictions}: {checkpoint} learned without labels, so it answers to none; leave "
            "predictions out."
        )
    run = module.cfg
    _use_dataset(run, cfg)
    run.dataset = for_seed(run.dataset, module.record.seed)
    data = architecture.data(run, seed=module.record.seed)
    data.setup("test")
    _compare(module, data, run.dataset.test_dir, checkpoint)
    predictions = _predictions(cfg.predictions, module, data)
    # As when it was trained and tested, but on all images: products in TF32 may change an answer.
    params = run.trainer_params
    params.limit_test_batches, params.enable_progress_bar = 1.0, False
    trainer = make_trainer(
        Stage(arm=module.record.arm, seed=module.record.seed, folder=folder, config=run),
        precision_of_test(params.precision, params.accelerator),
        [predictions] if predictions else [],
        logger=False,
        alone=True,
    )
    with _severed(module, cfg.cut, checkpoint):
        _test(cfg, module, data, trainer, predictions)


def _compare(module: TrainingModule, data: HierarchicalData, place: str, checkpoint: Path) -> None:
    """Refuse a set whose classes are not those of a network; say where names or the size of images differ.

    Raises:
        UserError: other label ids, or a class that has another label id than in training.
    """
    record = module.record
    for level in data.levels:
        here, ids, names = data.classes[level], record.label_ids[level], record.class_names[level]
        if here.ids != ids:
            pairs = zip_longest(here.ids, ids, fillvalue="none")
            ours, theirs = next(pair for pair in pairs if pair[0] != pair[1])
            raise UserError(
                f"{place} has other {level} classes ({len(here.ids)}) than {checkpoint} was trained on ({len(ids)}): "
                f"the first label id that differs is {ours}, and {theirs} in training."
            )
        renamed = [row for row, name in enumerate(names) if here.names[row] != name]
        for row in renamed:
            if names[row] in here.names:
                now = here.ids[here.names.index(names[row])]
                raise UserError(
                    f"{place}: the {level} class {names[row]} has label id {now}, and {ids[row]} where {checkpoint} "
                    "was trained: test on a set whose classes have the same label ids."
                )
        if renamed:
            row = renamed[0]
            print(
                f"{place}: the {level} class {ids[row]} is called {here.names[row]}, and {names[row]} where the "
                f"network was trained ({len(renamed)} of {len(names)} names differ)."
            )
    size = list(data.test_set.images.shape[2:])
    if size != record.image_size:
        shown = [f"{width} x {height}" for height, width in (size, record.image_size)]
        print(
            f"{place} holds images of {shown[0]} pixels, and the network was trained on {shown[1]}."
        )


def _test(
    cfg: DictConfig,
    module: TrainingModule,
    data: HierarchicalData,
    trainer: pl.Trainer,
    predictions: Predictions | None,
) -> None:
    """Print what is asked for, or write it."""
    checkpoint = Path(cfg.checkpoint)
    if cfg.hparams.mode == "feature":
        target = run_folder(checkpoint) / "features.npz"
        features = trainer.predict(module, datamodule=data)
        assert features is not None
        _write_features(target, features, data)
        print(f"Features: {target}")
        return
    metrics = trainer.test(module, datamodule=data, verbose=False)[0]
    cut = f", callosum cut: {cfg.cut}" if cfg.cut else ""
    place = module.cfg.dataset.test_dir
    print(f"{checkpoint} on {len(data.test_set):,} test images of {place}{cut}")
    chance = module.objective.chance(data.test_set.labels)
    called = module.record.level_name
    heads = [*map(called, data.levels), *(f"chance, {called(level)}" for level in chance)]
    table = Table("metric", *heads)
    values = [*by_level(metrics, "test", data.levels).values(), *chance.values()]
    for name, metric in METRICS.items():
        table.add_row(metric.title, *(metric.text(level[name]) for level in values))
    Console().print(table)
    if predictions:
        write_predictions(Path(cfg.predictions), predictions.collected())
        print(f"Predictions: {cfg.predictions}")


def _severed(
    module: TrainingModule, cut: str | None, checkpoint: Path
) -> AbstractContextManager[None]:
    """Let nothing cross the callosum in a direction, or in both; None cuts nothing.

    Raises:
        UserError: nothing crosses there anyway.
    """
    if cut is None:
        return nullcontext()
    network = module.network
    callosum = network.callosum if isinstance(network, HemispheresAndHeads) else None
    if callosum is None:
        raise UserError(f"cut={cut}: {checkpoint} holds a network without a callosum.")
    if cut not in (BOTH_WAYS, *callosum.directions):
        raise UserError(
            f"cut={cut}: in the network of {checkpoint} maps cross {' and '.join(callosum.directions)} alone."
        )
    return callosum.severed(cut)


def _predictions(
    file: str | None, module: TrainingModule, data: HierarchicalData
) -> Predictions | None:
    """Collect answers if a file is asked for; of one hemisphere alone, if the network's training images are here."""
    if file is None:
        return None
    train = None
    if Path(data.cfg.dataset.train_dir).is_dir():
        data.load()
        train = data.train_set if data.train_images == module.record.train_images else None
    if train is None and tuple(module.network.sides) == SIDES:
        print(
            f"{data.cfg.dataset.train_dir} does not hold the images that this network was trained on: the answers "
            "of one hemisphere alone, which need their mean features, are left out."
        )
    return Predictions(data.test_names(), module.record.label_ids, train)


def _use_dataset(run: DictConfig, cfg: DictConfig) -> None:
    """Replace what the checkpoint recorded of the data set by what the command line says.

    Its memory_gb always counts: memory is the machine's and not the network's.
    """
    # Folders are named by the mode of the network; that of the command line may ask for its features.
    dataset = OmegaConf.merge(cfg, {"hparams": {"mode": run.hparams.mode}}).dataset
    for name in dataset:
        try:
            if not OmegaConf.is_missing(dataset, name) and dataset[name] is not None:
                run.dataset[name] = dataset[name]
        except InterpolationResolutionError:
            # Says nothing of its own: built from keys that were not given.
            continue


def run_folder(checkpoint: Path) -> Path:
    """Find the run folder of a checkpoint, or the folder it lies in."""
    return (
        checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    )


def _write_features(target: Path, batches: list[Any], data: HierarchicalData) -> None:
    found = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    found["features"] = found["features"].float()  # NumPy has no bfloat16
    columns = {name: column.numpy() for name, column in found.items()}
    for level in data.levels:
        if level in WITHOUT_LABELS:
            del columns[level]  # what the task asks is no label of the image
        else:
            columns[level] = np.array(data.classes[level].ids)[columns[level]]
    columns["image"] = np.array(data.test_names()[: len(columns["features"])])
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
