"""One measurement, made in a process of its own: this project or the ordinary way, in one phase, for one backbone."""

import logging
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from case import Case
from lightning_fabric.utilities import move_data_to_device
from ordinary import Ordinary, ordinary_data
from pytorch_lightning.loggers import CSVLogger
from torch.utils.flop_counter import FlopCounterMode

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.module import SingleHead
from arch_single_head.schema import SingleConfig
from common.data import datamodule
from common.data.datamodule import HierarchicalData
from common.runs.description import Stage
from common.runs.lightning import checkpoint_callbacks, make_trainer, progress_callbacks, quieten
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.cores import cores
from common.system.environment import choose_precision, describe, use_fast_kernels, uses_gpu
from common.system.errors import UserError
from common.training.acceleration import AUTO, Acceleration
from common.training.fast_steps import compile_forward, record_steps, return_to_plain_steps
from common.training.module import TrainingModule
from common.training.optimisers import optimisation

MATRIX = 8192


class Clock(pl.Callback):
    """Images per second of the steps between the warm-up and the last step."""

    def __init__(self, *, warmup: int, steps: int) -> None:
        self.warmup = warmup
        self.last = warmup + steps
        self.batches = 0
        self.images = 0
        self.times: list[float] = []

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / (self.times[1] - self.times[0])

    def tick(self, images: int) -> None:
        """A step over ``images`` images is done."""
        self.batches += 1
        self.images += images if self.batches > self.warmup else 0
        if self.batches in (self.warmup, self.last):
            self.times.append(_now())

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        self.tick(len(batch["images"] if isinstance(batch, dict) else batch[0]))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count."""
        self.tick(len(batch["images"] if isinstance(batch, dict) else batch[0]))


def hardware(accelerator: str) -> dict[str, Any]:
    """Where the measurements run: device, its name, versions, and on a GPU the rate of its matrix units."""
    gpu = uses_gpu(accelerator)
    about = describe(accelerator, ROOT)
    return {
        "device": "cuda" if gpu else "cpu",
        "name": about["device"],
        "cores": cores(),
        "threads": about["threads"],
        "precision": choose_precision("auto", accelerator),
        "versions": {"python": about["python"], **about["packages"]},
        "matrix_rate": matrix_rate("cuda") if gpu else None,
    }


def measure(side: str, case: Case) -> dict[str, Any]:
    """Images per second and peak memory (MiB) of ``side`` ("ours" or "ordinary").

    "ours" adds what it measures beside: in single-head training the rate of a bare loop over the same steps, on
    a GPU the operations per image; and ``compile`` and ``cuda_graph``, what its steps used.
    """
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        return {"ours": _measure_ours, "ordinary": _measure_ordinary}[side](Path(folder), case)


def prepare() -> None:
    """Keep libraries quiet."""
    for name in ("pytorch_lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quieten()
    warnings.filterwarnings(
        "ignore", ".*(does not have many workers|self.trainer|val_dataloader).*"
    )
    pl.seed_everything(0, verbose=False)


def _measure_ordinary(folder: Path, case: Case) -> dict[str, Any]:
    batches = case.warmup + case.steps
    loader, classes = ordinary_data(case.data_dir, phase=case.phase, batch_size=case.batch_size)
    _enough(len(loader), batches)
    module = Ordinary(backbone=case.backbone, width=case.width, classes=classes)
    clock = Clock(warmup=case.warmup, steps=case.steps)
    trainer = pl.Trainer(
        max_epochs=1,
        limit_train_batches=batches,
        limit_val_batches=batches,
        accelerator=case.accelerator,
        devices=1,
        logger=CSVLogger(folder),
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    if case.phase == "eval":
        trainer.validate(module, loader, verbose=False)
    else:
        trainer.fit(module, loader)
    return {"rate": clock.rate, "memory": _peak_memory(case.accelerator)}


def _measure_ours(folder: Path, case: Case) -> dict[str, Any]:
    stage, data, module = our_parts(folder, case)
    if case.phase == "eval":  # as many images as the other side, in the project's own batches
        share = case.batch_size / data.evaluation_batch(data.val_set)
        warmup, steps = (max(1, round(count * share)) for count in (case.warmup, case.steps))
        case = replace(case, warmup=warmup, steps=steps)
    batches = case.warmup + case.steps
    precision = choose_precision(stage.config.trainer_params.precision, case.accelerator)
    clock = Clock(warmup=case.warmup, steps=case.steps)
    # All that a stage has but BestCheckpoint, for nothing is validated; the last save comes after the clock's end.
    finite, _, last = checkpoint_callbacks(stage)
    callbacks = [
        finite,
        *progress_callbacks(stage),
        clock,
        *([] if case.phase == "eval" else [last]),
    ]
    trainer = make_trainer(stage, precision, callbacks, logger=False)
    if case.phase == "eval":
        _enough(len(data.val_dataloader()), batches)
        used = Acceleration(None if case.compile == AUTO else case.compile)
        compile_forward(module, used.compile)
        # Not a key of trainer_params, with which a GPU takes smaller batches than in a study.
        trainer.limit_val_batches = batches
        trainer.validate(module, datamodule=data, verbose=False)
    else:
        _enough(len(data.train_dataloader()), batches)
        trainer.fit(module, datamodule=data)
        used = module.fast_steps.used
    values = {"rate": clock.rate, "memory": _peak_memory(case.accelerator), **used._asdict()}

    device = detach(module, case)
    run = (_evaluation_step if case.phase == "eval" else _training_step)(module, device, precision)
    loader = data.val_dataloader() if case.phase == "eval" else data.train_dataloader()
    # Nothing else is compared with a bare loop, and making steps fast takes long.
    if case.phase == "single":
        _make_fast(module, data, precision, used.compile, graph=used.cuda_graph)
        values["bare_rate"] = _bare_rate(run, loader, case)
    if device.type == "cuda":
        batch = next(iter(loader))
        return_to_plain_steps(module)  # a replay launches nothing that torch can count
        values["operations"] = operations(run, batch) / len(batch)
    return values


def evaluation(case: Case) -> dict[str, Any]:
    """As `measure` of ours in the phase eval, but in batches of ``case.batch_size`` images, whatever a study takes.

    For a process of its own: its other evaluations would be of such batches too.
    """
    datamodule.EVAL_BATCH, datamodule.GPU_EVAL_PIXELS = case.batch_size, 0
    return measure("ours", case)


def bare(case: Case, variant: str) -> dict[str, float]:
    """A bare loop over training steps of this project: seconds of the first step, images per second of the others.

    Args:
        case: of the phase single or dual.
        variant: "plain" takes batches as trainer.fit does, from a set that lies on the device, "pinned" from one in
            the CPU's memory; "graph" replays the step as a CUDA graph; any other is a mode of torch.compile, replayed
            too after "graph ". Nothing of it is cached.
    """
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        # Kernels that another measurement left on disk would make the first step short.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/kernels"
        stage, data, module = our_parts(Path(folder), case)
        precision = choose_precision(stage.config.trainer_params.precision, case.accelerator)
        device = detach(module, case)
        torch.backends.cudnn.benchmark = use_fast_kernels(case.accelerator, deterministic=False)
        run = _training_step(module, device, precision)
        if variant == "pinned":
            data.train_set.device_bytes = 0
        loader = data.train_dataloader()
        _enough(len(loader), case.warmup + case.steps)
        batch = next(iter(loader))
        start = _now()
        graph = variant.startswith("graph")
        word = variant.removeprefix("graph ")
        mode = None if word in ("plain", "pinned", "graph") else word
        _make_fast(module, data, precision, mode, graph=graph)
        run(batch, 0)
        return {"first": _now() - start, "rate": _bare_rate(run, loader, case)}


def detach(module: TrainingModule, case: Case) -> torch.device:
    """Put a module that no trainer holds on the device where it was or would be trained."""
    module.trainer = None
    # With its number, by which images that lie there already are found.
    device = torch.device("cuda", 0) if uses_gpu(case.accelerator) else torch.device("cpu")
    module.to(device)
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """The context in which the steps of a precision are computed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def _make_fast(
    module: TrainingModule, data: HierarchicalData, precision: str, mode: str | None, *, graph: bool
) -> None:
    """What `FastSteps` does to a module in training, but whatever the circumstances."""
    compile_forward(module, mode)
    if graph:
        module.graphed = record_steps(module, data, partial(autocast, module.device, precision))


def _bare_rate(run: Callable[[Any, int], None], loader: Iterable[Any], case: Case) -> float:
    clock = Clock(warmup=case.warmup, steps=case.steps)
    for number, batch in zip(range(case.warmup + case.steps), loader, strict=False):
        run(batch, number)
        clock.tick(len(batch))
    return clock.rate


def operations(run: Callable[[Any, int], None], batch: Any) -> int:
    """Multiplications and additions of a step, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        run(batch, 1)
    return counter.get_total_flops()


def our_parts(folder: Path, case: Case) -> tuple[Stage, HierarchicalData, TrainingModule]:
    """What `common.runs.stage.run_stage` puts together, without checkpoints and with hemispheres of random weights."""
    root = str(case.data_dir.resolve()).replace("'", "\\'")
    overrides = [
        "logger=csv",
        f"dataset.root='{root}'",
        f"dataset.width={case.width}",
        f"hparams.batch_size={case.batch_size}",
        f"hparams.compile={case.compile}",
        f"trainer_params.accelerator={case.accelerator}",
        "trainer_params.max_epochs=1",
        "trainer_params.enable_progress_bar=false",
        f"trainer_params.limit_train_batches={case.warmup + case.steps}",
    ]
    if case.phase == "single":
        arm, place, schema = "fine", "arch_single_head", cast(type, SingleConfig)
        data_type: type[HierarchicalData] = SingleHeadData
        module_type: type[TrainingModule] = SingleHead
        overrides.append(f"hparams.arch={case.backbone}")
    else:
        arm, place, schema = "bilateral", "arch_dual_head", DualConfig
        data_type, module_type = DualHeadData, DualHead
        overrides += [f"hparams.farch={case.backbone}", f"hparams.carch={case.backbone}"]
    cfg = compose(ROOT / place, schema=schema, overrides=overrides)
    cfg.save_dir = str(folder)
    if case.phase == "eval":
        # The training images once more: the largest set there is, so that a fast GPU has something to do.
        cfg.dataset.val_dir = cfg.dataset.train_dir
    else:
        cfg.trainer_params.limit_val_batches = 0
    data = data_type(cfg, seed=0)
    data.load()
    stage = Stage(arm=arm, seed=0, folder=place, config=cfg)
    return stage, data, module_type(cfg=cfg, record=record_of(stage, data, ""))


def _training_step(
    module: TrainingModule, device: torch.device, precision: str
) -> Callable[[Any, int], None]:
    """A training step of the module as a bare loop makes it; without a schedule of the learning rate."""
    module.train()
    module.cfg.hparams.schedule = "constant"
    configs = module.hemisphere_configs(module.cfg)
    optimizer = optimisation(
        module.network,
        module.cfg.hparams,
        plasticity={side: one.plasticity for side, one in configs.items()},
        steps=1,  # only a schedule would need their number
        fused=True,
    )

    def run(batch: Any, number: int) -> None:
        batch = move_data_to_device(batch, device)
        module.on_train_batch_start(batch, number)
        if not module.graphed:
            optimizer.zero_grad()
        with autocast(device, precision):
            loss = module.training_step(batch, number)
        module.backward(loss)
        optimizer.step()

    return run


def _evaluation_step(
    module: TrainingModule, device: torch.device, precision: str
) -> Callable[[Any, int], None]:
    module.eval()

    @torch.no_grad()
    def run(batch: Any, number: int) -> None:
        batch = move_data_to_device(batch, device)
        with autocast(device, precision):
            module.validation_step(batch, number)

    return run


def _now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _enough(batches: int, needed: int) -> None:
    if batches < needed:
        raise UserError(
            f"The set gives {batches} batches and {needed} are needed, the warm-up among them: "
            "lower --steps or --batch-size."
        )


def _peak_memory(accelerator: str) -> float:
    """MiB: allocated on the GPU, or resident in this process, workers apart."""
    if uses_gpu(accelerator):
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def matrix_rate(device: str, size: int = MATRIX) -> float:
    """Operations per second of bfloat16 products of two square matrices, the fastest of ten."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        start = _now()
        a @ b
        seconds.append(_now() - start)
    return 2 * size**3 / min(seconds[3:])
