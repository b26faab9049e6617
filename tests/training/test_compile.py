"""hparams.compile: the network is compiled while it trains, and nothing else about a run changes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import equal
from torch._dynamo.testing import CompileCounter

import arch_single_head.trainer
import common.training.callbacks as callbacks
from common.networks.backbones import build_backbone
from common.networks.hemisphere import Hemisphere
from common.networks.joins import JOINS
from common.networks.macro import BilateralNet
from common.training.acceleration import ROUNDS_ON_CPU
from common.training.fast_steps import compile_forward

SINGLE = arch_single_head.trainer.main
# Whether this PyTorch compiles bfloat16 for a CPU.
ROUNDS = torch.__version__ >= ROUNDS_ON_CPU


def weights(place: Path, file: str = "last.ckpt") -> dict[str, torch.Tensor]:
    content = torch.load(place / "fine/seed0/checkpoints" / file, weights_only=True)
    return content["state_dict"]


@pytest.mark.parametrize("join", JOINS)
def test_a_network_is_compiled_in_one_piece_and_once(join):
    network = BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=0.125), freeze=True),
        right=Hemisphere(build_backbone("sparse_resnet9", width=0.125)),
        num_classes={"fine": 6, "coarse": 3},
        dropout=0.5,
        join=JOINS[join].load(),
        auxiliary=True,
    )
    torch._dynamo.reset()
    graphs = CompileCounter()
    outputs = torch.compile(network.outputs, backend=graphs, fullgraph=True, dynamic=False)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            logits = outputs(torch.randn(4, 3, 32, 32)).logits
        sum(one.sum() for one in logits.values()).backward()
    assert graphs.frame_count == 1


@pytest.fixture
def tiny(tiny) -> list[str]:
    """In what this PyTorch can compile for a CPU."""
    return tiny if ROUNDS else [*tiny, "trainer_params.precision=32-true"]


@pytest.mark.skipif(
    not ROUNDS,
    reason="this PyTorch compiles bfloat16 wrongly for a CPU, and is not asked to",
)
def test_a_maximum_of_rounded_maps_has_the_gradient_of_the_plain_one():
    """As at the end of ResNet-9: whoever fuses these, and rounds the maximum alone, finds it nowhere in the maps."""

    def outputs(maps):
        return (maps[0] + maps[1].relu()).amax(dim=(2, 3))

    module = SimpleNamespace(network=SimpleNamespace(outputs=outputs))
    compile_forward(module, "default")
    maps = torch.randn(2, 8, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    gradients = []
    for forward in (outputs, module.forward_pass):
        some = [
            one.bfloat16().to(memory_format=torch.channels_last).requires_grad_() for one in maps
        ]
        forward(some).sum().backward()
        gradients.append([one.grad for one in some])
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.fixture
def uses(monkeypatch) -> list[tuple]:
    """Stands in for torch.compile, which takes minutes: notes its arguments and what is run through it."""
    noted: list[tuple] = []

    def compiling(function, **options):
        noted.append(("compile", options))

        def run(images):
            noted.append(("run", function.__self__.training))
            return function(images)

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    return noted


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_training_and_validation_are_compiled_and_the_test_is_not(
    mode, uses, tiny, in_process, tmp_path
):
    status, _, err = in_process(
        SINGLE, *tiny, f"save_dir={tmp_path}", "exp_name=run", f"hparams.compile={mode}"
    )
    assert status == 0, err
    assert uses[0] == ("compile", {"mode": mode, "dynamic": False})
    # Of each of two epochs, four batches of training and one of validation.
    assert uses[1:] == 2 * [*[("run", True)] * 4, ("run", False)]


def test_a_short_batch_of_validation_is_compiled_for_no_shape_of_its_own(
    tiny, in_process, monkeypatch, tmp_path
):
    sizes = set()

    def compiling(function, **options):
        def run(images):
            sizes.add((function.__self__.training, len(images)))
            return function(images)

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    # Two batches of different size in validation.
    monkeypatch.setattr("common.data.datamodule.EVAL_BATCH", 64)
    more = ["trainer_params.limit_val_batches=2", "trainer_params.precision=32-true"]
    run = [*tiny, *more, f"save_dir={tmp_path}"]
    for name, mode in (("plain", "null"), ("compiled", "default")):
        status, _, err = in_process(SINGLE, *run, f"exp_name={name}", f"hparams.compile={mode}")
        assert status == 0, err
    assert {size for training, size in sizes if not training} == {64}
    results = [
        yaml.safe_load((tmp_path / name / "fine/seed0/result.yaml").read_text())
        for name in ("plain", "compiled")
    ]
    assert results[0]["validation"] == results[1]["validation"]


def test_weights_have_the_same_names_and_the_default_compiles_nothing(
    uses, tiny, in_process, tmp_path
):
    for name, mode in (("plain", "null"), ("compiled", "default")):
        status, _, err = in_process(
            SINGLE, *tiny, f"save_dir={tmp_path}", f"exp_name={name}", f"hparams.compile={mode}"
        )
        assert status == 0, err
        assert bool(uses) == (name == "compiled")
    assert equal(weights(tmp_path / "plain"), weights(tmp_path / "compiled"))


@pytest.mark.slow
def test_later_stages_are_compiled_as_the_first_one_is(tiny, in_process, monkeypatch, tmp_path):
    compiled = torch.compile

    def quickly(function, *, mode, dynamic):
        return compiled(function, backend="eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", quickly)
    run = [*tiny, f"save_dir={tmp_path}", "trainer_params.limit_train_batches=1", "seeds=[0,1,2]"]
    # Otherwise torch goes on without compiling, and says so in its log.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=3):
        status, _, err = in_process(SINGLE, *run, "exp_name=run", "hparams.compile=default")
    assert status == 0, err


def test_a_compiled_run_is_another_configuration(uses, tiny, in_process, tmp_path):
    run = [*tiny, f"save_dir={tmp_path}", "exp_name=run", "trainer_params.limit_train_batches=1"]
    assert in_process(SINGLE, *run)[0] == 0
    status, _, err = in_process(SINGLE, *run, "hparams.compile=default")
    assert status == 1
    assert "hparams.compile was 'auto' and is now 'default'" in err


@pytest.mark.slow
def test_a_missing_compiler_is_one_sentence(command, tiny, tmp_path):
    done = command(
        "arch_single_head/trainer.py",
        *tiny,
        f"save_dir={tmp_path}",
        "hparams.compile=default",
        CXX="no-such-compiler",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
        TORCHINDUCTOR_FORCE_DISABLE_CACHES="1",
    )
    assert done.returncode == 1
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "no-such-compiler" in sentence
    assert "give hparams.compile=null" in sentence
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_compiled_run_is_reproducible_and_continues_bit_for_bit(
    tiny, in_process, killed_at_step, monkeypatch, tmp_path
):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    more = ["hparams.dropout=0.3", "dataset.crop_padding=2", "hparams.compile=default"]
    # Two batches of different size in validation.
    monkeypatch.setattr("common.data.datamodule.EVAL_BATCH", 64)
    run = [*tiny, *more, "trainer_params.limit_val_batches=2", f"save_dir={tmp_path}"]
    for name in ("one", "other"):
        torch._dynamo.reset()
        status, _, err = in_process(SINGLE, *run, f"exp_name={name}")
        assert status == 0, err
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "other"))

    torch._dynamo.reset()
    killed_at_step(7, SINGLE, *run, "exp_name=killed")
    torch._dynamo.reset()
    status, _, err = in_process(SINGLE, *run, "exp_name=killed")
    assert status == 0, err
    assert equal(weights(tmp_path / "killed"), weights(tmp_path / "one"))
    assert equal(weights(tmp_path / "killed", "best.ckpt"), weights(tmp_path / "one", "best.ckpt"))
