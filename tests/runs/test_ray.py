"""Stages on Ray end as they do in one process, whatever happens to workers and nodes."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

import pytest

import train_system
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.module import SingleHead
from arch_single_head.schema import SingleConfig
from benchmarks import schedule
from common.results.comparison import Comparison
from common.results.rows import HOLE
from common.runs.description import Architecture
from common.runs.experiment import run_experiment
from common.system.cores import cores
from common.system.errors import StageFailed, UserError
from common.system.randomness import derive

ray = pytest.importorskip("ray", reason="Ray is optional: pip install -r requirements-ray.txt")
# Minutes: each of these starts Ray.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Named(dict):
    """Enough of a configuration: keys as attributes."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    ("accelerator", "workers", "per_gpu", "machines", "takes", "fits"),
    [
        ("auto", 0, 4, [{"CPU": 2, "GPU": 1}], {"num_cpus": 1, "num_gpus": 0.25}, True),
        ("auto", 0, 3, [{"CPU": 2, "GPU": 1}], {"num_cpus": 1, "num_gpus": 0.3333}, True),
        ("auto", 1, 4, [{"CPU": 2}, {"CPU": 4}], {"num_cpus": 3}, True),
        ("auto", 4, 4, [{"CPU": 2}, {"CPU": 4}], {"num_cpus": 6}, False),
        ("gpu", 0, 1, [{"CPU": 8}], {"num_cpus": 1, "num_gpus": 1}, False),
        ("cpu", 0, 1, [{"CPU": 8, "GPU": 8}], {"num_cpus": 2}, True),
        ("cpu", None, 1, [{"CPU": 8}], {"num_cpus": 2}, True),
    ],
)
def test_what_a_stage_takes_of_a_cluster(
    monkeypatch, accelerator, workers, per_gpu, machines, takes, fits
):
    import common.runs.ray_engine as ray_engine

    total = {name: sum(m.get(name, 0) for m in machines) for name in ("CPU", "GPU")}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {n: v for n, v in total.items() if v})
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    nodes.append({"Alive": False, "Resources": {"CPU": 99, "GPU": 99}})
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    params = Named(accelerator=accelerator, devices=1, num_nodes=1, enable_progress_bar=False)
    config = Named(trainer_params=params, hparams=Named(num_workers=workers))
    stage = Named(name="fine/seed0", config=config)
    engine = ray_engine.RayEngine([stage], {}, address="somewhere:1", stages_per_gpu=per_gpu)
    assert engine.resources(stage, 2) == takes
    assert ray_engine.fits(takes) == fits


@pytest.mark.parametrize(
    ("there", "calls"), [({"GPU": 1}, 0), ({"GPU": 2}, 1), ({"GPU": 0}, 0)], ids=str
)
def test_a_worker_takes_one_stage_where_the_next_may_have_another_gpu(monkeypatch, there, calls):
    import common.runs.ray_engine as ray_engine

    asked = []

    class Task:
        def options(self, **options):
            asked[-1] |= options
            return self

        def remote(self, *arguments):
            return "a task"

    def remote(**options):
        asked.append(options)
        return lambda function: Task()

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8} | there)
    monkeypatch.setattr(ray, "nodes", list)
    monkeypatch.setattr(ray, "remote", remote)
    params = Named(accelerator="auto", devices=1, num_nodes=1, enable_progress_bar=False)
    config = Named(trainer_params=params, hparams=Named(num_workers=0))
    stage = Named(name="fine/seed0", folder="any", config=config)
    engine = ray_engine.RayEngine([stage], {"any": None}, address="there:1", stages_per_gpu=1)
    engine.lines = None
    engine.start(stage)
    assert [one["max_calls"] for one in asked] == [calls]
    assert ("num_gpus" in asked[0]) == bool(there["GPU"])


@pytest.fixture(scope="module")
def options(tiny) -> list[str]:
    # Epochs long enough to be met by what befalls them.
    more = ["trainer_params.max_epochs=6", "trainer_params.limit_train_batches=15"]
    return [
        *tiny,
        *more,
        "trainer_params.precision=32-true",
        "exp_name=study",
        "num_seeds=2",
        "analyse=false",
    ]


@pytest.fixture(scope="module")
def serial(options, tmp_path_factory, succeed) -> Path:
    save_dir = tmp_path_factory.mktemp("serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        succeed(train_system.main, *options, f"save_dir={save_dir}")
    return save_dir / "study"


def comparable(experiment: Path) -> list[dict[str, str]]:
    with (experiment / "results.csv").open(newline="") as table:
        return [
            {k: v for k, v in row.items() if k not in ("seconds", "checkpoint")}
            for row in csv.DictReader(table)
        ]


class Command:
    """train_system.py engine=ray as a process, whose lines can be waited for; ``only``: the cores that it may use."""

    def __init__(self, *arguments: str, only: Collection[int] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "train_system.py", *arguments, "engine=ray"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            preexec_fn=only and partial(os.sched_setaffinity, 0, only),
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, *parts: str, seconds: float = 200) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in list(self.lines):
                if all(part in line for part in parts):
                    return line
            time.sleep(0.1)
        raise AssertionError(f"{parts} was not said:\n{self.said}")

    def end(self, status: int = 0) -> None:
        assert self.process.wait(400) == status, self.said
        self.reader.join()


def most_at_once(lines: list[str], last: str) -> int:
    """Count the stages that ran at the same time, at most; a stage's last line has ``last`` in it."""
    running: set[str] = set()
    most = 0
    for line in lines:
        name, _, rest = line.partition(": on ")
        if rest:
            running.add(name)
            most = max(most, len(running))
        elif last in line:
            running.discard(line.split()[0])
    return most


def test_ray_gives_what_one_process_gives(serial, options, tmp_path):
    command = Command(*options, f"save_dir={tmp_path}")
    command.end()
    assert comparable(tmp_path / "study") == comparable(serial)
    assert not list(tmp_path.rglob("*.tmp"))
    # Two cores and a study of two seeds: the hemispheres of one seed ran at the same time.
    lines = command.lines
    if cores() > 1:
        ends = [i for i, line in enumerate(lines) if "epoch 6/6" in line]
        assert lines.index("coarse/seed0: started") < ends[0]
    assert most_at_once(lines, last="epoch 6/6") <= cores()
    again = Command(*options, f"save_dir={tmp_path}")
    again.end()
    assert sum("done before" in line for line in again.lines) == 6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process some of the cores")
def test_ray_takes_no_more_cores_than_the_command_may_use(options, tmp_path):
    short = ["arms=[fine]", "trainer_params.max_epochs=2", f"save_dir={tmp_path}"]
    command = Command(*options, *short, only=[min(os.sched_getaffinity(0))])
    command.end()
    assert most_at_once(command.lines, last="epoch 2/2") == 1


def test_ray_runs_every_arm(options, tmp_path, succeed, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    short = ["arms=all", "trainer_params.max_epochs=1", "trainer_params.limit_train_batches=2"]
    succeed(train_system.main, *options, *short, f"save_dir={tmp_path}/serial")
    command = Command(*options, *short, f"save_dir={tmp_path}/ray")
    command.end()
    by_ray, by_one = (
        {file.relative_to(tmp_path / how) for file in (tmp_path / how).rglob("result.yaml")}
        for how in ("ray", "serial")
    )
    assert len(by_one) > 2 * 9
    assert by_ray == by_one
    assert comparable(tmp_path / "ray/study") == comparable(tmp_path / "serial/study")


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_command_that_is_stopped_continues(serial, options, tmp_path, signum, status):
    command = Command(*options, f"save_dir={tmp_path}")
    command.wait_for("fine/seed0", "epoch 1/6")
    command.process.send_signal(signum)
    command.end(status)
    assert "Traceback" not in command.said
    if signum != signal.SIGKILL:
        assert "run the same command to continue" in command.said
        assert (tmp_path / "study/fine/seed0/checkpoints/last.ckpt").is_file()
    again = Command(*options, f"save_dir={tmp_path}")
    again.end()
    # Killed in its first seconds, a stage has nothing to continue from.
    goes = "started" if signum == signal.SIGKILL else "continued"
    assert f"fine/seed0: {goes}" in again.said
    assert comparable(tmp_path / "study") == comparable(serial)


def test_a_stage_whose_worker_dies_is_continued(serial, options, tmp_path):
    # Stopped, it leaves something to continue from.
    command = Command(*options, f"save_dir={tmp_path}")
    command.wait_for("fine/seed0", "epoch 1/6")
    command.process.send_signal(signal.SIGTERM)
    command.end(143)
    command = Command(*options, f"save_dir={tmp_path}")
    command.wait_for("fine/seed0", "epoch 3/6")
    worker = subprocess.run(["pgrep", "-f", "ray::fine/seed0"], capture_output=True, text=True)
    os.kill(int(worker.stdout.split()[0]), signal.SIGKILL)
    command.end()
    assert "fine/seed0: again, its worker died" in command.said
    assert command.lines.count("fine/seed0: continued") == 2
    assert comparable(tmp_path / "study") == comparable(serial)


def test_a_study_survives_the_loss_of_a_node(serial, options, tmp_path):
    """Two simulated nodes beside a head without cores; the one on which fine/seed0 runs is removed."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        command = Command(*options, f"save_dir={tmp_path}", f"ray_address={cluster.address}")
        command.wait_for("fine/seed0", "epoch 2/6")
        worker = subprocess.run(["pgrep", "-f", "ray::fine/seed0"], capture_output=True, text=True)
        parent = (
            Path(f"/proc/{worker.stdout.split()[0]}/stat").read_text().split(") ")[1].split()[1]
        )
        (lost,) = [
            node for node in nodes if str(node.all_processes["raylet"][0].process.pid) == parent
        ]
        cluster.remove_node(lost, allow_graceful=False)
        command.end()
    finally:
        cluster.shutdown()
    assert "fine/seed0: again, its worker died" in command.said
    assert comparable(tmp_path / "study") == comparable(serial)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["trainer_params.devices=2"], ["trainer_params.devices", "engine=serial"]),
        (["dataset.root=/nowhere"], ["/nowhere/train/", "dataset.root"]),
        (["ray_address=127.0.0.1:1"], ["ray_address", "127.0.0.1:1"]),
        (["trainer_params.accelerator=gpu"], ["trainer_params.accelerator", "GPU"]),
    ],
)
def test_what_ray_cannot_do_is_one_sentence(options, tmp_path, more, parts):
    command = Command(*options, f"save_dir={tmp_path}", *more)
    command.end(1)
    (sentence,) = [line for line in command.lines if line.startswith("error: ")]
    assert [part for part in parts if part not in sentence] == []
    assert "Traceback" not in command.said


class FailingData(SingleHeadData):
    """Images that one stage cannot use."""

    def __init__(self, cfg, *, seed: int) -> None:
        if seed == derive(1, "fine"):
            raise StageFailed("fine/seed1: broken.")
        super().__init__(cfg, seed=seed)


def test_a_stage_that_fails_leaves_the_others_alone(options, tmp_path, capsys):
    from ray import cloudpickle

    from common.runs.ray_engine import RayEngine

    # The workers cannot import this file.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    short = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1"]
    stages = schedule.study([*options, *short, f"save_dir={tmp_path}"])
    architectures = {
        "arch_single_head": Architecture(FailingData, SingleHead, SingleConfig),
        "arch_dual_head": Architecture(DualHeadData, DualHead, DualConfig),
    }
    engine = RayEngine(stages, architectures, address=None, stages_per_gpu=1)
    with pytest.raises(UserError, match=r"2 of 6 .*: fine/seed1, bilateral/seed1"):
        run_experiment(stages, architectures, Comparison(), engine)
    assert "error: fine/seed1: broken." in capsys.readouterr().err
    assert len(list(tmp_path.glob("study/*/seed*/result.yaml"))) == 4
    holes = {file.parent.relative_to(tmp_path / "study") for file in tmp_path.rglob(HOLE)}
    assert holes == {Path("fine/seed1"), Path("bilateral/seed1")}
