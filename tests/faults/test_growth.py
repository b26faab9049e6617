"""A long run takes no more memory, files and threads than a short one."""

import json
import re

import pytest

PROGRAM = """
import json, os, sys, threading
import train_system
from common.training.callbacks import LastCheckpoint
original = LastCheckpoint.on_train_epoch_end
def measured(self, trainer, module):
    original(self, trainer, module)
    pages = int(open("/proc/self/statm").read().split()[1])
    threads = len(os.listdir("/proc/self/task"))
    files = len(os.listdir("/proc/self/fd"))
    print("measured", json.dumps([module.record.arm, trainer.current_epoch, pages * 4, files, threads]))
LastCheckpoint.on_train_epoch_end = measured
train_system.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "default"])
def test_thirty_epochs_take_no_more_than_three(logger, command, tiny, tmp_path):
    arguments = [*tiny, f"save_dir={tmp_path}", "num_seeds=1", f"logger={logger}"]
    arguments += ["analyse=false"]
    arguments += ["trainer_params.max_epochs=30", "trainer_params.limit_train_batches=8"]
    done = command("-c", PROGRAM, *arguments, timeout=900)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"measured (\[.*\])", done.stdout)
    for arm in ("fine", "coarse", "bilateral"):
        found = [tuple(m[1:]) for m in map(json.loads, lines) if m[0] == arm]
        assert [epoch for epoch, *_ in found] == list(range(30))
        sizes, files, threads = zip(*(m[1:] for m in found[2:]), strict=True)
        growth = sizes[-1] / sizes[0] - 1
        print(f"{logger} {arm}: {sizes[0] // 1024} MB, growth {100 * growth:.2f} %", end=", ")
        print(f"{files[0]} files, {threads[0]} threads")
        assert growth < 0.02
        assert len(set(files)) == 1, files
        assert len(set(threads)) == 1, threads
