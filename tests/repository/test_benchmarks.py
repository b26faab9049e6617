"""The benchmarks on a small set: every phase has a row, a missing set or GPU is one sentence."""

import io
import json
import math
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from common.system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

OURS_FIRST = [("ours", "auto"), ("ours", "default"), ("ordinary", "auto")]
PROGRAM = "benchmarks/throughput.py"
GPU = {"device": "cuda", "name": "a GPU", "cores": 16, "threads": 16}
GPU |= {"precision": "bf16-mixed", "versions": {}, "matrix_rate": 1e12}


@pytest.mark.slow
def test_a_row_for_each_phase(command, navon, tmp_path):
    file = tmp_path / "rows.json"
    done = command(
        PROGRAM,
        *("--data-dir", str(navon), "--backbones", "resnet9", "--width", "0.125"),
        *("--batch-size", "32", "--rounds", "1", "--steps", "1"),
        *("--accelerator", "cpu", "--json", str(file)),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    assert [(row["phase"], row["backbone"], row["device"]) for row in rows] == [
        ("single", "resnet9", "cpu"),
        ("dual", "resnet9", "cpu"),
        ("eval", "resnet9", "cpu"),
    ]
    for row in rows:
        assert row["ours"] > 0
        assert row["ordinary"] > 0
        assert row["ratio"] == pytest.approx(row["ours"] / row["ordinary"], rel=0.01)
        for side in ("ours", "ordinary"):
            low, high = row[f"{side}_range"]
            assert low <= row[side] <= high
            assert row[f"{side}_peak_mib"] > 0
        # A bare loop runs beside single-head training; a matrix rate is a GPU's.
        assert (row["loop_cost"] is None) == (row["phase"] != "single")
        assert row["matrix_share"] is None
    assert math.isfinite(rows[0]["loop_cost"])
    for text in ("images/s", "one head", "two heads, frozen", "evaluation", "a bare loop's"):
        assert text in done.stdout


def test_on_a_gpu_compiled_steps_are_measured_beside(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import throughput

    rates = {"auto": 80.0, "default": 100.0}
    asked = []

    def fresh(function, *arguments, **limits):
        if function == "hardware":
            return GPU
        side, case = arguments
        asked.append((case.phase, side, case.compile))
        if side == "ordinary":
            return {"rate": 10.0, "memory": 1.0}
        used = {"compile": None if case.compile == "auto" else case.compile, "cuda_graph": True}
        return {"rate": rates[case.compile], "memory": 1.0, "operations": 1e9, **used}

    monkeypatch.setattr(throughput, "fresh", fresh)
    args = SimpleNamespace(data_dir=tmp_path, backbones=["resnet9"], width=1.0, batch_size=256)
    args.rounds, args.minutes, args.steps, args.accelerator = 2, 1, None, "gpu"
    console = Console(file=io.StringIO(), width=200)
    single, dual, evaluation = throughput.throughput(args, console)
    for row in (single, dual):
        assert (row["ratio"], row["compiled_ratio"]) == (8.0, 10.0)
        assert row["compiled_steps"] == {"compile": "default", "cuda_graph": True}
    assert (evaluation["ratio"], evaluation["compiled_ratio"]) == (8.0, None)
    # Each round begins with the other side.
    assert asked[:3] == [("single", side, mode) for side, mode in OURS_FIRST]
    assert asked[-3:] == [("single", side, mode) for side, mode in reversed(OURS_FIRST)]
    assert "100 (100–100)" in console.file.getvalue()


@pytest.mark.parametrize("lost", [("default", "dual"), ("auto", "dual"), ("ordinary", "single")])
def test_a_side_that_fails_costs_no_other(lost, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import throughput

    asked, kept = [], []
    name = {"default": "compiled", "auto": "ours", "ordinary": "ordinary"}[lost[0]]

    def fresh(function, side, case, **limits):
        asked.append((case.phase, side, case.compile))
        if (case.compile if side == "ours" else side, case.phase) == lost:
            raise RuntimeError("no compiler\nat all")
        used = {"compile": None, "cuda_graph": True}
        return {"rate": 10.0, "memory": 1.0, "operations": 1e9, **used}

    def keep(rows):
        kept.append(json.loads(json.dumps(rows)))

    monkeypatch.setattr(throughput, "fresh", fresh)
    args = SimpleNamespace(data_dir=tmp_path, backbones=["resnet9"], width=1.0, batch_size=256)
    args.rounds, args.minutes, args.steps, args.accelerator = 2, 1, None, "gpu"
    console = Console(file=io.StringIO(), width=200)
    rows = throughput.throughput(args, console, keep, where=GPU)
    assert [row["phase"] for row in rows] == ["single", "dual", "eval"]
    for row in rows:
        failed = row["phase"] == lost[1]
        assert row.get("failed") == ({name: "RuntimeError: no compiler"} if failed else None)
        assert (name in row) == (not failed and (name, row["phase"]) != ("compiled", "eval"))
        assert row["ratio"] == (None if failed and name != "compiled" else 1.0)
    # What failed is not tried again; each row is handed on as soon as there is anything in it.
    assert len(asked) == 2 * 8 - 1
    assert len(kept) == len(asked)
    assert kept[-1] == rows
    assert [[row["phase"] for row in one] for one in kept[:4]] == [["single"]] * 3 + [
        ["single", "dual"]
    ]
    words = {"single": "one head", "dual": "two heads, frozen"}[lost[1]]
    assert f"{words}, {name} failed: RuntimeError: no compiler\n" in console.file.getvalue()


def test_when_the_time_is_up_nothing_is_begun_and_nothing_has_failed(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import throughput

    asked, now = [], [0.0]

    def fresh(function, side, case, *, limit):
        asked.append((case.phase, side, limit))
        now[0] += 60
        if now[0] > 100:
            raise UserError("killed")
        return {"rate": 10.0, "memory": 1.0, "operations": 1e9, "compile": None, "cuda_graph": True}

    monkeypatch.setattr(throughput, "fresh", fresh)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: now[0])
    args = SimpleNamespace(data_dir=tmp_path, backbones=["resnet9"], width=1.0, batch_size=256)
    args.rounds, args.minutes, args.steps, args.accelerator = 1, 9, None, "gpu"
    console = Console(file=io.StringIO(), width=200)
    (row,) = throughput.throughput(args, console, where=GPU, end=100.0)
    assert asked == [("single", "ours", 100.0), ("single", "ours", 40.0)]
    assert (row["ours"], row["ratio"], row.get("failed")) == (10.0, None, None)


@pytest.fixture
def fresh(monkeypatch):
    """`fresh` without what measurements import, which takes seconds."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import fresh

    monkeypatch.setattr(fresh, "HEAVY", [])
    return fresh.fresh


def test_a_process_that_hangs_is_killed_and_said_to_have_been(fresh):
    started = time.monotonic()
    with pytest.raises(UserError, match="killed, for it took longer than 1 s"):
        fresh("time.sleep", 60, limit=1.0)
    assert time.monotonic() - started < 30
    assert fresh("operator.add", 1, 2) == 3
    with pytest.raises(UserError, match="broke off"):
        fresh("os.abort")
    with pytest.raises(ZeroDivisionError):
        fresh("operator.truediv", 1, 0)


def test_what_is_kept_is_whole_at_any_time(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from keep import keep_in

    file = tmp_path / "rows.json"
    keep = keep_in(file)
    keep([{"rate": 1.0}])
    with file.open() as before:
        keep([{"rate": 1.0}, {"rate": 2.0, "where": tmp_path}])
        assert json.load(before) == [{"rate": 1.0}]  # of another file than the new one
    assert json.loads(file.read_text()) == [{"rate": 1.0}, {"rate": 2.0, "where": str(tmp_path)}]
    assert [one.name for one in tmp_path.iterdir()] == ["rows.json"]
    keep_in(None)([])


def test_evaluation_is_measured_in_the_batches_of_a_study(monkeypatch, navon, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from case import Case
    from measure import our_parts

    from common.data import datamodule

    case = Case("eval", "resnet9", navon, 0.05, 16, warmup=1, steps=1, accelerator="gpu")
    _, data, module = our_parts(tmp_path, case)
    monkeypatch.setattr(datamodule, "uses_gpu", lambda accelerator: True)
    own = datamodule.evaluation_batch(data.image_size, gpu=True)
    assert data.evaluation_batch(data.val_set) == own > datamodule.EVAL_BATCH
    limits = module.limits
    assert datamodule.evaluation_batch(data.image_size, gpu=True, limits=limits) == own


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("phase", "times"), [("single", 1), ("dual", 0), ("eval", 0)])
def test_steps_are_made_fast_again_only_for_a_bare_loop(phase, times, monkeypatch, navon):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure
    from case import Case

    made = []
    monkeypatch.setattr(measure, "_make_fast", lambda *arguments, graph: made.append(graph))
    monkeypatch.setattr(measure, "prepare", lambda: None)  # which would quieten this process too
    case = Case(phase, "resnet9", navon, 0.05, 16, warmup=1, steps=1, accelerator="cpu")
    values = measure.measure("ours", case)
    assert len(made) == times
    assert ("bare_rate" in values) == (phase == "single")
    assert values["rate"] > 0


def test_a_missing_set_is_one_sentence(command, tmp_path):
    done = command(PROGRAM, "--data-dir", str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no prepared data set at")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


@pytest.mark.slow
def test_the_pipeline_counts_all_of_a_study(command, navon, tmp_path):
    file = tmp_path / "seconds.json"
    done = command(
        "benchmarks/pipeline.py",
        *("--dataset", "navon", "--data-dir", str(navon), "--seeds", "2", "--json", str(file)),
        *("dataset.width=0.125", "trainer_params.max_epochs=1", "logger=csv"),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    seconds = {(row["phase"], row["part"]): row["seconds"] for row in result["rows"]}
    assert len(seconds) == len(result["rows"])
    assert {phase for phase, _ in seconds} == {
        "start-up",
        "fine",
        "coarse",
        "bilateral",
        "the rest",
    }
    for arm in ("fine", "coarse", "bilateral"):
        for part in ("images", "training", "evaluation"):
            assert seconds[arm, part] > 0
    assert seconds["start-up", "imports"] > 1
    assert {phase for phase, part in seconds if part == "features"} == {"bilateral"}
    # Nothing is counted twice, nothing is lost.
    assert sum(seconds.values()) == pytest.approx(result["seconds"], abs=0.2)
    assert (result["dataset"], result["seeds"]) == ("navon", 2)
    assert "bilateral/seed1: started" in done.stdout
    assert "start-up" in done.stdout


@pytest.mark.slow
def test_what_python_takes_around_replays_needs_no_gpu(command, navon, tmp_path):
    file = tmp_path / "rows.json"
    program = "benchmarks/around_replays.py", "--data-dir", str(navon)
    done = command(*program, "--rounds", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    assert [row["phase"] for row in rows] == ["single", "dual"]
    for row in rows:
        assert 0 < row["milliseconds"] < 1000
        assert row["rounds"] == [row["milliseconds"]]
    assert "two heads, frozen" in done.stdout


@pytest.mark.slow
def test_without_a_gpu_its_benchmark_says_so(command, navon):
    done = command("benchmarks/gpu.py", "--data-dir", str(navon), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert done.stderr == (
        "error: There is no GPU that torch can use: benchmarks/throughput.py measures on a CPU.\n"
    )


TRIAL = """
import json, sys
sys.path.insert(0, "benchmarks")
import gpu
from rich.console import Console

if __name__ == "__main__":
    args = gpu.arguments()
    args.accelerator = "cpu"
    args.width, args.batch_size, args.steps, args.images = 0.125, 32, 2, 500
    args.epoch_batches, args.others = (32, 64), ["resnet18"]
    args.variants = {"single": ("plain", "pinned"), "dual": ("plain", "pinned")}
    args.study = ["--dataset", "navon", "--seeds", "1"]
    args.study += ["dataset.width=0.125", "trainer_params.max_epochs=1", "logger=csv"]
    args.checks = ["dataset=navon", "dataset.width=0.125", "trainer_params.max_epochs=2"]
    args.ways = (("default", False),)
    gpu.measure_all(args, Console(width=120))
"""


@pytest.mark.slow
def test_the_parts_of_the_gpu_benchmark_work_on_a_cpu(command, navon, tmp_path):
    file, trial = tmp_path / "found.json", tmp_path / "trial.py"
    trial.write_text(TRIAL)
    done = command(
        str(trial),
        *("--data-dir", str(navon), "--json", str(file)),
        *("--minutes", "60"),  # no part is to be left out, however slow this machine is
        PYTHONPATH=".",
        OMP_NUM_THREADS="1",
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["left_out"] == []
    assert found["failed"] == {}
    assert [row["phase"] for row in found["throughput"]] == ["single", "dual", "eval"]
    assert [row["backbone"] for row in found["others resnet18"]] == ["resnet18"] * 3
    assert [(row["batch_size"], row["compile"], row["cuda_graph"]) for row in found["epochs"]] == [
        (32, None, False),
        (32, "default", False),
        (64, None, False),
        (64, "default", False),
    ]
    assert [(row["phase"], row["variant"]) for row in found["variants"]] == [
        ("single", "plain"),
        ("single", "pinned"),
        ("dual", "plain"),
        ("dual", "pinned"),
    ]
    for row in found["variants"]:
        assert row["rate"] > 0
        assert row["first"] > 0
    assert [(one["name"], one["holds"]) for one in found["checks"]] == [
        ("the same seed twice", True),
        ("a frozen hemisphere stays", True),
        ("stopped and continued", True),
        ("a study learns as with plain steps", True),
        ("compiled (default) as plain", True),
    ], found["checks"]
    assert found["study"]["seeds"] == 1
    assert "Left out" not in done.stdout


def test_what_there_is_no_time_for_is_left_out_and_said(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    ran = []
    monkeypatch.setattr(gpu, "fresh", lambda *arguments: {})
    for name in ("beside_the_ordinary_way", "epochs", "variants"):
        monkeypatch.setattr(gpu, name, lambda *arguments, name=name: ran.append(name) or [])
    monkeypatch.setattr(gpu, "study", lambda *arguments: None)
    console = Console(file=io.StringIO(), width=200)
    others = ["vgg11", "resnet18"]
    args = SimpleNamespace(minutes=1.5, accelerator="cpu", others=others, json=None)
    args.parts, args.batch_size = [*gpu.NEEDS], 32
    monkeypatch.setattr(gpu, "case_of", lambda *arguments: None)
    longer = ("checks", "study", "others")  # than the 90 seconds that there are
    monkeypatch.setattr(gpu, "NEEDS", {name: 60 + 40 * (name in longer) for name in gpu.NEEDS})
    found = gpu.measure_all(args, console)
    assert ran == ["beside_the_ordinary_way", "epochs", "variants"]
    assert found["left_out"] == ["checks", "study", "others vgg11", "others resnet18"]
    assert "others vgg11, others resnet18" in console.file.getvalue()


@pytest.mark.parametrize(("left", "seeds"), [(30, 1), (120, 1), (200, 2), (540, 5)])
def test_a_study_is_of_as_many_seeds_as_there_is_time_for(left, seeds, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    asked = []

    def run(command, **_):
        asked.append(command[command.index("--seeds") + 1])
        raise subprocess.TimeoutExpired(command, left)

    monkeypatch.setattr(gpu.subprocess, "run", run)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: 1000.0)
    args = SimpleNamespace(data_dir=Path("none"), study=[])
    assert gpu.study(args, Console(file=io.StringIO()), 1000.0 + left) is None
    assert asked == [str(seeds)]


def test_all_parts_but_variants_and_others_fit_into_the_usual_time(monkeypatch):
    """Each takes what it is said to need."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py"])
    args = gpu.arguments()
    most = ("throughput", "epochs", "checks", "study")
    assert sum(gpu.NEEDS[part] for part in most) <= 60 * args.minutes


def test_a_part_that_fails_costs_no_other(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    def fail(*arguments):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(gpu, "fresh", lambda *arguments: {})
    monkeypatch.setattr(gpu, "beside_the_ordinary_way", lambda *arguments: [{"ratio": 3}])
    monkeypatch.setattr(gpu, "epochs", fail)
    monkeypatch.setattr(gpu, "study", lambda *arguments: {"seconds": 1})
    monkeypatch.setattr(gpu, "variants", fail)
    file = tmp_path / "gpu.json"
    args = SimpleNamespace(minutes=9, accelerator="cpu", others=[], json=file)
    args.parts, args.batch_size = [part for part in gpu.NEEDS if part != "checks"], 32
    monkeypatch.setattr(gpu, "case_of", lambda *arguments: None)
    gpu.measure_all(args, Console(file=io.StringIO()))
    found = json.loads(file.read_text())
    assert (found["throughput"], found["study"]) == ([{"ratio": 3}], {"seconds": 1})
    reason = "RuntimeError: no compiler"
    assert found["failed"] == {"epochs": reason, "variants": reason}


def test_a_variant_or_a_check_that_fails_costs_no_other(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import checks
    import gpu

    def measured(function, case, name, *more):
        if name == "default":
            raise RuntimeError("no compiler\nat all")
        steps = {"precision": "32-true", "loss": 0.0, "gradients": 0.0, "tolerance": 1e-4}
        return {"rate": 10.0, "first": 1.0, **steps, "agrees": True}

    monkeypatch.setattr(gpu, "fresh", measured)
    monkeypatch.setattr(gpu, "case_of", lambda *arguments: None)
    args = SimpleNamespace(variants={"single": ("plain", "default", "pinned")}, batch_size=32)
    console = Console(file=io.StringIO(), width=200)
    found = gpu.variants(args, console, math.inf)
    assert [row.get("failed") for row in found] == [None, "RuntimeError: no compiler", None]
    assert [row.get("rate") for row in found] == [10.0, None, 10.0]

    def study_fails(*arguments):
        raise ValueError("no study")

    monkeypatch.setattr(checks, "fresh", measured)
    monkeypatch.setattr(checks, "_run", study_fails)
    args.ways = ((None, True), ("default", True), ("reduce-overhead", False))
    found = checks.check_all(args, console, None, math.inf)
    assert [one["holds"] for one in found] == [False, True, False, True]
    assert "no study" in found[0]["found"]
    assert found[2]["found"] == "RuntimeError: no compiler"
    assert checks.check_all(args, console, None, -math.inf) == []


def test_gradients_of_compiled_steps_that_are_wrong_are_found(monkeypatch, navon):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import agreement
    from case import Case

    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.clone()

        @staticmethod
        def backward(ctx, gradient):
            return -3 * gradient

    def compiling(module, mode):
        def outputs(images):
            found = module.network.outputs(images)
            logits = {level: Reversed.apply(one) for level, one in found.logits.items()}
            return found._replace(logits=logits)

        module.forward_pass = outputs

    monkeypatch.setattr(agreement, "compile_forward", compiling)
    case = Case("single", "resnet9", navon, 0.05, 16, warmup=1, steps=1, accelerator="cpu")
    found = agreement.steps(case, "default", False)
    assert (found["loss"], found["gradients"]) == (0, pytest.approx(4, rel=1e-3))
    assert not found["agrees"]


def test_operations_and_the_matrix_rate_are_those_of_known_products(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure

    layer = torch.nn.Linear(10, 20, bias=False)
    batch = {"images": torch.zeros(5, 10)}
    assert (
        measure.operations(lambda batch, number: layer(batch["images"]), batch) == 2 * 5 * 10 * 20
    )
    assert measure.matrix_rate("cpu", 64) > 1e6


@pytest.mark.slow
def test_photographs_are_read_on_both_sides(command, tmp_path):
    file = tmp_path / "rates.json"
    few = ("--count", "40", "--size", "64x48", "--rounds", "1", "--steps", "0")
    done = command("benchmarks/photographs.py", *few, "--json", str(file), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    rates = json.loads(file.read_text())
    assert all(rates[f"{side}_images_per_s"] > 0 for side in ("ours", "ordinary"))
