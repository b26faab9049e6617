"""What a scheduler, such as SLURM, sets for a task changes nothing of what a command does."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import train_system
from common.system.cores import cores

ROOT = Path(__file__).resolve().parents[2]
RUN = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1", "evaluate=false"]


def test_any_task_of_a_job_logs_as_a_command_at_a_terminal_does(command, tiny, tmp_path):
    # As a task of a job has it that was started without srun, though srun is there.
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(0o755)
    task = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "bilateral",
        "SLURM_PROCID": "3",
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    logged = [one for one in tiny if not one.startswith("logger=")]
    done = command(
        "arch_single_head/trainer.py", *logged, *RUN, f"save_dir={tmp_path}", "exp_name=run", **task
    )
    assert (done.returncode, done.stderr) == (0, "")
    stage = tmp_path / "run/fine/seed0"
    assert (stage / "checkpoints/best.ckpt").is_file()
    assert b"val_accuracy" in next(stage.glob("events.out.tfevents.*")).read_bytes()
    # As one of several tasks, of which each runs the command.
    checkpoint = f"checkpoint={stage / 'checkpoints/best.ckpt'}"
    done = command("arch_single_head/test.py", checkpoint, **task, SLURM_NTASKS="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process some of the cores")
def test_cores_are_those_that_the_process_may_use(command):
    one = min(os.sched_getaffinity(0))
    count = f"import os; os.sched_setaffinity(0, [{one}]); from common.system.cores import cores; print(cores())"
    assert command("-c", count, PYTHONPATH=str(ROOT)).stdout == "1\n"
    assert cores() == len(os.sched_getaffinity(0))


def test_stages_that_several_experiments_trained_are_gathered_by_copying(
    in_process, tiny, tmp_path
):
    """As docs/slurm.md does where each seed is a job."""
    study = [*tiny, *RUN, "arms=[bilateral]", "analyse=false", f"save_dir={tmp_path}"]
    for seed in (0, 1):
        assert (
            in_process(train_system.main, *study, f"seeds=[{seed}]", f"exp_name=part{seed}")[0] == 0
        )
        for arm in (tmp_path / f"part{seed}").glob("*/"):
            shutil.copytree(arm, tmp_path / "study" / arm.name, dirs_exist_ok=True)
    status, out, _ = in_process(train_system.main, *study, "num_seeds=2", "exp_name=study")
    assert status == 0
    assert out.count("done before") == 6
