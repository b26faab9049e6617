"""Runs of hemispheres that differ by nature: rates in metrics.csv, exact continuing, loading, other members."""

import csv

import pytest
import torch
from helpers import before_step, terminate

import arch_dual_head.trainer
import arch_single_head.trainer
import train_system

DUAL = arch_dual_head.trainer.main
DIFFERENT = [
    "hparams.ffreeze=false",
    "hparams.cfreeze=false",
    "hparams.model_path_fine=null",
    "hparams.model_path_coarse=null",
    "hparams.coarse_plasticity=0.25",
    "hparams.fine_plasticity=3",
    "hparams.fine_k=0.3",
    "hparams.fine_per_k=0.5",
    "hparams.coarse_low_pass=6",
    "hparams.fine_residual=false",
]


@pytest.mark.slow
def test_an_interrupted_run_ends_as_if_it_had_not_been(in_process, tiny, tmp_path):
    def run(name: str) -> int:
        arguments = [*tiny, *DIFFERENT, f"save_dir={tmp_path}", f"exp_name={name}"]
        status, _, err = in_process(DUAL, *arguments)
        assert status in (0, 143), err
        return status

    assert run("whole") == 0
    with before_step(6, terminate):
        assert run("stopped") == 143
    assert run("stopped") == 0
    places = [tmp_path / name / "bilateral/seed0" for name in ("whole", "stopped")]
    held = [torch.load(p / "checkpoints/last.ckpt", weights_only=True) for p in places]
    for name, weight in held[0]["state_dict"].items():
        assert weight.equal(held[1]["state_dict"][name]), name
    rates = [[g["initial_lr"] for g in h["optimizer_states"][0]["param_groups"]] for h in held]
    base = rates[0][0]
    assert rates[0] == rates[1] == [base, 3 * base, 0.25 * base]
    tables = [list(csv.DictReader((place / "metrics.csv").open())) for place in places]
    assert tables[0] == tables[1]
    # The rate that is logged is the heads', which no plasticity multiplies; after the last step it is 0.
    assert 0 < float(tables[0][0]["lr"]) <= base


def test_the_study_hands_each_hemisphere_its_parameters(in_process, tiny, tmp_path):
    study = [*tiny, f"save_dir={tmp_path}", "exp_name=study", "num_seeds=1", "analyse=false"]
    different = ["hparams.fine_k=0.3", "hparams.coarse_high_pass=2", "hparams.per_k=0.5"]
    status, _, err = in_process(train_system.main, *study, *different)
    assert status == 0, err
    before = {
        arm: torch.load(
            tmp_path / "study" / arm / "seed0/checkpoints/best.ckpt", weights_only=True
        )["bilateral"]["config"]["hparams"]
        for arm in ("fine", "coarse", "bilateral")
    }
    for arm, k, high_pass in (("fine", 0.3, None), ("coarse", None, 2.0)):
        assert before[arm]["k"] == k
        assert before[arm]["high_pass"] == high_pass
        assert before[arm]["per_k"] == 0.5
        assert before["bilateral"][f"{arm}_k"] == k
        assert before["bilateral"][f"{arm}_high_pass"] == high_pass


def test_members_of_an_ensemble_must_be_of_the_substrate_that_is_asked_for(
    in_process, tiny, tmp_path
):
    base = [*tiny, f"save_dir={tmp_path}", "hparams.ffreeze=false"]
    member = [*base, "hparams.macro_arch=unilateral", "hparams.model_path_fine=null"]
    status, _, err = in_process(DUAL, *member, "exp_name=member", "hparams.fine_low_pass=5")
    assert status == 0, err
    path = tmp_path / "member/unilateral/seed0/checkpoints/best.ckpt"
    ensemble = [*base, "hparams.macro_arch=ensemble", f"hparams.model_path_fine=[{path}]"]
    status, _, err = in_process(DUAL, *ensemble, "exp_name=other")
    assert status == 1
    assert "low_pass 5.0, but the configuration asks for low_pass null" in err
    status, _, err = in_process(DUAL, *ensemble, "exp_name=same", "hparams.fine_low_pass=5")
    assert status == 0, err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("carch=torchvision:resnet_x", "no classification model 'resnet_x'"),
        pytest.param(
            "carch=torchvision:mobilenet_v2", "give hparams.width=1", marks=pytest.mark.slow
        ),
        pytest.param(
            "hparams.coarse_residual=false carch=vgg11",
            "no residual connections",
            marks=pytest.mark.slow,
        ),
        ("hparams.coarse_low_pass=2 hparams.coarse_high_pass=3", "let no frequency pass"),
    ],
)
def test_the_study_refuses_a_right_hemisphere_before_it_trains_the_left_one(
    override, said, in_process, tiny, tmp_path
):
    base = [*tiny, f"save_dir={tmp_path}", "num_seeds=1"]
    status, out, err = in_process(train_system.main, *base, *override.split())
    assert status == 1
    assert err.count("\n") == 1
    assert said in err
    assert "started" not in out


def test_a_high_pass_that_the_images_do_not_have_is_refused_before_training(
    in_process, tiny, tmp_path
):
    arguments = [*tiny, f"save_dir={tmp_path}", "hparams.high_pass=40"]
    status, out, err = in_process(arch_single_head.trainer.main, *arguments)
    assert status == 1
    assert err.count("\n") == 1
    assert "high_pass=40 leaves nothing of images of 32 x 32 pixels" in err
    assert "started" not in out
