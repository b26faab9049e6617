"""The study in slices of time, as the Makefile runs it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Makefile", "requirements.txt", "pyproject.toml")


def stand_in(program: Path, body: str) -> None:
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def make(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make there, where everything in .venv is newer than what it was installed from."""
    for name in COPIED:
        shutil.copy(ROOT / name, place)
    if (place / ".venv").is_dir():
        (place / ".venv/installed").touch()
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *words], cwd=place, capture_output=True, text=True, env=plain, check=False
    )


@pytest.mark.parametrize(
    ("body", "slices", "status", "said"),
    [
        ("exec sleep 20", ["SLICE=0.3"], 0, "Stopped after 0.3 s; the same command goes on."),
        ("exit 1", ["SLICE=20"], 2, "Error 1"),
        ("exit 130", [], 2, "Error 130"),
        ("echo done: $*", ["ARGS=arch=vgg11"], 0, "done: train_system.py arms=all num_seeds=5"),
    ],
)
def test_a_slice_that_is_over_is_no_failure(tmp_path, body, slices, status, said):
    stand_in(tmp_path / ".venv/bin/python", body)
    done = make(tmp_path, "study", *slices)
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr


def test_an_interpreter_that_is_given_runs_and_nothing_is_installed(tmp_path):
    stand_in(tmp_path / "bin/python", "echo given: $*")
    done = make(tmp_path, "study", "demo", "lint", "PY=bin/python", "SLICE=20")
    assert done.returncode == 0, done.stderr
    ran = [line for line in done.stdout.splitlines() if line.startswith("given: ")]
    assert [line.split()[1] for line in ran[:2]] == [
        "train_system.py",
        "data_scripts/make_navon.py",
    ]
    assert not [line for line in ran if "pip" in line]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted((*COPIED, "bin"))
