"""Two experiments in one process, as a notebook or a sweep runs them."""

import shutil

import yaml
from PIL import Image, ImageOps

import arch_single_head.trainer


def test_a_set_that_was_changed_between_them_is_read_anew(tiny, navon, succeed, tmp_path):
    root = tmp_path / "SET"
    shutil.copytree(navon, root)
    given = [*tiny, f"dataset.root={root}", f"save_dir={tmp_path}", "hparams.mode=coarse"]
    short = ["trainer_params.max_epochs=1", "evaluate=false"]
    digests = []
    for name in ("before", "after"):
        succeed(arch_single_head.trainer.main, *given, *short, f"exp_name={name}")
        recorded = tmp_path / name / "coarse" / "seed0" / "fingerprint.yaml"
        digests.append(yaml.safe_load(recorded.read_text())["data"]["train"])
        for file in (root / "train" / "coarse").glob("*/*.png"):
            ImageOps.invert(Image.open(file).convert("RGB")).save(file)
    assert digests[0] != digests[1]
