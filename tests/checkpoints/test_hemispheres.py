"""A hemisphere's checkpoint must be the right one, and is loaded completely or not at all."""

import pytest
from helpers import altered

import arch_dual_head.trainer

DUAL = arch_dual_head.trainer.main


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["hparams.farch=resnet18"], ["model_path_fine", "resnet9", "resnet18"]),
        (["hparams.carch=resnet18"], ["model_path_coarse", "resnet9", "resnet18"]),
        (["hparams.fine_width=0.25"], ["model_path_fine", "width 0.125", "width 0.25"]),
        (["hparams.coarse_width=0.25"], ["model_path_coarse", "width 0.125", "width 0.25"]),
        (["hparams.fine_k=0.5"], ["model_path_fine", "k 1.0", "k 0.5"]),
        (["hparams.coarse_low_pass=8"], ["model_path_coarse", "low_pass null", "low_pass 8.0"]),
        (["hparams.coarse_residual=false"], ["model_path_coarse", "residual true", "false"]),
        (["hparams.model_path_fine={coarse}"], ["model_path_fine", "coarse", "fine"]),
        (["hparams.model_path_coarse={fine}"], ["model_path_coarse", "fine", "coarse"]),
        (["hparams.model_path_fine={bilateral}"], ["model_path_fine", "fine and coarse"]),
        (["dataset.split_seed=5"], ["model_path_fine", "other images", "held-out split"]),
        (["dataset.root={twins}"], ["model_path_fine", "other images", "another data set"]),
    ],
)
def test_a_wrong_hemisphere_is_refused_by_what_it_is_and_what_it_should_be(
    overrides, names, small_study, twins, in_process, two_epochs, pretrained, tmp_path
):
    places = {**small_study.best, "twins": twins.root}
    filled = [item.format(**places) if "{" in item else item for item in overrides]
    status, _, err = in_process(DUAL, *two_epochs, *pretrained, f"save_dir={tmp_path}", *filled)
    assert status == 1
    assert err.count("\n") == 1, err
    assert [name for name in names if name not in err] == [], err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("change", ["a weight is missing", "a weight too many", "another shape"])
def test_a_hemisphere_is_loaded_completely_or_not_at_all(
    change, small_study, in_process, two_epochs, pretrained, tmp_path
):
    def alter(held):
        state = held["state_dict"]
        name = next(k for k in state if "running_mean" in k)
        if change == "a weight is missing":
            del state[name]
        elif change == "a weight too many":
            state[f"{name}_of_another"] = state[name]
        else:
            state[name] = state[name][:-1]

    file = altered(small_study.best["fine"], tmp_path / "altered.ckpt", alter)
    status, _, err = in_process(
        DUAL, *two_epochs, *pretrained, f"save_dir={tmp_path}", f"hparams.model_path_fine={file}"
    )
    assert status == 1
    assert err.count("\n") == 1
    assert "altered.ckpt does not fit the network" in err
    assert "running_mean" in err


@pytest.mark.parametrize(
    ("arm", "given"),
    [
        ("coarse", ["hparams.model_path_coarse={}"]),
        ("bilateral", ["--config-name=bilateral_finetuned", "hparams.model_path={}"]),
    ],
)
def test_networks_of_other_pixel_statistics_are_refused(
    arm, given, small_study, in_process, two_epochs, pretrained, tmp_path
):
    def alter(held):
        held["bilateral"]["mean"] = [0.1, 0.2, 0.3]

    file = altered(small_study.best[arm], tmp_path / "altered.ckpt", alter)
    hemispheres = pretrained if arm == "coarse" else []
    filled = [item.format(file) for item in given]
    status, _, err = in_process(DUAL, *two_epochs, *hemispheres, f"save_dir={tmp_path}", *filled)
    assert status == 1
    assert f"{given[-1].format(file).replace('=', ': ')} was trained with other pixel" in err
