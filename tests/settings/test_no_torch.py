"""Schemas and tables answer a wrong name in a second: importing any of them leaves torch alone."""

import subprocess
import sys

import pytest

from common.settings.compose import ROOT

NAMES = [
    "common.networks.parameters",
    "common.networks.joins",
    "common.results.metrics",
    "common.training.loss_table",
    "common.training.paradigms",
    "arch_dual_head.macro_architectures",
    "arch_dual_head.checks",
    *(
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in sorted(ROOT.rglob("schema.py"))
        if not file.relative_to(ROOT).parts[0].startswith((".", "build"))
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_importing_it_leaves_torch_alone(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode() or f"{name} imports torch"


def test_there_are_schemas_of_every_room_that_has_keys():
    assert {
        "arch_dual_head.schema",
        "arch_single_head.schema",
        "common.runs.schema",
        "common.trained.schema",
        "study.schema",
        "analysis.schema",
    } <= set(NAMES)
