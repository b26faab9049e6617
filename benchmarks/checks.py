"""Is what runs on a GPU right? Checks: repeated, stopped and continued, frozen, learning, compiled, replayed."""

import csv
import signal
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from case import Case
from fresh import failure, fresh, left
from keep import Keep
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
LONGEST_S = 180.0

# Runs the small study under a name, with more keys, and gives its results.
Study = Callable[..., list[dict[str, str]]]


@dataclass(frozen=True)
class Check:
    """What was checked, whether it holds, and what was found."""

    name: str
    holds: bool
    found: str


def check_all(
    args: Namespace, console: Console, keep: Keep, end: float, case: Case
) -> list[dict[str, Any]]:
    """Check what there is time for, print a table, and give its rows; what cannot be checked does not hold.

    Args:
        args: the data set, and ``checks``, the keys of the small study that is repeated.
        console: to print on.
        keep: is given the rows so far after each check.
        end: the time, by time.monotonic, after which nothing is begun.
        case: the steps that are compared.
    """
    rows: list[dict[str, Any]] = []
    table = Table(title="Is it right?")
    for name in ("check", "holds", "found"):
        table.add_column(name)
    with tempfile.TemporaryDirectory() as folder:
        for name, check in _checks(args, Path(folder), case, end).items():
            try:
                holds, words = check() if time.monotonic() < end else (None, "")
            except Exception as error:  # the others are not to be lost for it
                holds, words = (False, failure(error)) if time.monotonic() < end else (None, "")
            if holds is None:
                console.print(f"No time is left to check: {name}.")
                break
            rows.append(asdict(Check(name, holds, words)))
            keep(rows)
            table.add_row(name, "yes" if holds else "NO", words)
    console.print(table)
    return rows


def _checks(
    args: Namespace, folder: Path, case: Case, end: float
) -> dict[str, Callable[[], tuple[bool, str]]]:
    """By name, what says whether it holds and what was found."""
    # A small study, deterministic; the others need the one that the first check leaves.
    study = partial(_run, args, folder, end)
    found: dict[str, Callable[[], tuple[bool, str]]] = {
        "the same seed twice": partial(_twice, study),
        "a frozen hemisphere stays": partial(_frozen, folder, end),
        "stopped and continued": partial(_continued, study, args, folder, end),
        "a study learns as with plain steps": partial(_learns, study, folder),
    }
    for mode, graph in args.ways:
        words = filter(None, (mode and f"compiled ({mode})", "replayed" if graph else ""))
        found[f"{' and '.join(words)} as plain"] = partial(_step, case, mode, graph, end)
    return found


def _twice(study: Study) -> tuple[bool, str]:
    first, second = study("first"), study("second")
    return first == second, _apart(first, second)


def _frozen(folder: Path, end: float) -> tuple[bool, str]:
    _results(folder / "first")
    tensors, differing = fresh("agreement.frozen", str(folder / "first"), limit=left(end))
    return tensors > 0 and differing == 0, f"{differing} of {tensors} tensors differ"


def _continued(study: Study, args: Namespace, folder: Path, end: float) -> tuple[bool, str]:
    """Interrupt it after an epoch, and continue it."""
    first = _results(folder / "first")
    _stop_after_an_epoch(_command(args, folder, "stopped"), left(end, LONGEST_S))
    stage = folder / "stopped/fine/seed0"
    begun = (stage / "checkpoints/last.ckpt").is_file() and not (stage / "result.yaml").is_file()
    third = study("stopped")
    words = _apart(first, third) if begun else "it was not interrupted within a stage"
    return begun and first == third, words


def _learns(study: Study, folder: Path) -> tuple[bool, str]:
    _results(folder / "first")
    study("plain", "hparams.cuda_graph=false")
    plain, losses = _losses(folder / "plain"), _losses(folder / "first")
    apart = max(abs(losses[place] - loss) / loss for place, loss in plain.items())
    return apart <= LOSSES, f"training losses of {len(plain)} epochs at most {apart:.1e} apart"


def _step(case: Case, mode: str | None, graph: bool, end: float) -> tuple[bool, str]:
    """Compare a compiled or replayed step with the plain one."""
    result = fresh("agreement.steps", case, mode, graph, limit=left(end))
    words = (
        f"{result['precision']}: losses {result['loss']:.1e} apart, gradients {result['gradients']:.1e} of "
        f"{result['tolerance']:.0e}"
    )
    if result["gradients"] > result["tolerance"]:
        words += (
            f"; these {result['rounding']:.1e} from float32, plain {result['plain_rounding']:.1e}"
        )
    return result["agrees"], words


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


def _run(args: Namespace, folder: Path, end: float, name: str, *more: str) -> list[dict[str, str]]:
    """Run the study; gives its results without the columns that may differ."""
    limit = left(end, LONGEST_S)
    try:
        done = subprocess.run(
            _command(args, folder, name, *more),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"a study was killed, for it took longer than {limit:.0f} s") from error
    if done.returncode:
        raise UserError(f"A study failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}")
    return _results(folder / name)


def _results(study: Path) -> list[dict[str, str]]:
    """Read the results of a study without the columns that may differ."""
    file = study / "results.csv"
    if not file.is_file():
        raise UserError(f"the {study.name} study gave no results")
    with file.open(newline="", encoding="utf-8") as text:
        return [{k: v for k, v in row.items() if k not in DIFFER} for row in csv.DictReader(text)]


def _losses(study: Path) -> dict[tuple[str, float], float]:
    """Read the training loss of each stage and epoch."""
    return {
        (str(file.relative_to(study)), row["epoch"]): row["train_loss"]
        for file in study.glob("*/seed*/metrics.csv")
        for row in read_metrics(file)
    }


def _stop_after_an_epoch(command: Sequence[str], limit: float) -> None:
    """Start a study, and stop it, which leaves a checkpoint to continue from, once it has told of its first epoch.

    Raises:
        UserError: it had not ended after ``limit`` seconds, and was killed.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        killer = Timer(limit, process.kill)
        killer.daemon = True
        killer.start()
        for line in process.stdout or ():
            if "epoch 1/" in line:
                break
        process.send_signal(signal.SIGTERM)
        for _ in process.stdout or ():  # until it has ended
            pass
        status = process.wait()
        killer.cancel()
    if status == -signal.SIGKILL:
        raise UserError(
            f"a study that was to be stopped was killed, for it took longer than {limit:.0f} s"
        )


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
