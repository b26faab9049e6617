"""The table at the end of a --multirun, and the number that a searching sweeper goes by."""

import csv

import yaml

import arch_single_head.trainer

SHORT = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=2"]


def test_a_sweep_ends_with_its_jobs_best_first(in_process, tiny, tmp_path):
    sweep = ["--multirun", "hparams.mode=fine,coarse", "hparams.lr=0.0001,0.01"]
    place = [f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    status, out, err = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *sweep, *place)
    assert (status, err) == (0, "")
    with (tmp_path / "run_sweep" / "sweep.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    # Only what was swept.
    assert list(rows[0]) == ["hparams.mode", "hparams.lr", "val_accuracy", "folder"]
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
    table = out.split("sweep, best first")[1]
    shown = [line.split()[2] for line in table.splitlines() if line.rstrip().endswith("%")]
    assert shown == [f"{100 * score:.2f}" for score in scores]


def test_one_run_alone_has_no_table(in_process, tiny, tmp_path):
    place = [f"save_dir={tmp_path}", "exp_name=run", "evaluate=false"]
    _, out, _ = in_process(arch_single_head.trainer.main, *tiny, *SHORT, *place)
    assert "sweep" not in out
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
