"""A callosum in real runs: frozen hemispheres, signs, exact continuing, what counts as another run, and the cut."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import SCRATCH, Killed, before_step, differing, equal, kill, weights

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
from arch_dual_head.budget import equal_epochs
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from bilateral import load
from common.networks.crossings import KINDS
from common.results.predictions import read_predictions
from common.runs.fingerprint import identify
from common.settings.compose import ROOT, compose
from common.training import callbacks

DUAL = arch_dual_head.trainer.main
CALLOSUM = ["hparams.callosum.kind=add", "hparams.callosum.at=[layer1,layer3]"]
RUN = "bilateral/seed0/checkpoints"


@pytest.fixture(scope="module")
def scratch(tiny, succeed, tmp_path_factory) -> Callable[..., Path]:
    """Train a callosal network from scratch; gives its folder of checkpoints."""

    def train(*overrides: str, name: str = "run", place: Path | None = None) -> Path:
        place = place or tmp_path_factory.mktemp("callosal")
        succeed(
            DUAL, *tiny, *SCRATCH, *CALLOSUM, f"save_dir={place}", f"exp_name={name}", *overrides
        )
        return place / name / RUN

    return train


@pytest.fixture(scope="module")
def inhibited(scratch) -> Path:
    return scratch("hparams.callosum.sign=inhibitory")


@pytest.fixture(scope="module")
def frozen(tiny, checkpoints, succeed, tmp_path_factory) -> Path:
    """A callosum and heads on two frozen specialists."""
    place = tmp_path_factory.mktemp("frozen")
    paths = [f"hparams.model_path_{level}={checkpoints[level]}" for level in ("fine", "coarse")]
    succeed(DUAL, *tiny, *paths, *CALLOSUM, f"save_dir={place}", "exp_name=run")
    return place / "run" / RUN


@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_frozen_specialists_are_their_own_checkpoints_bit_for_bit(level, frozen, checkpoints):
    prefix = f"network.hemispheres.{level}."
    for file in ("best.ckpt", "last.ckpt"):
        assert equal(weights(frozen / file, prefix), weights(checkpoints[level], prefix))
    learned = weights(frozen / "last.ckpt", "network.callosum.")
    assert len(learned) == 4
    assert all(one.any() for one in learned.values())


def test_features_of_frozen_hemispheres_are_not_kept(first_step, pretrained):
    assert "features" in first_step(DUAL, *pretrained).batch
    built = first_step(DUAL, *pretrained, *CALLOSUM)
    assert "images" in built.batch
    held = {id(p) for group in built.optimizer.param_groups for p in group["params"]}
    learning = {name for name, p in built.network.named_parameters() if id(p) in held}
    assert {name.split(".")[0] for name in learning} == {"callosum", "heads"}


def test_signs_are_held_after_each_step_of_a_run(inhibited):
    for one in weights(inhibited / "last.ckpt", "network.callosum.").values():
        assert (one <= 0).all()
        assert (one < 0).any()


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    inhibited, scratch, tmp_path, monkeypatch
):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    with before_step(7, kill), pytest.raises(Killed):
        scratch("hparams.callosum.sign=inhibitory", place=tmp_path)
    place = scratch("hparams.callosum.sign=inhibitory", place=tmp_path)
    for file in ("best.ckpt", "last.ckpt"):
        assert equal(weights(place / file), weights(inhibited / file))


# ---------------------------------------------------------------- what is another run


def identity(*overrides: str) -> dict:
    data = SimpleNamespace(digest="images", test_digest=lambda: "others")
    cfg = compose(
        ROOT / "arch_dual_head", schema=DualConfig, overrides=["dataset=navon", *overrides]
    )
    sides = DualHead.sides(cfg)
    return identify(cfg, data, "32-true", {}, schema=DualConfig, sides=sides)  # type: ignore[arg-type]


KEYS = {
    "at": "layer1",
    "direction": "left_to_right",
    "sign": "excitatory",
    "width": "0.5",
    "rank": "3",
    "delay": "1",
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_counts_only_where_something_crosses(name):
    given = f"hparams.callosum.{name}={KEYS[name]}"
    assert identity(given) == identity()
    assert not any("callosum" in one for one in identity()["hparams"])
    on = "hparams.callosum.kind=gate"
    assert identity(on) != identity()
    assert identity(on, given) != identity(on)


def test_another_callosum_is_not_loaded_into_a_network(inhibited, in_process, tiny, tmp_path):
    start = [*tiny, *SCRATCH, f"hparams.model_path={inhibited / 'best.ckpt'}"]
    status, _, err = in_process(DUAL, *start, *CALLOSUM, f"save_dir={tmp_path}", "exp_name=x")
    assert status == 1
    assert "has another callosum than hparams.callosum says" in err
    status, _, err = in_process(
        DUAL, *start, *CALLOSUM, "hparams.callosum.sign=inhibitory", f"save_dir={tmp_path}"
    )
    assert status == 0, err


def test_a_network_without_two_hemispheres_has_none(in_process, tiny, tmp_path):
    status, _, err = in_process(
        DUAL, *tiny, *SCRATCH, *CALLOSUM, "hparams.macro_arch=unilateral", f"save_dir={tmp_path}"
    )
    assert status == 1
    assert "connects two hemispheres, which hparams.macro_arch=unilateral does not have" in err


@pytest.mark.parametrize("direction", ["both", "left_to_right", "right_to_left"])
def test_what_it_lets_cross_can_be_decorrelated_of_frozen_hemispheres_too(
    direction, checkpoints, tiny, in_process, tmp_path
):
    paths = [f"hparams.model_path_{level}={checkpoints[level]}" for level in ("fine", "coarse")]
    where = [f"save_dir={tmp_path}", "exp_name=x", "trainer_params.max_epochs=1"]
    given = [*tiny, *paths, *CALLOSUM, *where, f"hparams.callosum.direction={direction}"]
    changed = {}
    for loss in ("cross_entropy", "decorrelated"):
        status, _, err = in_process(DUAL, *given, f"hparams.loss={loss}", f"arm={loss}")
        assert status == 0, err
        changed[loss] = weights(tmp_path / "x" / loss / "seed0/checkpoints/best.ckpt")
    assert any("callosum" in name for name in differing(*changed.values()))


# ---------------------------------------------------------------- equal training


def test_equal_training_counts_the_operations_of_the_callosum():
    def epochs(*overrides: str) -> int:
        given = ["dataset=navon", *SCRATCH, "trainer_params.max_epochs=null", *overrides]
        cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=given)
        for part in ("left", "right", "heads"):
            cfg.bilateral_epochs[part] = 1000
        classes = {"fine": 100, "coarse": 20}
        return equal_epochs(cfg, num_classes=classes, image_size=(32, 32), augments=False)

    wide = ["hparams.callosum.kind=concatenate", "hparams.callosum.at=[1,2,3,4]"]
    assert epochs(*wide) < epochs("hparams.callosum.kind=add") < epochs()


# ---------------------------------------------------------------- the cut


def test_a_cut_is_that_of_the_network(inhibited, in_process, tmp_path, navon):
    trained = load(inhibited / "best.ckpt")
    images = sorted((navon / "test" / "fine").glob("*/*.png"))
    said = {}
    for cut in ("null", "both", "left_to_right", "right_to_left"):
        file = tmp_path / f"{cut}.csv.gz"
        status, out, err = in_process(
            arch_dual_head.test.main,
            f"checkpoint={inhibited / 'best.ckpt'}",
            f"cut={cut}",
            f"predictions={file}",
        )
        assert (status, err) == (0, "")
        assert ("callosum cut" in out) == (cut != "null")
        said[cut] = [one.probability["fine"] for one in read_predictions(file)]
        with trained.network.callosum.severed(None if cut == "null" else cut):
            expected = trained.predict(images)["fine"].amax(1).sort().values
        # The precision of the run may be bfloat16.
        assert torch.allclose(torch.tensor(said[cut]).sort().values, expected, atol=0.02)
    assert len({tuple(one) for one in said.values()}) == 4


def test_a_cut_where_nothing_crosses_is_refused(checkpoints, scratch, in_process):
    for main, arm in (
        (arch_dual_head.test.main, "bilateral"),
        (arch_single_head.test.main, "fine"),
    ):
        status, _, err = in_process(main, f"checkpoint={checkpoints[arm]}", "cut=both")
        assert (status, "holds a network without a callosum" in err) == (1, True)
    one_way = scratch("hparams.callosum.direction=left_to_right")
    status, _, err = in_process(
        arch_dual_head.test.main, f"checkpoint={one_way / 'best.ckpt'}", "cut=right_to_left"
    )
    assert (status, "maps cross left_to_right alone" in err) == (1, True)


# ---------------------------------------------------------------- asking a trained network


def test_a_trained_network_is_loaded_and_exported_with_its_callosum(inhibited, tmp_path):
    from common.trained.export import TOLERANCE, export

    trained = load(inhibited / "best.ckpt")
    state = trained.network.state_dict()
    assert not differing(
        {f"network.{k}": v for k, v in state.items()}, weights(inhibited / "best.ckpt")
    )
    assert export(trained, tmp_path / "network.pt2", kind="torch") <= TOLERANCE
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    for method in (trained.hires_cam, trained.grad_cam):
        assert method(pictures, level="fine", hemisphere="left").shape == (3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
@pytest.mark.parametrize("kind", KINDS)
def test_hemispheres_of_other_sizes_are_exported_with_every_kind(kind, form, scratch, tmp_path):
    from common.trained.export import TOLERANCE, export

    pytest.importorskip("onnxscript", reason="requirements-export.txt is not installed")
    other = ["hparams.carch=resnet18", "hparams.callosum.at=[2,-1]"]
    place = scratch(f"hparams.callosum.kind={kind}", *other)
    assert export(load(place / "best.ckpt"), tmp_path / "network", kind=form) <= TOLERANCE
