"""The benchmarks on a small set: every phase has a row, a missing set or GPU is one sentence."""

import io
import json
import math
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from common.networks.backbone_names import backbone_names
from common.system.errors import StageFailed, UserError

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS_PAGE = (ROOT / "benchmarks/README.md").read_text()

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
        bare = {"bare_rate": 1.2 * rates[case.compile]} if case.phase == "single" else {}
        return {"rate": rates[case.compile], "memory": 1.0, "operations": 1e9, **used, **bare}

    monkeypatch.setattr(throughput, "fresh", fresh)
    args = SimpleNamespace(data_dir=tmp_path, backbones=["resnet9"], width=1.0, batch_size=256)
    args.rounds, args.minutes, args.steps, args.accelerator = 2, 1, None, "gpu"
    console = Console(file=io.StringIO(), width=200)
    single, dual, evaluation = throughput.throughput(args, console)
    for row in (single, dual):
        assert (row["ratio"], row["compiled_ratio"]) == (8.0, 10.0)
        assert row["compiled_steps"] == {"compile": "default", "cuda_graph": True}
    assert (evaluation["ratio"], evaluation["compiled_ratio"]) == (8.0, None)
    assert (single["loop_cost"], single["compiled_loop_cost"]) == (0.2, 0.2)
    assert (dual["loop_cost"], dual["compiled_loop_cost"]) == (None, None)
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
    assert list(result["found"]) == result["stages"]
    assert all(
        one["acceleration"] == {"compile": None, "cuda_graph": False}
        and all(0 <= share <= 1 for share in one["accuracy"].values())
        for one in result["found"].values()
    )
    assert set(result["found"]["bilateral/seed1"]["accuracy"]) == {"fine", "coarse"}
    assert {phase for phase, part in seconds if part == "features"} == {"bilateral"}
    # Nothing is counted twice, nothing is lost.
    assert sum(seconds.values()) == pytest.approx(result["seconds"], abs=0.2)
    assert (result["dataset"], result["seeds"], result["finished"]) == ("navon", 2, True)
    assert len(result["stages"]) == 6
    assert seconds["start-up", "imports"] < result["first_step"] < result["seconds"]
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
from fresh import fresh
from rich.console import Console

if __name__ == "__main__":
    args = gpu.arguments()
    args.accelerator = "cpu"
    args.width, args.batch_size, args.steps, args.images = 0.125, 32, 2, 500
    args.epoch_batches, args.evaluation_batches, args.at_once = (32, 64), (48,), (1, 2)
    args.together = ["dataset=navon", "trainer_params.max_epochs=8"]
    args.variants = {"single": ("plain", "pinned"), "dual": ("plain", "pinned")}
    args.study = ["--dataset", "navon", "--seeds", "1"]
    args.study += ["dataset.width=0.125", "trainer_params.max_epochs=1", "logger=csv"]
    # Epochs enough that a stage of few images is still training when it is told to stop.
    args.checks = ["dataset=navon", "dataset.width=0.125", "trainer_params.max_epochs=6"]
    args.ways = (("default", False),)
    gpu.measure_all(args, Console(width=120), fresh("hardware", "cpu"))
"""


@pytest.mark.slow
def test_the_parts_of_the_gpu_benchmark_work_on_a_cpu(command, navon, tmp_path):
    file, trial = tmp_path / "found.json", tmp_path / "trial.py"
    trial.write_text(TRIAL)
    done = command(
        str(trial),
        *("--data-dir", str(navon), "--json", str(file)),
        *("--backbones", "resnet18"),
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
    assert found["study"]["finished"]
    assert found["study"]["stages"] == ["fine/seed0", "coarse/seed0", "bilateral/seed0"]
    assert [(row["batch_size"], row["compile"]) for row in found["evaluation"]] == [
        (48, None),
        (48, "default"),
    ]
    assert [row["at_once"] for row in found["together"]] == [1, 2]
    for row in found["evaluation"] + found["together"]:
        assert row["rate"] > 0, row
    assert "Left out" not in done.stdout


@pytest.fixture
def gpu(monkeypatch):
    """`gpu` with parts that only note that they ran, in ``gpu.ran``."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    ran = []

    def part(name):
        def run(args, console, keep, end, *more):
            ran.append(more[-1] if name == "beside_the_ordinary_way" else name)
            keep([{"rate": 1}])

        return run

    for name in (*PARTS, "beside_the_ordinary_way"):
        monkeypatch.setattr(gpu, name, part(name))
    monkeypatch.setattr(gpu, "case_of", lambda *arguments: None)
    monkeypatch.setattr(gpu, "ran", ran, raising=False)
    return gpu


PARTS = ("epochs", "check_all", "whole_study", "variants", "evaluation", "together")


def gpu_arguments(gpu, monkeypatch, *given):
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", *given])
    return gpu.arguments()


def test_what_there_is_no_time_for_is_left_out_and_said(gpu, monkeypatch):
    console = Console(file=io.StringIO(), width=200)
    args = gpu_arguments(gpu, monkeypatch, "--backbones", "vgg11", "resnet18")
    args.minutes = 1.5
    longer = ("checks", "study", "others")  # than the 90 seconds that there are
    needs = {name: gpu.Need(60 + 40 * (name in longer), "") for name in gpu.NEEDS}
    monkeypatch.setattr(gpu, "NEEDS", needs)
    found = gpu.measure_all(args, console, {})
    assert gpu.ran == ["resnet9", "epochs", "variants", "evaluation", "together"]
    assert found["left_out"] == ["checks", "study", "others vgg11", "others resnet18"]
    assert "others vgg11, others resnet18" in console.file.getvalue()


def test_the_other_backbones_begin_with_vgg11_before_what_else_takes_long(gpu, monkeypatch):
    args = gpu_arguments(gpu, monkeypatch, "--parts", "others", "together")
    gpu.measure_all(args, Console(file=io.StringIO()), {})
    assert gpu.ran[:2] == ["vgg11", "together"]
    assert sorted(gpu.ran[2:]) == sorted({*backbone_names()} - {"vgg11", "resnet9"})
    gpu.ran.clear()
    args = gpu_arguments(gpu, monkeypatch, "--parts", "others", "--backbones", "resnet50", "vgg11")
    gpu.measure_all(args, Console(file=io.StringIO()), {})
    assert gpu.ran == ["resnet50", "vgg11"]


def test_an_unknown_backbone_is_one_sentence(command):
    done = command("benchmarks/gpu.py", "--backbones", "vgg11", "vgg12", "vgg13")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "error: There is no backbone vgg12, vgg13 for --backbones; allowed: "
    )
    assert "vgg11" in done.stderr.partition("allowed")[2]
    assert len(done.stderr.splitlines()) == 1


def test_the_hardware_is_asked_for_once(gpu, monkeypatch, navon):
    asked, given = [], []

    def fresh(*arguments):
        asked.append(arguments)
        return GPU

    def throughput(args, console, keep, *, where, end):
        given.append(where)

    monkeypatch.undo()
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import parts

    monkeypatch.setattr(gpu, "fresh", fresh)
    monkeypatch.setattr(parts, "fresh", fresh)
    monkeypatch.setattr(parts, "throughput", throughput)
    command = ("--data-dir", str(navon), "--parts", "throughput", "others", "--backbones", "vgg11")
    monkeypatch.setattr(gpu.sys, "argv", ["gpu.py", *command])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert not stop.value.code
    assert asked == [("hardware", "auto")]
    assert given == [GPU, GPU]


def test_help_says_what_each_part_measures_and_about_how_long_it_takes(gpu, monkeypatch, capsys):
    monkeypatch.setitem(gpu.NEEDS, "epochs", gpu.Need(71, "how long 100 % of an epoch takes"))
    with pytest.raises(SystemExit):
        gpu_arguments(gpu, monkeypatch, "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "epochs 71 s how long 100 % of an epoch takes" in said
    for name, need in gpu.NEEDS.items():
        assert f"{name} {need.seconds} s {need.what}" in said


CALLS = re.findall(r"python benchmarks/gpu\.py --parts ([\w ]+?) --json", BENCHMARKS_PAGE)


def test_the_page_calls_for_every_part_once(gpu):
    assert sorted(name for call in CALLS for name in call.split()) == sorted(gpu.NEEDS)


@pytest.mark.parametrize("call", CALLS)
def test_the_parts_of_each_recommended_call_fit_into_its_time(call, gpu, monkeypatch):
    args = gpu_arguments(gpu, monkeypatch, "--parts", *call.split())
    assert sum(gpu.NEEDS[part].seconds for part in args.parts) <= 60 * args.minutes


def test_all_parts_but_the_last_four_fit_into_the_usual_time(gpu, monkeypatch):
    """Each takes what it is said to need."""
    args = gpu_arguments(gpu, monkeypatch)
    most = ("throughput", "epochs", "checks", "study")
    assert sum(gpu.NEEDS[part].seconds for part in most) <= 60 * args.minutes


def test_a_part_that_fails_costs_neither_another_nor_what_it_has(gpu, monkeypatch, tmp_path):
    file = tmp_path / "gpu.json"

    def fail(args, console, keep, end):
        keep([{"rate": 2}])
        assert json.loads(file.read_text())["epochs"] == [{"rate": 2}]  # at once
        raise RuntimeError("no compiler")

    monkeypatch.setattr(gpu, "epochs", fail)
    parts = ("--parts", "throughput", "epochs", "study", "--json", str(file))
    args = gpu_arguments(gpu, monkeypatch, *parts)
    returned = gpu.measure_all(args, Console(file=io.StringIO()), {})
    found = json.loads(file.read_text())
    assert found == returned
    assert (found["throughput"], found["study"]) == ([{"rate": 1}], [{"rate": 1}])
    assert found["epochs"] == [{"rate": 2}]
    assert found["failed"] == {"epochs": "RuntimeError: no compiler"}


@pytest.mark.parametrize(
    ("found", "well"),
    [
        ({"epochs": [{"rate": 1}], "checks": [{"holds": True}], "left_out": ["study"]}, True),
        ({"epochs": [{"rate": 1}, {"failed": "why"}]}, False),
        ({"checks": [{"holds": False}]}, False),
        ({"failed": {"study": "why"}}, False),
    ],
)
def test_what_fails_or_does_not_hold_is_the_status(found, well, gpu):
    assert gpu.all_is_well({"left_out": [], "failed": {}, "hardware": {}} | found) == well


@pytest.fixture
def cases(monkeypatch):
    """Say of each case of `parts` or `checks` what `fresh` gives: no module is imported that measures."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import checks
    import parts

    def install(measured):
        monkeypatch.setattr(parts, "fresh", measured)
        monkeypatch.setattr(checks, "fresh", measured)
        return parts, checks

    return install


SMALL = {"width": 1.0, "batch_size": 32, "images": 45_000, "steps": 80, "accelerator": "gpu"}
SMALL |= {"data_dir": Path("none")}


def test_an_epoch_or_a_variant_that_fails_costs_no_other(cases):
    def measured(function, *arguments, limit):
        assert 0 < limit <= 180
        compiled = arguments[-1].compile if function == "measure" else arguments[-1]
        if compiled == "default":
            raise RuntimeError("no compiler\nat all")
        used = {"compile": None, "cuda_graph": True}
        return {"rate": 10.0, "first": 1.0, **used}

    parts, _ = cases(measured)
    kept = []
    console = Console(file=io.StringIO(), width=200)
    args = SimpleNamespace(**SMALL, variants={"single": ("plain", "default", "pinned")})
    found = parts.variants(args, console, lambda rows: kept.append(len(rows)), math.inf)
    assert [row.get("failed") for row in found] == [None, "RuntimeError: no compiler", None]
    assert [row.get("rate") for row in found] == [10.0, None, 10.0]
    args.epoch_batches = (32, 64)
    found = parts.epochs(args, console, lambda rows: kept.append(len(rows)), math.inf)
    assert [(row["batch_size"], row["asked"], "failed" in row) for row in found] == [
        (32, "auto", False),
        (32, "default", True),
        (64, "auto", False),
        (64, "default", True),
    ]
    assert kept == [1, 2, 3, 1, 2, 3, 4]
    assert "batch_size 64, asked default failed: RuntimeError: no compiler" in (
        console.file.getvalue()
    )
    assert parts.epochs(args, console, lambda rows: None, -math.inf) == []
    assert "No time is left for batch_size 32, asked auto." in console.file.getvalue()


def test_steps_that_cannot_be_plain_leave_nothing_to_compare_with(cases):
    def measured(function, case, name, *, limit):
        if name == "plain":
            raise RuntimeError("no memory")
        return {"rate": 10.0, "first": 1.0}

    parts, _ = cases(measured)
    args = SimpleNamespace(**SMALL, variants={"single": ("plain", "graph")})
    console = Console(file=io.StringIO(), width=200)
    failed, graph = parts.variants(args, console, lambda rows: None, math.inf)
    assert (failed["failed"], graph["rate"]) == ("RuntimeError: no memory", 10.0)
    assert "pays_after_steps" not in graph


def test_evaluation_is_asked_for_in_each_batch_size_over_all_images(cases):
    asked = []

    def measured(function, case, *, limit):
        asked.append((function, case.phase, case.batch_size, case.compile, case.steps))
        return {"rate": 10.0, "memory": 1.0}

    parts, _ = cases(measured)
    args = SimpleNamespace(**SMALL, evaluation_batches=(512, 4096))
    console = Console(file=io.StringIO(), width=200)
    rows = parts.evaluation(args, console, lambda rows: None, math.inf)
    assert asked == [
        ("evaluation", "eval", 512, "auto", 85),
        ("evaluation", "eval", 512, "default", 85),
        ("evaluation", "eval", 4096, "auto", 8),
        ("evaluation", "eval", 4096, "default", 8),
    ]
    assert [(row["batch_size"], row["compile"], row["rate"]) for row in rows] == [
        (512, None, 10.0),
        (512, "default", 10.0),
        (4096, None, 10.0),
        (4096, "default", 10.0),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["auto", "default"])
def test_evaluation_takes_batches_of_the_size_asked_for(mode, monkeypatch, navon):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import measure
    from case import Case

    from common.data import datamodule

    sizes, modes = [], []
    tick = measure.Clock.tick
    monkeypatch.setattr(
        measure.Clock, "tick", lambda clock, images: (sizes.append(images), tick(clock, images))
    )
    monkeypatch.setattr(measure, "compile_forward", lambda module, mode: modes.append(mode))
    monkeypatch.setattr(measure, "prepare", lambda: None)  # which would quieten this process too
    for name in ("EVAL_BATCH", "GPU_EVAL_PIXELS"):  # put back afterwards
        monkeypatch.setattr(datamodule, name, getattr(datamodule, name))
    case = Case("eval", "resnet9", navon, 0.05, 48, warmup=1, steps=2, accelerator="cpu")
    found = measure.evaluation(replace(case, compile=mode))
    assert sizes == [48] * 3
    assert modes == [None if mode == "auto" else "default"]
    assert found["compile"] == modes[0]
    assert found["rate"] > 0


EPOCHS = """
import sys, time
seconds, count, wait = (float(word) for word in sys.argv[1:])
time.sleep(wait)
for number in range(int(count)):
    time.sleep(seconds)
    print(f"fine/seed0  epoch {number + 1}/{int(count)}  train loss 1.000", flush=True)
"""


def epochs_of(seconds, count, wait=0):
    return [sys.executable, "-c", EPOCHS, str(seconds), str(count), str(wait)]


@pytest.fixture
def together(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import together

    return together


def test_stages_at_once_are_counted_while_all_of_them_train(together, tmp_path):
    """The second one begins late, and the first ends early: neither alone is to count."""
    commands = [epochs_of(0.4, 12), epochs_of(0.2, 40, wait=1.5)]
    rate = together.epochs_per_second(commands, tmp_path, limit=60)
    assert rate == pytest.approx(1 / 0.4 + 1 / 0.2, rel=0.3)  # this machine may be busy


def test_the_rate_counts_parts_of_epochs(together):
    # From 3, when the second has ended its first epoch, to 7, when the first has ended its last.
    ends = [[1.0, 3.0, 5.0, 7.0], [3.0, 6.0, 9.0]]
    assert together._rate(ends) == pytest.approx((2 + 1 + 1 / 3) / 4)
    for nothing in ([[1.0, 2.0], []], [[1.0, 2.0], [3.0, 4.0]]):
        with pytest.raises(UserError, match="2 at once did not train at the same time"):
            together._rate(nothing)


def test_stages_at_once_are_watched_for_a_while_and_then_killed(together, tmp_path):
    started = time.monotonic()
    rate = together.epochs_per_second([epochs_of(0.1, 10_000)], tmp_path, limit=60, watched=1.0)
    assert rate == pytest.approx(10, rel=0.5)
    assert time.monotonic() - started < 30


def test_stages_at_once_that_fail_or_hang_are_said(together, tmp_path):
    failing = [sys.executable, "-c", "import sys; sys.exit('error: no memory')"]
    with pytest.raises(UserError, match="one of 2 at once failed: error: no memory"):
        together.epochs_per_second([epochs_of(60, 1), failing], tmp_path, limit=60)
    with pytest.raises(UserError, match="killed, for they took longer than 1 s"):
        together.epochs_per_second([epochs_of(60, 1)], tmp_path, limit=1)


def test_how_many_stages_are_fastest_is_said(together, monkeypatch):
    asked = []

    def epochs_per_second(commands, folder, *, limit):
        asked.append(commands)
        if len(commands) == 8:
            raise UserError("no memory")
        return {1: 1.0, 2: 1.6, 4: 1.5}[len(commands)]

    monkeypatch.setattr(together, "epochs_per_second", epochs_per_second)
    args = SimpleNamespace(**SMALL, at_once=(1, 2, 4, 8), together=["dataset=cifar100"])
    console = Console(file=io.StringIO(), width=200)
    rows = together.together(args, console, lambda rows: None, math.inf)
    # Whole batches alone are trained on.
    assert [row.get("rate") for row in rows] == [44_992.0, 44_992 * 1.6, 44_992 * 1.5, None]
    assert rows[3]["failed"] == "no memory"
    assert "stages_per_gpu=2 is the fastest: 1.60 times one alone" in console.file.getvalue()
    names = [word for one in asked[2] for word in one if word.startswith("exp_name=")]
    assert len(set(names)) == 4


def test_a_check_that_fails_costs_no_other(cases, monkeypatch):
    def measured(function, *arguments, limit):
        if function == "agreement.frozen":
            return 3, 0
        if arguments[1] == "default":
            raise RuntimeError("no compiler\nat all")
        steps = {"precision": "32-true", "loss": 0.0, "gradients": 0.0, "tolerance": 1e-4}
        return steps | {"agrees": True}

    _, checks = cases(measured)
    kept = []

    def run(args, folder, end, name, *more):
        if name == "second":
            raise UserError("a study was killed")
        return [{"accuracy": "1"}]

    monkeypatch.setattr(checks, "_run", run)
    monkeypatch.setattr(checks, "_results", lambda study: [{"accuracy": "1"}])
    monkeypatch.setattr(checks, "_stop_after_an_epoch", lambda *arguments: None)
    monkeypatch.setattr(checks, "_losses", lambda study: {("fine", 1.0): 2.0})
    ways = ((None, True), ("default", True), ("reduce-overhead", False))
    args = SimpleNamespace(**SMALL, checks=[], ways=ways)
    console = Console(file=io.StringIO(), width=200)
    found = checks.check_all(args, console, lambda rows: kept.append(len(rows)), math.inf, None)
    assert [(one["name"], one["holds"]) for one in found] == [
        ("the same seed twice", False),
        ("a frozen hemisphere stays", True),
        ("stopped and continued", False),
        ("a study learns as with plain steps", True),
        ("replayed as plain", True),
        ("compiled (default) and replayed as plain", False),
        ("compiled (reduce-overhead) as plain", True),
    ]
    assert found[0]["found"] == "a study was killed"
    assert found[2]["found"] == "it was not interrupted within a stage"
    assert found[5]["found"] == "RuntimeError: no compiler"
    assert kept == [1, 2, 3, 4, 5, 6, 7]
    assert checks.check_all(args, console, lambda rows: None, -math.inf, None) == []
    assert "No time is left to check: the same seed twice." in console.file.getvalue()


def test_without_a_first_study_nothing_is_compared_with_it(cases, monkeypatch, tmp_path):
    _, checks = cases(None)
    with pytest.raises(UserError, match="the first study gave no results"):
        checks._continued(None, None, tmp_path, math.inf)
    with pytest.raises(UserError, match="the first study gave no results"):
        checks._learns(None, tmp_path)


def test_a_study_of_the_checks_that_hangs_is_killed_and_said_to_have_been(
    cases, monkeypatch, tmp_path
):
    _, checks = cases(None)
    silent = [sys.executable, "-c", "import time; time.sleep(60)"]
    started = time.monotonic()
    with pytest.raises(UserError, match=r"to be stopped was killed, .* than 1 s"):
        checks._stop_after_an_epoch(silent, 1.0)
    monkeypatch.setattr(checks, "_command", lambda *arguments: silent)
    with pytest.raises(UserError, match="a study was killed, for it took longer than 1 s"):
        checks._run(None, tmp_path, -math.inf, "first")
    assert time.monotonic() - started < 30
    talking = "import time; print('epoch 1/2', flush=True); time.sleep(60)"
    checks._stop_after_an_epoch([sys.executable, "-c", talking], 30.0)
    assert time.monotonic() - started < 30


STUDY = """
import json, pathlib, sys, time
file = pathlib.Path(sys.argv[sys.argv.index("--json") + 1])
part = {"finished": False, "seconds": 1.0, "first_step": 0.5, "rows": []}
for stage in sys.argv[-1].split(","):
    (file.parent / "new").write_text(json.dumps(part | {"stages": [stage]}))
    (file.parent / "new").replace(file)
    time.sleep(60 if stage == "hangs" else 0)
    if stage == "fails":
        sys.exit("error: no memory")
"""


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The part of a whole study, over a program that ends stages of the given names at once."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import whole_study

    program, kept = tmp_path / "study.py", []
    program.write_text(STUDY)
    monkeypatch.setattr(whole_study, "PROGRAM", program)
    monkeypatch.setattr(whole_study, "LOOK_S", 0.05)

    def run(stages, seconds):
        args = SimpleNamespace(data_dir=Path("none"), study=[stages])
        console = Console(file=io.StringIO(), width=200)
        end = time.monotonic() + seconds
        try:
            return whole_study.whole_study(args, console, kept.append, end), kept, console.file
        except UserError as error:
            return str(error), kept, console.file

    return run


def test_a_study_that_is_broken_off_leaves_its_stages(study):
    result, kept, said = study("hangs", 4)
    assert result["stages"] == ["hangs"]
    assert kept == [result]
    assert "did not end in time; of its stages 1 did" in said.getvalue()
    assert "first training step: 0.5 s" in said.getvalue()
    result, kept, said = study("fine,hangs", 0)
    assert result is None
    assert "of its stages 0 did" in said.getvalue()


def test_a_study_that_fails_says_why_and_leaves_its_stages(study):
    result, kept, _ = study("fails", 60)
    assert result == "the study failed: error: no memory"
    assert [one["stages"] for one in kept] == [["fails"]]


@pytest.mark.parametrize(("left", "seeds"), [(30, 1), (120, 1), (200, 2), (540, 5)])
def test_a_study_is_of_as_many_seeds_as_there_is_time_for(left, seeds, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import whole_study

    def run(command, **_):
        raise UserError(command[command.index("--seeds") + 1])

    monkeypatch.setattr(whole_study.subprocess, "Popen", run)
    monkeypatch.setattr(whole_study.time, "monotonic", lambda: 1000.0)
    args = SimpleNamespace(data_dir=Path("none"), study=[])
    with pytest.raises(UserError, match=f"^{seeds}$"):
        whole_study.whole_study(args, Console(file=io.StringIO()), print, 1000.0 + left)


def test_the_pipeline_hands_on_what_it_has_after_each_stage(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from pipeline import Stopwatch

    class Module:
        def step(self, number):
            return number + 1

    plain, kept = Module.step, []
    watch = Stopwatch(kept.append)
    watch.first(Module, "step")

    def run_stage(stage, fails):
        assert Module().step(1) == 2
        if fails:
            raise StageFailed("no memory")

    timed = watch.stages(run_stage)
    timed(SimpleNamespace(arm="fine", name="fine/seed0", place=tmp_path), False)
    first = kept[0]["first_step"]
    assert 0 < first <= kept[0]["seconds"]
    with pytest.raises(StageFailed):
        timed(SimpleNamespace(arm="coarse", name="coarse/seed0", place=tmp_path), True)
    assert [one["stages"] for one in kept] == [["fine/seed0"]] * 2
    nothing = {"fine/seed0": {"accuracy": {}, "acceleration": None}}
    assert [one["found"] for one in kept] == [nothing] * 2
    assert [{row["phase"] for row in one["rows"]} for one in kept] == [
        {"start-up", "fine"},
        {"start-up", "fine", "the rest", "coarse"},
    ]
    # Of the first step alone, and later ones pay nothing for it.
    assert (kept[1]["first_step"], Module.step) == (first, plain)
    assert not any(one["finished"] for one in kept)
    assert watch.result(finished=True)["finished"]


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
