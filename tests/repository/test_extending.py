"""docs/extending.md: each example is applied to a copy, its command runs, and the tests of its rooms pass untouched."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT, tracked

EXTENDING = ROOT / "docs" / "extending.md"
# Options that make a training of a few seconds out of the page's commands.
SHORT = "trainer_params.limit_train_batches=3 trainer_params.max_epochs=1 analyse=false"
PYTHON = """#!/bin/sh
case "$1" in
*train_system.py) set -- "$@" {short} ;;
*trainer.py) set -- "$@" trainer_params.limit_train_batches=3 trainer_params.max_epochs=1 ;;
esac
exec "{python}" "$@"
"""


class Example(NamedTuple):
    """A section of the page: its blocks by kind, and the tests that it names."""

    title: str
    blocks: list[tuple[str, str]]
    tests: list[str]


def examples() -> list[Example]:
    """Read the page's sections; their lines from ``Tests:`` on name the tests of the rooms that they touch."""
    found = []
    for part in EXTENDING.read_text().split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        named = re.search(r"^Tests: (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
        found.append(Example(title, blocks, re.findall(r"`(.*?)`", named[1]) if named else []))
    return found


@pytest.fixture
def copy(tmp_path, navon) -> Path:
    """A copy of the repository with the small Navon set, and a ``python`` that trains for a few steps."""
    place = tmp_path / "bilateral"
    for name in tracked():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place / name)
    (place / "datasets" / "NAVON").symlink_to(navon)
    shim = tmp_path / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(PYTHON.format(python=sys.executable, short=SHORT))
    shim.chmod(0o755)
    return place


def run(command: str, copy: Path) -> str:
    """Run a command from the copy's root; PYTHONPATH does what installing the copy would."""
    path = f"{copy.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=copy,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(copy), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}"
    return done.stdout


def apply(diff: str, copy: Path) -> None:
    """Change files as a diff says; each of its parts must be found exactly once."""
    for part in diff.split("--- a/")[1:]:
        name, _, *lines = part.splitlines()
        old = "\n".join(line[1:] for line in lines if line[:1] in (" ", "-", ""))
        new = "\n".join(line[1:] for line in lines if line[:1] in (" ", "+", ""))
        text = (copy / name).read_text()
        assert text.count(old) == 1, f"{name} does not hold this once:\n{old}"
        (copy / name).write_text(text.replace(old, new))


def add(kind: str, text: str, copy: Path) -> None:
    """Write a new file, or change files by a diff."""
    if kind == "diff":
        apply(text, copy)
        return
    target = copy / text.splitlines()[0].removeprefix("# ")
    assert not target.exists()
    target.write_text(text)


def test_all_examples_apply_to_the_code_as_it_is(copy):
    for example in examples():
        for kind, text in example.blocks:
            if kind != "bash":
                add(kind, text, copy)
    pytest.importorskip("ruff", reason="ruff is not installed: they apply, and are not linted")
    run(f"{sys.executable} -m ruff check .", copy)


@pytest.mark.slow
@pytest.mark.parametrize("example", [pytest.param(e, id=e.title) for e in examples()])
def test_an_example_works_and_no_test_has_to_be_edited(example, copy):
    for kind, text in example.blocks:
        if kind == "bash":
            run(text, copy)
        else:
            add(kind, text, copy)
    assert [*(copy / "runs").glob("*/*/seed0/result.yaml")], "no command of the example trained"
    run(f"{sys.executable} -m ruff check --quiet common analysis study arch_* *.py", copy)
    assert example.tests, "the section names no tests: a line Tests: `tests/ROOM`, ..."
    run(
        f"{sys.executable} -m pytest -q -x -p no:cacheprovider -m 'not slow' {' '.join(example.tests)}",
        copy,
    )


@pytest.mark.slow
def test_all_examples_together_pass_make_lint(copy):
    for example in examples():
        for kind, text in example.blocks:
            if kind != "bash":
                add(kind, text, copy)
    for check in ("ruff format --check .", "mypy"):
        run(f"{sys.executable} -m {check}", copy)


def test_there_is_an_example_of_everything_that_a_student_adds():
    assert [example.title for example in examples()] == [
        "A backbone",
        "A data set",
        "A parameter of a hemisphere",
        "An arm",
        "A join",
        "A config key",
        "A loss",
        "A metric",
        "An analysis",
        "A training paradigm",
    ]
