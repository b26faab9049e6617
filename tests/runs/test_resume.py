"""A study that is stopped anywhere and started again ends as if it had never been stopped, bit for bit."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from helpers import rows, wrap

ARMS = ("fine", "coarse", "bilateral")
EPOCHS, STEPS = 2, 4
# Everything that draws at random: augmentation, dropout, order.
CHANCE = ["dataset.crop_padding=2", "dataset.flip=true", "hparams.dropout=0.3"]
TRAINING = "common.training.module:TrainingModule.training_step"
VALIDATION = "common.training.module:TrainingModule.validation_step"
TEST = "common.training.module:TrainingModule.test_step"


def command(log: str, stop: tuple | None, every_step: bool, arguments: list[str]) -> None:
    """A process's life: run train_system.py, sending itself a signal at the n-th call of some function.

    Its output goes to ``log``, ending in the number of training steps.
    """
    # What a shell would have started: loading processes are forked.
    multiprocessing.set_start_method("fork", force=True)
    file = open(log, "w", buffering=1)  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file.fileno(), stream.fileno())
    sys.stdout = sys.stderr = file
    import common.training.callbacks as callbacks
    import train_system

    if every_step:
        callbacks.CONTINUE_EVERY_S = callbacks.EPOCHS_EVERY_S = 0.0
    calls = {TRAINING: 0}

    def counted(where: str) -> None:
        calls[where] = calls.get(where, 0) + 1
        if stop and (where, calls[where]) == stop[:2]:
            os.kill(os.getpid(), stop[2])

    for where in {TRAINING, *(stop or ())[:1]}:
        wrap(where, lambda where=where: counted(where))
    sys.argv = ["train_system.py", *arguments]
    try:
        train_system.main()
    finally:
        print("training steps:", calls[TRAINING])


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have the imports behind them: seconds less for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "pytest",
            "train_system",
            "common.runs.experiment",
            "common.trained.evaluate",
            "arch_dual_head.trainer",
        ]
    )
    return context


@pytest.fixture(scope="module")
def study(processes, tiny):
    """Run the study of one seed in a process of its own; gives its exit status and what it said."""

    def run(place: Path, *more: str, stop: tuple | None = None, every_step: bool = True):
        place.parent.mkdir(exist_ok=True)
        log = place.with_suffix(".log")
        arguments = [*tiny, *CHANCE, "analyse=false", "num_seeds=1", f"save_dir={place.parent}"]
        arguments += [f"exp_name={place.name}", *more]
        process = processes.Process(target=command, args=(str(log), stop, every_step, arguments))
        process.start()
        process.join(120)
        assert process.exitcode is not None, log.read_text()
        return process.exitcode, log.read_text()

    return run


@pytest.fixture(scope="module")
def uninterrupted(study, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("uninterrupted") / "study"
    status, said = study(place, every_step=False)
    assert status == 0, said
    assert said.endswith(f"training steps: {len(ARMS) * EPOCHS * STEPS}\n")
    return place


def same(one, other, where: str = "") -> None:
    """Nested containers and tensors, bit for bit, but for clocks and places."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for name in one:
            if name not in ("seconds", "dirpath") and not str(name).endswith("_path"):
                same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert one.equal(other), where
    else:
        assert one == other, where


def same_study(one: Path, other: Path, *, other_configuration: bool = False) -> None:
    for arm in ARMS:
        here, there = one / arm / "seed0", other / arm / "seed0"
        results = [yaml.safe_load((place / "result.yaml").read_text()) for place in (here, there)]
        for result in results:
            del result["seconds"], result["sha256"], result["digest"]
            if other_configuration:
                del result["fingerprint"]
        assert results[0] == results[1]
        for file in ("best.ckpt", "last.ckpt"):
            held = [
                torch.load(place / "checkpoints" / file, weights_only=True)
                for place in (here, there)
            ]
            for content in held:
                content["bilateral"]["config"] = None  # it names the place
                if other_configuration:
                    content["bilateral"]["fingerprint"] = None
                # Bookkeeping of which files were kept under which names.
                for state in content.get("callbacks", {}).values():
                    for name in ("best_k_models", "kth_value", "current_score"):
                        state.pop(name, None)
            same(*held, f"{arm}/{file}")
        # As text: continuing must neither round nor repeat an epoch.
        assert (here / "metrics.csv").read_text() == (there / "metrics.csv").read_text()
    for table in ("results.csv", "summary.csv", "differences.csv"):
        assert rows(one / table) == rows(other / table)
    assert not list(one.rglob("*.tmp"))


def steps_of(said: str) -> int:
    return int(said.rpartition("training steps:")[2])


TENSORBOARD = ["logger=default"]
TOP_2 = ["ckpt_callback.save_top_k=2"]
WORKER = ["hparams.num_workers=1", "dataset.memory_gb=0.001"]


@pytest.mark.parametrize(
    ("where", "call", "left", "more"),
    [
        pytest.param(TRAINING, 1, 24, [], id="at the very first step", marks=pytest.mark.slow),
        pytest.param(
            TRAINING,
            3,
            22,
            TENSORBOARD,
            id="in the middle of the first epoch",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            TRAINING, 5, 20, [], id="at the first step of an epoch", marks=pytest.mark.slow
        ),
        pytest.param(
            TRAINING,
            7,
            18,
            WORKER,
            id="in the middle of an epoch with a loading process",
            marks=pytest.mark.slow,
        ),
        # The last step of an epoch is saved together with its validation.
        pytest.param(VALIDATION, 2, 17, [], id="in validation"),
        pytest.param(TEST, 1, 16, TOP_2, id="between fit and test", marks=pytest.mark.slow),
        pytest.param(TRAINING, 19, 6, TOP_2, id="in the bilateral stage", marks=pytest.mark.slow),
        pytest.param(TEST, 3, 0, TENSORBOARD, id="in the last test", marks=pytest.mark.slow),
        pytest.param(
            "common.runs.experiment:write_tables",
            1,
            0,
            [],
            id="before the tables",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "torch:save", 3, 22, [], id="while a checkpoint is written", marks=pytest.mark.slow
        ),
        pytest.param(
            "common.training.callbacks:LastCheckpoint._save",
            4,
            21,
            [],
            id="between two files",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_killed_study_continues_bit_for_bit(
    where, call, left, more, study, uninterrupted, tmp_path
):
    place = tmp_path / "study"
    status, said = study(place, *more, stop=(where, call, signal.SIGKILL))
    assert status == -signal.SIGKILL, said
    assert not (place / "results.csv").exists()
    status, said = study(place, *more)
    assert status == 0, said
    assert steps_of(said) == left
    # Two kept epochs are another configuration, whose best one is the same.
    same_study(place, uninterrupted, other_configuration=more is TOP_2)


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_continues_bit_for_bit(
    study, uninterrupted, tmp_path
):
    place = tmp_path / "study"
    for _ in range(20):
        status, said = study(place, stop=(TRAINING, 6, signal.SIGKILL))
        if status != -signal.SIGKILL:
            break
    assert status == 0, said
    same_study(place, uninterrupted)


@pytest.mark.slow
def test_a_study_may_be_moved_while_it_is_stopped(study, uninterrupted, tmp_path):
    status, _ = study(tmp_path / "here" / "study", stop=(TRAINING, 7, signal.SIGKILL))
    assert status == -signal.SIGKILL
    (tmp_path / "here").rename(tmp_path / "there")
    status, said = study(tmp_path / "there" / "study")
    assert status == 0, said
    assert steps_of(said) == 18
    same_study(tmp_path / "there" / "study", uninterrupted)


@pytest.mark.parametrize(
    ("number", "where", "left"),
    [
        pytest.param(signal.SIGINT, (TRAINING, 7), 17, id="SIGINT in training"),
        pytest.param(
            signal.SIGINT, (VALIDATION, 2), 16, id="SIGINT in validation", marks=pytest.mark.slow
        ),
        pytest.param(signal.SIGINT, (TEST, 1), 16, id="SIGINT in the test", marks=pytest.mark.slow),
        pytest.param(
            signal.SIGTERM, (TRAINING, 18), 6, id="SIGTERM in training", marks=pytest.mark.slow
        ),
        pytest.param(signal.SIGUSR1, (TRAINING, 18), 6, id="SIGUSR1", marks=pytest.mark.slow),
        pytest.param(
            signal.SIGTERM,
            ("common.data.datamodule:load_folder", 1),
            24,
            id="SIGTERM at the start",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_study_that_is_asked_to_stop_keeps_its_last_step_and_says_so(
    number, where, left, study, uninterrupted, tmp_path
):
    place = tmp_path / "study"
    status, said = study(place, stop=(*where, number), every_step=False)
    assert status == 128 + number, said
    assert f"Stopped by {number.name}: run the same command to continue." in said
    assert "Traceback" not in said
    status, said = study(place)
    assert status == 0, said
    assert steps_of(said) == left
    same_study(place, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_stops_at_once(command, number):
    # A product of matrices that takes long: Python's own handlers would wait for its end.
    program = (
        "import os, threading, torch\n"
        "from common.system.signals import signals\n"
        "signals.install()\n"
        "with signals.put_off():\n"
        f"    os.kill(os.getpid(), {number:d})\n"
        "    print('a step goes on', flush=True)\n"
        f"    threading.Timer(1, os.kill, (os.getpid(), {number:d})).start()\n"
        "    one = torch.empty(8_000, 8_000, dtype=torch.float64)\n"
        "    one @ one\n"
        "    print('it is over', flush=True)\n"
    )
    done = command("-c", program, OMP_NUM_THREADS="1")
    # What a shell calls 130, 143 or 138.
    assert (done.returncode, done.stdout) == (-number, "a step goes on\n")
    assert done.stderr == "Stopping after this step; once more stops at once.\n"
