"""Milliseconds that Python takes of a training step around its replay:  python benchmarks/around_replays.py.

On a GPU the steps of a small network are replayed as a CUDA graph; what Python and Lightning do meanwhile must take
less than the replay, or the GPU waits. Here a replay launches nothing, so no GPU is needed, and other work is kept
small: a narrow network, few images a batch.
"""

import json
import math
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch
from case import Case
from measure import hardware, our_parts, prepare
from rich.console import Console
from rich.table import Table
from throughput import PHASES, check, parser_of, positive

import common.training.fast_steps as fast_steps
from common.runs.lightning import checkpoint_callbacks, make_trainer, progress_callbacks
from common.system.errors import UserError
from common.training.acceleration import Acceleration
from common.training.graphed import GraphedStep

WARMUP, STEPS = 30, 200
WIDTH, BATCH = 0.05, 16


class Ends(pl.Callback):
    """When each step ended, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def milliseconds(phase: str, data_dir: Path) -> float:
    """Median over the steps of a run, from the end of one to the end of the next."""
    case = Case(
        phase=phase,
        backbone="resnet9",
        data_dir=data_dir,
        width=WIDTH,
        batch_size=BATCH,
        warmup=WARMUP,
        steps=STEPS,
        accelerator="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        stage, data, module = our_parts(Path(folder), case)
        batches = len(data.train_dataloader())
        stage.config.trainer_params.max_epochs = math.ceil((WARMUP + STEPS) / batches)
        finite, _, last = checkpoint_callbacks(stage)
        ends = Ends()
        callbacks = [finite, *progress_callbacks(stage), ends, last]
        make_trainer(stage, "32-true", callbacks, logger=False).fit(module, datamodule=data)
    times = pairwise(ends.times[WARMUP:])
    return 1000 * median(after - before for before, after in times)


def replay_nothing() -> None:
    """Have steps recorded and never repeated, in this process."""

    def recorded(compute: Any, plain: Any, trial: Any, batch: Any, record: Any, **_: Any) -> Any:
        with trial.restoring(), trial.autocast():
            return GraphedStep(compute, trial.learning, batch, lambda work: (_nothing, work()))

    vars(fast_steps)["choose"] = lambda *_: (Acceleration(cuda_graph=True), None)
    vars(fast_steps)["record_step"] = recorded


def _nothing() -> None:
    pass


def main() -> None:
    """Measure, print, write."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--rounds", type=positive, default=5, help="default: 5")
    args = parser.parse_args()
    try:
        check(args)
        torch.set_num_threads(1)
        # Otherwise, where there is no GPU, each step of Adam looks for NVIDIA's library, which takes 0.2 ms.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
        prepare()
        replay_nothing()
        phases = ("single", "dual")
        runs = [{p: milliseconds(p, args.data_dir) for p in phases} for _ in range(args.rounds)]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    table = Table(title="milliseconds of a step around its replay")
    for name in ("phase", "median", "lowest to highest round"):
        table.add_column(name)
    rows = []
    for phase in phases:
        found = [run[phase] for run in runs]
        rows.append({"phase": phase, "milliseconds": median(found), "rounds": found})
        around = f"{min(found):.2f} to {max(found):.2f}"
        table.add_row(PHASES[phase], f"{median(found):.2f}", around)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    where = hardware("cpu")
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    console.print(f"{where['name']}, one thread; {versions}", soft_wrap=True, highlight=False)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
