"""Loggers beside metrics.csv: any of Lightning's, by its class; Weights & Biases by a group, without a network."""

import csv

import pytest
import yaml

import arch_single_head.trainer
import train_system

SINGLE = arch_single_head.trainer.main
SHORT = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1"]


def test_a_logger_of_lightning_by_its_class(in_process, tiny, tmp_path):
    other = (
        "logger.other={_target_: pytorch_lightning.loggers.CSVLogger, flush_logs_every_n_steps: 1}"
    )
    place = [f"save_dir={tmp_path}", "exp_name=run"]
    status, _, err = in_process(SINGLE, *tiny, *SHORT, *place, other)
    assert (status, err) == (0, "")
    stage = tmp_path / "run/fine/seed0"
    (file,) = stage.glob("run/fine/seed0/version_0/metrics.csv")
    with file.open(newline="") as text:
        logged = [float(row["val_accuracy"]) for row in csv.DictReader(text) if row["val_accuracy"]]
    with (stage / "metrics.csv").open(newline="") as text:
        (ours,) = csv.DictReader(text)
    assert logged == [pytest.approx(float(ours["val_accuracy"]))]
    # How a run was logged is no part of what it is.
    again = in_process(SINGLE, *tiny, *SHORT, *place)
    assert "fine/seed0: done before" in again[1]


def test_a_note_on_a_run_that_has_ended_is_kept(in_process, tiny, tmp_path):
    line = [*tiny, *SHORT, f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    assert in_process(SINGLE, *line)[0] == 0
    file = tmp_path / "run/fine/seed0/config.yaml"
    before = yaml.safe_load(file.read_text())
    for more in (['note="with the new lamp"'], []):
        assert "fine/seed0: done before" in in_process(SINGLE, *line, *more)[1]
        assert yaml.safe_load(file.read_text()) == before | {"note": "with the new lamp"}


def test_each_stage_is_a_run_of_its_own_in_weights_and_biases(
    in_process, tiny, tmp_path, monkeypatch
):
    pytest.importorskip("wandb", reason="optional: pip install wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    arms = ["arms=[fine,coarse]", "num_seeds=1", "analyse=false", "evaluate=false"]
    mine = [one for one in tiny if not one.startswith("logger=")] + ["logger=wandb"]
    more = ["logger.other.project=mine", f"save_dir={tmp_path}", "exp_name=study"]
    status, _, _ = in_process(train_system.main, *mine, *SHORT, *arms, *more)
    assert status == 0
    for arm in ("fine", "coarse"):
        (run,) = (tmp_path / "study" / arm / "seed0").rglob("offline-run-*")
        (file,) = run.glob(f"run-study-{arm}-seed0-*.wandb")
        assert b"val_accuracy" in file.read_bytes()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("x", "logger.other is 'x'; allowed: null, or a section"),
        ("{_target_: nope.Nope}", "logger.other._target_=nope.Nope cannot be made: No module"),
        ("{_target_: json.dumps}", "logger.other._target_=json.dumps cannot be made: "),
        ("{_target_: fractions.Fraction}", "fractions.Fraction is no logger of Lightning."),
        (
            "{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: /dev/null}",
            "pytorch_lightning.loggers.CSVLogger cannot begin a run: ",
        ),
    ],
)
def test_a_logger_that_cannot_be_made_is_one_sentence(in_process, tiny, tmp_path, value, sentence):
    status, _, err = in_process(SINGLE, *tiny, f"save_dir={tmp_path}", f"logger.other={value}")
    assert status == 1
    assert sentence in err
    assert err.count("\n") == 1
