"""The table at the end of a --multirun, and the number that a searching sweeper goes by."""

import csv
import re
from pathlib import Path

import pytest
import yaml

import arch_single_head.trainer
import train_system
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from arch_single_head.trainer import FOLDER
from common.settings.command import command as command_line
from common.settings.compose import ROOT, SHARED, compose
from common.settings.sweep import study_of
from common.system.errors import Unfinished
from study.schema import StudyConfig

SHORT = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=2"]


def rows_of(place: Path) -> list[dict[str, str]]:
    with (place / "run_sweep" / "sweep.csv").open(newline="") as text:
        return list(csv.DictReader(text))


def headers(out: str) -> list[str]:
    """What stands above the columns of a printed table."""
    return re.split(r"  +", out.split("sweep, best first")[1].split("\n")[2].strip())


@pytest.fixture
def sweep_of(in_process, tiny, tmp_path):
    """Run a sweep whose jobs only make their folder; gives the headers that are printed and the rows of sweep.csv."""

    def task(cfg):
        (tmp_path / cfg.exp_name).mkdir(exist_ok=True)
        return cfg.hparams.dropout

    def run(*words: str, schema=SingleConfig, folder=FOLDER):
        def main():
            command_line(task, schema=schema, folder=folder)

        line = ["--multirun", f"save_dir={tmp_path}", "exp_name=run", *words]
        status, out, err = in_process(main, *tiny, *line)
        assert (status, err) == (0, "")
        return headers(out), rows_of(tmp_path)

    return run


def test_a_key_of_one_value_is_shown_where_another_sweep_gave_it_another(sweep_of):
    shown, _ = sweep_of("hparams.optimizer=sgd", "hparams.dropout=0.1,0.2")
    assert shown == ["hparams.dropout", "validation accuracy"]
    shown, rows = sweep_of("hparams.optimizer=adam", "hparams.dropout=0.1,0.2")
    assert shown == ["hparams.dropout", "hparams.optimizer", "validation accuracy"]
    assert sorted((row["hparams.optimizer"], row["hparams.dropout"]) for row in rows) == [
        ("adam", "0.1"),
        ("adam", "0.2"),
        ("sgd", "0.1"),
        ("sgd", "0.2"),
    ]


def test_jobs_of_two_variants_stand_side_by_side(sweep_of):
    dual = {"schema": DualConfig, "folder": ROOT / "arch_dual_head"}
    sweep_of("--config-name", "unilateral", "hparams.dropout=0.1,0.2", **dual)
    again = ("--config-name", "unilateral_wide", "hparams.dropout=0.1,0.2")
    for _ in range(2):
        shown, rows = sweep_of(*again, **dual)
        assert shown == ["hparams.dropout", "--config-name", "validation accuracy"]
        assert len(rows) == 4
        assert {row["--config-name"] for row in rows} == {"unilateral", "unilateral_wide"}


def test_two_spellings_of_a_value_are_one_job(sweep_of):
    _, rows = sweep_of("hparams.dropout=0.1,1e-1")
    assert [row["val_accuracy"] for row in rows] == ["0.1"]


def test_of_a_key_that_is_given_twice_the_last_word_counts(sweep_of):
    shown, _ = sweep_of("hparams.dropout=0.3", "hparams.dropout=0.1,0.2")
    assert shown == ["hparams.dropout", "validation accuracy"]


def test_where_rows_look_the_same_their_folders_are_shown(sweep_of, tmp_path):
    _, (best, _) = sweep_of("hparams.dropout=0.1,0.2")
    file = tmp_path / "run_sweep/sweep.csv"
    (tmp_path / "run_other").mkdir()
    file.write_text(file.read_text().replace(best["folder"], "run_other"))
    shown, rows = sweep_of("hparams.dropout=0.1,0.2")
    assert shown == ["hparams.dropout", "folder", "validation accuracy"]
    assert [row["hparams.dropout"] for row in rows] == ["0.2", "0.2", "0.1"]
    assert {row["folder"] for row in rows[:2]} == {best["folder"], "run_other"}


@pytest.mark.parametrize(
    ("given", "name"),
    [([], "study"), (["dataset=navon"], "study-NAVON"), (["dataset.name=OWN"], "study-OWN")],
)
def test_studies_of_each_data_set_have_a_table_of_their_own(given, name):
    cfg = compose(
        ROOT,
        schema=StudyConfig,
        overrides=given,
        config_dir=SHARED,
        config_name="train_system",
    )
    assert study_of(cfg) == name


def test_a_sweep_ends_with_its_jobs_best_first(in_process, tiny, tmp_path):
    sweep = ["--multirun", "hparams.mode=fine,coarse", "hparams.lr=0.0001,0.01"]
    place = [f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    status, out, err = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *sweep, *place)
    assert (status, err) == (0, "")
    rows = rows_of(tmp_path)
    # What was swept comes first, then what was given once.
    assert list(rows[0])[:3] == ["hparams.mode", "hparams.lr", "dataset"]
    assert list(rows[0])[-2:] == ["val_accuracy", "folder"]
    assert {row["dataset"] for row in rows} == {"navon"}
    for row in rows:
        (file,) = (tmp_path / row["folder"]).glob("*/seed0/config.yaml")
        assert float(row["hparams.lr"]) == yaml.safe_load(file.read_text())["hparams"]["lr"]
    scores = [float(row["val_accuracy"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    # Each is the job's own result.
    found = {}
    for file in tmp_path.glob("*/results.csv"):
        with file.open(newline="") as text:
            (row,) = csv.DictReader(text)
        config = (file.parent / row["arm"] / "seed0/config.yaml").read_text()
        (rate,) = (line.split()[1] for line in config.splitlines() if line.startswith("  lr: 0"))
        found[row["arm"], float(rate)] = float(row["val_accuracy"])
    assert found == {
        (row["hparams.mode"], float(row["hparams.lr"])): float(row["val_accuracy"]) for row in rows
    }
    assert headers(out) == ["hparams.mode", "hparams.lr", "validation accuracy"]
    table = out.split("sweep, best first")[1]
    shown = [line.split()[2] for line in table.splitlines() if line.rstrip().endswith("%")]
    assert shown == [f"{100 * score:.2f}" for score in scores]


def test_sweeps_of_two_names_have_a_table_each(in_process, tiny, tmp_path):
    sweep = ["--multirun", "exp_name=run,other", f"save_dir={tmp_path}", "evaluate=false"]
    status, out, err = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *sweep)
    assert (status, err) == (0, "")
    tables = {file.parent.name: file.read_text() for file in tmp_path.glob("*_sweep/sweep.csv")}
    assert sorted(tables) == ["other_sweep", "run_sweep"]
    for name, text in tables.items():
        (row,) = csv.DictReader(text.splitlines())
        assert row["exp_name"] == name.removesuffix("_sweep")
        assert row["folder"].startswith(f"{row['exp_name']}_")
        assert str(tmp_path / name / "sweep.csv") in out


@pytest.mark.parametrize("modes", [["fine"], ["fine", "coarse"]])
def test_a_job_that_is_refused_leaves_the_table_of_those_before_it(
    in_process, tiny, tmp_path, modes
):
    sweep = ["--multirun", f"hparams.mode={','.join(modes)},feature"]
    place = [f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    status, out, err = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *sweep, *place)
    assert status == 1
    assert err.startswith("error: hparams.mode is 'feature'")
    assert err.count("\n") == 1
    rows = rows_of(tmp_path)
    assert headers(out) == ["hparams.mode", "validation accuracy"]
    assert sorted(row["hparams.mode"] for row in rows) == sorted(modes)
    assert "sweep, best first" in out


def test_a_sweep_keeps_the_rows_of_earlier_ones_whose_folders_are_there(in_process, tiny, tmp_path):
    def task(cfg):
        (tmp_path / cfg.exp_name).mkdir(exist_ok=True)
        return cfg.hparams.lr + cfg.hparams.dropout

    def main():
        command_line(task, schema=SingleConfig, folder=FOLDER)

    def swept(*words: str) -> list[tuple[str, str, float]]:
        line = ["--multirun", *words, f"save_dir={tmp_path}", "exp_name=run"]
        assert in_process(main, *tiny, *line)[0] == 0
        return [
            (row["hparams.lr"], row.get("hparams.dropout", ""), float(row["val_accuracy"]))
            for row in rows_of(tmp_path)
        ]

    first = swept("hparams.lr=0.1,0.2,0.3", "hparams.dropout=0")
    assert [lr for lr, *_ in first] == ["0.3", "0.2", "0.1"]
    gone = next(row["folder"] for row in rows_of(tmp_path) if row["hparams.lr"] == "0.2")
    (tmp_path / gone).rmdir()
    more = swept("hparams.lr=0.3,0.4", "hparams.dropout=0")
    assert [lr for lr, *_ in more] == ["0.4", "0.3", "0.1"]
    other = swept("hparams.lr=0.1", "hparams.dropout=0.1,0.5")
    assert next(one[:2] for one in other) == ("0.1", "0.5")
    assert len(other) == 5


@pytest.mark.parametrize(
    ("score", "listed"), [(None, ["0.2", "0.1"]), (0.15, ["0.2", "1000", "0.1"])]
)
def test_a_job_that_is_not_finished_is_said_and_the_others_go_on(
    score, listed, in_process, tiny, tmp_path
):
    """One that has a score all the same, since only its analysis failed, is listed."""
    sentence = "1 of 1 stages could not be finished: fine/seed0."

    def task(cfg):
        if cfg.hparams.lr > 1:
            raise Unfinished(sentence, score)
        return cfg.hparams.lr

    def main():
        command_line(task, schema=SingleConfig, folder=FOLDER)

    sweep = ["--multirun", "hparams.lr=0.1,1000,0.2", f"save_dir={tmp_path}", "exp_name=run"]
    status, out, err = in_process(main, *tiny, *sweep)
    assert status == 1
    assert [row["hparams.lr"] for row in rows_of(tmp_path)] == listed
    assert "sweep, best first" in out
    said, last = err.splitlines()
    assert said == f"error: {sentence}"
    assert last.startswith("error: 1 of the sweep's jobs could not be finished: run_")
    assert "lr-1000" in last


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (["hparams.lr=0.1,-1"], "hparams.lr is -1.0; allowed"),
        (["hparams.mode=fine,coarse", "seeds=[0],[0,0]"], "seeds is [0, 0]; allowed"),
        (["hparams.width=range(15,18)"], "hparams.width is 17.0; allowed"),
        (["hparams.lr=0.1,0.2", "dataset=navon,nvaon"], "dataset=nvaon is not there"),
        (["hparams.dropout=glob(*)"], "hparams.dropout=glob(*): glob() lists the names of a group"),
        (["trainer=glob(d*)", "hparams.arch=resnet9,vgg"], "hparams.arch is 'vgg'; allowed"),
    ],
)
def test_a_mistake_in_a_later_job_is_found_before_the_first_one_is_run(
    in_process, tmp_path, sweep, said
):
    line = ["--multirun", "dataset=navon", f"save_dir={tmp_path}", "dataset.root=/nowhere", *sweep]
    status, out, err = in_process(arch_single_head.trainer.main, *line)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_what_hydra_says_of_a_running_job_is_no_mistake(command, tmp_path):
    """A process of its own: in this one a job has run."""
    line = ["--multirun", "note=${hydra:job.num}", "seeds=[0],[1]", "dataset.root=/nowhere"]
    done = command("arch_single_head/trainer.py", *line, f"save_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: No folder of labelled images at /nowhere")


def test_a_sweep_finds_files_outside_the_repository(in_process, tmp_path):
    (tmp_path / "dataset").mkdir()
    text = (ROOT / "common/config/dataset/navon.yaml").read_text()
    (tmp_path / "dataset/elsewhere.yaml").write_text(text.replace("../datasets", "/nowhere"))
    for main in (arch_single_head.trainer.main, train_system.main):
        line = ["--multirun", "--config-dir", str(tmp_path), "dataset=elsewhere", "seeds=[0],[1]"]
        status, _, err = in_process(main, *line, f"save_dir={tmp_path}")
        assert status == 1
        assert err.startswith("error: No folder of labelled images at /nowhere/NAVON/train/fine")


def test_one_run_alone_has_no_table(in_process, tiny, tmp_path):
    place = [f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    _, out, _ = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *place)
    assert "sweep" not in out
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
