"""Output that the terminal's encoding cannot show is replaced, and never an error."""

import sys

import pytest
from PIL import Image

SAY = (
    "from common.system.output import replace_what_cannot_be_shown as r; r(); print('Käfer – 日本')"
)


@pytest.mark.parametrize(
    ("encoding", "said"), [("ascii", "K?fer ? ??\n"), ("utf-8", "Käfer – 日本\n")]
)
def test_a_character_that_cannot_be_shown_is_replaced(encoding, said, command):
    done = command("-c", SAY, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, said)


def test_commands_and_scripts_speak_to_any_terminal(command, tmp_path):
    root = tmp_path / "Käfer"
    for split in ("train", "test"):
        for level in ("fine", "coarse"):
            (root / split / level / "0").mkdir(parents=True)
            for name in ("a.png", "b.png"):
                Image.new("RGB", (8, 8)).save(root / split / level / "0" / name)
    for line in (
        ("data_scripts/index_folders.py", str(root)),
        ("arch_single_head/trainer.py", "--cfg", "job", 'exp_name="Käfer"'),
    ):
        done = command(*line, PYTHONIOENCODING="ascii", LANG="C")
        assert done.returncode == 0, done.stderr
        assert "K?fer" in done.stdout


def test_a_stream_of_another_kind_is_left_alone(monkeypatch):
    from common.system.output import replace_what_cannot_be_shown

    class Notebook:
        def write(self, text: str) -> None: ...

    monkeypatch.setattr(sys, "stdout", Notebook())
    replace_what_cannot_be_shown()
