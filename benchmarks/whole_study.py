"""The part of gpu.py that runs a whole study, by pipeline.py, in the time that is left. Imports no torch."""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from keep import Keep
from pipeline import print_result
from rich.console import Console

from common.system.errors import UserError

PROGRAM = Path(__file__).with_name("pipeline.py")
# Seconds that a study takes beside its seeds, and for each of these, of which there are at most so many.
START, SEED, SEEDS = 30, 80, 5
# Between two looks for stages that have ended.
LOOK_S = 1.0


def whole_study(args: Namespace, console: Console, keep: Keep, end: float) -> dict[str, Any] | None:
    """A study of as many seeds as there is time for; of one that is broken off what is known, None if nothing is.

    Raises:
        UserError: it failed.
    """
    seeds = max(1, min(SEEDS, int((end - time.monotonic() - START) / SEED)))
    with tempfile.TemporaryDirectory() as folder:
        file, errors = Path(folder) / "study.json", Path(folder) / "errors"
        command = [sys.executable, str(PROGRAM)]
        command += ["--data-dir", str(args.data_dir), "--json", str(file), "--seeds", str(seeds)]
        command += args.study
        # What it writes goes with this folder.
        environment = {**os.environ, "TMPDIR": folder}
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
            )
        try:
            result = _follow(process, file, keep, end)
        finally:
            process.kill()
            process.wait()
        last = (errors.read_text(encoding="utf-8").strip() or "no word").splitlines()[-1]
    if result:
        print_result(result, console)
    if process.returncode > 0:  # not killed
        raise UserError(f"the study failed: {last}")
    if process.returncode:
        stages = result["stages"] if result else []
        console.print(f"The study did not end in time; of its stages {len(stages)} did.")
    return result


def _follow(
    process: subprocess.Popen[bytes], file: Path, keep: Keep, end: float
) -> dict[str, Any] | None:
    """Hand on what the study writes after each stage, until it has ended or the time is up."""
    result: dict[str, Any] | None = None
    while True:
        # Asked before the look: what has ended has written all.
        over = process.poll() is not None or time.monotonic() >= end
        written = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        if written != result:
            result = written
            keep(result)
        if over:
            return result
        time.sleep(LOOK_S)
