"""The study in slices of time, as the Makefile runs it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    program = tmp_path / ".venv/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(
        ["make", "study", *slices], cwd=tmp_path, capture_output=True, text=True, env=plain
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
