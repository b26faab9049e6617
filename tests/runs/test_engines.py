"""Which stage runs when, what becomes of the others when one fails, and what is shown of them."""

import csv
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

import train_system
from benchmarks import schedule
from common.results.rows import HOLE
from common.runs.description import Stage
from common.runs.experiment import run_ready
from common.runs.progress import Progress
from common.system.errors import StageFailed

CFG = OmegaConf.create({"save_dir": "runs", "exp_name": "study"})


def stage(name: str, *needs: str) -> Stage:
    arm, _, seed = name.partition("/seed")
    return Stage(arm=arm, seed=int(seed), folder="", config=CFG, needs=needs)


def graph() -> list[Stage]:
    stages = []
    for seed in (0, 1):
        hemispheres = [f"{level}/seed{seed}" for level in ("fine", "coarse")]
        stages += [stage(name) for name in hemispheres]
        stages.append(stage(f"bilateral/seed{seed}", *hemispheres))
    # Builds on both seeds, and on a stage that is not of this study.
    return [*stages, stage("swapped/seed0", "fine/seed0", "fine/seed1", "other/seed9")]


class Recorder(AbstractContextManager):
    """An engine that notes what it is given, and ends the stage that it was given last or first."""

    def __init__(self, room: int, *, last: bool = False, failing: str = "") -> None:
        self.room, self.last, self.failing = room, last, failing
        self.started: list[str] = []
        self.running: list[Stage] = []
        self.ended: set[str] = {"other/seed9"}

    def __exit__(self, *error) -> None: ...

    def start(self, stage: Stage) -> None:
        assert self.ended.issuperset(stage.needs)
        self.started.append(stage.name)
        self.running.append(stage)
        assert len(self.running) <= self.room

    def next_end(self):
        stage = self.running.pop(-1 if self.last else 0)
        self.ended.add(stage.name)
        if stage.name == self.failing:
            return stage, StageFailed(f"{stage.name}: broken.")
        return stage, None


def test_one_at_a_time_is_the_order_of_the_plan():
    engine = Recorder(room=1)
    assert run_ready(graph(), engine) == []
    assert engine.started == [stage.name for stage in graph()]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("room", [2, 3, 100])
def test_a_stage_starts_once_all_it_needs_is_done(room, last):
    engine = Recorder(room, last=last)
    assert run_ready(graph(), engine) == []
    assert sorted(engine.started) == sorted(stage.name for stage in graph())
    assert engine.started[:2] == ["fine/seed0", "coarse/seed0"]


def test_there_is_no_waiting_where_there_is_room():
    engine = Recorder(room=100)
    run_ready(graph(), engine)
    assert engine.started[:4] == ["fine/seed0", "coarse/seed0", "fine/seed1", "coarse/seed1"]


@pytest.mark.parametrize("room", [1, 100])
def test_a_failure_leaves_out_what_builds_on_it_and_nothing_else(
    room, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    failed = run_ready(graph(), Recorder(room, failing="fine/seed1"))
    assert sorted(failed) == ["bilateral/seed1", "fine/seed1", "swapped/seed0"]
    err = capsys.readouterr().err
    assert "error: fine/seed1: broken." in err
    assert "error: bilateral/seed1: skipped, for it needs fine/seed1." in err
    assert err.count("\n") == 3
    holes = {f"{file.parent.relative_to('runs/study')}" for file in Path("runs").rglob(HOLE)}
    assert holes == set(failed)


@pytest.mark.slow
def test_one_process_goes_on_after_a_failure_and_ends_with_1(
    in_process, tiny, tmp_path, monkeypatch
):
    import common.runs.engine as engine

    run_stage = engine.run_stage

    def failing(stage, *more):
        if stage.name == "coarse/seed0":
            raise StageFailed("coarse/seed0: broken.")
        run_stage(stage, *more)

    monkeypatch.setattr(engine, "run_stage", failing)
    short = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1"]
    status, out, err = in_process(
        train_system.main, *tiny, *short, f"save_dir={tmp_path}", "exp_name=study", "num_seeds=2"
    )
    assert status == 1
    assert "2 of 6 stages could not be finished: coarse/seed0, bilateral/seed0." in err
    with (tmp_path / "study/results.csv").open() as table:
        arms = {(row["arm"], row["seed"]) for row in csv.DictReader(table)}
    assert arms == {("fine", "0"), ("fine", "1"), ("coarse", "1"), ("bilateral", "1")}
    assert out.splitlines()[-1] == f"Report: {tmp_path}/study/report.html"
    page = (tmp_path / "study/report.html").read_text()
    assert "missing: bilateral/seed0, coarse/seed0" in page


# What is shown


def test_lines_of_all_stages_where_there_is_no_terminal(capsys):
    with Progress(["fine/seed0"], live=True) as progress:
        progress.begin("fine/seed0", "node1, GPU 0")
        progress.say("fine/seed0", "fine/seed0  epoch 1/6")
        progress.begin("fine/seed0", "node2, GPU 3")
    assert capsys.readouterr().out.splitlines() == [
        "fine/seed0: on node1, GPU 0",
        "fine/seed0  epoch 1/6",
        "fine/seed0: again, its worker died: on node2, GPU 3",
    ]


def test_a_table_of_all_stages():
    progress = Progress([f"fine/seed{n}" for n in range(4)], live=False)
    progress.set_state("fine/seed0", "done")
    progress.begin("fine/seed2", "node1, GPU 0")
    progress.say("fine/seed2", "fine/seed2  epoch 3/6  train loss 1.0")
    progress.set_state("fine/seed1", "queued")
    progress.say("fine/seed2", "fine/seed2  epoch 3/6  train loss 1.0  " + 9 * "val loss 2.0  ")
    console = Console(width=70)
    with console.capture() as shown:
        console.print(progress.table())
    text = shown.get()
    assert "1 running, 1 queued, 1 waiting, 1 done" in text
    rows = [line for line in text.splitlines() if "fine/seed" in line]
    assert [row.split()[1] for row in rows] == [f"fine/seed{n}" for n in (2, 1, 3, 0)]
    for part in ("running", "node1, GPU 0", "epoch 3/6"):
        assert part in rows[0]


# Keys


@pytest.mark.parametrize("key", ["stages_per_gpu=2", "ray_address=auto"])
def test_keys_of_ray_mean_nothing_to_one_process(in_process, key):
    status, _, err = in_process(train_system.main, key)
    assert status == 1
    assert key.split("=")[0] in err
    assert "engine=ray" in err


def test_without_ray_the_command_says_what_to_install(in_process, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "common.runs.ray_engine", raising=False)
    status, _, err = in_process(train_system.main, *tiny, f"save_dir={tmp_path}", "engine=ray")
    assert (status, err.count("\n")) == (1, 1)
    assert "requirements-ray.txt" in err


# The schedule on a counted clock


def test_schedule_of_the_graph():
    stages = graph()
    seconds = {"fine": 3.0, "coarse": 2.0, "bilateral": 4.0, "swapped": 1.0}
    assert schedule.duration(stages, seconds, 1) == 19
    assert schedule.duration(stages, seconds, 100) == 7
    # fine0 0-3, coarse0 0-2, fine1 2-5, bilateral0 3-7, coarse1 5-7, bilateral1 7-11, swapped 7-8
    assert schedule.duration(stages, seconds, 2) == 11


@pytest.mark.slow
def test_schedule_takes_the_plan_and_measured_seconds(command, navon, tmp_path):
    table = tmp_path / "results.csv"
    table.write_text(
        "arm,seed,level,seconds\nfine,0,fine,30\nfine,1,fine,50\ncoarse,0,coarse,20\n"
        "bilateral,0,fine,10\nbilateral,0,coarse,10\n"
    )
    arguments = ["benchmarks/schedule.py", "dataset=navon", "num_seeds=3"]
    done = command(*arguments, "--results", str(table), "--at-once", "1,100")
    assert done.returncode == 0, done.stderr
    assert "9 stages; seconds of each arm: fine 40, coarse 20, bilateral 10" in done.stdout
    assert "| 1 | 210 | 1.0 | 100 % |" in done.stdout
    assert "| 100 | 50 | 4.2 | 4 % |" in done.stdout
    for wrong in (["--at-once", "0"], ["--seconds", "fine=1"], ["num_seeds=0"]):
        done = command(*arguments, *wrong)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
