"""A small study as a real command, and what it must come to."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
ARMS = ("fine", "coarse", "bilateral")
# Everything that draws at random, and epochs enough for a kill to fall between two.
STUDY = ["trainer_params.max_epochs=4", "dataset.crop_padding=2", "dataset.flip=true"]
STUDY += ["hparams.dropout=0.3", "num_seeds=1", "analyse=false"]


@pytest.fixture(scope="session")
def arguments(tiny) -> Callable[[Path], list[str]]:
    """The command line of a study whose folder is given."""

    def of(place: Path) -> list[str]:
        return [*tiny, *STUDY, f"save_dir={place.parent}", f"exp_name={place.name}"]

    return of


@pytest.fixture(scope="session")
def start(arguments) -> Callable[..., subprocess.Popen]:
    """Start ``python train_system.py`` in a process group of its own; its output goes to ``<place>.log``."""

    def run(place: Path, *more: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".log").open("a") as log:
            return subprocess.Popen(
                [*prefix, sys.executable, "-u", "train_system.py", *arguments(place), *more],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "COLUMNS": "200"},
            )

    return run


class Reference:
    """An uninterrupted study and its clock."""

    def __init__(self, place: Path, starting: float, seconds: float) -> None:
        self.place, self.starting, self.seconds = place, starting, seconds


@pytest.fixture(scope="session")
def uninterrupted(start, tmp_path_factory) -> Reference:
    """Gives its folder, the seconds until it said its first word, and those after it."""
    place = tmp_path_factory.mktemp("uninterrupted") / "study"
    log = place.with_suffix(".log")
    began = time.monotonic()
    process = start(place)
    while process.poll() is None and not log.read_text():
        time.sleep(0.02)
    starting = time.monotonic() - began
    assert process.wait(300) == 0, log.read_text()
    return Reference(place, starting, time.monotonic() - began - starting)


@pytest.fixture(scope="session")
def same(uninterrupted) -> Callable[[Path], None]:
    """Whether a study came to the uninterrupted one's results: tables, weights and epochs, bit for bit."""
    from helpers import rows

    def compare(place: Path) -> None:
        tables = [folder / "results.csv" for folder in (place, uninterrupted.place)]
        assert rows(tables[0]) == rows(tables[1])
        assert not list(place.rglob("*.tmp"))
        assert not list(place.rglob("*previous*"))
        for arm in ARMS:
            here, there = place / arm / "seed0", uninterrupted.place / arm / "seed0"
            assert (here / "metrics.csv").read_text() == (there / "metrics.csv").read_text()
            for file in ("best.ckpt", "last.ckpt"):
                one, other = (
                    torch.load(folder / "checkpoints" / file, weights_only=True)["state_dict"]
                    for folder in (here, there)
                )
                assert list(one) == list(other)
                assert all(one[name].equal(other[name]) for name in one), f"{arm}/{file}"

    return compare


@pytest.fixture(scope="session")
def killed(start, uninterrupted) -> Callable[[Path, random.Random], bool]:
    """Start the study's command and kill it at a random moment; false if it ended before, well."""

    def run(place: Path, draw: random.Random) -> bool:
        log = place.with_suffix(".log")
        said = log.stat().st_size if log.exists() else 0
        process = start(place)
        if draw.random() < 0.2:  # while it starts
            patience = draw.uniform(0, uninterrupted.starting)
        else:  # after its first word
            while process.poll() is None and log.stat().st_size == said:
                time.sleep(0.01)
            patience = draw.uniform(0, uninterrupted.seconds)
        try:
            status = process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        assert status in (0, -signal.SIGKILL), log.read_text()
        assert "Traceback" not in log.read_text()
        return status != 0

    return run
