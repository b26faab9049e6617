"""Checkpoints to continue from that are damaged, and losses that are no numbers."""

import csv
import os
import pickle
import re
import shutil
import signal
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
import yaml
from helpers import Killed, before_step, kill, terminate, wrap
from omegaconf import OmegaConf

import arch_dual_head.trainer
import arch_single_head.trainer
import common.checkpoints.files
import common.training.callbacks as callbacks
import train_system
from common.system.atomic_files import replacing
from common.training.finite import FiniteLoss
from common.training.module import TrainingModule
from study.plan import plan
from study.schema import StudyKeys

SINGLE, STUDY = arch_single_head.trainer.main, train_system.main
EPOCHS, STEPS = 4, 4


@pytest.fixture
def command(in_process, tiny):
    """Train the fine hemisphere for four epochs of four steps below a folder."""

    def run(place: Path, *more: str) -> tuple[int, str, str]:
        epochs = f"trainer_params.max_epochs={EPOCHS}"
        return in_process(SINGLE, *tiny, epochs, f"save_dir={place}", "exp_name=run", *more)

    return run


def stage(place: Path) -> Path:
    return place / "run/fine/seed0"


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny, succeed) -> dict[str, Path]:
    """The same run, once finished and once stopped in its third epoch, whose epochs 1 and 2 are saved."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("whole", "stopped")}
    arguments = [*tiny, f"trainer_params.max_epochs={EPOCHS}", "exp_name=run"]
    succeed(SINGLE, *arguments, f"save_dir={found['whole']}")
    with pytest.MonkeyPatch.context() as patch, before_step(2 * STEPS + 1, terminate):
        patch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
        with pytest.raises(AssertionError):
            succeed(SINGLE, *arguments, f"save_dir={found['stopped']}")
    checkpoints = stage(found["stopped"]) / "checkpoints"
    assert sorted(f.name for f in checkpoints.iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    ]
    steps = [torch.load(checkpoints / f"{n}.ckpt")["global_step"] for n in ("previous", "last")]
    assert steps == [2 * STEPS, 2 * STEPS + 1]
    return found


@pytest.fixture
def stopped(places, tmp_path) -> Path:
    shutil.copytree(places["stopped"], tmp_path / "stopped")
    # Beside the one that was linked to last.ckpt when it was damaged, or not: two files of their own.
    return tmp_path / "stopped"


def same(one: Path, other: Path) -> None:
    results = [yaml.safe_load((stage(place) / "result.yaml").read_text()) for place in (one, other)]
    for result in results:
        del result["seconds"], result["sha256"], result["digest"]
    assert results[0] == results[1]
    assert (stage(one) / "metrics.csv").read_text() == (stage(other) / "metrics.csv").read_text()
    for name in ("best.ckpt", "last.ckpt"):
        here, there = (
            torch.load(stage(place) / "checkpoints" / name)["state_dict"] for place in (one, other)
        )
        assert all(here[key].equal(there[key]) for key in there)


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5000])


def flipped(file: Path) -> None:
    """One bit in the largest tensor, which torch reads without noticing."""
    content = bytearray(file.read_bytes())
    weights = torch.load(file)["state_dict"]
    largest = max(weights.values(), key=lambda w: w.numel())
    content[content.index(bytes(largest.untyped_storage())) + 100] ^= 4
    file.write_bytes(content)
    torch.load(file)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("not a checkpoint")


def hostile(file: Path) -> None:
    torch.save(torch.load(file) | {"extra": Hostile(file.parent / "harm")}, file)


def hostile_pickle(file: Path) -> None:
    file.write_bytes(pickle.dumps(Hostile(file.parent / "harm")))


def of_another_run(file: Path) -> None:
    content = torch.load(file)
    content["bilateral"]["fingerprint"] = "0" * 16
    torch.save(content, file)


def of_another_seed(file: Path) -> None:
    content = torch.load(file)
    content["bilateral"]["seed"] = 1
    torch.save(content, file)


def without_optimiser(file: Path) -> None:
    content = torch.load(file)
    del content["optimizer_states"]
    torch.save(content, file)


DAMAGES = [
    truncated, flipped, hostile, *(pytest.param(damage, marks=pytest.mark.slow) for damage in
    (emptied, text, hostile_pickle, of_another_run, of_another_seed, without_optimiser))
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_checkpoint_is_set_aside_for_the_one_before(
    damage, command, stopped, places
):
    checkpoints = stage(stopped) / "checkpoints"
    damage(checkpoints / "last.ckpt")
    status, out, err = command(stopped)
    assert (status, err) == (0, "")
    assert f"{checkpoints / 'last.ckpt'} is damaged; it is set aside as last.ckpt.damaged" in out
    assert f"goes on from {checkpoints / 'previous.ckpt'}, step {2 * STEPS}" in out
    assert "fine/seed0: continued" in out
    assert not (checkpoints / "harm").exists()
    assert (checkpoints / "last.ckpt.damaged").is_file()
    same(stopped, places["whole"])


def test_the_one_before_goes_with_the_best_weights_of_its_moment(command, tmp_path, monkeypatch):
    """Every epoch is kept, so that those of the last checkpoint replace those of the one before."""
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    every_epoch = "ckpt_callback.select=last"
    checkpoints = stage(tmp_path) / "checkpoints"
    with before_step(2 * STEPS + 1, kill), pytest.raises(Killed):
        command(tmp_path, every_epoch)
    flipped(checkpoints / "last.ckpt")
    with before_step(1, kill), pytest.raises(Killed):
        command(tmp_path, every_epoch)
    steps = [torch.load(checkpoints / f"{n}.ckpt")["global_step"] for n in ("previous", "best")]
    assert steps == [STEPS, STEPS]


def test_an_undamaged_one_is_continued_without_further_words(command, stopped, places):
    status, out, err = command(stopped)
    assert (status, err) == (0, "")
    assert out.splitlines()[1] == "fine/seed0: continued"
    same(stopped, places["whole"])


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_signal_while_a_checkpoint_is_read_is_no_damage(
    name, command, stopped, places, monkeypatch
):
    checkpoints = stage(stopped) / "checkpoints"
    before = {file.name: file.read_bytes() for file in checkpoints.iterdir()}
    verify = common.checkpoints.files._verify

    def signalled(file: BinaryIO) -> None:
        if Path(file.name).stem == name:
            os.kill(os.getpid(), signal.SIGTERM)
        verify(file)

    with monkeypatch.context() as patch:
        patch.setattr(common.checkpoints.files, "_verify", signalled)
        assert command(stopped)[0] == 143
    assert {file.name: file.read_bytes() for file in checkpoints.iterdir()} == before
    status, out, _ = command(stopped)
    assert (status, "fine/seed0: continued" in out) == (0, True)
    same(stopped, places["whole"])


@pytest.mark.parametrize("written", [False, True], ids=["before the last one is", "after it is"])
def test_the_kept_weights_are_those_of_the_last_checkpoint_wherever_writing_them_ends(
    written, command, tmp_path, monkeypatch
):
    """Killed while the weights of the second epoch are saved together with a checkpoint to continue from."""
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    every_epoch = "ckpt_callback.select=last"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoints = stage(killed) / "checkpoints"
    kept, last, beside = (checkpoints / n for n in ("best.ckpt", "last.ckpt", "best.ckpt.next"))
    replace = Path.replace

    def ending(path: Path, target: Path) -> Path:
        now = path == beside if written else Path(target) == last
        if now and kept.is_file() and beside.is_file():
            raise Killed
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", ending)
        with pytest.raises(Killed):
            command(killed, every_epoch)
    with before_step(1, terminate):
        assert command(killed, every_epoch)[0] == 143
    epochs = 2 if written else 1
    steps = [torch.load(file)["global_step"] for file in (kept, last)]
    assert steps == [epochs * STEPS, epochs * STEPS + 1]
    assert not beside.exists()
    for place in (killed, whole):
        assert command(place, every_epoch)[0] == 0
    same(killed, whole)


@pytest.mark.parametrize(
    ("owner", "name", "steps"),
    [
        # Once the checkpoint of the epoch would have been written: the next step ends first.
        (callbacks.LastCheckpoint, "on_train_epoch_end", STEPS + 1),
        # The epoch ends first.
        (TrainingModule, "validation_step", STEPS),
    ],
    ids=["after an epoch", "in validation"],
)
def test_a_signal_leaves_a_checkpoint_wherever_it_comes(
    owner, name, steps, command, places, tmp_path, monkeypatch
):
    hook, told = getattr(owner, name), []

    def told_once(*args, **kwargs):
        found = hook(*args, **kwargs)
        if not told:
            told.append(terminate())
        return found

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, told_once)
        assert command(tmp_path)[0] == 143
    assert torch.load(stage(tmp_path) / "checkpoints/last.ckpt")["global_step"] == steps
    assert command(tmp_path)[0] == 0
    same(tmp_path, places["whole"])


def test_metrics_are_whole_though_they_were_not_wanted_for_a_while(command, stopped, places):
    with before_step(STEPS + 1, terminate):  # in the last epoch
        assert command(stopped, "logger.csv=false")[0] == 143
    assert command(stopped)[0] == 0
    same(stopped, places["whole"])


def test_a_hemisphere_that_was_not_finished_is_refused(stopped, tiny, in_process):
    best = stage(stopped) / "checkpoints" / "best.ckpt"
    status, _, err = in_process(
        arch_dual_head.trainer.main,
        *tiny,
        f"save_dir={stopped}",
        f"hparams.model_path_fine={best}",
        f"hparams.model_path_coarse={best}",
    )
    assert status == 1
    assert (
        err
        == f"error: {best} is of a training that was not finished: run its command again first.\n"
    )


@pytest.mark.parametrize("files", [["last", "previous"], ["best"]])
def test_where_nothing_is_whole_the_stage_starts_anew(files, command, stopped, places):
    checkpoints = stage(stopped) / "checkpoints"
    for name in files:
        flipped(checkpoints / f"{name}.ckpt")
    status, out, err = command(stopped)
    assert (status, err) == (0, "")
    for name in files:
        assert f"set aside as {name}.ckpt.damaged" in out
    assert "nothing whole is left to continue from, so it starts anew" in out
    if files == ["best"]:  # the others are whole, if of no use: they stay
        assert {"last.ckpt.unused", "previous.ckpt.unused"} <= {
            f.name for f in checkpoints.iterdir()
        }
    assert "fine/seed0: started" in out
    same(stopped, places["whole"])


@pytest.mark.parametrize("content", [b"\xff\x00garbage"])
def test_a_damaged_metrics_table_is_written_anew(content, command, stopped, places):
    (stage(stopped) / "metrics.csv").write_bytes(content)
    assert command(stopped)[0] == 0
    same(stopped, places["whole"])


def test_what_killed_commands_left_is_deleted_and_what_another_one_writes_is_not(
    command, places, tmp_path
):
    """An analysis takes no lock of the experiment."""
    shutil.copytree(places["whole"], tmp_path / "copy")
    report = tmp_path / "copy/run/report.html"
    left = report.with_name(f".{report.name}.left.tmp")
    left.touch()
    with replacing(report) as written:
        written.write_text("a page")
        assert command(tmp_path / "copy")[0] == 0
        assert not left.exists()
    assert report.read_text() == "a page"


def another_digit(file: Path) -> None:
    result = yaml.safe_load(file.read_text())
    result["test"]["fine"]["accuracy"] += 0.1
    file.write_text(yaml.safe_dump(result, sort_keys=False))


@pytest.mark.parametrize(
    "harm", [another_digit, lambda file: file.write_bytes(b"\xff")], ids=["a digit", "all"]
)
def test_a_damaged_result_is_made_anew_without_training(harm, command, places, tmp_path):
    shutil.copytree(places["whole"], tmp_path / "copy")
    harm(stage(tmp_path / "copy") / "result.yaml")
    status, out, _ = command(tmp_path / "copy")
    assert status == 0
    assert "result.yaml is damaged and is made anew (it is kept as result.yaml.unused)" in out
    assert "fine/seed0: continued" in out
    assert "epoch 1/" not in out
    same(tmp_path / "copy", places["whole"])


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (Path.unlink, "missing"),
        (lambda file: file.write_bytes(b""), "not the file that result.yaml records"),
    ],
)
def test_answers_that_are_not_those_of_the_result_are_given_anew(
    harm, why, command, places, tmp_path
):
    shutil.copytree(places["whole"], tmp_path / "copy")
    harm(stage(tmp_path / "copy") / "predictions.csv.gz")
    status, out, _ = command(tmp_path / "copy")
    assert status == 0
    assert f"fine/seed0: predictions.csv.gz is {why}" in out
    assert "fine/seed0: trained before, tested now" in out
    same(tmp_path / "copy", places["whole"])
    assert (stage(tmp_path / "copy") / "predictions.csv.gz").read_bytes() == (
        stage(places["whole"]) / "predictions.csv.gz"
    ).read_bytes()


@pytest.mark.parametrize(
    ("name", "harm", "why"),
    [
        ("checkpoints/best.ckpt", Path.unlink, "best.ckpt is missing"),
        (
            "checkpoints/best.ckpt",
            lambda file: shutil.copy(file.with_name("last.ckpt"), file),
            "best.ckpt is not the checkpoint that result.yaml records",
        ),
    ],
)
def test_what_makes_a_finished_stage_start_anew_is_said(name, harm, why, command, places, tmp_path):
    shutil.copytree(places["whole"], tmp_path / "copy")
    harm(stage(tmp_path / "copy") / name)
    status, out, _ = command(tmp_path / "copy")
    assert status == 0
    assert f"{why}; starting anew" in out
    same(tmp_path / "copy", places["whole"])


@pytest.mark.parametrize("content", [b"\xff", b"a: 2024-13-45\n"])
def test_a_damaged_fingerprint_is_refused_by_its_name(content, command, places, tmp_path):
    shutil.copytree(places["whole"], tmp_path / "copy")
    file = stage(tmp_path / "copy") / "fingerprint.yaml"
    file.write_bytes(content)
    before = (tmp_path / "copy/run/results.csv").read_text()
    status, _, err = command(tmp_path / "copy")
    assert status == 1
    assert err.count("\n") == 1
    assert f"{file} is damaged" in err
    assert (tmp_path / "copy/run/results.csv").read_text() == before


def test_a_result_without_its_fingerprint_is_not_taken_for_another_configurations(
    command, places, tmp_path
):
    shutil.copytree(places["whole"], tmp_path / "copy")
    (stage(tmp_path / "copy") / "fingerprint.yaml").unlink()
    status, _, err = command(tmp_path / "copy", "hparams.weight_decay=0.5")
    assert status == 1
    assert "holds a run of another configuration" in err
    status, out, _ = command(tmp_path / "copy")
    assert (status, "done before" in out) == (0, True)


# Losses that are no numbers


def spoiled(monkeypatch, arm: str, step: int, value: float) -> None:
    """The loss of ``step`` (from 1) of an arm's first seed is ``value`` times what it was."""
    original, steps = TrainingModule.training_step, []

    def training_step(self, batch, batch_idx):
        loss = original(self, batch, batch_idx)
        if (self.record.arm, self.record.seed) == (arm, 0):
            steps.append(1)
            loss = loss * value if len(steps) == step else loss
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def finite(folder: Path) -> None:
    files = list(folder.rglob("*.ckpt"))
    assert files
    for file in files:
        assert all(w.isfinite().all() for w in torch.load(file)["state_dict"].values()), file


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_stage_whose_loss_is_no_number_stops_and_the_others_go_on(
    value, in_process, tiny, tmp_path, monkeypatch
):
    spoiled(monkeypatch, "fine", STEPS + 2, value)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    arguments = [*tiny, f"save_dir={tmp_path}", "exp_name=study", "num_seeds=2", "analyse=false"]
    status, out, err = in_process(STUDY, *arguments)
    study = tmp_path / "study"
    assert status == 1
    fine, bilateral, end = err.splitlines()
    last = study / "fine/seed0/checkpoints/last.ckpt"
    for said in ("fine/seed0", f"{value} at step {STEPS + 2} (", "learning rate 0.00", str(last)):
        assert said in fine
    assert "bilateral/seed0: skipped, for it needs fine/seed0" in bilateral
    assert "2 of 6 stages could not be finished: fine/seed0, bilateral/seed0" in end
    assert torch.load(last)["global_step"] == STEPS
    finite(study)
    with (study / "summary.csv").open() as file:
        seeds = {(row["arm"], row["level"]): row["seeds"] for row in csv.DictReader(file)}
    assert seeds == {
        ("fine", "fine"): "1",
        ("coarse", "coarse"): "2",
        ("bilateral", "fine"): "1",
        ("bilateral", "coarse"): "1",
    }
    assert "Missing: fine/seed0" in (study / "summary.md").read_text()
    assert "Missing: bilateral/seed0: skipped" in out

    monkeypatch.undo()  # the same command fills the hole once the cause is gone
    status, out, err = in_process(STUDY, *arguments)
    assert (status, err) == (0, "")
    assert "fine/seed0: continued" in out
    assert "coarse/seed0: done before" in out
    assert "bilateral/seed0: started" in out
    assert "Missing" not in out + (study / "summary.md").read_text()
    assert not list(study.rglob("failed.yaml"))


def test_a_study_without_any_result_says_only_that(in_process, tiny, tmp_path, monkeypatch):
    spoiled(monkeypatch, "fine", 1, float("nan"))
    arguments = [*tiny, f"save_dir={tmp_path}", "exp_name=study", "num_seeds=1", "arms=[fine]"]
    status, out, err = in_process(STUDY, *arguments)
    assert status == 1
    assert "1 of 1 stages could not be finished: fine/seed0" in err
    assert "analysis" not in out + err
    assert not (tmp_path / "study/analysis").exists()


def test_an_arm_without_any_result_is_in_the_table(command, tmp_path, monkeypatch):
    spoiled(monkeypatch, "fine", 1, float("nan"))
    status, out, err = command(tmp_path)
    assert status == 1
    assert "nothing good was saved" in err
    assert "Nothing was tested" not in out
    assert "- Missing: fine/seed0" in (tmp_path / "run/summary.md").read_text()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_rate_that_is_far_too_high_is_such_a_loss(command, tmp_path):
    status, _, err = command(
        tmp_path, "hparams.lr=1000", "hparams.optimizer=sgd", "trainer_params.precision=32-true"
    )
    assert status == 1
    assert "loss is " in err
    assert "(learning rate " in err
    assert "a lower hparams.lr may help" in err


@pytest.mark.parametrize(
    "mistake",
    [
        ["hparams.lr=1000", "hparams.optimizer=sgd", "trainer_params.precision=32-true"],
        ["trainer_params.limit_train_batches=0.001"],
    ],
)
def test_a_start_of_which_nothing_was_saved_does_not_stand_in_the_way(mistake, command, tmp_path):
    status, _, _ = command(tmp_path, *mistake)
    assert status == 1
    assert (stage(tmp_path) / "fingerprint.yaml").is_file()
    status, out, err = command(tmp_path, "trainer_params.max_epochs=1")
    assert (status, err) == (0, "")
    assert "fine/seed0: started" in out


def test_a_run_that_was_stopped_is_one_of_its_configuration(command, stopped):
    status, _, err = command(stopped, "hparams.lr=0.01")
    assert status == 1
    assert "holds a run of another configuration (hparams.lr was 0.005 and is now 0.01)" in err


def test_weights_that_are_no_numbers_are_never_saved(command, tmp_path, monkeypatch):
    original = FiniteLoss.on_train_batch_end

    def infinite(self, trainer, pl_module, *rest):
        if trainer.global_step == 2 * STEPS:
            next(pl_module.parameters()).data[0] = torch.inf
        original(self, trainer, pl_module, *rest)

    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", infinite)
    status, _, err = command(tmp_path)
    assert status == 1
    assert f"weights are NaN or infinite by step {2 * STEPS}" in err
    finite(tmp_path)


def test_losses_are_looked_at_once_in_a_stride(command, tmp_path, monkeypatch):
    looks = []
    original = FiniteLoss.check

    def check(self, pl_module):
        looks.append(len(self.losses))
        original(self, pl_module)

    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    monkeypatch.setattr(FiniteLoss, "check", check)
    assert command(tmp_path, "trainer_params.log_every_n_steps=3")[0] == 0
    assert [n for n in looks if n] == [3, 1] * EPOCHS


# What would be found out only after training


def test_what_cannot_be_tested_is_refused_before_training(command, navon, tmp_path):
    status, _, err = command(tmp_path, "trainer_params.limit_test_batches=0.001")
    assert status == 1
    assert "limit_test_batches=0.001 leaves none of 1 test batches" in err
    status, _, err = command(tmp_path, f"dataset.test_dir={tmp_path}/nowhere/fine")
    assert status == 1
    assert f"{tmp_path}/nowhere/fine" in err
    assert not list(tmp_path.rglob("*.ckpt"))


def plan_of(override: str) -> dict[str, str]:
    """The folder that each arm of a study reads with an override."""
    key = override.partition("=")[0]
    cfg = OmegaConf.merge(OmegaConf.structured(StudyKeys), {"num_seeds": 1})
    return {stage.arm: OmegaConf.select(stage.config, key) for stage in plan(cfg, [override])}


@pytest.mark.slow
def test_a_folder_of_one_level_is_refused_before_a_study_trains(in_process, tiny, navon, tmp_path):
    for name in ("train_dir", "val_dir", "test_dir"):
        folder = navon / name.split("_")[0].replace("val", "test")
        status, _, err = in_process(
            STUDY, *tiny, f"save_dir={tmp_path}", f"dataset.{name}={folder}/fine"
        )
        assert status == 1
        assert f"dataset.{name}" in err
        assert "hparams.mode is coarse" in err
        advice = re.search(r"'(dataset.*)' follows the mode", err)
        assert plan_of(advice.group(1)) == {
            "fine": f"{folder}/fine",
            "coarse": f"{folder}/coarse",
            "bilateral": f"{folder}/fine",
        }, name


@pytest.mark.slow
@pytest.mark.parametrize("every", [0.0, 3600.0], ids=["continued", "begun anew"])
def test_events_after_the_point_of_continuing_are_hidden(every, command, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", every)
    more = ["logger=default", "trainer_params.log_every_n_steps=1"]
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "validation_step", TrainingModule.validation_step)

        def stop() -> None:
            steps.append(1)
            if len(steps) == 3:
                raise KeyboardInterrupt

        wrap("common.training.module:TrainingModule.validation_step", stop)
        assert command(tmp_path, *more)[0] == 1
    assert command(tmp_path, *more)[0] == 0
    assert not list(tmp_path.rglob("hparams.yaml"))
    seen = EventAccumulator(str(stage(tmp_path)))
    seen.Reload()
    found = [event.step for event in seen.Scalars("train_step_loss")]
    assert found == list(range(EPOCHS * STEPS))
