"""What a command says before it begins, at the end of each stage, and of the time that is left."""

import re

import pytest
from omegaconf import OmegaConf

import common.runs.stage_ends as stage_ends
from common.results.rows import write_result
from common.runs.description import Stage
from common.runs.plan_line import print_plan
from common.runs.stage_ends import StageEnds, duration
from common.system.errors import StageFailed


def stages(place, *names: str) -> list[Stage]:
    limits = {f"limit_{part}_batches": 1.0 for part in ("train", "val", "test")}
    params = {"accelerator": "cpu", "precision": "32-true", "num_nodes": 1, **limits}
    cfg = OmegaConf.create({"save_dir": str(place), "exp_name": "study", "trainer_params": params})
    pairs = [name.split("/seed") for name in names]
    return [Stage(arm=arm, seed=int(seed), folder="", config=cfg) for arm, seed in pairs]


class Engine:
    """Finishes stages in the order in which they were started, with a result of so many seconds."""

    room = 1

    def __init__(self, seconds, failing: str = "", tested: bool = True) -> None:
        self.seconds, self.failing, self.tested, self.started = seconds, failing, tested, []
        self.began = {}

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None: ...

    def start(self, stage) -> None:
        self.started.append(stage)

    def next_end(self):
        stage = self.started.pop(0)
        if stage.name == self.failing:
            return stage, StageFailed("broken")
        write(stage, self.seconds[stage.arm], tested=self.tested)
        return stage, None


def write(stage, seconds: float, *, tested: bool = True) -> None:
    stage.place.mkdir(parents=True, exist_ok=True)
    found = {"fine": {"accuracy": 0.5, "loss": 1.0}, "coarse": {"accuracy": 0.75, "loss": 1.0}}
    content = {"arm": stage.arm, "seed": stage.seed, "seconds": seconds, "checkpoint": "best.ckpt"}
    content |= {
        "best_epoch": 1,
        "epochs": 1,
        "validation": found,
        "test": found if tested else None,
    }
    write_result(stage.place / "result.yaml", content)


def run(planned, engine, monkeypatch) -> None:
    """Run all stages by a clock that shows twice the seconds of training."""
    clock = [0.0]
    monkeypatch.setattr(stage_ends.time, "monotonic", lambda: clock[0])
    with StageEnds(engine, planned) as ends:
        for stage in planned:
            ends.start(stage)
            clock[0] += 2 * engine.seconds[stage.arm]
            ends.next_end()


def test_each_end_says_what_was_found_and_what_is_left(tmp_path, capsys, monkeypatch):
    planned = stages(tmp_path, "fine/seed0", "bilateral/seed0", "fine/seed1", "bilateral/seed1")
    run(planned, Engine({"fine": 30, "bilateral": 10}), monkeypatch)
    found = "50.00 % fine, 75.00 % coarse on test images"
    assert capsys.readouterr().out.splitlines() == [
        # Three stages of the only duration that is known, at half speed: 180 s.
        f"[1/4] fine/seed0: {found}; about 3 min left",
        # One more of each arm.
        f"[2/4] bilateral/seed0: {found}; about 80 s left",
        f"[3/4] fine/seed1: {found}; about 20 s left",
        f"[4/4] bilateral/seed1: {found}",
    ]


def test_what_was_done_before_is_not_said_again_but_tells_how_long_its_arm_takes(
    tmp_path, capsys, monkeypatch
):
    planned = stages(tmp_path, "bilateral/seed0", "fine/seed0", "bilateral/seed1")
    write(planned[0], 10)
    run(planned, Engine({"fine": 30, "bilateral": 10}), monkeypatch)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[2/3] fine/seed0: ")
    # 10 s of training, at the speed of 30 s of training in 80 s.
    assert first.endswith("; about 27 s left")
    assert second.startswith("[3/3] bilateral/seed1: ")


def test_stages_that_run_side_by_side_share_the_time_and_the_last_takes_its_own(
    tmp_path, capsys, monkeypatch
):
    clock = [0.0]
    monkeypatch.setattr(stage_ends.time, "monotonic", lambda: clock[0])
    planned = stages(tmp_path, *(f"fine/seed{seed}" for seed in range(4)))
    engine = Engine({"fine": 100})
    with StageEnds(engine, planned) as ends:
        for stage in planned:
            ends.start(stage)

        def end_at(now: float, **began: float) -> str:
            clock[0] = now
            engine.began.clear()
            engine.began.update({f"fine/{seed}": then for seed, then in began.items()})
            ends.next_end()
            return capsys.readouterr().out

        # Two at once: when the first has ended, the second is nearly there. 200 s are left, at twice the speed of one.
        assert end_at(100, seed1=0).endswith("; about 2 min left\n")
        assert end_at(100, seed2=100, seed3=100).endswith("; about 2 min left\n")
        # The last began 50 s ago, and nobody can help it.
        assert end_at(150, seed3=100).endswith("; about 50 s left\n")


def test_a_failure_is_not_called_an_end_and_untested_stages_give_their_validation(
    tmp_path, capsys, monkeypatch
):
    planned = stages(tmp_path, "fine/seed0", "fine/seed1")
    run(planned, Engine({"fine": 1}, failing="fine/seed0", tested=False), monkeypatch)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "[2/2] fine/seed1: 50.00 % fine, 75.00 % coarse on validation images"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")],
)
def test_a_duration_as_a_person_says_it(seconds, words):
    assert duration(seconds) == words


def test_the_first_line_says_the_plan(tmp_path, capsys):
    planned = stages(tmp_path, "fine/seed0", "coarse/seed0", "fine/seed1", "coarse/seed1")
    write(planned[0], 1)
    print_plan(planned)
    line = capsys.readouterr().out
    assert line.startswith("4 stages: fine, coarse, 2 seeds; 1 of them has a result; ")
    assert re.search(rf"; {tmp_path}/study; .+, 32-true\n$", line)
    print_plan(stages(tmp_path, *(f"arm{i}/seed0" for i in range(6))), engine="ray")
    line = capsys.readouterr().out
    assert line.startswith("6 stages: arm0, arm1, arm2, 3 more arms, 1 seed; ")
    assert line.endswith("; engine=ray\n")


def test_of_several_machines_the_first_says_the_plan(tmp_path, capsys, monkeypatch):
    planned = stages(tmp_path, "fine/seed0")
    planned[0].config.trainer_params.num_nodes = 2
    monkeypatch.setenv("NODE_RANK", "1")
    print_plan(planned)
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("NODE_RANK", "0")
    print_plan(planned)
    assert capsys.readouterr().out.startswith("1 stage: fine, 1 seed; ")
