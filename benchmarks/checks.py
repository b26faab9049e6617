"""Is what runs on a GPU right? Checks: repeated, stopped and continued, frozen, learning, compiled, replayed."""

import csv
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from case import Case
from fresh import failure, fresh
from rich.console import Console
from rich.table import Table

from analysis.study import read_metrics
from common.settings.compose import ROOT
from common.system.errors import UserError

# Columns of results.csv that differ between two runs of one study.
DIFFER = ("seconds", "checkpoint")
# How far training losses of an epoch may be apart, relative, where steps are replayed and where they are not: sums in
# another order grow apart as training goes on, but what does not learn is farther.
LOSSES = 0.05
# Within which each small study ends, or is broken off.
LONGEST_S = 180


@dataclass(frozen=True)
class Check:
    """What was checked, whether it holds, and what was found."""

    name: str
    holds: bool
    found: str


def check_all(args: Namespace, console: Console, case: Case, end: float) -> list[dict[str, Any]]:
    """Check what there is time for, print a table, and give its rows.

    Args:
        args: the data set, and ``checks``, the keys of the small study that is repeated.
        console: to print on.
        case: the steps that are compared.
        end: the time, by time.monotonic, after which nothing is begun.
    """
    found: list[Check] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in (_of_studies(args, Path(folder)), _of_steps(args, case)):
            if time.monotonic() > end:
                break
            try:
                for one in part:
                    found.append(one)
                    if time.monotonic() > end:
                        break
            except Exception as error:  # what was found before is not to be lost for it
                found.append(Check("the rest of these", False, failure(error)))
    table = Table(title="Is it right?")
    for name in ("check", "holds", "found"):
        table.add_column(name)
    for one in found:
        table.add_row(one.name, "yes" if one.holds else "NO", one.found)
    console.print(table)
    return [asdict(one) for one in found]


def _of_studies(args: Namespace, folder: Path) -> Iterator[Check]:
    """A small study, deterministic: twice, once interrupted after an epoch and continued, once with plain steps."""
    first = _run(args, folder, "first")
    second = _run(args, folder, "second")
    yield Check("the same seed twice", first == second, _apart(first, second))
    tensors, differing = fresh("agreement.frozen", str(folder / "first"))
    words = f"{differing} of {tensors} tensors differ"
    yield Check("a frozen hemisphere stays", tensors > 0 and differing == 0, words)
    _stop_after_an_epoch(args, folder, "stopped")
    stage = folder / "stopped/fine/seed0"
    begun = (stage / "checkpoints/last.ckpt").is_file() and not (stage / "result.yaml").is_file()
    third = _run(args, folder, "stopped")
    words = _apart(first, third) if begun else "it was not interrupted within a stage"
    yield Check("stopped and continued", begun and first == third, words)
    _run(args, folder, "plain", "hparams.cuda_graph=false")
    plain, losses = _losses(folder / "plain"), _losses(folder / "first")
    apart = max(abs(losses[place] - loss) / loss for place, loss in plain.items())
    yield Check(
        "a study learns as with plain steps",
        apart <= LOSSES,
        f"training losses of {len(plain)} epochs at most {apart:.1e} apart",
    )


def _of_steps(args: Namespace, case: Case) -> Iterator[Check]:
    """Compiled and replayed steps beside the plain one."""
    for mode, graph in args.ways:
        way = " and ".join(
            filter(None, (mode and f"compiled ({mode})", "replayed" if graph else ""))
        )
        try:
            result = fresh("agreement.steps", case, mode, graph)
        except Exception as error:
            yield Check(f"{way} as plain", False, failure(error))
            continue
        words = (
            f"{result['precision']}: losses {result['loss']:.1e} apart, gradients {result['gradients']:.1e} of "
            f"{result['tolerance']:.0e}"
        )
        if result["gradients"] > result["tolerance"]:
            words += f"; these {result['rounding']:.1e} from float32, plain {result['plain_rounding']:.1e}"
        yield Check(f"{way} as plain", result["agrees"], words)


def _command(args: Namespace, folder: Path, name: str, *more: str) -> list[str]:
    root = str(args.data_dir.resolve()).replace("'", "\\'")
    return [
        *(sys.executable, str(ROOT / "train_system.py"), *args.checks),
        *("num_seeds=1", "arms=[bilateral]", "analyse=false", "logger=csv"),
        *(f"dataset.root='{root}'", f"save_dir={folder}", f"exp_name={name}"),
        *(
            f"trainer_params.accelerator={args.accelerator}",
            "trainer_params.deterministic=true",
        ),
        *more,
    ]


def _run(args: Namespace, folder: Path, name: str, *more: str) -> list[dict[str, str]]:
    """Run the study; gives its results without the columns that may differ."""
    command = _command(args, folder, name, *more)
    # One that hangs must not take what the others found with it.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
    if done.returncode:
        raise UserError(f"A study failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}")
    with (folder / name / "results.csv").open(newline="", encoding="utf-8") as text:
        return [{k: v for k, v in row.items() if k not in DIFFER} for row in csv.DictReader(text)]


def _losses(study: Path) -> dict[tuple[str, float], float]:
    """Read the training loss of each stage and epoch."""
    return {
        (str(file.relative_to(study)), row["epoch"]): row["train_loss"]
        for file in study.glob("*/seed*/metrics.csv")
        for row in read_metrics(file)
    }


def _stop_after_an_epoch(args: Namespace, folder: Path, name: str) -> None:
    """Start the study, and stop it, which leaves a checkpoint to continue from, once it has told of its first epoch."""
    with subprocess.Popen(
        _command(args, folder, name),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        for line in process.stdout or ():
            if "epoch 1/" in line:
                break
        process.send_signal(signal.SIGTERM)
        for _ in process.stdout or ():  # until it has ended
            pass


def _apart(one: list[dict[str, str]], other: list[dict[str, str]]) -> str:
    """Name the columns in which two tables differ."""
    if len(one) != len(other):
        return f"{len(one)} and {len(other)} rows"
    columns = {
        name
        for row, second in zip(one, other, strict=True)
        for name in row
        if row[name] != second.get(name)
    }
    return f"differ in {', '.join(sorted(columns))}" if columns else f"{len(one)} equal rows"
