"""A small Navon set on disk, and the project's commands run as a person runs them."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from common.data.tree import write_tree
from data_scripts.make_navon import make_navon

# Examples that are the same in every run, and no clock: the machine may be busy.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def navon(tmp_path_factory) -> Path:
    """A prepared Navon set of 600 training and 200 test images; tests must not change it."""
    out_dir = tmp_path_factory.mktemp("datasets") / "NAVON"
    write_tree(make_navon(train=600, test=200, seed=0), out_dir, split_seed=0)
    return out_dir


@pytest.fixture(scope="session")
def tiny(navon) -> list[str]:
    """Overrides for a run of a few seconds: the small set, a narrow network, two short epochs, no bars or events."""
    return [
        "dataset=navon",
        f"dataset.root={navon}",
        "dataset.width=0.125",
        "trainer_params.max_epochs=2",
        "trainer_params.limit_train_batches=4",
        "trainer_params.limit_val_batches=1",
        "hparams.batch_size=32",
        "logger=csv",
    ]


@pytest.fixture
def command():
    """Run ``python <arguments>`` from the repository's root; text output, no terminal."""

    def run(*arguments: str, cwd: Path = ROOT, timeout: float = 300, **environment: str):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    return run


@pytest.fixture(scope="session")
def succeed():
    """Run a command that must succeed, for fixtures that live longer than one test; gives what it printed."""

    def run(main, *arguments: str) -> str:
        argv, said = sys.argv, io.StringIO()
        sys.argv = ["program", *arguments]
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main()
        except SystemExit as stop:
            raise AssertionError(said.getvalue()) from stop
        finally:
            sys.argv = argv
        return said.getvalue()

    return run


@pytest.fixture
def in_process(monkeypatch, capsys):
    """Run a command's ``main`` in this process, which saves the seconds of importing torch anew.

    Returns its exit status, standard output and standard error.
    """

    def run(main, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["program", *arguments])
        status = 0
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, tiny, succeed) -> dict[str, Path]:
    """A barely trained checkpoint of each kind of network, by its arm; tests must not change them."""
    from arch_dual_head.trainer import main as dual
    from train_system import study

    save_dir = tmp_path_factory.mktemp("checkpoints")
    scratch = ["hparams.ffreeze=false", "hparams.model_path_fine=null"]
    short = [*tiny, "trainer_params.max_epochs=1", f"save_dir={save_dir}", "exp_name=study"]
    with contextlib.redirect_stdout(io.StringIO()):
        study(*short, num_seeds=1, evaluate=False)
    succeed(dual, *short, *scratch, "hparams.macro_arch=unilateral", "seeds=[0,1]")
    member = f"{save_dir}/study/unilateral/seed{{}}/checkpoints/best.ckpt"
    members = f"hparams.model_path_fine=[{member.format(0)},{member.format(1)}]"
    succeed(dual, *short, members, "hparams.macro_arch=ensemble")
    arms = ("fine", "coarse", "bilateral", "unilateral", "ensemble")
    return {arm: save_dir / "study" / arm / "seed0/checkpoints/best.ckpt" for arm in arms}
