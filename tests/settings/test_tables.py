"""A row of a table that names what is not there is refused in one sentence."""

from dataclasses import replace

import pytest

import arch_dual_head.trainer
import arch_single_head.trainer
from arch_dual_head.macro_architectures import MACRO_ARCHITECTURES
from common.networks.crossings import KINDS
from common.networks.joins import JOINS
from common.results.metrics import METRICS
from common.training.loss_table import LOSSES
from common.training.paradigms import PARADIGMS

SINGLE, DUAL = arch_single_head.trainer.main, arch_dual_head.trainer.main
SCRATCH = ["hparams.macro_arch=unilateral", "hparams.ffreeze=false", "hparams.model_path_fine=null"]
BOTH = ["hparams.ffreeze=false", "hparams.cfreeze=false", "hparams.callosum.kind=add"]
BOTH += ["hparams.model_path_fine=null", "hparams.model_path_coarse=null"]


def misspelt(row, where: str):
    """Give a row that stands for something else."""
    if hasattr(row, "_replace"):
        return row._replace(where=where)
    (name,) = {"where", "compute", "build"} & vars(row).keys()
    return replace(row, **{name: where})


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("common.training.losess:it", "No module named 'common.training.losess'"),
        ("common.training.losses:it", "common.training.losses has no 'it'"),
    ],
)
@pytest.mark.parametrize(
    ("rows", "name", "line"),
    [
        (LOSSES, "cross_entropy", [SINGLE]),
        (PARADIGMS, "supervised", [SINGLE]),
        (PARADIGMS, "rotation", [SINGLE, "hparams.mode=rotation"]),
        (METRICS, "accuracy", [SINGLE]),
        (JOINS, "concatenate", [DUAL, *SCRATCH]),
        (MACRO_ARCHITECTURES, "unilateral", [DUAL, *SCRATCH]),
        (KINDS, "add", [DUAL, *BOTH]),
    ],
)
def test_a_row_that_names_what_is_not_there_is_refused(
    rows, name, line, where, why, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setitem(rows, name, misspelt(rows[name], where))
    main, *options = line
    status, _, err = in_process(main, *tiny, f"save_dir={tmp_path}", *options)
    assert status == 1
    assert (
        err
        == f"error: A table of names has a row with '{where}', which cannot be imported: {why}.\n"
    )
