"""What runs on a GPU, where there is one: replayed steps learn as plain ones, repeat, and are analysed.

All other tests run on the CPU. `benchmarks/gpu.py` asks more, of full-size networks.
"""

from pathlib import Path

import pytest
import torch
import yaml
from helpers import rows

DEVICES = """
import sys
from bilateral import load
from PIL import Image
pictures = [Image.new("RGB", (32, 32), (shade, 90, 40)) for shade in range(0, 250, 10)]
one, other = (load(sys.argv[1], device=device).logits(pictures) for device in ("cuda", "cpu"))
for level in one:
    assert one[level].cpu().sub(other[level]).norm() <= 0.02 * other[level].norm(), level
"""


@pytest.fixture(scope="module")
def studies(gpu, command, navon, tmp_path_factory) -> dict[str, Path]:
    """A small study on the GPU: analysed, once more, and with plain steps; and an analysed one on the CPU."""
    save_dir = tmp_path_factory.mktemp("gpu")
    options = [
        *("dataset=navon", f"dataset.root={navon}", "dataset.width=0.125", "hparams.batch_size=32"),
        *("trainer_params.max_epochs=3", "trainer_params.precision=32-true", "logger=csv"),
        *("trainer_params.deterministic=true", "num_seeds=1", "arms=[bilateral]"),
    ]
    ways = {
        "first": ["trainer_params.accelerator=gpu"],
        "again": ["trainer_params.accelerator=gpu", "analyse=false"],
        "plain": ["trainer_params.accelerator=gpu", "analyse=false", "hparams.cuda_graph=false"],
        "cpu": ["trainer_params.accelerator=cpu"],
    }
    for name, way in ways.items():
        own = [f"save_dir={save_dir}", f"exp_name={name}", *way]
        done = command("train_system.py", *options, *own, CUDA_VISIBLE_DEVICES=gpu, timeout=600)
        assert done.returncode == 0, done.stderr
        assert "not replayed" not in done.stdout
    return {name: save_dir / name for name in ways}


def losses(study: Path, arm: str) -> list[float]:
    return [float(row["train_loss"]) for row in rows(study / arm / "seed0/metrics.csv")]


@pytest.mark.parametrize("arm", ["fine", "coarse", "bilateral"])
def test_replayed_steps_learn_as_plain_ones(arm, studies):
    for name in ("first", "plain"):
        result = yaml.safe_load((studies[name] / arm / "seed0/result.yaml").read_text())
        assert result["acceleration"]["cuda_graph"] == (name == "first")
    ours, theirs = losses(studies["first"], arm), losses(studies["plain"], arm)
    assert len(ours) == 3
    assert ours == pytest.approx(theirs, rel=0.05)


def test_the_gpu_is_named(studies):
    devices = {
        name: yaml.safe_load((studies[name] / "fine/seed0/environment.yaml").read_text())["device"]
        for name in ("first", "cpu")
    }
    assert devices["first"] != devices["cpu"]


def test_the_same_seed_gives_the_same_results(studies):
    one, other = (rows(studies[name] / "results.csv") for name in ("first", "again"))
    assert len(one) == 4
    assert one == other


def test_frozen_hemispheres_stay_what_they_are(studies):
    for arm in ("fine", "coarse"):
        alone, joined = (
            torch.load(
                studies["first"] / name / "seed0/checkpoints/best.ckpt",
                weights_only=True,
                map_location="cpu",
            )["state_dict"]
            for name in (arm, "bilateral")
        )
        mine = [name for name in alone if name.startswith(f"network.hemispheres.{arm}.")]
        assert mine
        assert all(joined[name].equal(alone[name]) for name in mine)


def test_an_analysis_on_a_gpu_measures_what_one_on_the_cpu_does(studies):
    ours, theirs = (
        {row["of"] for row in rows(studies[name] / "analysis/values.csv")}
        for name in ("first", "cpu")
    )
    assert ours == theirs
    assert (studies["first"] / "report.html").is_file()


def test_a_network_gives_the_same_logits_on_both_devices(studies, gpu, command):
    checkpoint = studies["first"] / "bilateral/seed0/checkpoints/best.ckpt"
    done = command("-c", DEVICES, str(checkpoint), CUDA_VISIBLE_DEVICES=gpu)
    assert done.returncode == 0, done.stderr
