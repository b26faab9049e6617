"""One network on several CPU processes (gloo): the same batches, every image counted once, one set of results."""

import csv
import math
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import mean, variance

import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import yaml

import arch_single_head.trainer
import common.system.distributed as distributed
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.module import SingleHead
from arch_single_head.schema import SingleConfig
from common.data.datamodule import EVAL_BATCH
from common.data.samplers import EpochSampler, ShareSampler
from common.data.tree import write_tree
from common.results.rows import HOLE
from common.runs.description import Architecture
from common.system.errors import StageFailed, UserError
from common.trained.load import load_module
from common.training.finite import FiniteLoss
from common.training.metrics import EvaluationMetrics, by_level
from data_scripts.make_navon import make_navon
from study.arms import ARMS

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURE = Architecture(SingleHeadData, SingleHead, SingleConfig)
CPU = ["trainer_params.accelerator=cpu", "trainer_params.precision=32-true"]
CLASSES = {"fine": 8, "coarse": 2}
PARENT = [0, 0, 0, 0, 1, 1, 1, 1]
PROCESSES = 3
# 100 validation images, and three processes: they cannot share evenly.
SHARED = ["hparams.batch_size=30", "trainer_params.limit_val_batches=1.0", *CPU]


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def comparable(file: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in r.items() if k not in ("seconds", "checkpoint")} for r in rows(file)]


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory) -> Path:
    """The same run by one process and by several, as real commands."""
    save_dir = tmp_path_factory.mktemp("ddp")
    for devices in (1, PROCESSES):
        done = subprocess.run(
            [
                *(sys.executable, "arch_single_head/trainer.py", *tiny, *SHARED),
                *(f"save_dir={save_dir}", f"exp_name=of{devices}", "seeds=[0,1]", "fresh=true"),
                f"trainer_params.devices={devices}",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stderr) == (0, "")
        (save_dir / f"of{devices}.log").write_text(done.stdout)
    return save_dir


@pytest.mark.slow
def test_several_processes_take_as_many_steps_as_one(runs):
    one, several = (rows(runs / f"of{n}/fine/seed0/metrics.csv") for n in (1, PROCESSES))
    assert [(row["epoch"], row["step"], row["lr"]) for row in several] == [
        (row["epoch"], row["step"], row["lr"]) for row in one
    ]
    # The first steps see the same images from the same weights; only BatchNorm sees fewer at a time.
    assert float(several[0]["train_loss"]) == pytest.approx(float(one[0]["train_loss"]), rel=0.1)
    assert several[0]["train_loss"] != one[0]["train_loss"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_every_validation_and_test_image_is_counted_once(runs, seed):
    """One process evaluates the same checkpoint to the same numbers."""
    place = runs / f"of{PROCESSES}/fine/seed{seed}"
    result = yaml.safe_load((place / "result.yaml").read_text())
    module = load_module(place / "checkpoints/best.ckpt", {"arch_single_head": ARCHITECTURE})
    data = SingleHeadData(module.cfg, seed=0)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    (validation,) = trainer.validate(module, datamodule=data, verbose=False)
    measured = by_level(validation, "val", ["fine"])["fine"]
    counted = result["validation"]["fine"]
    assert counted.pop("loss") == pytest.approx(measured.pop("loss"), abs=2e-6)
    assert counted == measured
    (test,) = trainer.test(module, datamodule=data, verbose=False)
    assert result["test"] == by_level(test, "test", ["fine"])


@pytest.mark.slow
def test_one_set_of_results_is_written_and_told(runs):
    def files(n: int) -> list[Path]:
        place = runs / f"of{n}"
        return sorted(file.relative_to(place) for file in place.rglob("*"))

    assert files(PROCESSES) == files(1)
    assert sorted(p.name for p in runs.iterdir() if p.is_dir()) == ["of1", f"of{PROCESSES}"]
    said = [(runs / f"of{n}.log").read_text().splitlines() for n in (1, PROCESSES)]
    assert len(said[0]) == len(said[1])
    assert sum("fine/seed0: started" in line for line in said[1]) == 1


@pytest.mark.slow
def test_the_number_of_processes_shapes_a_result(runs, in_process, tiny):
    place = [f"save_dir={runs}", f"exp_name=of{PROCESSES}", "seeds=[0]"]
    status, _, err = in_process(arch_single_head.trainer.main, *tiny, *SHARED, *place)
    assert status == 1
    assert "trainer_params.processes was 3 and is now null" in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["trainer_params.devices=3", "hparams.batch_size=32"], ["hparams.batch_size", "3"]),
        (["trainer_params.devices=101", "hparams.batch_size=101"], ["100 validation images"]),
        (["trainer_params.num_nodes=2"], ["MASTER_ADDR", "docs/scaling.md"]),
    ],
)
def test_what_processes_cannot_share_is_one_line(
    more, said, in_process, tiny, tmp_path, monkeypatch
):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    arguments = [*tiny, *CPU, f"save_dir={tmp_path}", *more]
    status, _, err = in_process(arch_single_head.trainer.main, *arguments)
    assert (status, err.count("\n")) == (1, 1), err
    assert [part for part in said if part not in err] == []


@pytest.mark.parametrize("start", [0, 2])
def test_processes_share_the_batches_of_one(monkeypatch, start):
    def batches() -> list[list[int]]:
        sampler = EpochSampler(50, seed=3)
        sampler.enter(epoch=1, batches=start, batch_size=12)
        return [*ShareSampler(sampler, 12, drop_last=True)]

    whole = batches()
    assert len(whole) == 50 // 12 - start
    monkeypatch.setattr("common.data.samplers.world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr("common.data.samplers.rank", lambda rank=rank: rank)
        shares.append(batches())
    assert [[*chain(*parts)] for parts in zip(*shares, strict=True)] == whole


@pytest.mark.parametrize("images", [1, 7, EVAL_BATCH + 1])
def test_processes_share_evaluation_without_padding(monkeypatch, images, tmp_path):
    data = SingleHeadData.__new__(SingleHeadData)
    monkeypatch.setattr(data, "_loading", lambda images, batch_size: {}, raising=False)
    monkeypatch.setattr(data, "evaluation_batch", lambda images: EVAL_BATCH // 3, raising=False)
    monkeypatch.setattr("common.data.datamodule.world_size", lambda: 3)
    seen = []
    for rank in range(3):
        monkeypatch.setattr("common.data.datamodule.rank", lambda rank=rank: rank)
        loader = data.in_order(torch.utils.data.TensorDataset(torch.arange(images)))
        seen += [int(image[0]) for batch in loader for image in batch]
    assert sorted(seen) == [*range(images)]


def predictions(images: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Logits and labels of a network that is often wrong."""
    random = torch.Generator().manual_seed(0)
    labels = {name: torch.arange(images) % classes for name, classes in CLASSES.items()}
    logits = {
        name: torch.randn(images, classes, generator=random) for name, classes in CLASSES.items()
    }
    return logits, labels


def count_share(rank: int, place: str) -> None:
    """One of two processes: measure every second image, and write what it takes the whole to be."""
    dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
    metrics = EvaluationMetrics(CLASSES, PARENT)
    parts = ({name: v[rank::2] for name, v in part.items()} for part in predictions(51))
    metrics.update(*parts)
    with metrics.of_all_processes():
        wrong = metrics.within_family["fine"].count.item()
    torch.save((metrics.compute(), wrong), f"{place}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_all_that_evaluation_measures_is_of_all_processes(tmp_path):
    torch.multiprocessing.spawn(count_share, args=(str(tmp_path),), nprocs=2)
    alone = EvaluationMetrics(CLASSES, PARENT)
    alone.update(*predictions(51))
    expected = alone.compute()
    assert {"fine_top5", "coarse_consistency", "fine_within_family"} <= expected.keys()
    for rank in range(2):
        values, wrong = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert wrong == alone.within_family["fine"].count.item()
        assert values.keys() == expected.keys()
        for name, value in values.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=1e-6), name


def test_a_loss_that_is_no_number_elsewhere_stops_here_too(monkeypatch, tmp_path):
    finite = FiniteLoss("fine/seed0", tmp_path / "last.ckpt", stride=10)
    finite.steps = [(7, 0.1), (8, 0.2), (9, 0.3)]
    finite.losses = [torch.tensor(1.0)] * 3
    module = torch.nn.BatchNorm1d(2)
    asked = []

    def all_reduce_max(number: int) -> int:
        asked.append(number)
        return 2 if len(asked) == 1 else number

    monkeypatch.setattr("common.training.finite.all_reduce_max", all_reduce_max)
    with pytest.raises(StageFailed, match=r"in another process at step 8 \(learning rate 0.2\)"):
        finite.check(module)
    assert asked == [0]


@pytest.mark.slow
def test_a_stage_whose_loss_is_no_number_leaves_its_hole(tiny, tmp_path, command):
    run = ["trainer_params.devices=2", f"save_dir={tmp_path}", "exp_name=run"]
    # Each step multiplies the weights by a million.
    run += ["hparams.optimizer=sgd", "hparams.schedule=constant", "hparams.lr=1000"]
    run += ["hparams.weight_decay=1000", "trainer_params.limit_train_batches=15"]
    done = command("arch_single_head/trainer.py", *tiny, *CPU, *run)
    assert done.returncode == 1
    assert "a lower hparams.lr may help" in done.stderr
    assert "Traceback" not in done.stderr
    assert "of the stage's processes ended" not in done.stderr
    assert (tmp_path / "run/fine/seed0" / HOLE).is_file()


@pytest.mark.slow
def test_every_arm_is_trained_by_two_processes(tiny, tmp_path, command):
    study = ["arms=all", "num_seeds=2", "analyse=false", f"save_dir={tmp_path}", "exp_name=study"]
    done = command("train_system.py", *tiny, *CPU, *study, "trainer_params.devices=2", timeout=900)
    assert done.returncode == 0, done.stderr
    trained = {row["arm"] for row in rows(tmp_path / "study/results.csv")}
    usual = {arm for arm, row in ARMS.items() if not row.study}
    assert trained == usual - {"ensemble_five"}


@pytest.mark.slow
def test_hemispheres_trained_otherwise_are_trained_by_two_processes(tiny, tmp_path, command):
    study = ["study=paradigms", "num_seeds=1", f"save_dir={tmp_path}", "exp_name=study"]
    study += ["arms=[rotation_refit,bilateral_rotation,decorrelated]", "analyse=false"]
    done = command("train_system.py", *tiny, *CPU, *study, "trainer_params.devices=2", timeout=900)
    assert done.returncode == 0, done.stderr
    found = {(row["arm"], row["level"]) for row in rows(tmp_path / "study/results.csv")}
    assert {("rotation", "rotation"), ("decorrelated", "fine")} <= found
    for row in rows(tmp_path / "study/rotation/seed0/metrics.csv"):
        assert 0 < float(row["train_loss"]) < 3


def stopped_and_continued(save_dir: Path, arguments: list[str], stop, **environment: str):
    """Start a run, call ``stop(process)`` once it has told of its second epoch, and run the command again.

    Gives exit status, what was said, and whether there was a checkpoint: killed in its first seconds, a run has none.
    """
    line = [sys.executable, "arch_single_head/trainer.py", *arguments, f"save_dir={save_dir}"]
    env = os.environ | environment
    process = subprocess.Popen(
        line, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for said in process.stdout:
        if "epoch 2/" in said:
            stop(process)
            break
    _, err = process.communicate(timeout=120)
    left = (save_dir / "run/fine/seed0/checkpoints/last.ckpt").is_file()
    again = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert f"fine/seed0: {'continued' if left else 'started'}" in again.stdout
    return process.returncode, err, left


def kill_another(process) -> None:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "status", "said"),
    [
        (
            lambda process: process.send_signal(signal.SIGTERM),
            143,
            "run the same command to continue",
        ),
        (
            lambda process: process.send_signal(signal.SIGINT),
            130,
            "run the same command to continue",
        ),
        (lambda process: process.kill(), -signal.SIGKILL, ""),
        (kill_another, 1, "One of the stage's processes ended with status -9"),
    ],
    ids=["SIGTERM", "SIGINT", "killed", "another process killed"],
)
def test_continuing_gives_the_uninterrupted_result(tiny, tmp_path, command, stop, status, said):
    arguments = [*tiny, *CPU, "trainer_params.devices=2", "exp_name=run"]
    arguments += ["trainer_params.max_epochs=6", "trainer_params.limit_train_batches=12"]
    whole = command("arch_single_head/trainer.py", *arguments, f"save_dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    stopped = stopped_and_continued(tmp_path / "stopped", arguments, stop)
    assert stopped[0] == status
    assert said in stopped[1]
    assert "Traceback" not in stopped[1]
    assert stopped[2] or status not in (143, 130)
    results = [comparable(tmp_path / name / "run/results.csv") for name in ("whole", "stopped")]
    assert results[0] == results[1]
    weights = [
        torch.load(tmp_path / name / "run/fine/seed0/checkpoints/last.ckpt", weights_only=True)
        for name in ("whole", "stopped")
    ]
    for name, value in weights[0]["state_dict"].items():
        assert value.equal(weights[1]["state_dict"][name]), name


def meet(monkeypatch, port: int) -> None:
    """Have this be the first of several machines, which meet at a port of this one."""
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("NODE_RANK", "x", "0 to 1"),
        ("NODE_RANK", "2", "0 to 1"),
        ("NODE_RANK", "-1", "0 to 1"),
        ("MASTER_PORT", "abc", "1 to 65535"),
        ("MASTER_PORT", "70000", "1 to 65535"),
    ],
)
def test_a_machine_that_is_numbered_wrongly_is_refused(monkeypatch, name, value, allowed):
    meet(monkeypatch, 29500)
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        distributed.Machines(2)
    assert f"{name} is {value}" in str(caught.value).replace("'", "")
    assert f"allowed: {allowed}" in str(caught.value)


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        meet(monkeypatch, port)
        with (
            pytest.raises(UserError, match=f"MASTER_PORT {port} cannot be opened .*in use"),
            distributed.Machines(2).lead(),
        ):
            pass


FAILS_SECOND = """
import os, sys, time
if os.environ["LOCAL_RANK"] == "1":
    sys.exit(3)
time.sleep(60)
"""


def test_a_machine_does_not_wait_for_others_when_one_of_its_processes_fails(monkeypatch):
    port = distributed._free_port()
    meet(monkeypatch, port)
    monkeypatch.setattr(distributed, "END_S", 0)
    first = distributed.Machines(2)
    monkeypatch.setenv("NODE_RANK", "1")
    second = distributed.Machines(2)
    started = time.monotonic()
    with first.lead():
        first.post((partial(exec, FAILS_SECOND), 2, port))
        with pytest.raises(UserError, match="ended with status 3"):
            second.join()
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_two_machines_give_the_result_of_two_processes_on_one(tiny, tmp_path, command):
    """Two machines here are two commands that meet at a port; they share a file system."""
    common = [*tiny, *CPU, "seeds=[0,1]", "exp_name=run"]
    one = command(
        "arch_single_head/trainer.py",
        *(*common, f"save_dir={tmp_path}/one", "trainer_params.devices=2"),
    )
    assert one.returncode == 0, one.stderr
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(distributed._free_port())}
    machines = [
        subprocess.Popen(
            [
                *(sys.executable, "arch_single_head/trainer.py", *common),
                *(f"save_dir={tmp_path}/two", "trainer_params.num_nodes=2"),
            ],
            cwd=ROOT,
            env=os.environ | meeting | {"NODE_RANK": str(node)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in (1, 0)
    ]
    said = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0] == ""
    assert comparable(tmp_path / "one/run/results.csv") == comparable(
        tmp_path / "two/run/results.csv"
    )


@pytest.mark.slow
def test_accuracy_is_that_of_one_process_within_the_spread_of_seeds(tmp_path, command):
    root = tmp_path / "NAVON"
    write_tree(make_navon(train=4000, test=1000, seed=0), root, split_seed=0)
    accuracy = {}
    for devices in (1, 2):
        done = command(
            "arch_single_head/trainer.py",
            *("dataset=navon", f"dataset.root={root}", "hparams.mode=coarse", "logger=csv", *CPU),
            "dataset.width=0.125",
            *(f"trainer_params.devices={devices}", f"save_dir={tmp_path}", "seeds=[0,1,2]"),
            *(f"exp_name=of{devices}", "trainer_params.max_epochs=8"),
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        table = rows(tmp_path / f"of{devices}/results.csv")
        accuracy[devices] = [float(row["accuracy"]) for row in table]
    means = [mean(values) for values in accuracy.values()]
    error = math.sqrt(sum(variance(values) / len(values) for values in accuracy.values()))
    print(accuracy)
    assert min(means) > 0.3, accuracy  # chance is 0.05
    # Two standard errors of the difference.
    assert abs(means[0] - means[1]) <= max(2 * error, 0.02), accuracy
