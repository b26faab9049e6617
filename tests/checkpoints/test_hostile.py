"""Loading a checkpoint runs nothing; what a run writes can be named on a command line."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import altered, content

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import train_system

SINGLE = arch_single_head.trainer.main
DUAL = arch_dual_head.trainer.main


class Hostile:
    """Makes a folder when it is unpickled in the ordinary way."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.fixture
def hostile(small_study, tmp_path) -> SimpleNamespace:
    """Checkpoints of one hemisphere and of both that do harm when loaded carelessly."""
    mark = tmp_path / "harm"
    files = {}
    for arm, file in small_study.best.items():
        files[arm] = altered(
            file, tmp_path / f"{arm}.ckpt", lambda held: held.update(extra=Hostile(mark))
        )
    torch.load(files["fine"], weights_only=False)
    mark.rmdir()
    return SimpleNamespace(files=files, mark=mark)


@pytest.mark.parametrize(
    "where", ["test.py of one head", "test.py of two", "model_path", "ensemble", "trained_models"]
)
def test_a_hostile_checkpoint_is_refused_and_does_not_run(
    where, hostile, small_study, in_process, two_epochs, pretrained, tmp_path
):
    here = f"save_dir={tmp_path}"
    fine, both = hostile.files["fine"], hostile.files["bilateral"]
    models = tmp_path / "models.yaml"
    models.write_text(f"fine: [{fine}]\ncoarse: [{small_study.best['coarse']}]\n")
    commands = {
        "test.py of one head": (arch_single_head.test.main, f"checkpoint={fine}"),
        "test.py of two": (arch_dual_head.test.main, f"checkpoint={both}"),
        "model_path": (DUAL, *two_epochs, *pretrained, here, f"hparams.model_path_fine={fine}"),
        "ensemble": (
            DUAL,
            *two_epochs,
            here,
            "hparams.macro_arch=ensemble",
            f"hparams.model_path_fine=[{both}]",
        ),
        "trained_models": (
            train_system.main,
            *two_epochs,
            here,
            "num_seeds=1",
            f"trained_models={models}",
        ),
    }
    status, _, err = in_process(*commands[where])
    assert not hostile.mark.exists()
    assert status == 1
    assert err.count("\n") == 1
    assert "more than plain containers and tensors" in err


def test_a_hostile_checkpoint_to_continue_from_is_set_aside_and_does_not_run(
    small_study, in_process, two_epochs, tmp_path
):
    shutil.copytree(small_study.place, tmp_path / "study")
    place = tmp_path / "study/fine/seed0"
    (place / "result.yaml").unlink()
    last = place / "checkpoints/last.ckpt"
    mark = tmp_path / "harm"
    altered(last, last, lambda held: held.update(extra=Hostile(mark)))
    status, out, err = in_process(
        train_system.main,
        *two_epochs,
        "analyse=false",
        f"save_dir={tmp_path}",
        "exp_name=study",
        "num_seeds=1",
    )
    assert not mark.exists()
    assert (status, err) == (0, "")
    assert f"{last} is damaged; it is set aside as last.ckpt.damaged" in out


def kinds(value) -> set[type]:
    """The types of everything within nested containers."""
    found = {type(value)}
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    else:
        parts = value if isinstance(value, list | tuple) else []
    return found.union(*map(kinds, parts))


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt"])
@pytest.mark.parametrize("arm", ["fine", "coarse", "bilateral"])
def test_checkpoints_hold_plain_containers_and_tensors(small_study, arm, file):
    held = content(small_study.place / arm / "seed0/checkpoints" / file)
    plain = {"dict", "OrderedDict", "defaultdict", "list", "tuple", "Tensor"}
    plain |= {"int", "float", "str", "bool", "NoneType"}
    assert {kind.__name__ for kind in kinds(held)} <= plain


@pytest.mark.slow
def test_no_file_that_a_run_writes_has_an_equals_sign(
    in_process, two_epochs, small_study, tmp_path
):
    status, _, err = in_process(
        SINGLE,
        *two_epochs,
        "logger=default",
        f"save_dir={tmp_path}",
        "ckpt_callback.save_top_k=2",
        "trainer_params.limit_train_batches=1",
        "hparams.lr=0.001,0.002",
        "--multirun",
    )
    assert status == 0, err
    found = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")]
    assert (
        sum(name.endswith(".ckpt") for name in found) == 2 * 4
    )  # best, last and the two that are kept
    assert any("events.out.tfevents" in name for name in found)
    assert len([place for place in tmp_path.iterdir() if (place / "fine").is_dir()]) == 2
    found += [str(p.relative_to(small_study.place)) for p in small_study.place.rglob("*")]
    assert [name for name in found if "=" in name] == []
