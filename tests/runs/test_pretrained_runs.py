"""Runs that start from pretrained weights: frozen and fine-tuned, continued, moved, tested, asked and exported."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from helpers import content, differing, equal, result_of, weights
from PIL import Image
from torch import nn

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.trainer
import export
import train_system
from bilateral import load

SINGLE, DUAL = arch_single_head.trainer.main, arch_dual_head.trainer.main
LEFT, RIGHT = "shufflenet_v2_x0_5", "mobilenet_v3_small"
ARCHS = [f"hparams.farch=torchvision:{LEFT}", f"hparams.carch=torchvision:{RIGHT}"]
WIDTHS = ["hparams.fine_width=1", "hparams.coarse_width=1"]
NOTHING = ["hparams.model_path_fine=null", "hparams.model_path_coarse=null"]


def model(name: str) -> nn.Module:
    """A model of torchvision with random weights, statistics of BatchNorm included."""
    torch.manual_seed(0)
    found = torchvision.models.get_model(name, weights=None)
    for layer in found.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return found.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A file of weights for each side; tests must not change them."""
    folder = tmp_path_factory.mktemp("weights")
    found = {"fine": folder / "left.safetensors", "coarse": folder / "right.pth"}
    safetensors.torch.save_file(model(LEFT).state_dict(), found["fine"])
    torch.save(model(RIGHT).state_dict(), found["coarse"])
    return found


def given(files: dict[str, Path]) -> list[str]:
    return [f"hparams.{level}_pretrained={file}" for level, file in files.items()]


def as_backbone(name: str) -> dict[str, torch.Tensor]:
    """The model's weights as a hemisphere names them, without the classifier's."""
    state = model(name).state_dict()
    return {f"model.{k}": w for k, w in state.items() if not k.startswith(("fc.", "classifier.3."))}


def held(file: Path, level: str) -> dict[str, torch.Tensor]:
    """The weights of a hemisphere in a checkpoint."""
    prefix = f"network.hemispheres.{level}.backbone."
    return {name.removeprefix(prefix): w for name, w in weights(file, prefix).items()}


@pytest.fixture(scope="module")
def pair(tiny, files, succeed, tmp_path_factory) -> SimpleNamespace:
    """Two heads on two frozen pretrained hemispheres of different kinds, and the command."""
    save_dir = tmp_path_factory.mktemp("pair")
    command = [*tiny, *ARCHS, *WIDTHS, *NOTHING, f"save_dir={save_dir}", "exp_name=pair"]
    succeed(DUAL, *command, *given(files))
    place = save_dir / "pair/bilateral/seed0"
    return SimpleNamespace(command=command, place=place, best=place / "checkpoints/best.ckpt")


@pytest.mark.parametrize("file", ["best.ckpt", "last.ckpt"])
def test_frozen_pretrained_hemispheres_are_their_files_bit_for_bit(pair, file):
    for level, name in (("fine", LEFT), ("coarse", RIGHT)):
        found = held(pair.best.with_name(file), level)
        assert any("running_var" in name for name in found)
        assert equal(found, as_backbone(name))


def test_only_the_heads_learned(pair, files, first_step):
    built = first_step(DUAL, *ARCHS, *WIDTHS, *NOTHING, *given(files))
    before = {f"network.{k}": w for k, w in built.network.state_dict().items()}
    after = weights(pair.best.with_name("last.ckpt"))
    assert {name.split(".")[1] for name in differing(before, after)} == {"heads"}


def test_a_moved_file_is_the_same_run_and_another_content_is_not(pair, files, in_process, tmp_path):
    moved = {level: shutil.copy(file, tmp_path / f"m{file.name}") for level, file in files.items()}
    status, out, err = in_process(DUAL, *pair.command, *given(moved))
    assert (status, err) == (0, "")
    assert "bilateral/seed0: done before" in out
    state = model(RIGHT).state_dict()
    state["features.0.0.weight"] += 1
    torch.save(state, moved["coarse"])
    status, _, err = in_process(DUAL, *pair.command, *given(moved))
    assert status == 1
    assert err.count("\n") == 1
    assert "hparams.coarse_pretrained was" in err
    assert "fine_pretrained was" not in err


@pytest.fixture
def away(files, tmp_path):
    """The files lie elsewhere as long as a test runs."""
    for file in files.values():
        shutil.move(file, tmp_path)
    yield
    for file in files.values():
        shutil.move(tmp_path / file.name, file)


def test_a_trained_network_is_tested_and_asked_without_the_files(pair, away, in_process, navon):
    status, out, err = in_process(arch_dual_head.test.main, f"checkpoint={pair.best}")
    assert (status, err) == (0, "")
    accuracy = result_of(pair.place)["test"]["fine"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in out
    trained = load(pair.best)
    pictures = sorted((navon / "test/fine").glob("*/*.png"))[:3]
    theirs = model(LEFT)
    theirs.fc = nn.Identity()
    pixels = np.stack([read_image(file) for file in pictures])
    record = content(pair.best)["bilateral"]
    mean, std = (np.array(record[name], np.float32) for name in ("mean", "std"))
    images = torch.from_numpy((pixels / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = theirs(images)
    torch.testing.assert_close(
        torch.as_tensor(trained.features(pictures)["left"]), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.slow
def test_a_trained_network_is_exported_without_the_files(pair, away, in_process, tmp_path):
    """Which compares its answers with those of the network."""
    file = tmp_path / "network.pt2"
    status, _, err = in_process(
        export.main, f"checkpoint={pair.best}", "format=torch", f"output={file}"
    )
    assert (status, err) == (0, "")
    assert file.is_file()


def read_image(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"), np.float32)


# Fine-tuning


def test_fine_tuning_starts_from_the_weights_and_is_continued_bit_for_bit(
    tiny, files, succeed, killed_at_step, monkeypatch, tmp_path
):
    options = ["hparams.macro_arch=unilateral", "hparams.ffreeze=false"]
    options += ["hparams.fine_plasticity=0.1", "trainer_params.precision=32-true"]
    command = [*tiny, *ARCHS, *WIDTHS, *NOTHING, *given(files), *options, f"save_dir={tmp_path}"]
    succeed(DUAL, *command, "exp_name=whole")
    monkeypatch.setattr("common.training.callbacks.EPOCHS_EVERY_S", 0.0)
    killed_at_step(7, DUAL, *command, "exp_name=cut")  # in the second epoch
    assert "continued" in succeed(DUAL, *command, "exp_name=cut")
    whole, continued = (
        tmp_path / name / "unilateral/seed0/checkpoints/last.ckpt" for name in ("whole", "cut")
    )
    assert equal(weights(whole), weights(continued))
    assert set(differing(held(whole, "fine"), as_backbone(LEFT))) == set(as_backbone(LEFT))


def test_a_hemisphere_learns_at_its_plasticity_from_its_weights(files, first_step):
    options = ["hparams.ffreeze=false", "hparams.fine_plasticity=0.1"]
    built = first_step(DUAL, *ARCHS, *WIDTHS, *NOTHING, *given(files), *options)
    heads, left = built.optimizer.param_groups
    assert left["lr"] == pytest.approx(0.1 * heads["lr"])
    names = {id(p): name for name, p in built.network.named_parameters()}
    assert {names[id(p)].split(".")[1] for p in left["params"]} == {"fine"}
    loaded = as_backbone(LEFT)
    for name, p in built.network.sides["left"].backbone.named_parameters():
        assert p.equal(loaded[name]), name


# One hemisphere, and what is built on it


def test_one_hemisphere_starts_from_its_weights(files, first_step):
    arch = [f"hparams.arch=torchvision:{LEFT}", "hparams.width=1"]
    built = first_step(SINGLE, *arch, f"hparams.pretrained={files['fine']}")
    loaded = as_backbone(LEFT)
    for name, p in built.network.sides["left"].backbone.named_parameters():
        assert p.equal(loaded[name]), name


def test_one_pretrained_hemisphere_is_trained_and_then_frozen_under_two_heads(
    tiny, files, succeed, in_process, tmp_path
):
    single = [*tiny, f"save_dir={tmp_path}", f"hparams.arch=torchvision:{LEFT}", "hparams.width=1"]
    succeed(SINGLE, *single, f"hparams.pretrained={files['fine']}", "exp_name=one")
    best = tmp_path / "one/fine/seed0/checkpoints/best.ckpt"
    dual = [*tiny, *ARCHS, *WIDTHS, f"save_dir={tmp_path}", "exp_name=two"]
    dual += [f"hparams.model_path_fine={best}", "hparams.model_path_coarse=null"]
    dual += ["hparams.macro_arch=unilateral"]
    # Whose stem is another one than that of the same backbone from random weights.
    status, _, err = in_process(DUAL, *dual)
    assert status == 1
    assert f"of pretrained {files['fine']}, but the configuration asks for pretrained null" in err
    succeed(DUAL, *dual, f"hparams.fine_pretrained={files['fine']}")
    frozen = tmp_path / "two/unilateral/seed0/checkpoints/last.ckpt"
    assert equal(held(frozen, "fine"), held(best, "fine"))


def test_a_study_refuses_weights_that_do_not_fit_before_anything_is_trained(
    tiny, files, in_process, tmp_path
):
    """Those of the coarse arm, which comes second."""
    study = [*tiny, f"save_dir={tmp_path}", "num_seeds=1", "arms=[fine,coarse]"]
    study += [f"farch=torchvision:{LEFT}", f"carch=torchvision:{RIGHT}", "hparams.width=1"]
    status, out, err = in_process(train_system.main, *study, f"hparams.pretrained={files['fine']}")
    assert status == 1
    assert err.count("\n") == 1
    assert f"does not fit torchvision:{RIGHT}" in err
    assert "started" not in out
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_each_side_of_a_study_takes_its_own_weights(tiny, files, succeed, tmp_path):
    succeed(
        train_system.main,
        *tiny,
        *("num_seeds=1", "analyse=false", "arms=[bilateral]", "exp_name=study"),
        *(f"farch=torchvision:{LEFT}", f"carch=torchvision:{RIGHT}", "hparams.width=1"),
        f"save_dir={tmp_path}",
        "trainer_params.max_epochs=1",
        *given(files),
    )
    for level, name in (("fine", LEFT), ("coarse", RIGHT)):
        trained = tmp_path / "study" / level / "seed0/checkpoints/best.ckpt"
        built_on = tmp_path / "study/bilateral/seed0/checkpoints/best.ckpt"
        assert equal(held(trained, level), held(built_on, level))
        assert set(held(trained, level)) == set(as_backbone(name))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["hparams.ffreeze=true"], "hparams.fine_pretrained"),
        (
            ["hparams.macro_arch=unilateral_wide", "hparams.fine_pretrained=DEFAULT"],
            "no pretrained weights",
        ),
        (["hparams.fine_pretrained=DEFAULT"], "the backbone is resnet9"),
        (["hparams.fine_pretrained=default"], "is not there"),
    ],
)
def test_what_cannot_be_is_refused(options, said, tiny, in_process, tmp_path):
    scratch = ["hparams.ffreeze=false", "hparams.cfreeze=false"]
    status, _, err = in_process(DUAL, *tiny, *NOTHING, f"save_dir={tmp_path}", *scratch, *options)
    assert status == 1
    assert err.count("\n") == 1, err
    assert said in err
