"""What people mistype on a command line: one short sentence each, with the words that they should have written."""

import shlex
from contextlib import suppress

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import given, settings
from hypothesis import strategies as st

import analyse
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import export
import predict
import train_system
from common.settings.arguments import tidied
from common.settings.explain import explain
from common.settings.schema import keys_of
from common.settings.suggestions import unknown_key
from common.system.errors import UserError
from study.schema import StudyConfig

STUDY, SINGLE = train_system.main, arch_single_head.trainer.main
DUAL, TEST = arch_dual_head.trainer.main, arch_single_head.test.main


@pytest.fixture
def said(in_process):
    """The sentence with which a command refuses."""

    def run(main, line: str) -> str:
        status, out, err = in_process(main, *line.split())
        assert (status, out) == (1, ""), (line, out)
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        assert len(err) < 400, err
        return err.removeprefix("error: ").strip()

    return run


@pytest.mark.parametrize(
    ("main", "line", "meant"),
    [
        (STUDY, "lr=0.1", "hparams.lr=0.1"),
        (STUDY, "max_epochs=3", "trainer_params.max_epochs=3"),
        (STUDY, "batch_size=32", "hparams.batch_size=32"),
        (STUDY, "devices=2", "trainer_params.devices=2"),
        (STUDY, "gpu=1", "trainer_params.devices=1"),
        (STUDY, "monitor=val_loss", "ckpt_callback.monitor=val_loss"),
        (STUDY, "flip=true", "dataset.flip=true"),
        (STUDY, "width=2", "hparams.width=2"),
        (STUDY, "dual.lr=1", "dual.hparams.lr=1"),
        (STUDY, "datset=navon", "dataset=navon"),
        (STUDY, "+datset=navon", "dataset=navon"),
        (STUDY, "datset.rot=x", "dataset.root=x"),
        (STUDY, "seed=3", "seeds=[3]"),
        (STUDY, "seed=[3,4]", "seeds=[3,4]"),
        (STUDY, "num_seed=3", "num_seeds=3"),
        (STUDY, "hparams.leraning_rate=1", "hparams.lr=1"),
        (STUDY, "arm=all", "arms=all"),
        (STUDY, "epoch.fine=3", "epochs.fine=3"),
        (STUDY, "epochs.fien=3", "epochs.fine=3"),
        (STUDY, "hparams.learning_rate=0.1", "hparams.lr=0.1"),
        (STUDY, "hparams.lrr=0.1", "hparams.lr=0.1"),
        (STUDY, "hparams.max_epochs=3", "trainer_params.max_epochs=3"),
        (STUDY, "trainer_params.epochs=3", "trainer_params.max_epochs=3"),
        (STUDY, "model.lr=1", "hparams.lr=1"),
        (SINGLE, "epochs=3", "trainer_params.max_epochs=3"),
        (SINGLE, "arch=vgg11", "hparams.arch=vgg11"),
        (SINGLE, "modle=fine", "hparams.mode=fine"),
        (SINGLE, "lr=0.1,0.01 --multirun", "hparams.lr=0.1,0.01"),
        (DUAL, "arch=vgg11", "hparams.farch=vgg11 or hparams.carch=vgg11"),
        (DUAL, "residual=false", "hparams.fine_residual=false or hparams.coarse_residual=false"),
        (export.main, "checkpint=a.ckpt", "checkpoint=a.ckpt"),
        (predict.main, "images=a.png", "image=a.png"),
    ],
)
def test_an_unknown_key_names_the_one_that_was_meant(said, main, line, meant):
    sentence = said(main, line)
    assert sentence.endswith(f": did you mean {meant}?"), sentence


def test_a_key_that_resembles_none_lists_the_keys_only_where_they_are_few(said):
    assert said(STUDY, "nonsense=1") == (
        "Unknown key nonsense; --help-all lists all keys, and docs/keys.md explains them."
    )
    assert "--help" in said(SINGLE, "hparams.zzz=1")
    assert (
        said(TEST, "zzz=1")
        == "Unknown key zzz; allowed: checkpoint, predictions, cut, dataset, hparams."
    )
    assert "allowed in logger: tensorboard, csv" in said(SINGLE, "logger.wandb=true")
    assert said(predict.main, "dataset=navon").endswith(
        "allowed: checkpoint, image, json, cam, cam_method."
    )


@pytest.mark.parametrize(
    ("main", "line", "write"),
    [
        (STUDY, "--dataset navon", "Write dataset=navon instead of --dataset navon."),
        (STUDY, "--dataset=navon", "Write dataset=navon instead of --dataset=navon."),
        (STUDY, "--num_seeds 3", "Write num_seeds=3 instead of --num_seeds 3."),
        (STUDY, "--num-seeds 3", "Write num_seeds=3 instead of --num-seeds 3."),
        (STUDY, "--fresh", "Write fresh=true instead of --fresh."),
        (STUDY, "--lr 0.1", "There is no option --lr; write hparams.lr=0.1."),
        (STUDY, "--nope", "There is no option --nope; did you mean note=VALUE?"),
        (STUDY, "--cfg job -m", "--cfg and --multirun exclude each other: give one of them."),
        (SINGLE, "--info defaults --cfg job", "--info and --cfg exclude each other: give one"),
        (SINGLE, "-r --multirun", "--run and --multirun exclude each other: give one of them."),
        (STUDY, "fresh=2", "fresh is 2; allowed: true or false."),
        (SINGLE, "dataset.flip=10", "dataset.flip is 10; allowed: true or false."),
        (
            SINGLE,
            "hydra.run.dirr=x",
            "Unknown key hydra.run.dirr; --cfg hydra, in place of --multi",
        ),
        (STUDY, "logger=wandb logger.other.entity=lab", "Unknown key logger.other.entity; beside"),
        (STUDY, "--nonsense 1", "There is no option --nonsense; keys are given as KEY=VALUE"),
        (STUDY, "-x", "There is no option -x; keys are given as KEY=VALUE"),
        (STUDY, "--multrun arms=all", "There is no option --multrun; did you mean --multirun?"),
        (STUDY, "dataset navon", "Write dataset=navon in one word"),
        (STUDY, "hparams.lr = 0.1", "Write hparams.lr=0.1 in one word"),
        (STUDY, "hparams.lr =0.1", "Write hparams.lr=0.1 in one word"),
        (STUDY, "navon", "'navon' is not KEY=VALUE."),
        (STUDY, "--cfg", "--cfg needs a value; allowed: job, hydra, all."),
        (STUDY, "--cfg jobs", "--cfg=jobs is not possible; allowed: job, hydra, all."),
        (SINGLE, "--config-name", "--config-name needs a value."),
        (
            SINGLE,
            "--config-path=DIR dataset=mine",
            "give --config-dir DIR, whose files are found be",
        ),
        (
            STUDY,
            "-cp DIR",
            "-cp would take away the files that a command is made of: give --config-dir",
        ),
        (STUDY, "--config-dir DIR", "DIR' not found"),
        (SINGLE, "--config-name confg", "allowed: config, test (did you mean config?)."),
        (TEST, "runs/best.ckpt", "Write checkpoint=runs/best.ckpt."),
        (predict.main, "--checkpoint a.ckpt", "Write checkpoint=a.ckpt instead of"),
    ],
)
def test_words_that_are_no_overrides(said, main, line, write):
    assert write in said(main, line)


def test_the_file_of_another_command_is_no_config_of_this_one(command):
    # A process of its own: this one may know the other command's keys.
    done = command("arch_single_head/trainer.py", "--config-name", "test")
    assert done.returncode == 1
    assert done.stderr == (
        "error: The file that --config-name names belongs to another command: give it to that one, or leave it out.\n"
    )


@pytest.mark.parametrize(
    ("main", "line", "named"),
    [
        (STUDY, "epochs=3", ["epochs.fine=3", "trainer_params.max_epochs=3"]),
        (STUDY, "hparams=3", ["section", "hparams.KEY=VALUE"]),
        (STUDY, "dataset.epochs.nope=3", ["allowed in dataset.epochs: single, dual."]),
        (STUDY, "seeds=3", ["a list of integers", "seeds=[3]"]),
        (STUDY, "arms=billateral", ["did you mean bilateral?"]),
        (STUDY, "arms=[fine,unilatral]", ["did you mean unilateral?"]),
        (
            STUDY,
            "dataset=cifar10",
            ["cifar100_tenth, folders, navon", "did you mean dataset=cifar100?"],
        ),
        (STUDY, "recipe=fsat", ["did you mean recipe=fast?"]),
        (STUDY, "arch=resnet81", ["did you mean resnet18?"]),
        (SINGLE, "hparams.optimizer=adamm", ["sgd, adam, adamw", "did you mean adam"]),
    ],
)
def test_values_that_cannot_be(said, main, line, named):
    sentence = said(main, line)
    assert [word for word in named if word not in sentence] == [], sentence


def test_options_and_overrides_may_stand_in_any_order():
    options = ["--resolve", "-cn", "unilateral", "--cfg", "job"]
    line = ["dataset=navon", "--resolve", "seeds=[1]", "-cn=unilateral", "--cfg", "job"]
    assert tidied(line, StudyConfig) == [*options, "dataset=navon", "seeds=[1]"]
    assert tidied(["--info", "seeds=[1]"], StudyConfig) == ["--info", "seeds=[1]"]
    assert tidied(["seeds=[1]", "-i", "plugins"], StudyConfig) == ["-i", "plugins", "seeds=[1]"]
    completion = ["-sc", "query=bash"]
    assert tidied(completion, StudyConfig) == completion


words = st.one_of(
    st.sampled_from(
        ["--multirun", "-m", "--cfg", "-i", "--info", "-", "--", "=", "", "all", "job"]
    ),
    st.sampled_from(
        ["dataset", "dataset=navon", "lr=1", "hparams.lr", "seeds=[0]", "epochs=", "~"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


@settings(max_examples=300)
@given(st.lists(words, max_size=4))
def test_any_words_are_kept_or_refused_in_a_sentence(given_words):
    with suppress(UserError):
        kept = tidied(given_words, StudyConfig)
        assert [word for word in kept if "=" in word] == [w for w in given_words if "=" in w]


def test_overrides_around_an_option_are_taken(in_process):
    status, out, err = in_process(SINGLE, "dataset=navon", "--cfg", "job", "hparams.lr=0.25")
    assert (status, err) == (0, "")
    assert "lr: 0.25" in out
    assert "name: NAVON" in out


def test_help_has_a_short_form(in_process):
    status, out, err = in_process(STUDY, "-h")
    assert (status, err) == (0, "")
    assert "KEY=VALUE" in out


@pytest.mark.parametrize(
    "name", ["lr", "epochs", "zzz", "hparams.zzz", "a.b.c", "", ".", "single."]
)
def test_any_name_has_a_sentence(name):
    error = unknown_key(name, StudyConfig)
    assert isinstance(error, UserError)
    assert len(str(error)) < 300


def test_what_is_suggested_is_there():
    for name in ("lr", "epochs", "seed", "gpu", "model", "data", "width", "path", "device"):
        meant = str(unknown_key(name, StudyConfig)).partition("did you mean ")[2].rstrip("?")
        known = {*keys_of(StudyConfig), "dataset"}
        assert not meant or set(meant.split(" or ")) <= known, meant


# Paths


@pytest.mark.parametrize("name", ["nowhere", "no=where[1]"])
@pytest.mark.parametrize(
    ("main", "key"),
    [
        (TEST, "checkpoint"),
        (predict.main, "checkpoint"),
        (export.main, "checkpoint"),
        (analyse.main, "run"),
    ],
)
def test_a_path_that_is_not_there_is_refused_by_its_key(
    said, main, key, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    more = " image=a.png" if main is predict.main else ""
    sentence = said(main, f"{key}={name}/it{more}")
    assert sentence.startswith(f"{key}={tmp_path}/{name}/it is not there")


@pytest.mark.parametrize("main", [TEST, export.main])
def test_a_sweep_takes_checkpoints_one_by_one(said, main, tmp_path):
    sentence = said(main, f"--multirun checkpoint={tmp_path}/a.ckpt,{tmp_path}/b.ckpt")
    assert sentence.startswith(f"checkpoint={tmp_path}/a.ckpt is not there")


def test_a_folder_in_place_of_its_checkpoint_names_the_checkpoint(said, tmp_path):
    assert said(TEST, f"checkpoint={tmp_path}") == (
        f"checkpoint={tmp_path} is a folder; allowed: a file."
    )
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.ckpt").touch()
    assert said(TEST, f"checkpoint={tmp_path}").endswith(
        f"is a folder: give a file, such as checkpoint={tmp_path}/checkpoints/best.ckpt."
    )
    sentence = said(analyse.main, f"run={tmp_path}/checkpoints/best.ckpt")
    assert sentence.endswith("is a file; allowed: a folder.")


def test_a_checkpoint_beside_pictures_is_none_of_them(said, tmp_path):
    file = tmp_path / "best.ckpt"
    file.touch()
    assert said(predict.main, f"{file} image=a.png") == f"Write checkpoint={file}."


# Memory


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "There is not enough memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "The GPU's memory is full"),
        (RuntimeError("size mismatch"), None),
    ],
)
def test_whose_memory_is_full_is_said(error, said):
    sentence = explain(error, StudyConfig)
    assert sentence is None if said is None else str(sentence).startswith(said)


def test_a_machine_of_a_cluster_that_is_full_is_not_called_a_gpu():
    full = pytest.importorskip("ray").exceptions.OutOfMemoryError("Task was killed ...")
    assert str(explain(full, StudyConfig)).startswith("A machine's memory is full, and Ray")


def advised(value: str) -> str | None:
    """The text that the command stands for which is advised in place of ``note=value``; None if that can be read."""
    parser = OverridesParser.create()
    try:
        parser.parse_overrides([f"note={value}"])
        return None
    except OverrideParseException as error:
        sentence = explain(error, StudyConfig) or ""
    (advice,) = shlex.split(sentence.partition("needs quotes: ")[2].removesuffix("."))
    return str(parser.parse_override(advice).value())


@given(value=st.text("ab=,{}[]()$'\"\\ :", max_size=8))
@settings(max_examples=300)
def test_text_that_cannot_be_read_is_shown_as_a_shell_and_hydra_take_it(value):
    assert advised(value) in (None, value, value[1:-1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("it's", "it's"),
        ("'it's'", "it's"),
        ('"15" wide"', '15" wide'),
        ('"C:\\sets\\"', "C:\\sets\\"),
        ('"left" and "right"', '"left" and "right"'),
    ],
)
def test_quotes_around_a_text_are_not_doubled(value, text):
    assert advised(value) == text
