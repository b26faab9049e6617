"""Hydra's launchers run a sweep's jobs at the same time, each in an experiment of its own."""

import importlib.util

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins") is None
    or importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None,
    reason="optional: pip install hydra-joblib-launcher",
)
JOBLIB = ["--multirun", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.slow
def test_joblib_runs_two_jobs(command, tiny, tmp_path):
    short = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1"]
    arguments = [*JOBLIB, *tiny, *short, f"save_dir={tmp_path}/runs", "exp_name=sweep"]
    sweep = ["hparams.lr=0.1,0.01", "fresh=true"]
    done = command("arch_single_head/trainer.py", *arguments, *sweep, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    places = [place for place in sorted((tmp_path / "runs").iterdir()) if (place / "fine").is_dir()]
    assert len(places) == 2
    rates = {
        line
        for place in places
        for line in (place / "fine/seed0/config.yaml").read_text().splitlines()
        if line.startswith("  lr: 0.")
    }
    assert {float(line.split()[1]) for line in rates} >= {0.1, 0.01}
    # Hydra's own file goes where common/config/program.yaml sends it, not beside the results.
    assert [file.parent.parent for file in tmp_path.rglob("multirun.yaml")] == [tmp_path]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["arch_single_head/trainer.py", "train_system.py"])
def test_an_error_in_a_job_is_one_line(command, tiny, tmp_path, script):
    arguments = [*JOBLIB, *tiny, f"save_dir={tmp_path}", "dataset.root=/nowhere", "hparams.lr=1,2"]
    done = command(script, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert set(done.stderr.splitlines()) == {
        line for line in done.stderr.splitlines() if line.startswith("error: No folder")
    }
