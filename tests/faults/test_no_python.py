"""A file that was added and cannot be imported: commands name it and its line, or go on without it."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNCLOSED = """from common.networks.backbones.registry import register

@register
def abacus(*, width: float = 1.0):
    return Abacus(width

class Abacus:
    pass
"""


def beside_the_code(folder: str, names: list[str]) -> set[str]:
    """What of a folder is not to be copied."""
    if Path(folder) != ROOT:
        return {"__pycache__"}
    others = ("runs", "datasets", "tests", "docs", "results", "build")
    return {name for name in names if name.startswith((".", *others))}


@pytest.fixture
def broken(tmp_path) -> Path:
    """A copy of the code with a backbone that is no Python."""
    place = tmp_path / "bilateral"
    shutil.copytree(ROOT, place, ignore=beside_the_code)
    (place / "common/networks/backbones/abacus.py").write_text(UNCLOSED)
    return place


@pytest.mark.parametrize(
    "line",
    [
        ("arch_single_head/trainer.py", "hparams.arch=abacus"),
        ("analyse.py", "run=."),
        ("commands.py", "test", "checkpoint=commands.py"),
    ],
)
def test_a_file_that_is_no_python_is_named_with_its_line(line, broken, navon, command):
    data = ["dataset=navon", f"dataset.root={navon}"] if "trainer" in line[0] else []
    done = command(*line, *data, cwd=broken, PYTHONPATH=str(broken))
    (error,) = [one for one in done.stderr.splitlines() if one.strip()]
    assert done.returncode == 1
    assert error.startswith(f"error: {broken / 'common/networks/backbones/abacus.py'}, line 5")


def test_a_file_that_imports_what_is_not_there_is_named_with_its_line(broken, navon, command):
    file = broken / "common/networks/backbones/abacus.py"
    file.write_text('"""Beads."""\n\nimport abacus_of_beads\n')
    data = ["dataset=navon", f"dataset.root={navon}"]
    trainer = "arch_single_head/trainer.py"
    done = command(trainer, "hparams.arch=resnet9", *data, cwd=broken, PYTHONPATH=str(broken))
    (error,) = [one for one in done.stderr.splitlines() if one.strip()]
    assert done.returncode == 1
    assert error == (
        f"error: {file}, line 3, fails: ModuleNotFoundError: No module named 'abacus_of_beads'."
    )


def test_commands_that_need_no_backbone_go_on(broken, command):
    done = command("train_system.py", "--cfg", "job", cwd=broken, PYTHONPATH=str(broken))
    assert done.returncode == 0, done.stderr
