"""Several stages at once on one GPU: how many images they train on per second together. Imports no torch.

Each is a command of its own, as `engine=ray` with stages_per_gpu runs them, and uses what a stage of usual length does.
"""

import re
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from fresh import left
from keep import Keep
from parts import MAIN
from rich.console import Console
from rows import Row, print_table, rows_of_cases

from common.settings.compose import ROOT
from common.system.errors import UserError

EPOCH_LINE = re.compile(r" epoch \d+/\d+ ")
# Seconds for which they are watched once each has ended its first epoch.
WATCHED_S = 15.0
# Between two looks at what they say.
LOOK_S = 0.05


def together(args: Namespace, console: Console, keep: Keep, end: float) -> list[Row]:
    """Images per second of 1, 2, 4 `trainer.py` at the same time; prints how many are fastest."""

    def measure(row: Row) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            logs = Path(folder)
            commands = [_command(args, logs, number) for number in range(row["at_once"])]
            images = args.images // args.batch_size * args.batch_size
            return {"rate": images * epochs_per_second(commands, logs, limit=left(end))}

    cases = [{"at_once": number} for number in args.at_once]
    rows = rows_of_cases(cases, measure, console, keep, end)
    columns = {
        "at once": lambda row: str(row["at_once"]),
        "images/s together": lambda row: f"{row['rate']:,.0f}",
        "of each": lambda row: f"{row['rate'] / row['at_once']:,.0f}",
    }
    print_table(f"{MAIN}, one head: stages that share the device", columns, rows, console)
    rates = {row["at_once"]: row["rate"] for row in rows if "failed" not in row}
    if 1 in rates and len(rates) > 1:
        most = max(rates, key=lambda number: rates[number])
        console.print(
            f"Of these stages_per_gpu={most} is the fastest: {rates[most] / rates[1]:.2f} times one alone.",
            highlight=False,
        )
    return rows


def _command(args: Namespace, folder: Path, number: int) -> list[str]:
    root = str(args.data_dir.resolve()).replace("'", "\\'")
    return [
        *(sys.executable, str(ROOT / "arch_single_head/trainer.py"), *args.together),
        *(f"hparams.arch={MAIN}", f"hparams.batch_size={args.batch_size}"),
        *(f"dataset.root='{root}'", f"dataset.width={args.width}", "logger=csv"),
        *(f"save_dir={folder}", f"exp_name=stage{number}", f"seeds=[{number}]"),
        f"trainer_params.accelerator={args.accelerator}",
    ]


def epochs_per_second(
    commands: Sequence[Sequence[str]], folder: Path, *, limit: float, watched: float = WATCHED_S
) -> float:
    """Run commands at the same time, and give the epochs that all of them train per second, validation included.

    Counted from when each has ended its first epoch, for a while or until the first of them has ended its last one;
    an epoch that is cut off by either counts in part. All are then killed.

    Args:
        commands: each prints a line when an epoch ends.
        folder: for what they print.
        limit: seconds after which they are killed if that is not reached.
        watched: for how many seconds they are counted.

    Raises:
        UserError: one of them failed, or they took too long.
    """
    begun = time.monotonic()
    ends: list[list[float]] = [[] for _ in commands]
    logs = [folder / f"{number}.log" for number in range(len(commands))]
    with ExitStack() as running:
        processes = []
        for command, log in zip(commands, logs, strict=True):
            output = running.enter_context(log.open("wb"))
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            running.callback(process.wait)
            running.callback(process.kill)
            processes.append(process)
        while True:
            # Asked before the look: what has ended by then has said all.
            statuses = [process.poll() for process in processes]
            now = time.monotonic()
            for status, log, of_one in zip(statuses, logs, ends, strict=True):
                text = log.read_text(encoding="utf-8", errors="replace")
                if status:
                    last = (text.strip() or "no word").splitlines()[-1]
                    raise UserError(f"one of {len(commands)} at once failed: {last}")
                of_one += [now] * (len(EPOCH_LINE.findall(text)) - len(of_one))
            if 0 in statuses or _watched(ends, now) >= watched:
                return _rate(ends)
            if now - begun >= limit:
                raise UserError(f"killed, for they took longer than {limit:.0f} s")
            time.sleep(LOOK_S)


def _watched(ends: Sequence[Sequence[float]], now: float) -> float:
    """Seconds since each has ended its first epoch; 0 while one of them has ended no other since."""
    begin = max(of_one[0] if of_one else now for of_one in ends)
    return now - begin if all(of_one and of_one[-1] > begin for of_one in ends) else 0


def _rate(ends: Sequence[Sequence[float]]) -> float:
    """Epochs per second from when each has ended its first one, as long as all of them go on."""
    begin = max((of_one[0] for of_one in ends if of_one), default=0.0)
    stop = min((of_one[-1] for of_one in ends if of_one), default=0.0)
    if not all(ends) or stop <= begin:
        raise UserError(f"{len(ends)} at once did not train at the same time for an epoch")
    # How many epochs each had ended at both times, parts of epochs included.
    counts = [np.interp([begin, stop], of_one, np.arange(len(of_one))) for of_one in ends]
    return float(sum(last - first for first, last in counts) / (stop - begin))
