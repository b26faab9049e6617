"""A paradigm without labels is one class and one row, and the hemisphere that it trains is loaded like any other."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import common.training.callbacks as callbacks
from common.system.errors import UserError
from common.training.loss_table import LOSSES
from common.training.paradigms import PARADIGMS, Paradigm
from common.training.pretext import Pretext
from common.training.rotation import Rotation

SINGLE = arch_single_head.trainer.main


def weights(place: Path) -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints/best.ckpt", weights_only=True)["state_dict"]


def test_a_hemisphere_trained_without_labels_is_loaded_by_two_heads(tiny, in_process, tmp_path):
    run = [*tiny, f"save_dir={tmp_path}", "exp_name=run", "trainer_params.max_epochs=1"]
    results = {}
    for mode in ("coarse", "rotation"):
        assert in_process(SINGLE, *run, f"hparams.mode={mode}")[::2] == (0, "")
        place = tmp_path / f"run/{mode}/seed0"
        results[mode] = yaml.safe_load((place / "result.yaml").read_text())
    result = results["rotation"]
    # All four turns of each image are in the same update.
    training, usual = result["training"], results["coarse"]["training"]
    assert training["updates"] == usual["updates"]
    assert training["images"] == 4 * usual["images"]
    assert training["macs"] / result["macs"] == 4 * usual["macs"] / results["coarse"]["macs"]
    # Four turns, not a hundred classes.
    assert result["validation"]["rotation"]["loss"] < 3
    assert result["test"]["rotation"]["top5"] is None
    identity = yaml.safe_load((place / "fingerprint.yaml").read_text())
    assert identity["hparams"]["mode"] == "rotation"

    both = [f"hparams.model_path_fine={place / 'checkpoints/best.ckpt'}"]
    both += ["hparams.fine_speciality=rotation"]
    both += ["hparams.model_path_coarse=null", "hparams.cfreeze=false"]
    assert in_process(arch_dual_head.trainer.main, *run, *both)[::2] == (0, "")
    left = {k: v for k, v in weights(place).items() if k.startswith("network.hemispheres.fine.")}
    dual = weights(tmp_path / "run/bilateral/seed0")
    assert len(left) == 48
    assert all(dual[name].equal(value) for name, value in left.items())
    # test.py measures the same again, out of the checkpoint alone.
    status, out, _ = in_process(
        arch_single_head.test.main, f"checkpoint={place / 'checkpoints/best.ckpt'}"
    )
    assert status == 0
    assert f"{100 * result['test']['rotation']['accuracy']:.2f} %" in out
    status, _, err = in_process(
        arch_single_head.test.main,
        f"checkpoint={place / 'checkpoints/best.ckpt'}",
        f"predictions={tmp_path}/answers.csv.gz",
    )
    assert status == 1
    assert "learned without labels, so it answers to none; leave predictions out" in err
    assert err.count("\n") == 1


def test_it_continues_bit_for_bit(tiny, in_process, killed_at_step, monkeypatch, tmp_path):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    run = [*tiny, f"save_dir={tmp_path}", "hparams.mode=rotation", "dataset.crop_padding=2"]
    assert in_process(SINGLE, *run, "exp_name=whole")[::2] == (0, "")
    killed_at_step(7, SINGLE, *run, "exp_name=killed")
    assert in_process(SINGLE, *run, "exp_name=killed")[::2] == (0, "")
    one, other = (weights(tmp_path / name / "rotation/seed0") for name in ("whole", "killed"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    tables = [
        (tmp_path / n / "rotation/seed0/metrics.csv").read_text() for n in ("whole", "killed")
    ]
    assert tables[0] == tables[1]


def test_an_unknown_paradigm_is_refused_by_name(tiny, in_process):
    status, _, err = in_process(SINGLE, *tiny, "hparams.paradigm=telepathy")
    assert status == 1
    assert "hparams.paradigm is 'telepathy'; allowed: supervised" in err


def test_a_loss_of_labels_is_refused_where_there_are_none(tiny, in_process):
    for given in ("hparams.loss=decorrelated", "hparams.class_weights=balanced"):
        status, _, err = in_process(SINGLE, *tiny, "hparams.mode=rotation", given)
        assert status == 1
        assert given in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("loss", ["decorrelated", "cross_entropy"])
@pytest.mark.parametrize(
    ("main", "given", "named"),
    [
        (
            arch_dual_head.trainer.main,
            ["hparams.macro_arch=unilateral"],
            "hparams.macro_arch=unilateral",
        ),
        (arch_dual_head.trainer.main, [], "two frozen hemispheres"),
        (SINGLE, [], "here is one"),
    ],
)
def test_a_loss_of_two_hemispheres_is_refused_without_them(
    loss, main, given, named, tiny, in_process, monkeypatch
):
    # What a loss's row says of it is all that is asked.
    monkeypatch.setitem(LOSSES, loss, replace(LOSSES[loss], of_two_hemispheres=True))
    status, _, err = in_process(main, *tiny, f"hparams.loss={loss}", *given)
    assert status == 1
    assert err.startswith(f"error: hparams.loss={loss}")
    assert named in err
    assert err.count("\n") == 1


def own_views(given):
    """Make a pretext task whose views of images are what ``given`` makes of them."""
    return type("Own", (Pretext,), {"views": lambda self, images: given(images)})


# Each gives other views than a row of three classes asks for.
Few = own_views(lambda x: [x, x.flip(2)])
Many = own_views(lambda x: [x, x.flip(2), x.flip(3), x.flip(2, 3)])
Stacked = own_views(lambda x: torch.stack([x, x.flip(2), x.flip(3)]))
Cropped = own_views(lambda x: [x, x.flip(2), x[:, :, 1:]])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("Few", "2 views"),
        ("Many", "4 views"),
        ("Stacked", "a Tensor"),
        ("Cropped", "3 views, one of them of the shape (32, 3, 31, 32)"),
    ],
)
def test_views_must_be_those_that_the_row_names(
    name, given, tiny, in_process, monkeypatch, tmp_path
):
    where = f"{__name__}:{name}"
    monkeypatch.setitem(PARADIGMS, "rotation", Paradigm("", where, classes=("a", "b", "c")))
    run = [*tiny, f"save_dir={tmp_path}", "hparams.mode=rotation"]
    status, _, err = in_process(SINGLE, *run)
    assert status == 1
    assert f"`views` of {where} gives {given}; allowed: a list of 3" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["fine", "both"])
def test_a_paradigm_cannot_have_the_name_of_a_level(name, tiny, in_process, monkeypatch):
    monkeypatch.setitem(PARADIGMS, name, PARADIGMS["rotation"])
    status, _, err = in_process(SINGLE, *tiny)
    assert status == 1
    assert err.startswith(f"error: The row {name} of PARADIGMS")
    assert err.count("\n") == 1


def test_rotations_are_those_of_torch_and_only_square_images_turn():
    images = torch.rand(2, 3, 6, 6)
    views = Rotation.views(None, images)
    assert [view.equal(torch.rot90(images, k, (2, 3))) for k, view in enumerate(views)] == [
        True
    ] * 4
    with pytest.raises(UserError, match="6 x 4 pixels"):
        Rotation(None, SimpleNamespace(image_size=[4, 6]))
