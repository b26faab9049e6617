"""Composing a configuration: what is shipped, precedence, paths, and what is refused."""

import re
import shutil
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.data.pictures import Frame
from common.data.prepared import Made, settings_for, write_prepared
from common.networks.backbone_names import backbone_names
from common.runs.schema import PRECISIONS
from common.settings.compose import ROOT, SHARED, compose
from common.settings.explain import explain
from common.settings.schema import GROUPS, keys_of
from common.settings.sweep_names import sweep_name
from common.system.errors import UserError
from common.trained.schema import TestConfig
from study.schema import StudyConfig

TestConfig.__test__ = False  # a configuration, not a class of tests
FOLDERS = {
    "single": (ROOT / "arch_single_head", SingleConfig),
    "dual": (ROOT / "arch_dual_head", DualConfig),
}
OPTIONS = {group: sorted(file.stem for file in (SHARED / group).glob("*.yaml")) for group in GROUPS}
CHOICES = [f"{group}={option}" for group, options in OPTIONS.items() for option in options]


def single(*overrides, folder=ROOT / "arch_single_head"):
    return compose(folder, schema=SingleConfig, overrides=overrides)


def dual(*overrides, folder=ROOT / "arch_dual_head"):
    return compose(folder, schema=DualConfig, overrides=overrides)


def study(*overrides):
    return compose(
        ROOT,
        schema=StudyConfig,
        overrides=overrides,
        config_dir=SHARED,
        config_name="train_system",
    )


def test(folder, *overrides):
    return compose(ROOT / folder, schema=TestConfig, overrides=overrides, config_name="test")


test.__test__ = False


def refusal(compose, *overrides, schema=SingleConfig, **arguments):
    """The sentence with which composing is refused; fails if it is not, or has no sentence."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - explain says whether it is one of the right kind
        compose(*overrides, **arguments)
    sentence = explain(caught.value, schema)
    assert sentence, f"a traceback: {caught.value!r}"
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def edited(tmp_path):
    """A copy of an experiment folder's configuration, with replacements in one of its files."""

    def copy(*changes: tuple[str, str], folder="arch_single_head", file="config.yaml") -> Path:
        target = tmp_path / "work" / folder
        shutil.copytree(ROOT / folder / "config", target / "config", dirs_exist_ok=True)
        path = target / "config" / file
        text = path.read_text()
        for before, after in changes:
            assert text.count(before) == 1, f"{before!r} occurs {text.count(before)} times"
            text = text.replace(before, after)
        path.write_text(text)
        return target

    return copy


# What is shipped


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("choice", CHOICES)
def test_every_option_of_every_group_composes(name, choice, tmp_path):
    folder, schema = FOLDERS[name]
    group, option = choice.split("=")
    values = OmegaConf.load(SHARED / group / f"{option}.yaml")
    overrides = [choice]
    if OmegaConf.is_missing(values, "root"):  # a set of one's own, which says the rest
        own = {"name": "mine", **settings_for(100)}
        write_prepared(tmp_path, own, Made(Frame(8, 8), keep=False, grouped=False, held_out=""))
        overrides.append(f"dataset.root={tmp_path}")
    cfg = compose(folder, schema=schema, overrides=overrides)
    if group == "dataset":
        name = OmegaConf.to_container(values, resolve=False)["name"]
        assert cfg.dataset.name == (name if "$" not in name else "mine")
        assert Path(cfg.dataset.train_dir).is_absolute()
        assert Path(cfg.dataset.train_dir).name == "fine"
    if group == "recipe":
        assert cfg.hparams.optimizer == cfg.recipe[name].optimizer
    if choice == "trainer=debug":
        assert cfg.trainer_params.max_epochs == 1
    if choice == "logger=csv":
        assert (cfg.logger.csv, cfg.logger.tensorboard) == (True, False)


@pytest.mark.parametrize("folder", ["arch_single_head", "arch_dual_head"])
@pytest.mark.parametrize("choice", [[], *([f"dataset={name}"] for name in OPTIONS["dataset"])])
def test_the_configuration_of_test_composes(folder, choice):
    cfg = test(folder, "checkpoint=a.ckpt", *choice)
    assert cfg.checkpoint == str(Path.cwd() / "a.ckpt")
    assert cfg.hparams.mode is None


def test_the_published_recipe():
    ours = {"optimizer": "adam", "lr": 1e-4, "dropout": 0.6, "batch_size": 256}
    for name, weight_decay in (("single", 1e-3), ("dual", 1e-5)):
        folder, schema = FOLDERS[name]
        cfg = compose(folder, schema=schema, overrides=["recipe=paper"])
        assert {key: cfg.hparams[key] for key in ours} == ours
        assert cfg.hparams.weight_decay == weight_decay
        assert cfg.hparams.schedule == "constant"
        assert cfg.trainer_params.max_epochs == 180


def test_fast_recipe_takes_epochs_and_batch_size_from_the_data_set():
    cfg = single("dataset=navon")
    assert cfg.trainer_params.max_epochs == cfg.dataset.epochs.single
    assert cfg.hparams.batch_size == cfg.dataset.batch_size
    assert dual("dataset=navon").trainer_params.max_epochs == cfg.dataset.epochs.dual


@pytest.mark.parametrize(
    ("dataset", "one_head", "heads_dropout"),
    [
        ("cifar100", ("sgd", 0.2, 1e-3, 0.2), 0.5),
        # Recorded studies were trained with these.
        ("cifar100_tenth", ("adam", 5e-3, 5e-4, 0.1), 0.2),
        ("navon", ("adam", 5e-3, 5e-4, 0.1), 0.2),
        ("navon_independent", ("adam", 5e-3, 5e-4, 0.1), 0.2),
        ("textures", ("adam", 5e-3, 5e-4, 0.1), 0.2),
    ],
)
def test_fast_recipe_takes_from_the_data_set_what_suits_it(dataset, one_head, heads_dropout):
    names = ("optimizer", "lr", "weight_decay", "label_smoothing")
    given = single(f"dataset={dataset}").hparams
    assert tuple(given[name] for name in names) == one_head
    assert given.dropout == 0
    heads = dual(f"dataset={dataset}").hparams
    assert tuple(heads[name] for name in names) == ("adam", 5e-3, 1e-5, 0.0)
    assert heads.dropout == heads_dropout


def test_commented_out_values_are_those_that_the_groups_bring():
    """The values shown for reading in config.yaml do not drift from the groups'."""
    for name, (folder, schema) in FOLDERS.items():
        cfg = compose(folder, schema=schema, overrides=[])
        section = None
        shown = {}
        for line in (folder / "config" / "config.yaml").read_text().splitlines():
            if line and not line.startswith((" ", "#")):
                section = line.split(":")[0]
            if line.startswith("  # ") and ":" in line and section in ("hparams", "trainer_params"):
                key, _, value = line.removeprefix("  # ").partition(": ")
                if key.isidentifier():
                    shown[f"{section}.{key}"] = value.split("#")[0].strip()
        assert len(shown) > 9, name
        for key, text in shown.items():
            value = OmegaConf.select(cfg, key)
            assert str(value) == text or float(value) == float(text), (name, key)


# The schema


def test_schema_names_the_backbones_that_exist():
    from common.networks.backbones import registered

    assert sorted(backbone_names()) == list(registered())


def test_schema_names_precisions_that_lightning_knows():
    from lightning_fabric.plugins.precision.precision import _PRECISION_INPUT_STR

    assert set(PRECISIONS) - {"auto"} <= set(get_args(_PRECISION_INPUT_STR))


def test_trainer_keys_are_arguments_of_lightning():
    import inspect

    import pytorch_lightning as pl

    known = inspect.signature(pl.Trainer).parameters
    ours = [name for name in keys_of(SingleConfig) if name.startswith("trainer_params.")]
    assert {name.partition(".")[2] for name in ours} <= set(known)


# Precedence


def test_uncommented_key_beats_the_group(edited):
    folder = edited(("  # lr: 0.2", "  lr: 0.25"))
    cfg = single(folder=folder)
    assert cfg.hparams.lr == 0.25
    assert cfg.recipe.single.lr == 0.2


def test_command_line_beats_an_uncommented_key(edited):
    folder = edited(("  # lr: 0.2", "  lr: 0.25"))
    assert single("hparams.lr=0.5", folder=folder).hparams.lr == 0.5
    assert single("recipe=paper", "hparams.lr=0.5", folder=folder).hparams.lr == 0.5


@pytest.mark.parametrize(
    ("before", "after", "choice", "key"),
    [
        ("  # lr: 0.2", "  lr: 5e-3", "recipe=paper", "hparams.lr"),
        ("  # width: 1.0", "  width: 1.0", "dataset=navon", "hparams.width"),
        ("  # max_epochs: 30", "  max_epochs: 30", "recipe=paper", "trainer_params.max_epochs"),
        ("  # max_epochs: 30", "  max_epochs: 30", "trainer=debug", "trainer_params.max_epochs"),
        (
            "# dataset:\n",
            "dataset:\n  crop_padding: 4\n",
            "dataset=navon",
            "dataset.crop_padding",
        ),
    ],
)
def test_group_that_an_uncommented_key_contradicts_is_refused(edited, before, after, choice, key):
    folder = edited((before, after))
    sentence = refusal(single, choice, folder=folder)
    assert choice in sentence
    assert key in sentence
    assert str(folder / "config" / "config.yaml") in sentence


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ("  # batch_size: 256", "  batch_size: 256", "hparams.batch_size"),
        ("  # max_epochs: 30", "  max_epochs: 30", "trainer_params.max_epochs"),
    ],
)
def test_what_the_recipe_leaves_to_the_data_set_is_not_lost_silently(edited, before, after, key):
    folder = edited((before, after))
    sentence = refusal(single, "dataset=navon", folder=folder)
    assert "dataset=navon" in sentence
    assert key in sentence


@pytest.mark.parametrize(
    ("before", "after", "choice"),
    [
        ("  # lr: 0.2", "  lr: 0.2", "recipe=fast"),
        ("  # lr: 0.2", "  lr: 2e-1", "recipe=fast"),
        ("  # lr: 0.2", "  lr: '0.2'", "recipe=fast"),
        ("  # weight_decay: 1e-3", "  weight_decay: 0.001", "recipe=fast"),
        ("  # weight_decay: 1e-3", "  weight_decay: .1e-2", "recipe=fast"),
        ("  # width: 1.0", "  width: 1", "dataset=cifar100"),
        ("  # optimizer: sgd", "  optimizer: adam", "recipe=paper"),
        ("# dataset:\n#   root", "dataset:\n  root", "dataset=cifar100"),
        ("# dataset:\n", "dataset:\n  val_dir: null\n", "dataset=navon"),
    ],
)
def test_uncommented_key_that_agrees_with_the_group_is_no_contradiction(
    edited, before, after, choice
):
    assert single(choice, folder=edited((before, after)))


def test_uncommented_path_that_agrees_with_the_group_is_no_contradiction(edited):
    folder = edited(
        ("# dataset:\n", "dataset:\n"),
        (
            "#   train_dir: ../datasets/CIFAR100/train/${hparams.mode}",
            "  train_dir: ../datasets/CIFAR100/train/${hparams.mode}",
        ),
    )
    cfg = single("dataset=cifar100", folder=folder)
    assert cfg.dataset.train_dir == str(folder.parent / "datasets/CIFAR100/train/fine")


def test_group_written_in_the_file_is_no_contradiction(edited):
    """Only a group chosen on the command line can lose unnoticed; in the file both stand side by side."""
    folder = edited(("  - recipe: fast", "  - recipe: paper"), ("  # lr: 0.2", "  lr: 5e-3"))
    cfg = single(folder=folder)
    assert (cfg.hparams.lr, cfg.hparams.dropout) == (5e-3, 0.6)


# Paths


@pytest.mark.parametrize("name", FOLDERS)
def test_paths_of_yaml_files_are_relative_to_the_experiment_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, schema = FOLDERS[name]
    cfg = compose(folder, schema=schema, overrides=["dataset=navon"])
    assert cfg.save_dir == str(ROOT / "runs")
    assert cfg.dataset.root == str(ROOT / "datasets/NAVON")
    assert cfg.dataset.train_dir == str(ROOT / "datasets/NAVON/train/fine")
    assert cfg.dataset.test_dir == str(ROOT / "datasets/NAVON/test/fine")
    if name == "dual":
        runs = ROOT / "runs/single-NAVON"
        assert cfg.hparams.model_path_coarse == str(
            runs / "coarse/seed{seed}/checkpoints/best.ckpt"
        )


def test_paths_of_the_command_line_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = single("dataset.root=data", "save_dir=out/../here", "dataset.val_dir=v")
    assert cfg.dataset.root == str(tmp_path / "data")
    assert cfg.dataset.train_dir == str(tmp_path / "data/train/fine")
    assert cfg.dataset.val_dir == str(tmp_path / "v")
    assert cfg.save_dir == str(tmp_path / "here")
    assert study("save_dir=out").save_dir == str(tmp_path / "out")
    assert study().save_dir == str(ROOT / "runs")


def test_a_name_of_weights_is_no_path_and_anything_else_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DEFAULT", "IMAGENET1K_V2"):
        assert single(f"hparams.pretrained={name}").hparams.pretrained == name
    for file in ("w.pth", "default", "IMAGENET/W.pth"):
        assert single(f"hparams.pretrained={file}").hparams.pretrained == str(tmp_path / file)
    sides = dual("hparams.fine_pretrained=w.pth", "hparams.coarse_pretrained=DEFAULT").hparams
    assert (sides.fine_pretrained, sides.coarse_pretrained) == (str(tmp_path / "w.pth"), "DEFAULT")
    assert single().hparams.pretrained is None


def test_path_within_a_mapping_of_the_command_line_is_relative_to_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert single("dataset={root: data}").dataset.root == str(tmp_path / "data")


def test_lists_of_paths_are_made_absolute_one_by_one(tmp_path, monkeypatch, edited):
    monkeypatch.chdir(tmp_path)
    cfg = dual("hparams.model_path_fine=[a.ckpt,/b.ckpt]", "hparams.macro_arch=ensemble")
    assert list(cfg.hparams.model_path_fine) == [str(tmp_path / "a.ckpt"), "/b.ckpt"]
    folder = edited(
        (
            "model_path_fine: ../runs/single-${dataset.name}/fine/seed{seed}/checkpoints/best.ckpt",
            "model_path_fine: [../a.ckpt, /b.ckpt]",
        ),
        folder="arch_dual_head",
    )
    cfg = dual("hparams.macro_arch=ensemble", folder=folder)
    assert list(cfg.hparams.model_path_fine) == [str(folder.parent / "a.ckpt"), "/b.ckpt"]


def test_home_is_understood_in_files_and_on_the_command_line(edited, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert single('dataset.root="~/data"').dataset.root == "/home/someone/data"
    folder = edited(("save_dir: ../runs", "save_dir: ~/runs"))
    assert single(folder=folder).save_dir == "/home/someone/runs"


def test_mode_chooses_the_tree():
    assert single("hparams.mode=coarse").dataset.train_dir.endswith("train/coarse")
    assert single("hparams.mode=coarse").dataset.test_dir.endswith("test/coarse")
    assert dual().dataset.train_dir.endswith("train/fine")


# What is refused on the command line: key or value in the sentence, and for a mistyped key the right one


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("hparams.lrr=1", ["hparams.lrr", "hparams.lr"]),
        ("+hparams.lrr=1", ["hparams.lrr", "hparams.lr"]),
        ("++hparams.lrr=1", ["hparams.lrr", "hparams.lr"]),
        ("+hparams.lr=1", ["hparams.lr"]),
        ("seed=3", ["seed", "seeds"]),
        ("+anything=3", ["anything", "exp_name"]),
        ("hparams.farch=resnet9", ["hparams.farch", "hparams.arch"]),
        ("~hparams.lr", ["hparams.lr"]),
        ("~seeds", ["seeds"]),
        ("~evaluate", ["evaluate"]),
        ("~dataset", ["dataset"]),
        ("dataset=cifar", ["dataset=cifar", "cifar100, cifar100_tenth, folders, navon"]),
        ("recipe=slow", ["recipe=slow", "fast, paper"]),
        ("trainer=fast", ["trainer=fast", "debug, default"]),
        ("logger=nonsense", ["logger=nonsense", "csv, default, wandb"]),
        ("dataset=null", ["dataset"]),
        ("recipe=null", ["recipe"]),
        ("hparams.arch=resnet10", ["hparams.arch", "'resnet10'", "resnet18", "vgg11"]),
        ("hparams.arch=null", ["hparams.arch"]),
        ("hparams.arch=???", ["hparams.arch"]),
        ("hparams.mode=both", ["hparams.mode", "fine, coarse, rotation, feature"]),
        ("hparams.lr=fast", ["hparams.lr", "fast"]),
        ("hparams.lr=", ["hparams.lr"]),
        ("hparams.lr=null", ["hparams.lr"]),
        ("hparams.lr=0", ["hparams.lr", "above 0"]),
        ("hparams.lr=-1", ["hparams.lr", "above 0"]),
        ("hparams.lr=nan", ["hparams.lr", "nan"]),
        ("hparams.lr=inf", ["hparams.lr", "inf"]),
        ("hparams.lr=[1]", ["hparams.lr"]),
        ("hparams.lr={a:1}", ["hparams.lr"]),
        ("hparams.lr=1,2", ["hparams.lr"]),
        ("hparams.lr=${nothing}", ["hparams.lr", "nothing"]),
        ("hparams.lr=${oc.env:BILATERAL_UNSET}", ["hparams.lr", "BILATERAL_UNSET"]),
        ("hparams.dropout=1", ["hparams.dropout", "at most 0.99"]),
        ("hparams.cuda_graph=0", ["hparams.cuda_graph is 0; allowed: auto, true, false"]),
        ("hparams.cuda_graph=1", ["hparams.cuda_graph is 1; allowed: auto, true, false"]),
        ("hparams.cuda_graph=1.0", ["hparams.cuda_graph is 1.0", "auto, true, false"]),
        ("hparams.compile=0", ["hparams.compile is '0'", "auto, null, default"]),
        ("hparams.batch_size=0", ["hparams.batch_size", "at least 1"]),
        ("hparams.batch_size=2.5", ["hparams.batch_size", "2.5"]),
        ("evaluate=perhaps", ["evaluate", "perhaps"]),
        ("hparams=3", ["hparams"]),
        ("trainer_params.precision=8", ["trainer_params.precision", "bf16-mixed"]),
        ("trainer_params.limit_val_batches=some", ["trainer_params.limit_val_batches", "some"]),
        ("trainer_params.limit_val_batches=-1", ["trainer_params.limit_val_batches", "-1"]),
        ("trainer_params.limit_train_batches=null", ["limit_train_batches is null", "above 0"]),
        ("trainer_params.max_epochs=-1", ["trainer_params.max_epochs", "at least 1"]),
        ("trainer_params.gradient_clip_val=0", ["trainer_params.gradient_clip_val", "above 0"]),
        ("trainer_params.gradient_clip_val=inf", ["trainer_params.gradient_clip_val", "inf"]),
        ("ckpt_callback.monitor=val_acc", ["ckpt_callback.monitor", "val_accuracy"]),
        ("recipe.single.lr=-3", ["recipe.single.lr", "-3"]),
        ("dataset.crop_padding=-1", ["dataset.crop_padding"]),
        ("dataset.split_seed=-1", ["dataset.split_seed"]),
        ("seeds=3", ["seeds"]),
        ("seeds=[]", ["seeds", "[]"]),
        ("seeds=[a]", ["seeds"]),
        ("seeds=[-1]", ["seeds", "[-1]"]),
        ("seeds=[1,1]", ["seeds", "[1, 1]"]),
        ("seeds=[4294967296]", ["seeds", "4294967296"]),
        ("seeds=[1.5]", ["seeds", "1.5"]),
        ("seeds=[null]", ["seeds"]),
        ("exp_name=a/b", ["exp_name", "'a/b'"]),
        ("exp_name='a=b'", ["exp_name", "'a=b'"]),
        ("exp_name=..", ["exp_name", "'..'"]),
        ("exp_name=''", ["exp_name", "''"]),
        ("exp_name='  '", ["exp_name is '  '; allowed: a folder name"]),
        ("dataset.name=", ["dataset.name is ''; allowed: a folder name"]),
        ("dataset.name='  '", ["dataset.name is '  '; allowed: a folder name"]),
        ("save_dir=", ["save_dir has no value; allowed: a path."]),
        ("dataset.root=", ["dataset.root has no value; allowed: a path."]),
        (f"exp_name={'x' * 151}", ["exp_name", "150"]),
        ("exp_name=a=b", ["exp_name"]),
        ("hparams.lr", ["hparams.lr"]),
        ("=3", ["=3"]),
        ("dataset.root=~/data", ["dataset.root"]),
    ],
)
def test_override_is_refused_in_one_sentence(override, named):
    sentence = refusal(single, override)
    assert [name for name in named if name not in sentence] == [], sentence


@pytest.mark.parametrize("split", [5, "per_seed"])
def test_another_tenth_is_not_drawn_beside_validation_images_of_ones_own(tmp_path, split):
    (tmp_path / "v/fine").mkdir(parents=True)
    with pytest.raises(UserError, match=rf"split_seed={split} .*dataset\.val_dir .*: drop one\.$"):
        single(
            "dataset.root=data", f"dataset.val_dir={tmp_path}/v/fine", f"dataset.split_seed={split}"
        )


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("hparams.farch=resnet10", ["hparams.farch", "resnet18"]),
        ("hparams.macro_arch=trilateral", ["hparams.macro_arch", "bilateral"]),
        ("hparams.mode=fine", ["hparams.mode", "both"]),
        ("hparams.arch=resnet9", ["hparams.arch", "hparams.farch"]),
        ("hparams.model_path_fine={a:1}", ["hparams.model_path_fine"]),
    ],
)
def test_override_of_the_dual_folder_is_refused_in_one_sentence(override, named):
    sentence = refusal(dual, override, schema=DualConfig)
    assert [name for name in named if name not in sentence] == [], sentence


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("num_seed=2", ["num_seed", "num_seeds"]),
        ("num_seeds=0", ["num_seeds", "at least 1"]),
        ("seeds=[]", ["seeds"]),
        ("arch=resnet10", ["arch", "resnet18"]),
        ("farch=vgg", ["farch", "vgg11"]),
        ("epochs.left=3", ["epochs.left", "fine, coarse, bilateral"]),
        ("epochs.fine=0", ["epochs.fine"]),
        ("hparams.lrr=1", ["hparams.lrr", "hparams.lr"]),
        ("single.hparams.farch=vgg11", ["single.hparams.farch"]),
        ("hparams.lr=-1", ["hparams.lr"]),
        ("single.hparams.lr=nan", ["single.hparams.lr"]),
        ("+dual.hparams.lrr=1", ["dual.hparams.lrr"]),
    ],
)
def test_override_of_the_study_is_refused_in_one_sentence(override, named):
    sentence = refusal(study, override, schema=StudyConfig)
    assert [name for name in named if name not in sentence] == [], sentence


def test_key_that_test_does_not_read_is_refused():
    assert "hparams.lr" in refusal(
        test, "arch_single_head", "checkpoint=a", "hparams.lr=1", schema=TestConfig
    )
    assert "hparams.mode" in refusal(
        test, "arch_single_head", "checkpoint=a", "hparams.mode=fine", schema=TestConfig
    )
    assert "checkpoint=PATH" in refusal(test, "arch_single_head", schema=TestConfig)


# What is refused in a file


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("  # lr: 0.2", "  lrr: 5e-3", ["lrr", "lr"]),
        ("evaluate: true", "evalute: true", ["evalute", "evaluate"]),
        ("  # lr: 0.2", "  lr: quick", ["lr", "quick"]),
        ("  # lr: 0.2", "  lr: -1", ["hparams.lr", "-1"]),
        ("  # lr: 0.2", "  lr: .nan", ["hparams.lr", "nan"]),
        ("  # lr: 0.2", "  lr: [5e-3", ["config.yaml", "line"]),
        ("  arch: resnet9", "  arch: resnet", ["hparams.arch", "'resnet'", "resnet18"]),
        ("seeds: [0]", "seeds: 3", ["seeds"]),
        ("evaluate: true", "evaluate: perhaps", ["evaluate", "perhaps"]),
        ("save_dir: ../runs", "save_dir: null", ["save_dir"]),
        ("  - recipe: fast", "  - recipe: slow", ["recipe=slow", "fast, paper"]),
        ("  - recipe: fast", "  - recipes: fast", ["recipes"]),
        ("  devices: 1", "  devices: 1\n  epochs: 3", ["epochs", "max_epochs"]),
    ],
)
def test_config_file_is_refused_in_one_sentence(edited, before, after, named):
    sentence = refusal(single, folder=edited((before, after)))
    assert [name for name in named if name not in sentence] == [], sentence


@pytest.mark.parametrize(
    "content", [b"- a\n- b\n", b"a: b: c\n", b"\xff\xfe\x00", b"\ta: 1\n", b"3\n", None]
)
def test_broken_config_file_is_refused_in_one_sentence(edited, content):
    folder = edited()
    file = folder / "config" / "config.yaml"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert "config" in refusal(single, folder=folder)


FAST = "optimizer, lr, weight_decay, label_smoothing, heads_dropout"


@pytest.mark.parametrize("schema", [SingleConfig, StudyConfig])
@pytest.mark.parametrize(
    ("group", "key", "said"),
    [
        ("dataset", "fast:", f"dataset.fast is a section: write its keys below it ({FAST})"),
        ("dataset", "fast: 3", f"dataset.fast is a section: write its keys below it ({FAST})"),
        ("dataset", "fast: [1]", f"dataset.fast is a section: write its keys below it ({FAST})"),
        ("dataset", "epochs:", "dataset.epochs is a section: write its keys below it (single, d"),
        ("recipe", "dual: slow", "recipe.single or recipe.dual is a section: write its keys bel"),
    ],
)
def test_a_section_of_a_group_file_without_keys_names_them(edited, schema, group, key, said):
    folder = edited()
    (folder / f"config/{group}").mkdir()
    (folder / f"config/{group}/mine.yaml").write_text(f"{key}\n")
    sentence = refusal(single, f"{group}=mine", folder=folder, schema=schema)
    assert sentence.startswith(f"{group}/mine.yaml: {said}")
    assert len(sentence) < 400


def test_a_section_of_a_config_file_without_keys_names_them(edited):
    changes = [("trainer_params:", "bilateral_epochs:\ntrainer_params:")]
    folder = edited(*changes, folder="arch_dual_head")
    for schema in (DualConfig, StudyConfig):
        sentence = refusal(dual, folder=folder, schema=schema)
        assert sentence == (
            "config.yaml: bilateral_epochs is a section: write its keys below it (left, right, heads), or leave it out."
        )


def test_group_file_of_ones_own(edited):
    folder = edited()
    group = folder / "config" / "dataset"
    group.mkdir()
    body = "name: MINE\nroot: data\ncrop_padding: 0\nflip: false\nwidth: 0.5\nbatch_size: 8\n"
    epochs = "epochs: {single: 1, dual: 1}\n"
    (group / "mine.yaml").write_text(body + epochs)
    cfg = single("dataset=mine", folder=folder)
    assert cfg.dataset.root == str(folder / "data")
    assert (cfg.hparams.width, cfg.hparams.batch_size) == (0.5, 8)

    (group / "mine.yaml").write_text(body + epochs + "crop_pading: 3\n")
    sentence = refusal(single, "dataset=mine", folder=folder)
    assert "crop_pading" in sentence
    assert "dataset/mine" in sentence or "dataset.crop_pading" in sentence
    (group / "mine.yaml").write_text("name: MINE\nroot: [data\n")
    assert "mine.yaml" in refusal(single, "dataset=mine", folder=folder)
    (group / "mine.yaml").write_text("name: MINE\n")
    assert "dataset." in refusal(single, "dataset=mine", folder=folder)
    assert "cifar100, cifar100_tenth, folders, mine, navon" in refusal(
        single, "dataset=min", folder=folder
    )


# Any value of any numeric key


def numeric(schema):
    return sorted(
        name
        for name, item in keys_of(schema).items()
        if any(item.metadata.get(bound) is not None for bound in ("above", "low", "high"))
    )


values = st.one_of(
    st.floats(width=32).map(repr),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers().map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["nan", "-inf", "1e999", "null", "true", "''", "[]", "{}", "???", "0x10"]),
    st.text(max_size=8),
)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    pair=st.one_of(
        *(st.tuples(st.just(name), st.sampled_from(numeric(FOLDERS[name][1]))) for name in FOLDERS)
    ),
    value=values,
)
def test_any_value_of_a_numeric_key_is_in_range_or_refused_in_one_sentence(pair, value):
    name, key = pair
    folder, schema = FOLDERS[name]
    refused = None
    try:
        cfg = compose(folder, schema=schema, overrides=[f"{key}={value}"])
    except Exception as error:
        refused = error
    if refused is not None:
        sentence = explain(refused, schema)
        assert sentence, (key, value, refused)
        assert len(sentence.splitlines()) == 1
        return
    number = OmegaConf.select(cfg, key)
    rule = keys_of(schema)[key].metadata
    if number is None:
        assert value.strip().lower() == "null"
        return
    assert isinstance(number, int | float)
    assert rule["above"] is None or number > rule["above"]
    assert rule["low"] is None or number >= rule["low"]
    assert rule["high"] is None or number <= rule["high"]
    assert number < float("inf")


# Names of a sweep's experiments

texts = st.text("ab01.,/-_ []=é", min_size=1, max_size=100)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(first=texts, second=texts)
def test_sweep_names_differ_when_values_differ(first, second):
    names = {sweep_name([f"dataset.root={value}", "exp_name=x"]) for value in (first, second)}
    assert len(names) == len({first, second})
    for name in names:
        assert "/" not in name
        assert "=" not in name
        assert len(name) <= 100


def test_sweep_name_of_paths_that_look_alike_differ():
    assert sweep_name(["dataset.root=a/b"]) != sweep_name(["dataset.root=a-b"])


def test_what_is_swept_stays_readable_beside_long_values():
    long = "dataset.root=/home/a/very/long/way/to/the/folder/of/the/data/sets/of/a/group/NAVON"
    name = sweep_name([long, 'hparams.arch="resnet18"', "hparams.lr=0.1"])
    assert name.startswith("root-NAVON_arch-resnet18_lr-0.1_")
    lines = [f"hparams.model_path_fine={'x' * 90}{i}" for i in range(2)]
    names = [sweep_name([line, "hparams.dropout=0.3"]) for line in lines]
    assert all(name.startswith("dropout-0.3_") for name in names)
    assert len({*names}) == 2


def test_a_long_name_is_of_what_is_swept():
    parts = "a_quite_long_name_of_an_architecture", "another_quite_long_value_of_another_key"
    line = [f"hparams.arch={parts[0]}", f"note={parts[1]}", "hparams.lr=0.1"]
    name = sweep_name(line, fixed=["hparams.arch", "note"])
    assert re.fullmatch(r"lr-0\.1_[0-9a-f]{8}", name)
    assert sweep_name([*line[:2], "hparams.lr=0.2"], fixed=["hparams.arch", "note"]) != name
    assert (
        sweep_name(["hparams.arch=x" + parts[0], *line[1:]], fixed=["hparams.arch", "note"]) != name
    )
    # Without its longest part.
    assert sweep_name(line).startswith(f"arch-{parts[0]}_lr-0.1_")


def test_what_is_swept_names_the_folders_whatever_stands_beside_it(tmp_path, monkeypatch):
    from common.settings.command import command

    long = "a note that is much too long to be a part of the name of a folder, as it is the same in all of them"
    line = ["--multirun", f"note='{long}'", "hparams.lr=0.1,0.2", f"save_dir={tmp_path}"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["trainer.py", *line, f"hydra.sweep.dir={tmp_path}/hydra"])
    names = []
    folder = ROOT / "arch_single_head"
    command(lambda cfg: names.append(cfg.exp_name), schema=SingleConfig, folder=folder)
    assert len({*names}) == 2
    for name, lr in zip(names, ("0.1", "0.2"), strict=True):
        assert re.fullmatch(rf"single-CIFAR100_lr-{lr}_[0-9a-f]{{8}}", name)


def test_sweep_name_reads_well():
    assert sweep_name(["hparams.lr=0.1", "seeds=[0,1]", "exp_name=x", "save_dir=y"]) == (
        "hparams.lr-0.1_seeds-[0,1]"
    )


# What cannot be combined


def test_dual_combinations_that_mean_nothing_are_refused():
    from arch_dual_head.checks import check

    fine, coarse = "hparams.model_path_fine", "hparams.model_path_coarse"
    for overrides, named in (
        (["hparams.mode=feature"], ["hparams.mode", "test.py"]),
        ([f"{fine}=null"], ["hparams.ffreeze", fine]),
        ([f"{coarse}=null"], ["hparams.cfreeze", coarse]),
        ([f"{fine}=null", "hparams.macro_arch=unilateral"], ["hparams.ffreeze", fine]),
        ([f"{fine}=[a,b]"], [fine, "ensemble"]),
        ([f"{fine}=3"], [fine]),
        ([f"{coarse}=[a,b]"], [coarse]),
        (["hparams.macro_arch=ensemble"], [fine, "list"]),
        (["hparams.macro_arch=ensemble", f"{fine}=[]"], [fine, "list"]),
        (["hparams.macro_arch=ensemble", f"{fine}=null"], [fine, "list"]),
    ):
        with pytest.raises(UserError) as caught:
            check(dual(*overrides))
        assert [name for name in named if name not in str(caught.value)] == [], overrides


def test_dual_combinations_that_mean_something_pass():
    from arch_dual_head.checks import check

    fine, coarse = "hparams.model_path_fine", "hparams.model_path_coarse"
    for overrides in (
        [],
        [f"{fine}=null", "hparams.ffreeze=false"],
        [f"{coarse}=null", "hparams.cfreeze=false"],
        [f"{coarse}=null", "hparams.macro_arch=unilateral"],
        ["hparams.macro_arch=ensemble", f"{fine}=[a,b]"],
    ):
        check(dual(*overrides))


@pytest.mark.parametrize("rule", [("val_loss", "max"), ("val_accuracy", "min")])
def test_choosing_the_worst_epoch_is_refused(rule):
    monitor, mode = rule
    overrides = [f"ckpt_callback.monitor={monitor}", f"ckpt_callback.mode={mode}"]
    with pytest.raises(UserError, match="worst epoch"):
        compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=overrides)


# A set of one's own pictures


@pytest.mark.parametrize("name", FOLDERS)
def test_what_suits_a_set_stands_in_its_folder(name, prepared, capsys):
    folder, schema = FOLDERS[name]
    given = ["dataset=folders", f"dataset.root={prepared}"]
    cfg = compose(folder, schema=schema, overrides=given)
    assert cfg.dataset.name == "INSECTS"
    assert cfg.hparams.batch_size == 24
    assert cfg.trainer_params.max_epochs == {"single": 7, "dual": 3}[name]
    assert cfg.hparams["width" if name == "single" else "fine_width"] == 0.5
    said = capsys.readouterr().out
    compose(folder, schema=schema, overrides=[*given, "dataset.width=0.125"])
    assert capsys.readouterr().out == ""  # once
    if name == "single":
        assert str(prepared / "prepared.yaml") in said
        assert "width 0.5, batch size 24, epochs 7 and 3" in said
    cfg = compose(folder, schema=schema, overrides=[*given, "dataset.width=0.125"])
    assert cfg.dataset.width == 0.125


def test_a_set_is_found_from_a_file_too(prepared, edited, monkeypatch):
    folder = edited(("# dataset:\n#   root: ../datasets/CIFAR100", "dataset:\n  root: ../../SET"))
    assert (folder.parents[1] / "SET") == prepared
    monkeypatch.chdir("/")
    assert single("dataset=folders", folder=folder).hparams.batch_size == 24


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.unlink(), "data_scripts/prepare_folders.py PHOTOS --out-dir"),
        (lambda file: file.write_text("a: [1"), "prepared.yaml is not valid YAML"),
        (lambda file: file.write_text("[1]"), "prepared.yaml holds no keys"),
        (lambda file: file.write_text("name: a"), "has no width"),
        (
            lambda file: file.write_text(file.read_text().replace("0.5", "-1")),
            "dataset.width is -1",
        ),
        (lambda file: file.write_text(file.read_text().replace("0.5", "wide")), "dataset.width"),
    ],
)
def test_a_set_that_does_not_say_what_suits_it_is_refused(prepared, change, said):
    change(prepared / "prepared.yaml")
    assert said in refusal(single, "dataset=folders", f"dataset.root={prepared}")


def test_the_script_is_named_where_no_set_is(prepared):
    assert "prepare_folders.py" in refusal(single, "dataset=folders")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("- dataset: null", "- dataset: navon", "dataset: navon"),
        ("- trainer: null", "- override /trainer: debug", "trainer: debug"),
        ("num_seeds: null", "num_seeds: 2\nhparams:\n  lr: 0.01", "hparams"),
        ("num_seeds: null", "num_seeds: 2\nsingle:\n  hparams:\n    lr: 0.01", "single"),
        ("num_seeds: null", "num_seeds: 2\nnote: mine", "note"),
    ],
)
@pytest.mark.parametrize("variant", [False, True])
def test_what_the_file_of_the_study_does_not_hand_on_is_refused_there(
    tmp_path, old, new, named, variant
):
    folder = tmp_path / "config"
    shutil.copytree(SHARED, folder)
    file = folder / "train_system.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    name = "train_system"
    if variant:
        name = "mine"
        (folder / "mine.yaml").write_text("defaults: [train_system, _self_]\nmargin: 1\n")
    with pytest.raises(UserError) as caught:
        compose(ROOT, schema=StudyConfig, overrides=[], config_dir=folder, config_name=name)
    assert str(caught.value).startswith(f"{file} sets {named}, which is not read there: ")


def test_a_variant_whose_keys_would_count_for_nothing_is_refused(tmp_path):
    folder = tmp_path / "config"
    shutil.copytree(ROOT / "arch_single_head/config", folder)
    file = folder / "mine.yaml"

    def mine(order: str) -> int:
        file.write_text(f"defaults: {order}\nhparams:\n  batch_size: 32\n")
        given = {"schema": SingleConfig, "overrides": ["dataset=navon"], "config_name": "mine"}
        return compose(tmp_path, **given).hparams.batch_size

    assert mine("[config, _self_]") == mine("[config]") == 32
    with pytest.raises(UserError, match=r"mine.yaml: config stands after _self_ .*_self_\]"):
        mine("[_self_, config]")
