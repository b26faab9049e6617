"""The commands as a person runs them: help, completion, sweeps, and every error as one line."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import train_system
from arch_dual_head.schema import DualConfig
from common.checkpoints.files import RECORD
from common.settings.command import command as run

ROOT = Path(__file__).resolve().parents[2]
SINGLE, DUAL = arch_single_head.trainer.main, arch_dual_head.trainer.main
TEST_SINGLE, TEST_DUAL = arch_single_head.test.main, arch_dual_head.test.main
STUDY = train_system.main
SHORT = ["trainer_params.max_epochs=1", "trainer_params.limit_train_batches=1"]
COMMANDS = {
    "train_system.py": STUDY,
    "arch_single_head/trainer.py": SINGLE,
    "arch_dual_head/trainer.py": DUAL,
    "arch_single_head/test.py": TEST_SINGLE,
    "arch_dual_head/test.py": TEST_DUAL,
}


def one_error(status: int, err: str) -> str:
    """The sentence of a command that failed as it should; Hydra and Lightning say nothing beside it."""
    assert status == 1, err
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture
def refused(in_process):
    def run(main, *arguments: str) -> str:
        status, _, err = in_process(main, *arguments)
        return one_error(status, err)

    return run


def inside(sentence: str, *named: str) -> None:
    assert [name for name in named if name not in sentence] == [], sentence


def train(main, *arguments: str) -> None:
    """A run to its end, for a fixture that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["program", *arguments])
        main()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny) -> Path:
    """Runs of one epoch of one batch: single-NAVON/fine and coarse, seed 0."""
    save_dir = tmp_path_factory.mktemp("runs")
    for mode in ("fine", "coarse"):
        train(SINGLE, *tiny, *SHORT, f"save_dir={save_dir}", f"hparams.mode={mode}")
    return save_dir / "single-NAVON"


@pytest.fixture
def best(runs, tmp_path) -> Path:
    """A fine hemisphere's checkpoint that a test may change."""
    return Path(shutil.copy(runs / "fine/seed0/checkpoints/best.ckpt", tmp_path / "best.ckpt"))


# The real commands


def without_torch(command, script: str, *arguments: str):
    """Run a script and report, as the last line of its output, which heavy packages it imported."""
    program = (
        "import runpy, sys\n"
        f"sys.argv = {[script, *arguments]!r}\n"
        "try:\n"
        f"    runpy.run_path({script!r}, run_name='__main__')\n"
        "finally:\n"
        "    names = ('torch', 'torchvision', 'pytorch_lightning')\n"
        "    print([name for name in names if name in sys.modules])\n"
    )
    done = command("-c", program)
    *output, imported = done.stdout.splitlines()
    assert imported == "[]"
    return done.returncode, "\n".join(output), done.stderr


@pytest.mark.parametrize("script", COMMANDS)
def test_help_answers_without_torch(command, script):
    status, out, err = without_torch(command, script, "--help")
    assert (status, err) == (0, "")
    assert "KEY=VALUE" in out
    assert "$" not in out.split("The configuration as it stands")[0].replace("$(python", "")
    assert len(out.splitlines()) <= 24  # it fits a screen


def test_configuration_is_shown_without_torch(command):
    status, out, err = without_torch(command, "arch_single_head/trainer.py", "--cfg", "job")
    assert (status, err) == (0, "")
    assert "arch: resnet9" in out


@pytest.mark.parametrize(
    ("script", "argument"),
    [
        ("train_system.py", "hparams.lrr=1"),
        ("train_system.py", "arms=[mono]"),
        ("train_system.py", "trained_models=nowhere.yaml"),
        ("train_system.py", "lr=0.1"),
        ("train_system.py", "--dataset=navon"),
        ("arch_dual_head/trainer.py", "hparams.ffreez=true"),
        ("arch_dual_head/trainer.py", "hparams.model_path_fine=nowhere.ckpt"),
        ("arch_dual_head/test.py", "checkpoint=nowhere.ckpt"),
        ("predict.py", "checkpoint=nowhere.ckpt image=a.png"),
        ("export.py", "checkpoint=nowhere.ckpt"),
        ("analyse.py", "run=nowhere"),
    ],
)
def test_error_in_the_configuration_answers_without_torch(command, script, argument):
    status, out, err = without_torch(command, script, *argument.split())
    assert out == ""
    inside(one_error(status, err), argument.split("=")[0].removeprefix("--"))


def test_trained_models_that_are_not_there_answer_without_torch(command, tmp_path):
    file = tmp_path / "trained.yaml"
    file.write_text("fine: [a.ckpt]\ncoarse: [b.ckpt]\n")
    arguments = ["num_seeds=1", f"trained_models={file}"]
    status, out, err = without_torch(command, "train_system.py", *arguments)
    assert out == ""
    inside(one_error(status, err), str(tmp_path / "a.ckpt"), "trained_models")


@pytest.mark.parametrize(
    ("arguments", "cwd"),
    [
        (["trainer.py"], "arch_single_head"),
        (["arch_single_head/trainer.py"], "."),
        (["-m", "arch_single_head.trainer"], "."),
    ],
)
def test_trainer_is_started_in_three_ways(command, arguments, cwd):
    done = command(*arguments, "hparams.arch=resnet10", cwd=ROOT / cwd)
    inside(one_error(done.returncode, done.stderr), "hparams.arch", "resnet18")


@pytest.mark.slow
def test_missing_data_with_the_real_command(command, tmp_path):
    """With everything imported, nothing but the sentence reaches stderr."""
    done = command(
        "arch_single_head/trainer.py", f"dataset.root={tmp_path}", f"save_dir={tmp_path}"
    )
    inside(one_error(done.returncode, done.stderr), str(tmp_path / "train/fine"), "dataset.root")


def test_shell_completion(command):
    done = command("train_system.py", "-sc", "install=bash")
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete -o nospace" in done.stdout
    line = "python train_system.py dataset="
    done = command(
        "train_system.py", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))
    )
    options = sorted(file.stem for file in (ROOT / "common/config/dataset").glob("*.yaml"))
    assert "navon" in options
    assert done.stdout.split() == [f"dataset={name}" for name in options]
    line = "python train_system.py arms=[bilateral,unilateral_w"
    done = command("train_system.py", "-sc", "query=bash", COMP_LINE=line)
    assert done.stdout.split() == ["arms=[bilateral,unilateral_wide"]


@pytest.mark.parametrize("main", [STUDY, SINGLE, DUAL])
def test_a_group_may_lie_outside_the_repository(refused, tmp_path, monkeypatch, main):
    (tmp_path / "own = files/dataset").mkdir(parents=True)
    text = (ROOT / "common/config/dataset/navon.yaml").read_text()
    text = text.replace("../datasets/NAVON", "/nowhere/MINE").replace("NAVON", "MINE")
    (tmp_path / "own = files/dataset/mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    line = ["--config-dir", "own = files", "dataset=mine", f"save_dir={tmp_path}"]
    scratch = ["hparams.macro_arch=unilateral", "hparams.ffreeze=false"] if main is DUAL else []
    scratch += ["hparams.model_path_fine=null"] if main is DUAL else []
    inside(refused(main, *line, *scratch), "/nowhere/MINE/train/fine")


# Sweeps


def test_sweep_runs_each_combination_under_a_name_of_its_own(in_process, tiny, tmp_path):
    status, _, err = in_process(
        SINGLE, "--multirun", *tiny, *SHORT, f"save_dir={tmp_path}", "hparams.lr=0.1,0.01"
    )
    assert (status, err) == (0, "")
    names = [path.name for path in tmp_path.iterdir() if path.name != "single-NAVON_sweep"]
    assert len(names) == 2
    assert all((tmp_path / name / "fine/seed0/result.yaml").is_file() for name in names)
    assert not [name for name in names if "=" in name]


def test_error_in_a_sweep_is_one_line(refused):
    inside(refused(SINGLE, "--multirun", "hparams.lr=0.1,0.2", "dataset.root=/nowhere"), "/nowhere")
    inside(refused(SINGLE, "--multirun", "hparams.lr=-1,0.1"), "hparams.lr")


# What a person gets wrong


@pytest.mark.parametrize("arguments", [[], ["dataset=navon"], ["--multirun", "seeds=[0],[1]"]])
def test_a_file_that_is_built_on_nothing_is_one_line(refused, tmp_path, arguments):
    shutil.copytree(ROOT / "arch_dual_head/config", tmp_path / "config")
    (tmp_path / "config/mixed.yaml").write_text("arm: mixed\n")

    def main() -> None:
        run(lambda cfg: None, schema=DualConfig, folder=tmp_path)

    inside(refused(main, "--config-name=mixed", *arguments), "mixed.yaml has no defaults list")


@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.parametrize("argument", ["nonsense=1", "+nonsense=1", "datset=navon"])
def test_unknown_key_is_one_line(refused, script, argument):
    inside(refused(COMMANDS[script], argument), argument.strip("+").split("=")[0])


@pytest.mark.parametrize(
    ("script", "argument"),
    [
        ("arch_single_head/trainer.py", "hparams.arch=resnet10"),
        ("arch_single_head/trainer.py", "hparams.lr=nan"),
        ("arch_single_head/trainer.py", "hparams.lr=quick"),
        ("arch_single_head/trainer.py", "seeds=3"),
        ("arch_single_head/trainer.py", "dataset=cifar"),
        ("arch_single_head/trainer.py", "dataset=null"),
        ("arch_single_head/trainer.py", "hparams.mode=feature"),
        ("arch_dual_head/trainer.py", "hparams.mode=feature"),
        ("arch_dual_head/trainer.py", "hparams.model_path_fine=null"),
        ("arch_dual_head/trainer.py", "hparams.macro_arch=ensemble"),
        ("arch_dual_head/trainer.py", "hparams.farch=resnet10"),
        ("train_system.py", "arch=resnet10"),
        ("train_system.py", "num_seeds=0"),
        ("train_system.py", "hparams.mode=fine"),
        ("train_system.py", "trained_models=nowhere.yaml"),
        ("arch_single_head/test.py", "checkpoint=nowhere.ckpt"),
        ("arch_dual_head/test.py", "hparams.mode=both"),
    ],
)
def test_value_that_is_not_allowed_is_one_line(refused, script, argument):
    key, value = argument.split("=")
    inside(refused(COMMANDS[script], argument), value if value.startswith("nowhere") else key)


@pytest.mark.parametrize("paths", ["[a.ckpt]", "[a.ckpt,b.ckpt,c.ckpt]"])
@pytest.mark.parametrize("macro_arch", ["product", "mean_of_specialists"])
def test_specialists_are_two(refused, macro_arch, paths):
    given = [f"hparams.macro_arch={macro_arch}", f"hparams.model_path_fine={paths}"]
    number = f"lists {paths.count(',') + 1} checkpoints"
    inside(refused(DUAL, *given, "hparams.model_path_coarse=null"), macro_arch, number, "takes 2")


@pytest.mark.parametrize("main", [TEST_SINGLE, TEST_DUAL])
def test_test_without_a_checkpoint_says_what_to_give(refused, main):
    inside(refused(main), "checkpoint=PATH")


@pytest.mark.parametrize(
    "argument",
    ["devices=two", "devices=0", "limit_train_batches=2.5", "accelerator=mps"],
)
def test_what_lightning_refuses_is_one_line(refused, tiny, tmp_path, argument):
    if argument == "accelerator=mps" and torch.backends.mps.is_available():
        pytest.skip("allowed on this machine")
    sentence = refused(SINGLE, *tiny, f"save_dir={tmp_path}", f"trainer_params.{argument}")
    inside(sentence, "trainer_params")


@pytest.mark.parametrize("main", [SINGLE, STUDY])
def test_missing_data_is_one_line(refused, tmp_path, main):
    root = tmp_path / "NOWHERE"
    sentence = refused(main, f"dataset.root={root}", f"save_dir={tmp_path}", "seeds=[0]")
    inside(sentence, str(root / "train/fine"), "dataset.root")


def test_labels_of_the_wrong_level_are_one_line(refused, navon, tiny, tmp_path):
    save_dir = f"save_dir={tmp_path}"
    coarse = f"dataset.train_dir={navon}/train/coarse"
    inside(refused(SINGLE, *tiny, save_dir, coarse), f"{navon}/train/coarse", "hparams.mode")
    dual = [*tiny, save_dir, coarse, "hparams.ffreeze=false", "hparams.cfreeze=false"]
    paths = ["hparams.model_path_fine=null", "hparams.model_path_coarse=null"]
    inside(refused(DUAL, *dual, *paths), f"{navon}/train/coarse")


def test_place_that_cannot_be_written_to_is_one_line(refused, tiny, tmp_path):
    (tmp_path / "runs").write_text("a file")
    inside(refused(SINGLE, *tiny, f"save_dir={tmp_path / 'runs'}"), str(tmp_path / "runs"))


def test_full_disk_is_one_line_and_leaves_earlier_results(
    refused, tiny, runs, tmp_path, monkeypatch
):
    save_dir = tmp_path / "runs"
    shutil.copytree(runs, save_dir / "single-NAVON")
    before = (save_dir / "single-NAVON/results.csv").read_text()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.system.atomic_files.os.fsync", full)
    sentence = refused(SINGLE, *tiny, *SHORT, f"save_dir={save_dir}", "seeds=[1]")
    inside(sentence, "No space left on device")
    assert (save_dir / "single-NAVON/results.csv").read_text() == before


def test_error_of_ours_keeps_its_traceback(in_process, monkeypatch):
    """A defect is not dressed up as the person's mistake."""

    def broken(*arguments, **more):
        raise ZeroDivisionError

    monkeypatch.setattr("common.settings.command.finish", broken)
    with pytest.raises(ZeroDivisionError):
        in_process(SINGLE)


# Checkpoints


def test_missing_hemispheres_say_how_to_train_them(refused, tiny, tmp_path):
    paths = [f"hparams.model_path_{level}={tmp_path}/{level}.ckpt" for level in ("fine", "coarse")]
    sentence = refused(DUAL, *tiny, f"save_dir={tmp_path}", *paths)
    inside(sentence, f"{tmp_path}/fine.ckpt", "hparams.model_path_fine", "hparams.mode=fine")


def damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5000])


def altered(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100:140] = bytes(40)
    file.write_bytes(content)


def text(file: Path) -> None:
    file.write_text("not a checkpoint")


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    torch.save({"state_dict": {}}, file)


def bare(file: Path) -> None:
    torch.save([1, 2, 3], file)


def no_record(file: Path) -> None:
    torch.save({"state_dict": {}, RECORD: None}, file)


def other_record(file: Path) -> None:
    torch.save({"state_dict": {}, RECORD: {"seed": 0}}, file)


DAMAGES = [damaged, altered, text, empty, foreign, bare, no_record, other_record]


@pytest.mark.parametrize("damage", DAMAGES)
def test_checkpoint_that_is_none_of_ours_is_one_line(refused, best, damage):
    damage(best)
    inside(refused(TEST_SINGLE, f"checkpoint={best}"), str(best))


def test_folder_in_place_of_a_checkpoint_is_one_line(refused, tmp_path):
    inside(refused(TEST_SINGLE, f"checkpoint={tmp_path}"), str(tmp_path))


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self):
        return (os.mkdir, (self.place,))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda o, f: f.write_bytes(pickle.dumps(o)), "is no checkpoint"),
        (torch.save, "is refused"),
    ],
)
def test_hostile_checkpoint_is_refused_and_does_not_run(
    refused, tiny, runs, tmp_path, write, said, monkeypatch
):
    ran = tmp_path / "ran"
    file = tmp_path / "hostile.ckpt"
    write({"state_dict": {}, RECORD: Hostile(ran)}, file)
    inside(refused(TEST_SINGLE, f"checkpoint={file}"), str(file), said)
    coarse = f"hparams.model_path_coarse={runs}/coarse/seed0/checkpoints/best.ckpt"
    sentence = refused(
        DUAL, *tiny, f"save_dir={tmp_path}", f"hparams.model_path_fine={file}", coarse
    )
    inside(sentence, str(file), said)
    # Torch's own switch for files that one trusts has no say here.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    refused(TEST_SINGLE, f"checkpoint={file}")
    assert not ran.exists()


def test_checkpoint_of_the_other_folder_is_one_line(refused, best):
    inside(refused(TEST_DUAL, f"checkpoint={best}"), str(best), "arch_single_head")


def test_checkpoint_whose_weights_are_of_another_network_is_one_line(refused, best):
    content = torch.load(best, weights_only=True)
    content["state_dict"].popitem()
    torch.save(content, best)
    inside(refused(TEST_SINGLE, f"checkpoint={best}"), str(best), "does not fit")


@pytest.mark.parametrize(
    ("fine", "more", "named"),
    [
        ("coarse", [], ["hparams.model_path_fine", "coarse", "fine"]),
        ("fine", ["hparams.carch=resnet18"], ["hparams.model_path_coarse", "resnet9", "resnet18"]),
    ],
)
def test_hemisphere_that_does_not_fit_is_one_line(refused, tiny, runs, tmp_path, fine, more, named):
    paths = [
        f"hparams.model_path_{level}={runs}/{arm}/seed0/checkpoints/best.ckpt"
        for level, arm in (("fine", fine), ("coarse", "coarse"))
    ]
    inside(refused(DUAL, *tiny, f"save_dir={tmp_path}", *paths, *more), *named)


def test_network_of_one_level_is_no_member_of_an_ensemble(refused, tiny, runs, tmp_path):
    path = f"hparams.model_path_fine=[{runs}/fine/seed0/checkpoints/best.ckpt]"
    sentence = refused(DUAL, *tiny, f"save_dir={tmp_path}", "hparams.macro_arch=ensemble", path)
    inside(sentence, "hparams.model_path_fine", "unilateral")


def test_checkpoint_is_tested_with_what_it_records(in_process, runs):
    status, out, err = in_process(
        TEST_SINGLE, f"checkpoint={runs}/fine/seed0/checkpoints/best.ckpt"
    )
    assert (status, err) == (0, "")
    assert "fine" in out
    assert "200 test images" in " ".join(out.split())


def test_another_configuration_in_the_place_of_a_run_is_one_line(refused, tiny, runs):
    before = (runs / "results.csv").read_text()
    sentence = refused(SINGLE, *tiny, *SHORT, f"save_dir={runs.parent}", "hparams.weight_decay=0.5")
    inside(sentence, "hparams.weight_decay", "0.5", "fresh=true", str(runs / "fine/seed0"))
    assert (runs / "results.csv").read_text() == before
