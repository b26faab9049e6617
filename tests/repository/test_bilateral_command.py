"""`bilateral WORD ...` runs the script of that word, with the rest of the line as its own."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import tomllib

import commands
import predict
from common.settings.compose import ROOT, SHARED, compose
from common.system.errors import UserError
from common.trained.schema import PredictConfig


def test_it_is_installed_with_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["bilateral"].partition(":")
    assert getattr(import_module(module), function) is commands.main
    assert module in project["tool"]["setuptools"]["py-modules"]


@pytest.mark.parametrize("name", commands.SCRIPTS)
def test_each_word_has_its_script(name):
    assert commands.find([*name.split(), "a=1", "b"]) == (name, ["a=1", "b"])
    assert callable(import_module(commands.SCRIPTS[name].module).main)
    assert f"bilateral {name} " in commands.usage()


@pytest.mark.parametrize(
    ("line", "overrides"),
    [
        ("runs/demo", ['run="runs/demo"']),
        ("run=runs/demo --cfg job", ["run=runs/demo", "--cfg", "job"]),
        ("--cfg job runs/demo", ['run="runs/demo"', "--cfg", "job"]),
        ("job --cfg job", ['run="job"', "--cfg", "job"]),
    ],
)
def test_words_become_the_values_of_keys(line, overrides):
    assert commands.as_overrides(line.split(), ("run",)) == overrides


@pytest.mark.parametrize(
    ("line", "pictures"),
    [
        ("a.ckpt b.png", ["b.png"]),
        ("a.ckpt b.png --json c.png", ["b.png", "c.png"]),
        ("a.ckpt image=b.png c.png json=true", ["b.png", "c.png"]),
        ("checkpoint=a.ckpt b.png", ["b.png"]),
        ("image=b.png a.ckpt", ["b.png"]),
        ("a.ckpt [1].png", ["[1].png"]),
    ],
)
def test_pictures_may_be_several_beside_those_that_are_given(line, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "c.png", "[1].png"):
        (tmp_path / name).touch()
    words = commands.as_overrides(line.split(), commands.SCRIPTS["predict"].keys)
    cfg = compose(
        ROOT,
        schema=PredictConfig,
        overrides=[word for word in predict.translated(words) if not word.startswith("--")],
        config_dir=SHARED,
        config_name="predict",
    )
    assert Path(cfg.checkpoint).name == "a.ckpt"
    named = [cfg.image] if isinstance(cfg.image, str) else cfg.image
    assert [Path(name).name for name in named] == pictures


@pytest.mark.parametrize("line", ["b c", "run=b c"])
def test_a_word_too_many_is_refused(line):
    with pytest.raises(UserError, match="c is one word too many"):
        commands.as_overrides(line.split(), ("run",))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tset", "x"], "tset x: did you mean bilateral test? Allowed are study, "),
        (["stduy", "num_seeds=3"], "stduy num_seeds=3: did you mean bilateral study? Allowed are "),
        (
            ["prepare"],
            "prepare takes one more word; allowed are prepare folders, prepare cifar, ",
        ),
        (
            ["train", "--help"],
            "train takes one more word; allowed are train single, train dual.",
        ),
        (["trian", "dual"], "trian dual: did you mean bilateral train dual? Allowed are study, "),
        (["draw"], "draw: allowed are study, "),
    ],
)
def test_a_wrong_word_is_one_sentence(words, said, in_process):
    status, out, err = in_process(commands.main, *words)
    assert (status, out) == (1, "")
    assert err.startswith(f"error: bilateral {said}")
    assert err.count("\n") == 1


def test_a_checkpoint_is_tested_by_the_folder_that_trained_it(in_process, checkpoints):
    for arm, levels in (("fine", {"fine"}), ("bilateral", {"fine", "coarse"})):
        status, out, err = in_process(commands.main, "test", str(checkpoints[arm]))
        assert (status, err) == (0, "")
        header = next(line for line in out.splitlines() if "metric" in line)
        assert {level for level in ("fine", "coarse") if f"{level} " in header} == levels


def test_a_checkpoint_to_test_may_lie_below_ones_home(in_process, checkpoints, monkeypatch):
    file = checkpoints["fine"]
    monkeypatch.setenv("HOME", str(file.parent))
    status, _, err = in_process(commands.main, "test", f"~/{file.name}")
    assert (status, err) == (0, "")


def test_a_script_gets_the_rest_of_the_line(monkeypatch):
    seen = []
    monkeypatch.setattr("analyse.main", lambda: seen.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["bilateral", "analyse", "runs/demo"])
    commands.main()
    assert seen == [["bilateral analyse", 'run="runs/demo"']]


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("bilateral ", [*dict.fromkeys(name.split()[0] for name in commands.SCRIPTS)]),
        ("bilateral tr", ["train"]),
        ("bilateral train ", ["single", "dual"]),
        ("bilateral train single hparams.momen", ["hparams.momentum="]),
        ("bilateral study arms=[bilateral,unilateral_w", ["arms=[bilateral,unilateral_wide"]),
        ("bilateral analyse ru", ["run="]),
        ("bilateral prepare navon --", []),
        ("bilateral nothing ", []),
    ],
)
def test_tab_completes_words_keys_and_values(line, answers, monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["bilateral", "-sc", "query=bash"])
    commands.main()
    assert capsys.readouterr().out.split() == answers


def test_bash_completes_the_command_as_it_is_installed(tmp_path):
    installed = tmp_path / "bilateral"
    installed.write_text(f"#!{sys.executable}\nfrom commands import main\nmain()\n")
    installed.chmod(0o755)
    script = (
        'eval "$(bilateral -sc install=bash)"; complete -p bilateral; '
        'COMP_LINE="bilateral train du" COMP_POINT=18 COMP_CWORD=2; '
        'hydra_bash_completion; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    registered, answer = done.stdout.splitlines()
    assert registered.endswith("hydra_bash_completion bilateral")
    assert answer == "dual"
