"""Steps that are compiled and replayed: when, and that nothing about a run changes by it.

A CUDA graph needs a GPU. Here a recorder stands in for it that does what a graph does: it notes which operations a step
launches, on which tensors, and a replay launches these again, without the Python around them.
"""

import gc
import itertools
import weakref
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from helpers import SCRATCH, Killed, equal
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import arch_single_head.trainer
import common.training.callbacks as callbacks
import common.training.fast_steps as fast_steps
from architectures import ARCHITECTURES
from common.runs.description import Stage
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.errors import UserError
from common.training.acceleration import (
    ROUNDS_ON_CPU,
    Acceleration,
    Circumstances,
    choose,
)
from common.training.finite import FiniteLoss
from common.training.graphed import (
    Comparison,
    GraphedStep,
    NotReplayedError,
    Trial,
    plain_step,
    record_on_gpu,
    record_step,
)
from common.training.metrics import LevelMetrics
from common.training.module import TrainingModule

SINGLE = arch_single_head.trainer.main
GPU = Circumstances(
    gpu=True,
    parallel=False,
    precision="bf16-mixed",
    deterministic=False,
    steps=1000,
    stages=1,
    torch=(2, 11),
)
MANY = 100_000  # steps, for which compiling pays
REPLAYED = Acceleration(None, True)
REFUSED = "operation not permitted when stream is capturing\nCUDA kernel errors ..."


class Launched(TorchDispatchMode):
    """Notes what is launched; refuses what a graph refuses, to wait for a result."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError(REFUSED)
        kwargs = kwargs or {}
        results = operation(*args, **kwargs)
        self.operations.append((operation, args, kwargs, results))
        return results

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def replay(self) -> None:
        for operation, args, kwargs, results in self.operations:
            new = operation(*args, **kwargs)
            taken = {place(one) for one in tree_leaves((args, kwargs))}
            for old, value in zip(tree_leaves(results), tree_leaves(new), strict=True):
                # A view, and what is changed in place, lie where they lay.
                if place(old) not in taken:
                    old.copy_(value)


def place(value) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else None


def repeat(work):
    """Record a function as a CUDA graph would."""
    work()
    with Launched() as launched:
        step = work()
    return launched.replay, step


def asserts(work):
    """Fail as compiled code does whose inputs have another size."""
    raise AssertionError("expected size 5==6")


def fails(work):
    """Refuse a recording after the steps before it; its end fails too, as that of a graph does."""
    work()
    try:
        raise RuntimeError(REFUSED)
    finally:
        raise RuntimeError("operation failed due to a previous error during capture")


def forgets(work):
    """Replay the batch and the random numbers of the recording, whatever comes."""
    step = work()
    return (lambda: None), step


class NoGPU:
    """As much of torch.cuda as a recording needs; its memory pools are those of one version of PyTorch or another."""

    def __init__(self, monkeypatch, *, leaves_open: bool) -> None:
        self.leaves_open = leaves_open
        self.underway: list[int] = []
        self.released: list[int] = []
        self.pools = itertools.count()
        for name in ("CUDAGraph", "Stream", "current_stream", "set_stream", "current_device"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: SimpleNamespace(**NOTHING))
        monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(self.pools))
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end, raising=False)
        monkeypatch.setattr(
            torch._C, "_cuda_releasePool", lambda _, pool: self.released.append(pool), raising=False
        )
        for name in ("zeros", "rand"):
            monkeypatch.setattr(torch, name, lambda *_, **__: torch.ones(1))

    @contextmanager
    def graph(self, graph, pool=None, **options):
        if self.underway:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")
        pool = next(self.pools) if pool is None else pool
        self.underway.append(pool)
        try:
            yield
        except Exception:
            if not self.leaves_open:
                self.end(0, pool)
            raise RuntimeError("operation failed due to a previous error during capture") from None
        self.end(0, pool)

    def end(self, device, pool) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)


NOTHING = dict.fromkeys(("wait_stream", "reset", "replay"), lambda *_: None)


@pytest.mark.parametrize("leaves_open", [True, False], ids=["2.11", "later"])
def test_a_recording_that_fails_does_not_stop_the_next_one(monkeypatch, leaves_open):
    gpu = NoGPU(monkeypatch, leaves_open=leaves_open)
    loss, launched = torch.ones(()), []

    def waits():
        launched.append(1)
        if gpu.underway:
            raise RuntimeError(REFUSED)
        return loss

    with pytest.raises(RuntimeError, match="previous error"):
        record_on_gpu(waits)
    assert launched
    assert gpu.released == ([0] if leaves_open else [])
    _, found = record_on_gpu(lambda: loss)
    assert found is loss


@pytest.fixture
def replayed(monkeypatch):
    """Make steps be replayed on this machine, by another recorder."""

    def by(record):
        monkeypatch.setattr(fast_steps, "choose", lambda *asked: (REPLAYED, None))
        monkeypatch.setattr(fast_steps, "record_on_gpu", record)

    return by


def weights(place: Path, file: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(place / "checkpoints" / file, weights_only=True)["state_dict"]


# ------------------------------------------------------------ what is chosen


def test_a_gpu_replays_steps_and_compiles_where_many_are_to_come():
    assert choose("auto", "auto", GPU) == (Acceleration(None, True), None)
    many = GPU._replace(steps=MANY)
    assert choose("auto", "auto", many) == (Acceleration("default", True), None)
    assert choose("auto", False, many) == (Acceleration("default", False), None)
    assert choose(None, "auto", many) == (Acceleration(None, True), None)
    assert choose("default", "auto", GPU) == (Acceleration("default", True), None)


def test_compiling_pays_for_itself_and_for_what_each_stage_takes_anew():
    """It takes 25 s once and 2.6 s in each stage, and saves 1 ms a step."""
    for stages, enough in ((1, 27_600), (5, 38_000), (20, 77_000)):
        some = GPU._replace(stages=stages, steps=enough - 100)
        assert choose("auto", "auto", some) == (Acceleration(None, True), None)
        some = some._replace(steps=enough + 100)
        assert choose("auto", "auto", some) == (Acceleration("default", True), None)


def test_a_cpu_does_neither_and_says_so_only_where_it_was_asked():
    cpu = GPU._replace(gpu=False, steps=MANY, torch=ROUNDS_ON_CPU)
    assert choose("auto", "auto", cpu) == (Acceleration(), None)
    assert choose("auto", True, cpu) == (Acceleration(), "there is no CUDA GPU")
    assert choose("default", "auto", cpu) == (Acceleration("default"), None)


@pytest.mark.parametrize(
    ("asked", "other", "why"),
    [
        ("auto", {"parallel": True}, "several devices"),
        ("auto", {"precision": "16-mixed"}, "scales gradients"),
        ("reduce-overhead", {}, "records graphs itself"),
    ],
)
def test_what_hinders_a_replay_is_said(asked, other, why):
    chosen, said = choose(asked, True, GPU._replace(**other))
    assert not chosen.cuda_graph
    assert why in str(said)


def test_nothing_is_compiled_where_results_must_be_deterministic():
    strict = GPU._replace(deterministic=True, steps=MANY)
    assert choose("auto", "auto", strict) == (Acceleration(None, True), None)
    with pytest.raises(UserError, match="deterministic=true"):
        choose("default", "auto", strict)


def test_a_cpu_compiles_bfloat16_only_where_pytorch_rounds_it():
    cpu = GPU._replace(gpu=False)
    for asked in ("auto", None):
        assert choose(asked, "auto", cpu) == (Acceleration(), None)
    with pytest.raises(UserError) as caught:
        choose("default", "auto", cpu)
    assert "hparams.compile=default" in str(caught.value)
    assert "PyTorch 2.11; allowed: auto, null, trainer_params.precision=32-true" in str(
        caught.value
    )
    for other in ({"torch": (2, 13)}, {"precision": "32-true"}, {"gpu": True}):
        assert choose("default", False, cpu._replace(**other)) == (Acceleration("default"), None)


# --------------------------------------------------------------- a whole run


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_replayed_run_has_the_weights_of_a_plain_one(
    precision, replayed, tiny, in_process, tmp_path
):
    more = [
        "hparams.dropout=0.3",
        "dataset.crop_padding=2",
        f"trainer_params.precision={precision}",
    ]
    run = [*tiny, *more, "trainer_params.gradient_clip_val=0.5", f"save_dir={tmp_path}"]
    status, out, err = in_process(SINGLE, *run, "exp_name=plain")
    assert status == 0, err
    replayed(repeat)
    status, out, err = in_process(SINGLE, *run, "exp_name=replayed")
    assert status == 0, err
    assert "not replayed" not in out
    places = [tmp_path / name / "fine/seed0" for name in ("plain", "replayed")]
    assert equal(*map(weights, places))
    results = [yaml.safe_load((place / "result.yaml").read_text()) for place in places]
    assert [one["acceleration"]["cuda_graph"] for one in results] == [False, True]
    assert results[0]["test"] == results[1]["test"]
    tables = [(place / "metrics.csv").read_text() for place in places]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (fails, "stream is capturing"),
        (asserts, "expected size 5==6"),
        (forgets, "is not the plain one"),
    ],
)
def test_where_recording_fails_or_replays_something_else_steps_are_plain(
    record, why, replayed, tiny, in_process, tmp_path
):
    run = [*tiny, "dataset.crop_padding=2", f"save_dir={tmp_path}"]
    assert in_process(SINGLE, *run, "exp_name=plain")[0] == 0
    replayed(record)
    status, out, err = in_process(SINGLE, *run, "exp_name=tried")
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if "not replayed as a CUDA graph" in line]
    assert line.startswith("fine/seed0: ")
    assert why in line
    places = [tmp_path / name / "fine/seed0" for name in ("plain", "tried")]
    assert equal(*map(weights, places))
    tables = [(place / "metrics.csv").read_text() for place in places]
    assert tables[0] == tables[1]
    result = yaml.safe_load((places[1] / "result.yaml").read_text())
    assert result["acceleration"] == {"compile": None, "cuda_graph": False}


def test_a_stage_that_fails_frees_its_recording_at_once(replayed, tiny, in_process, tmp_path):
    """No garbage collector may do so while the next stage records."""
    kept = []

    def remembered(work):
        replay, step = repeat(work)
        kept.append(weakref.ref(replay.__self__))
        return replay, step

    replayed(remembered)
    gc.disable()
    try:
        status, _, err = in_process(
            SINGLE, *tiny, "hparams.optimizer=sgd", "hparams.lr=1000", f"save_dir={tmp_path}"
        )
        assert (status, "hparams.lr may help" in err) == (1, True), err
        assert [one() for one in kept] == [None]
    finally:
        gc.enable()


def test_compiling_that_nobody_asked_for_is_given_up_before_replaying(
    replayed, tiny, in_process, monkeypatch, tmp_path
):
    compiled, recorded = [], []

    def compiling(forward, **options):
        compiled.append(options["mode"])
        return lambda images: forward(images)

    def at_the_second_time(work):
        recorded.append(work)
        return fails(work) if len(recorded) == 1 else repeat(work)

    replayed(at_the_second_time)
    monkeypatch.setattr(
        fast_steps, "choose", lambda *asked: (Acceleration("default", cuda_graph=True), None)
    )
    monkeypatch.setattr(torch, "compile", compiling)
    run = [*tiny, "hparams.compile=auto", f"save_dir={tmp_path}", "exp_name=run"]
    status, out, err = in_process(SINGLE, *run)
    assert status == 0, err
    assert "not replayed" not in out
    assert "fine/seed0: its steps are not compiled: recording the step failed" in out
    assert (compiled, len(recorded)) == (["default"], 2)
    result = yaml.safe_load((tmp_path / "run/fine/seed0/result.yaml").read_text())
    assert result["acceleration"] == {"compile": None, "cuda_graph": True}


def test_a_replayed_run_continues_bit_for_bit_or_stops_with_a_sentence(
    replayed, tiny, in_process, killed_at_step, monkeypatch, tmp_path
):
    # In the middle of an epoch, whose training metrics go on too.
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    run = [SINGLE, *tiny, "dataset.crop_padding=2", f"save_dir={tmp_path}", "exp_name=killed"]
    with monkeypatch.context() as patch:
        patch.setattr(fast_steps, "choose", lambda *asked: (REPLAYED, None))
        patch.setattr(fast_steps, "record_on_gpu", repeat)
        killed_at_step(6, *run)
    place = tmp_path / "killed/fine/seed0"
    assert (place / "checkpoints/last.ckpt").is_file()
    monkeypatch.setattr(fast_steps, "record_on_gpu", fails)
    status, _, err = in_process(*run)
    assert status == 1
    assert "fine/seed0: its steps were replayed as a CUDA graph so far" in err
    assert "stream is capturing" in err

    replayed(repeat)
    status, _, err = in_process(*run)
    assert status == 0, err
    status, _, err = in_process(*run[:-1], "exp_name=whole")
    assert status == 0, err
    whole = tmp_path / "whole/fine/seed0"
    assert equal(weights(place), weights(whole))
    assert (place / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_plain_run_continues_plainly_where_a_graph_could_be_used(
    replayed, tiny, in_process, killed_at_step, monkeypatch, tmp_path
):
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    run = [SINGLE, *tiny, f"save_dir={tmp_path}", "exp_name=killed"]
    killed_at_step(6, *run)
    replayed(fails)
    status, out, err = in_process(*run)
    assert status == 0, err
    assert "not replayed" not in out
    result = yaml.safe_load((tmp_path / "killed/fine/seed0/result.yaml").read_text())
    assert result["acceleration"] == {"compile": None, "cuda_graph": False}


def test_seeds_of_a_command_share_what_is_compiled(tiny, in_process, monkeypatch, tmp_path):
    """The steps of all of them are what compiling has to pay for; an interrupted one has fewer left."""
    seen = []

    def choosing(*asked):
        seen.append(asked[-1].steps)
        return Acceleration(), None

    monkeypatch.setattr(fast_steps, "choose", choosing)
    for name, seeds in (("one", "[0]"), ("three", "[0,1,2]")):
        run = [*tiny, f"save_dir={tmp_path}", f"exp_name={name}", f"seeds={seeds}"]
        assert in_process(SINGLE, *run, "evaluate=false")[0] == 0
    one, *three = seen
    assert three == [3 * one] * 3


def test_what_was_used_is_recorded_also_of_a_stage_that_was_only_to_be_tested(
    replayed, tiny, in_process, monkeypatch, tmp_path
):
    replayed(repeat)
    run = [SINGLE, *tiny, f"save_dir={tmp_path}", "exp_name=run"]

    def ending(module, batch, batch_idx):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "test_step", ending)
        with pytest.raises(Killed):
            in_process(*run)
    assert in_process(*run)[0] == 0
    result = yaml.safe_load((tmp_path / "run/fine/seed0/result.yaml").read_text())
    assert result["acceleration"] == {"compile": None, "cuda_graph": True}


def test_a_strategy_for_several_devices_replays_nothing(tiny, in_process, monkeypatch, tmp_path):
    """Its metrics are gathered from all processes, which leaves their sums in other tensors."""
    seen = []

    def choosing(*asked):
        seen.append(asked[-1])
        return Acceleration(), None

    monkeypatch.setattr(fast_steps, "choose", choosing)
    for strategy in ("auto", "ddp"):
        run = [*tiny, f"save_dir={tmp_path}", f"exp_name={strategy}"]
        status, _, err = in_process(SINGLE, *run, f"trainer_params.strategy={strategy}")
        assert status == 0, err
    assert [now.parallel for now in seen] == [False, True]


def test_an_asked_graph_without_a_gpu_is_one_line(tiny, in_process, tmp_path):
    run = [*tiny, f"save_dir={tmp_path}", "exp_name=run", "hparams.cuda_graph=true"]
    status, out, err = in_process(SINGLE, *run)
    assert status == 0, err
    assert (
        "fine/seed0: its steps are not replayed as a CUDA graph: there is no CUDA GPU"
        in out.splitlines()
    )


def test_each_loss_is_kept_until_it_is_looked_at(replayed, tiny, in_process, monkeypatch, tmp_path):
    """The next replay writes its loss where the last one was."""
    looked_at: list[list[float]] = []
    check = FiniteLoss.check

    def noting(self, module):
        looked_at.append([float(loss) for loss in self.losses])
        check(self, module)

    monkeypatch.setattr(FiniteLoss, "check", noting)
    run = [*tiny, "hparams.mode=fine", f"save_dir={tmp_path}"]
    assert in_process(SINGLE, *run, "exp_name=plain")[0] == 0
    plain, looked_at = looked_at, []
    replayed(repeat)
    assert in_process(SINGLE, *run, "exp_name=replayed")[0] == 0
    assert looked_at == plain
    assert len(set(plain[0])) == 4


# ------------------------------------------------------------- one step alone


class Noisy(nn.Module):
    """One weight, a statistic, and a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("seen", torch.zeros(1))

    def compute(self, batch) -> torch.Tensor:
        self.seen += 1
        return (self.weight * batch["x"] * torch.rand(1)).sum()


def a_trial(network: Noisy) -> Trial:
    return Trial(
        network,
        {"x": torch.tensor([3.0])},
        seed=lambda: torch.manual_seed(1),
        autocast=lambda: torch.autocast("cpu", enabled=False),
    )


def recorded(network: Noisy, x: torch.Tensor, record) -> GraphedStep:
    compute = network.compute
    return record_step(compute, compute, a_trial(network), {"x": x}, record, compiled=False)


def test_a_recorded_step_reads_each_batch_and_leaves_its_gradients_alone():
    network = Noisy()
    graphed = recorded(network, torch.tensor([1.0]), repeat)
    assert (network.seen, network.weight) == (0, 2)
    for x in (3.0, 5.0):
        torch.manual_seed(7)
        loss = graphed({"x": torch.tensor([x])})
        torch.manual_seed(7)
        drawn = torch.rand(1)
        assert loss.item() == pytest.approx(2 * x * drawn.item())
        assert network.weight.grad.item() == pytest.approx(x * drawn.item())
        network.zero_grad()  # as Lightning does before a validation


def test_a_recorded_step_reads_the_weights_as_they_are_then():
    layer = nn.Linear(2, 1, bias=False)

    def compute(batch) -> torch.Tensor:
        return layer(batch["x"]).float().sum()

    batch = {"x": torch.ones(1, 2)}
    # Autocast remembers weights that it has converted.
    with torch.autocast("cpu", torch.bfloat16):
        graphed = GraphedStep(compute, [layer.weight], batch, repeat)
        with torch.no_grad():
            layer.weight.fill_(3.0)
        assert graphed(batch) == 6


@pytest.mark.parametrize("record", [fails, forgets])
def test_a_recording_that_is_no_replay_is_refused_and_changes_nothing(record):
    network = Noisy()
    with pytest.raises(NotReplayedError):
        recorded(network, torch.tensor([3.0]), record)
    assert (network.seen, network.weight) == (0, 2)


def test_steps_agree_within_the_tolerance_or_as_near_to_float32_as_the_plain_one():
    near = Comparison(loss=1e-3, gradients=1e-2, plain_rounding=0.14, rounding=0.14, tolerance=2e-2)
    assert near.agrees
    assert near._replace(gradients=0.09).agrees  # rounded otherwise
    assert not near._replace(gradients=0.3, rounding=0.3).agrees
    assert not near._replace(loss=0.03).agrees
    assert not near._replace(loss=float("nan")).agrees
    assert not near._replace(gradients=float("nan"), rounding=float("nan")).agrees


def test_metrics_keep_their_sums_where_an_update_fails():
    metrics = LevelMetrics({"fine": 3})
    logits, labels = {"fine": torch.eye(3)}, {"fine": torch.arange(3)}
    metrics.update(logits, labels)
    held = metrics.sums()
    before = [one.clone() for one in held]

    def fail():
        with metrics.in_place():
            metrics.update(logits, labels)
            raise RuntimeError(REFUSED)

    with pytest.raises(RuntimeError):
        fail()
    assert all(one is other for one, other in zip(metrics.sums(), held, strict=True))
    with metrics.in_place():
        metrics.update(logits, labels)
    assert all(one is other for one, other in zip(metrics.sums(), held, strict=True))
    assert metrics.compute()["fine_accuracy"] == 1
    assert any(not one.equal(other) for one, other in zip(held, before, strict=True))


def test_a_step_in_float32_is_taken_only_where_gradients_are_apart():
    network, taken = Noisy(), []
    trial = a_trial(network)

    def compute(batch) -> torch.Tensor:
        taken.append(batch)
        return network.compute(batch)

    def scaled(by: float):
        return lambda batch: plain_step(network.compute, trial.learning, {"x": by * batch["x"]})

    assert trial.compare(compute, lambda: scaled(1.0), compiled=False).agrees
    assert len(taken) == 1
    found = trial.compare(compute, lambda: scaled(1.1), compiled=False)
    assert len(taken) == 3
    assert not found.agrees
    assert (found.plain_rounding, found.rounding) == (0, pytest.approx(0.1))


def test_a_plain_step_leaves_gradients_of_its_batch_alone():
    network = Noisy()
    for _ in range(2):
        torch.manual_seed(0)
        plain_step(network.compute, [network.weight], {"x": torch.tensor([3.0])})
    torch.manual_seed(0)
    assert network.weight.grad.item() == pytest.approx(3 * torch.rand(1).item())


# ---------------------------------------------------------- what may be recorded


class Devices(TorchDispatchMode):
    """Notes operations that read or make tensors of the CPU: a recording refuses copies from there."""

    def __init__(self) -> None:
        super().__init__()
        self.of_cpu: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        tensors = [
            one for one in tree_leaves((args, kwargs, results)) if isinstance(one, torch.Tensor)
        ]
        if any(one.device.type == "cpu" for one in tensors):
            self.of_cpu.append(str(operation))
        return results


@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("arch_single_head", ["dataset.crop_padding=2", "dataset.flip=true"]),
        ("arch_single_head", ["dataset.crop_scale=0.5", "hparams.loss=soft_hierarchy"]),
        ("arch_single_head", ["hparams.arch=sparse_resnet9", "hparams.low_pass=4"]),
        ("arch_single_head", ["hparams.arch=vgg11_bn"]),
        ("arch_single_head", ["hparams.mode=rotation"]),
        ("arch_dual_head", ["hparams.callosum.kind=gate", "hparams.callosum.delay=1"]),
        ("arch_dual_head", ["hparams.join=attention", "hparams.auxiliary=1"]),
        ("arch_dual_head", ["hparams.join=gate", "hparams.loss=soft_hierarchy"]),
        ("arch_dual_head", ["hparams.loss=decorrelated"]),
    ],
)
def test_a_step_takes_nothing_from_the_cpu_and_waits_for_nothing(folder, options, tiny):
    """Tensors of the meta device have no values: whatever waits for one fails."""
    architecture = ARCHITECTURES[folder]
    own = SCRATCH if folder == "arch_dual_head" else []
    cfg = compose(ROOT / folder, schema=architecture.schema, overrides=[*tiny, *own, *options])
    data = architecture.data(cfg, seed=0)
    data.load()
    record = record_of(Stage("any", 0, folder, cfg), data, "")
    module = architecture.module(cfg=cfg, record=record).to("meta").train()
    batch = {name: one.to("meta") for name, one in data.train_set.batch(torch.arange(4)).items()}
    module.compute_loss(batch)  # as a trial does, which makes what is kept
    with Devices() as noted:
        module.compute_loss(batch)
    assert noted.of_cpu == []


def test_a_copy_from_the_cpu_would_be_found():
    with Devices() as noted:
        torch.tensor([1.0]).to("meta")
    assert noted.of_cpu
