"""What a run records about its machine."""

import platform
import subprocess

import pytest
import torch

from common.settings.compose import ROOT
from common.system.environment import choose_precision, cpu_name, describe
from common.system.errors import UserError

HASH = "97a5df1ca1" * 4


def test_a_processor_is_known_by_its_model(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 106\nmodel name\t: Some CPU @ 2 GHz\n" * 2)
    assert cpu_name(file) == "Some CPU @ 2 GHz"
    for text in ("processor: 0\n", "model name:\n"):
        file.write_text(text)
        assert cpu_name(file) == (platform.processor() or platform.machine())
    assert cpu_name(tmp_path / "none") == (platform.processor() or platform.machine())


def test_device_memory_and_all_packages_that_shape_or_show_results_are_recorded():
    about = describe("cpu", ROOT)
    assert about["device"] == cpu_name()
    assert 0.1 < about["memory_gib"] < 1e5
    assert {"captum", "scipy", "matplotlib", "jinja2", "tensorboard"} <= {
        name for name, version in about["packages"].items() if version
    }


def test_a_commit_is_known_from_git_else_from_the_file_that_a_copy_was_given(tmp_path):
    def code(root):
        about = describe("cpu", root)
        return about["commit"], about["uncommitted_changes"]

    def git(*words):
        words = ("-c", "user.name=a", "-c", "user.email=a@b", *words)
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    copy = tmp_path / "copy"
    copy.mkdir()
    noted = copy / ".commit"
    assert code(copy) == (None, None)
    for text in ("", "main\n", "\x00", f"{HASH} {HASH}\n"):
        noted.write_text(text)
        assert code(copy) == (None, None)
    noted.write_text(f"{HASH}\n")
    assert code(copy) == (HASH, None)

    # A repository around the copy is another one.
    git("init", "--quiet")
    (tmp_path / "file").write_text("")
    git("add", "file")
    git("commit", "--quiet", "--message=.")
    assert code(copy) == (HASH, None)
    (tmp_path / ".commit").write_text(HASH)
    commit, changed = code(tmp_path)
    assert commit not in (None, HASH)
    assert changed is False
    (tmp_path / "file").write_text("changed")
    assert code(tmp_path) == (commit, True)


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_float16_is_refused_where_lightning_would_take_bfloat16(monkeypatch, accelerator):
    for device in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"precision is '16-mixed'.* auto, 32-true, bf16-mixed"):
        choose_precision("16-mixed", accelerator)
    assert choose_precision("bf16-mixed", accelerator) == "bf16-mixed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_precision("16-mixed", "auto") == "16-mixed"
