"""Every arm of the study: what it is, what it builds on, and that nothing is trained twice."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

import arch_dual_head.trainer
import train_system
from arch_dual_head.budget import equal_epochs
from arch_dual_head.macro_architectures import macro_architecture
from arch_dual_head.module import DualHead
from arch_dual_head.networks import Parts
from arch_dual_head.schema import DualConfig
from common.checkpoints.files import load_network, read
from common.networks.backbones import build_backbone
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet, UnilateralNet
from common.networks.parameters import PARAMETERS
from common.networks.size import parameters, width_for
from common.settings.compose import ROOT, compose
from common.settings.explain import explain
from common.settings.levels import LEVELS
from common.settings.schema import keys_of
from common.system.errors import UserError
from study.arms import (
    ARMS,
    CONNECTED,
    DEFAULT_ARMS,
    REFERENCE,
    arms_of,
    from_scratch,
    names,
    scored,
    standing_for,
    trained_names,
)
from study.overrides import FOLDERS
from study.plan import plan
from study.schema import StudyConfig, asymmetries

DUAL = ROOT / "arch_dual_head"
DUAL_ARMS = [arm for arm, row in ARMS.items() if row.folder == "dual" and not row.study]


def planned(*overrides: str) -> dict[str, DictConfig]:
    """The configuration of each arm of a study."""
    overrides = ("dataset=navon", "arms=all", *overrides)
    cfg = compose(
        ROOT / "common", schema=StudyConfig, overrides=overrides, config_name="train_system"
    )
    return {stage.arm: stage.config for stage in reversed(plan(cfg, overrides))}


def alone(arm: str, *overrides: str) -> DictConfig:
    """The configuration of an arm's own command."""
    given = ["dataset=navon", *overrides]
    return compose(DUAL, schema=DualConfig, overrides=given, config_name=arm)


@pytest.fixture(scope="module")
def five() -> dict[str, DictConfig]:
    return planned("num_seeds=5")


# The table


def test_every_name_that_arms_takes_stands_for_arms():
    assert sorted(arm for name in names() for arm in standing_for(name)) == sorted(ARMS)
    assert set(DEFAULT_ARMS) < set(names())
    assert {f"epochs.{name}" for name in trained_names()} == {
        key for key in keys_of(StudyConfig) if key.startswith("epochs.")
    }
    assert "ensemble" not in trained_names()


def test_an_arm_comes_after_those_it_builds_on():
    for place, row in enumerate(ARMS.values()):
        assert row.needs <= set(list(ARMS)[:place])


def test_an_arm_of_an_added_row_is_planned_and_has_its_key_of_epochs(monkeypatch):
    monkeypatch.setitem(ARMS, "again", replace(ARMS["unilateral"], config="unilateral"))
    assert "again" in names()
    assert "again" in trained_names()
    assert "again" in from_scratch()
    assert planned("num_seeds=1")["again"].hparams.macro_arch == "unilateral"


def test_whom_keys_of_hemispheres_do_not_concern_is_said(in_process, tiny, tmp_path, monkeypatch):
    def stop(*arguments, **more):
        raise UserError("Nothing is trained here.")

    monkeypatch.setattr("common.runs.experiment.run_experiment", stop)
    arms = "arms=[bilateral,unilateral,callosal,decorrelated]"
    given = [arms, "num_seeds=1", "hparams.callosum.kind=add", "single.hparams.lr=0.1"]
    _, said, _ = in_process(train_system.main, *tiny, *given, f"save_dir={tmp_path}")
    assert (
        "single.hparams.lr concerns fine and coarse, not unilateral, callosal, decorrelated."
        in said
    )


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (
            "loads",
            {"model_path_left": [("fine", 0)]},
            "a key of loads of mixed is 'model_path_left'; allowed: 'fine_pretrained', 'coarse_pretrained', "
            "'model_path_fine', 'model_path_coarse', 'model_path' (did you mean 'model_path_fine'?).",
        ),
        (
            "loads",
            {"model_path_fine": [("fien", 0)]},
            "an arm in loads of mixed is 'fien'; allowed: an arm further up (did you mean 'fine'?).",
        ),
        (
            "loads",
            {"model_path_fine": [("below", 0)]},
            "an arm in loads of mixed is 'below'; allowed: an arm further up.",
        ),
        (
            "specialities",
            ("fine",),
            "the number of specialities of mixed is 1; allowed: 2.",
        ),
        ("specialities", ("fine", "corse"), "specialities of mixed is 'corse'; allowed: 'fine'"),
        ("folder", "duall", "folder of mixed is 'duall'; allowed: 'single', 'dual' (did you"),
        ("trained_like", "head", "trained_like of mixed is 'head'; allowed: 'hemispheres', 'he"),
        ("study", "callosm", "study of mixed is 'callosm'; allowed: 'asymmetry', 'callosum', "),
        ("callosum", "connect", "callosum of mixed is 'connect'; allowed: 'connects', 'sizes'"),
    ],
)
def test_a_row_that_names_what_is_not_there_is_refused(monkeypatch, field, value, sentence):
    """Whichever arms the study asks for."""
    monkeypatch.setitem(ARMS, "mixed", replace(ARMS["bilateral"], **{field: value}))
    monkeypatch.setitem(ARMS, "below", ARMS["bilateral"])
    with pytest.raises(UserError) as refused:
        planned("arms=[fine]", "num_seeds=1")
    assert str(refused.value).startswith(f"study/arms.py: {sentence}")
    assert len(str(refused.value)) < 400


def test_a_row_with_one_hemisphere_loads_nothing(monkeypatch):
    loads = {"model_path_fine": [("coarse", 0)]}
    monkeypatch.setitem(ARMS, "fine_too", replace(ARMS["fine"], loads=loads))
    with pytest.raises(
        UserError, match="a key of loads of fine_too is 'model_path_fine'; allowed: none"
    ):
        planned("num_seeds=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: [config, _self_]\narm: mixt\n", "'mixt'"),
        ("defaults: [config, _self_]", "'bilateral'"),
    ],
)
def test_an_arm_whose_file_names_another_one_is_refused(monkeypatch, tmp_path, text, said):
    shutil.copytree(DUAL / "config", tmp_path / "config")
    (tmp_path / "config/mixed.yaml").write_text(text)
    monkeypatch.setitem(ARMS, "mixed", ARMS["bilateral"])
    monkeypatch.setitem(FOLDERS, "dual", (tmp_path, DualConfig))
    with pytest.raises(UserError, match=f"its key arm is {said}.*: write arm: mixed in it"):
        planned("arms=[mixed]", "num_seeds=1")


def test_an_arms_own_command_refuses_another_name_unless_it_was_asked_for(monkeypatch, in_process):
    monkeypatch.setitem(ARMS, "asymmetry_width", ARMS["bilateral"])
    line = ["--config-name", "asymmetry_width", "dataset=navon", "hparams.model_path_fine=/none"]
    status, _, err = in_process(arch_dual_head.trainer.main, *line)
    assert status == 1
    assert "its key arm is 'bilateral'" in err
    for asked in ("arm=bilateral", "hparams.macro_arch=bilateral"):
        assert "its key arm" not in in_process(arch_dual_head.trainer.main, *line, asked)[2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "has a row mixed, but {}/config/mixed.yaml is not there"),
        ("arm: mixed\n", "config/mixed.yaml has no defaults list; a variant of"),
        ("", "config/mixed.yaml has no defaults list; a variant of"),
        ("defaults: 3\n", "config/mixed.yaml has no defaults list; a variant of"),
        ("defaults: [_self_]\n", "the defaults list of the YAML file lacks dataset; a variant"),
    ],
)
def test_an_arm_whose_file_is_missing_or_built_on_nothing_is_refused(
    monkeypatch, tmp_path, text, sentence
):
    shutil.copytree(DUAL / "config", tmp_path / "config")
    if text is not None:
        (tmp_path / "config/mixed.yaml").write_text(text)
    monkeypatch.setitem(ARMS, "mixed", ARMS["bilateral"])
    monkeypatch.setitem(FOLDERS, "dual", (tmp_path, DualConfig))
    with pytest.raises(Exception) as refused:  # noqa: PT011 - explained below
        planned("arms=[mixed]", "num_seeds=1")
    assert sentence.format(tmp_path.name) in str(explain(refused.value, StudyConfig))


def test_the_table_imports_no_torch(command):
    done = command(
        "-c",
        "import sys, study.arms, study.schema, study.choice; print('torch' in sys.modules)",
    )
    assert done.stdout == "False\n", done.stderr


# What each arm is


def test_a_study_and_the_arms_own_command_train_with_the_same_plasticity():
    study = planned("num_seeds=1", "dual.hparams.fine_plasticity=0.05")["bilateral_finetuned"]
    for cfg in (study, alone("bilateral_finetuned", "hparams.fine_plasticity=0.05")):
        left, right = DualHead.hemisphere_configs(cfg).values()
        assert left.plasticity == pytest.approx(0.005)  # the arm's own factor is 0.1
        assert right.plasticity == pytest.approx(0.1)


@pytest.mark.parametrize("arm", DUAL_ARMS)
def test_each_arm_runs_alone_with_the_configuration_that_the_study_gives_it(arm, five):
    own, study = alone(arm, "seeds=[0,1,2,3,4]"), five[arm].copy()
    arch_dual_head.trainer.check(own)
    assert own.arm == arm
    for one in (own, study):
        for key in ("model_path_fine", "model_path_coarse", "model_path"):
            one.hparams[key] = None
        one.exp_name = one.save_dir = ""
    assert own == study


@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe=paper"],
        ["hparams.lr=0.5", "trainer=debug", "hparams={dropout: 0.3}"],
        ["recipe.dual.lr=0.5", "dataset.width=2", "hparams.plasticity_factor=3"],
    ],
)
def test_the_command_line_is_stronger_than_an_arms_own_file_in_a_study_too(overrides):
    stages = planned("num_seeds=5", *overrides)
    for arm in ("bilateral_finetuned", "unilateral", "bilateral_swapped_coarse"):
        own = alone(arm, *overrides)
        assert own.trainer_params == stages[arm].trainer_params
        for key, value in own.hparams.items():
            if not key.startswith("model_path"):
                assert stages[arm].hparams[key] == value, (arm, key)


@pytest.mark.parametrize("recipe", ["fast", pytest.param("paper", marks=pytest.mark.slow)])
def test_arms_are_trained_by_the_part_of_the_recipe_that_the_table_says(recipe):
    stages = planned("num_seeds=5", f"recipe={recipe}")
    for arm in DUAL_ARMS:
        if ARMS[arm].trained_like is None:
            continue
        like = stages["fine" if ARMS[arm].trained_like == "hemispheres" else "bilateral"]
        for key in ("lr", "weight_decay", "label_smoothing", "dropout", "batch_size"):
            assert stages[arm].hparams[key] == like.hparams[key]
        if not ARMS[arm].equal_training:
            assert stages[arm].trainer_params.max_epochs == like.trainer_params.max_epochs


def test_an_arm_that_chooses_a_group_of_its_own_is_composed_all_the_same(monkeypatch, tmp_path):
    shutil.copytree(DUAL / "config", tmp_path / "config")
    text = (DUAL / "config/unilateral.yaml").read_text()
    changed = text.replace("  - from_scratch\n", "  - from_scratch\n  - override recipe: paper\n")
    (tmp_path / "config/published.yaml").write_text(f"{changed}\narm: published\n")
    monkeypatch.setitem(ARMS, "published", ARMS["unilateral"])
    monkeypatch.setitem(FOLDERS, "dual", (tmp_path, DualConfig))
    stages = planned("num_seeds=1")
    assert stages["published"].hparams.schedule == "constant"
    assert stages["unilateral"].hparams.schedule == "one_cycle"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["--config-name", "ensemble"], "seeds"),
        (["--config-name", "bilateral_swapped_fine"], "seeds"),
        (["--config-name", "unilateral_wide", "hparams.ffreeze=true"], "hparams.ffreeze"),
        (
            ["--config-name", "bilateral_finetuned", "hparams.model_path_fine=a"],
            "hparams.model_path",
        ),
        (["--config-name", "monolateral"], "monolateral"),
    ],
)
def test_what_makes_no_arm_is_refused(overrides, named, in_process):
    status, _, err = in_process(arch_dual_head.trainer.main, *overrides, "dataset=navon")
    assert status == 1
    assert named in err
    assert len(err.strip().splitlines()) == 1


# Networks of equal size


def net(width: float, arch: str = "resnet9") -> UnilateralNet:
    return UnilateralNet(
        hemisphere=Hemisphere(build_backbone(arch, width=width)),
        num_classes={"fine": 100, "coarse": 20},
        dropout=0,
    )


@pytest.mark.parametrize("own", LEVELS)
def test_swapped_hemispheres_are_alike_in_every_parameter(own):
    (other,) = set(LEVELS) - {own}
    file = ROOT / f"arch_dual_head/config/bilateral_swapped_{own}.yaml"
    keys = yaml.safe_load(file.read_text())["hparams"]
    for sides in (row.keys for row in PARAMETERS.values()):
        here, there = (sides[LEVELS.index(level)] for level in (own, other))
        assert keys[there] == f"${{hparams.{here}}}"


@pytest.mark.parametrize("arch", ["resnet9", "vgg11", "resnet18", "resnet50"])
@pytest.mark.parametrize(
    "width", [0.125, *(pytest.param(w, marks=pytest.mark.slow) for w in (0.25, 1.0))]
)
def test_a_wide_network_has_the_parameters_of_a_bilateral_one(arch, width):
    def bilateral() -> BilateralNet:
        return BilateralNet(
            left=Hemisphere(build_backbone(arch, width=width)),
            right=Hemisphere(build_backbone(arch, width=width)),
            num_classes={"fine": 100, "coarse": 20},
            dropout=0,
        )

    wanted = parameters(bilateral)
    assert wanted == sum(p.numel() for p in bilateral().parameters())
    found = width_for(lambda wide: net(wide, arch), like=bilateral)
    nearest = abs(parameters(lambda: net(found, arch)) - wanted)
    assert nearest < 0.05 * wanted
    for other in (found * 0.97, found * 1.03, found * 0.9, found * 1.1):
        assert abs(parameters(lambda: net(other, arch)) - wanted) >= nearest  # noqa: B023


def test_a_network_that_no_width_changes_is_refused():
    with pytest.raises(UserError, match="at no width"):
        width_for(lambda width: torch.nn.Linear(2, 3), like=lambda: torch.nn.Linear(9, 9))


# The whole comparison


@pytest.fixture(scope="module")
def whole(tiny, succeed, tmp_path_factory) -> SimpleNamespace:
    """All arms with two seeds, a few steps each; tests must not change it."""
    save_dir = tmp_path_factory.mktemp("runs")
    options = [*tiny, "trainer_params.max_epochs=1", "trainer_params.precision=32-true"]
    options += ["trainer_params.limit_train_batches=2", "analyse=false"]
    said = succeed(
        train_system.main,
        *options,
        f"save_dir={save_dir}",
        "exp_name=whole",
        "arms=all",
        "num_seeds=2",
    )
    return SimpleNamespace(place=save_dir / "whole", said=said, options=options)


def rows(place: Path) -> list[dict[str, str]]:
    with (place / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(place: Path, arm: str, seed: int) -> dict[str, torch.Tensor]:
    return read(place / arm / f"seed{seed}" / "checkpoints" / "best.ckpt")[1]


def test_every_arm_stands_in_the_table(whole):
    found = {(row["arm"], row["level"]) for row in rows(whole.place)}
    two_levels = [arm for arm in DUAL_ARMS if arm != "ensemble_five"]
    assert found == {
        ("fine", "fine"),
        ("coarse", "coarse"),
        *((arm, level) for arm in two_levels for level in LEVELS),
    }
    assert "ensemble_five is left out" in whole.said


def test_arms_of_equal_size_have_the_parameters_of_the_reference(whole):
    sizes = {row["arm"]: int(row["parameters"]) for row in rows(whole.place)}
    for arm, size in sizes.items():
        # Heads have few parameters in a wide network and many in this narrow one.
        assert (abs(size - sizes[REFERENCE]) < 0.1 * sizes[REFERENCE]) == ARMS[arm].equal_size, arm


def test_each_stage_is_trained_once(whole):
    started = [line for line in whole.said.splitlines() if line.endswith(": started")]
    # With two seeds there are two networks of each arm, and one ensemble of two.
    networks = [
        1 if row.mixes == 2 and row.trained_like is None else 2
        for row in ARMS.values()
        if row.mixes <= 2 and not row.study
    ]
    assert len(started) == len(set(started)) == sum(networks)


def test_swapped_hemispheres_are_those_of_two_seeds(whole):
    for level in LEVELS:
        for seed, other in ((0, 1), (1, 0)):
            swapped = weights(whole.place, f"bilateral_swapped_{level}", seed)
            own, following = weights(whole.place, level, seed), weights(whole.place, level, other)
            same_side, other_side = (level, LEVELS[1 - LEVELS.index(level)])
            for name, value in own.items():
                if name.startswith("hemispheres."):
                    part = name.split(".", 2)[2]
                    assert swapped[f"hemispheres.{same_side}.{part}"].equal(value)
                    assert swapped[f"hemispheres.{other_side}.{part}"].equal(
                        following[f"hemispheres.{level}.{part}"]
                    )


def test_networks_from_scratch_share_no_weights_with_hemispheres(whole):
    together = weights(whole.place, "bilateral_nonspecialised", 0)
    alone = weights(whole.place, "fine", 0)
    name = "hemispheres.fine.backbone.prep.conv.weight"
    assert not together[name].equal(alone[name])


def test_finetuning_starts_from_the_bilateral_network_and_changes_all_of_it(whole):
    before = weights(whole.place, "bilateral", 0)
    after = weights(whole.place, "bilateral_finetuned", 0)
    assert before.keys() == after.keys()
    moved = [name for name in before if not before[name].equal(after[name])]
    for part in ("hemispheres.fine", "hemispheres.coarse", "heads.fine", "heads.coarse"):
        assert any(name.startswith(part) for name in moved)
    # Closer to where it started than another bilateral network is.
    other = weights(whole.place, "bilateral", 1)
    name = "hemispheres.fine.backbone.layer3.conv.weight"
    assert (after[name] - before[name]).norm() < (other[name] - before[name]).norm()


def test_a_whole_network_is_loaded_as_it_was(whole):
    place = whole.place / "bilateral" / "seed0" / "checkpoints" / "best.ckpt"
    record, saved = read(place)
    cfg = OmegaConf.create(record.config)
    cfg.hparams.merge_with(
        {"model_path": str(place), "model_path_fine": None, "model_path_coarse": None}
    )
    module = DualHead(cfg=cfg, record=record)
    data = SimpleNamespace(
        cfg=cfg, mean=record.mean, std=record.std, train_images=record.train_images
    )
    module.load_hemispheres(data)
    assert all(module.network.state_dict()[name].equal(saved[name]) for name in saved)
    with pytest.raises(UserError, match="other images"):
        module.load_hemispheres(SimpleNamespace(**vars(data) | {"train_images": "others"}))
    cfg.hparams.model_path = str(whole.place / "unilateral/seed0/checkpoints/best.ckpt")
    with pytest.raises(UserError, match="unilateral network"):
        module.load_hemispheres(data)


def test_an_ensemble_is_the_mean_of_its_members(whole):
    record, saved = read(whole.place / "ensemble" / "seed0" / "checkpoints" / "best.ckpt")
    network = DualHead.build_network(OmegaConf.create(record.config), record)
    load_network(network, saved, path=whole.place)
    images = torch.rand(4, 3, 32, 32)
    members = []
    for seed in (0, 1):
        record, own = read(whole.place / "unilateral" / f"seed{seed}" / "checkpoints" / "best.ckpt")
        member = DualHead.build_network(OmegaConf.create(record.config), record)
        load_network(member, own, path=whole.place)
        members.append(member.eval()(images)["fine"].softmax(1))
    mean = torch.stack(members).mean(0)
    assert torch.allclose(network(images)["fine"].exp(), mean, atol=1e-6)


@pytest.mark.slow
def test_a_third_seed_pairs_the_second_anew_and_keeps_what_was(whole, in_process, tmp_path):
    place = tmp_path / "whole"
    shutil.copytree(whole.place, place)
    before = rows(place)
    status, out, err = in_process(
        train_system.main,
        *whole.options,
        f"save_dir={tmp_path}",
        "exp_name=whole",
        "arms=[bilateral_swapped,ensemble]",
        "num_seeds=3",
    )
    assert (status, err) == (0, "")
    assert "bilateral_swapped_fine/seed1: made of seeds [1, 0] before, of [1, 2] now" in out
    assert "fine/seed0: done before" in out
    assert (place / "bilateral_swapped_fine" / "earlier-seed1-of-1+0").is_dir()
    swapped = [row for row in rows(place) if row["arm"] == "bilateral_swapped_fine"]
    assert len(swapped) == 6
    kept = [row for row in before if row["seed"] == "0" and row["arm"] != "ensemble"]
    after = rows(place)
    for row in kept:
        same = {k: v for k, v in row.items() if k not in ("seconds", "checkpoint")}
        assert any(same.items() <= other.items() for other in after)

    # Back and forth: what was kept is taken back as it was, and never lost for what is unfinished.
    arguments = [
        *whole.options,
        f"save_dir={tmp_path}",
        "exp_name=whole",
        "arms=[bilateral_swapped]",
    ]
    kept = place / "bilateral_swapped_fine" / "earlier-seed1-of-1+0" / "result.yaml"
    finished = kept.read_text()
    status, out, err = in_process(train_system.main, *arguments, "num_seeds=2")
    assert (status, err) == (0, "")
    assert "bilateral_swapped_fine/seed1: done before" in out
    assert (place / "bilateral_swapped_fine" / "seed1" / "result.yaml").read_text() == finished
    status, out, err = in_process(train_system.main, *arguments, "num_seeds=3")
    assert (status, err) == (0, "")
    assert "bilateral_swapped_fine/seed1: done before" in out
    assert kept.read_text() == finished


# Equal training


def backbone_macs(width: float) -> int:
    """Multiply-adds of ResNet-9 for an image of 32 x 32 pixels, by hand."""
    channels = [round(width * of / 8) * 8 for of in (64, 128, 256, 512)]
    one, two, three, four = (max(8, of) for of in channels)
    layers = [(3, one, 32), (one, two, 32), (two, two, 16), (two, two, 16)]
    layers += [(two, three, 16), (three, four, 8), (four, four, 4), (four, four, 4)]
    return sum(9 * before * after * size**2 for before, after, size in layers)


@pytest.mark.parametrize(
    ("dataset", "epochs", "heads", "width", "augments"),
    [("navon", 18, 20, 0.25, False), ("cifar100", 30, 15, 1.0, True)],
)
def test_equal_training_by_hand(dataset, epochs, heads, width, augments):
    cfg = alone("unilateral_long", f"dataset={dataset}")
    assert dict(cfg.bilateral_epochs) == {"left": epochs, "right": epochs, "heads": heads}
    assert cfg.hparams.fine_width == width
    one, features = backbone_macs(width), round(512 * width)
    hemispheres = 3 * epochs * (one + 100 * features) + 3 * epochs * (one + 20 * features)
    frozen = 2 * one * (heads if augments else 1)
    total = hemispheres + frozen + 3 * heads * 2 * features * 120
    expected = round(total / (3 * (one + features * 120)))
    found = equal_epochs(
        cfg, num_classes={"fine": 100, "coarse": 20}, image_size=(32, 32), augments=augments
    )
    assert found == expected
    assert 2 * epochs < found < 2.5 * epochs


def test_in_a_study_equal_training_follows_the_epochs_of_what_it_equals():
    study = planned("num_seeds=1", "epochs.fine=4", "epochs.coarse=5", "epochs.bilateral=7")
    for arm in (arm for arm, row in ARMS.items() if row.equal_training and not row.study):
        assert study[arm].trainer_params.max_epochs is None
        assert dict(study[arm].bilateral_epochs) == {"left": 4, "right": 5, "heads": 7}
    assert (
        study["unilateral"].trainer_params.max_epochs
        == alone("unilateral").trainer_params.max_epochs
    )


def test_epochs_of_an_arm_and_budget_recipe_leave_equal_training():
    study = planned("num_seeds=1", "epochs.unilateral_long=3", "budget=recipe")
    assert study["unilateral_long"].trainer_params.max_epochs == 3
    recipe = alone("unilateral").trainer_params.max_epochs
    assert study["unilateral_wide"].trainer_params.max_epochs == recipe
    one = planned("num_seeds=1", "trainer_params.max_epochs=2")
    assert one["unilateral_long"].trainer_params.max_epochs is None
    assert dict(one["unilateral_long"].bilateral_epochs) == {"left": 2, "right": 2, "heads": 2}


def test_heads_alone_are_not_trained_as_much_as_whole_networks():
    with pytest.raises(UserError, match="max_epochs is null"):
        arch_dual_head.trainer.check(alone("bilateral", "trainer_params.max_epochs=null"))


@pytest.mark.parametrize("arm", ["ensemble", "product", "mean_of_specialists"])
def test_networks_that_are_not_trained_may_leave_their_epochs_open(arm):
    cfg = alone(arm, "trainer_params.max_epochs=null", "seeds=[0,1]")
    arch_dual_head.trainer.check(cfg)
    data = SimpleNamespace(
        levels=LEVELS,
        classes={"fine": SimpleNamespace(ids=[0, 1, 2]), "coarse": SimpleNamespace(ids=[0, 1])},
        coarse_of_fine=[0, 0, 1],
        image_size=(32, 32),
    )
    assert DualHead.epochs(cfg, data) >= 1


def test_what_training_takes_counts_all_that_an_arm_builds_on(whole):
    """Of each image three passes; of frozen hemispheres one for each distinct image."""
    table = {row["arm"]: row for row in rows(whole.place) if row["seed"] == "0"}
    hemispheres = [table["fine"], table["coarse"]]

    def total(name: str) -> int:
        return sum(int(row[name]) for row in hemispheres)

    assert table["product"]["train_macs"] == str(total("train_macs"))
    assert table["product"]["updates"] == str(total("updates"))
    own = int(table["bilateral"]["updates"]) - total("updates")
    assert own == int(table["fine"]["updates"])  # as many epochs
    per_image = int(table["unilateral_long"]["train_macs"]) / int(
        table["unilateral_long"]["train_images"]
    )
    assert per_image == 3 * int(table["unilateral_long"]["macs"])
    ratio = int(table["unilateral_long"]["train_macs"]) / int(table["bilateral"]["train_macs"])
    one_epoch = per_image * int(table["fine"]["train_images"]) / int(table["fine"]["epochs"])
    assert abs(ratio - 1) * int(table["bilateral"]["train_macs"]) <= one_epoch


# Arms that isolate speciality


def test_heads_are_trained_on_hemispheres_of_whole_networks(whole):
    """An unspecialised pair and each refit: frozen bit for bit, and of the networks that the table names."""

    def backbone(arm: str, name: str) -> dict[str, torch.Tensor]:
        prefix = f"hemispheres.{name}.backbone."
        found = weights(whole.place, arm, 0).items()
        return {k.removeprefix(prefix): w for k, w in found if k.startswith(prefix)}

    came_from = {
        ("unspecialised_pair", "fine"): ("unilateral", "fine"),
        ("unspecialised_pair", "coarse"): ("unilateral_second", "fine"),
        ("fine_refit", "fine"): ("fine", "fine"),
        ("coarse_refit", "fine"): ("coarse", "coarse"),
        ("unilateral_refit", "fine"): ("unilateral", "fine"),
    }
    for ours, theirs in came_from.items():
        one, other = backbone(*ours), backbone(*theirs)
        assert one.keys() == other.keys()
        assert all(one[name].equal(other[name]) for name in one)
    # Equal seeds, but draws of their own: else the pair would be one hemisphere twice.
    first, second = backbone("unilateral", "fine"), backbone("unilateral_second", "fine")
    assert any(not first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize("arm", ["unspecialised_pair", "fine_refit", "bilateral"])
def test_a_missing_checkpoint_is_refused_with_the_command_that_writes_it(arm, in_process, tmp_path):
    status, _, err = in_process(
        arch_dual_head.trainer.main, "--config-name", arm, "dataset=navon", f"save_dir={tmp_path}",
        "seeds=[77]",
    )  # fmt: skip
    assert status == 1
    assert err.count("\n") == 1
    wanted = "arch_dual_head/trainer.py --config-name unilateral,"
    single = "arch_single_head/trainer.py hparams.mode=fine,"
    assert (wanted if arm == "unspecialised_pair" else single) in err


# Sources of spread


@pytest.mark.slow
def test_each_seed_can_hold_out_other_images(tiny, succeed, in_process, tmp_path):
    """All arms of a seed share its split, another seed has another one, and arms that mix seeds are left out."""
    options = [*tiny, "seeds=[3,4]", f"save_dir={tmp_path}", "exp_name=e", "analyse=false"]
    options += ["dataset.split_seed=per_seed", "arms=[bilateral,ensemble]"]
    said = succeed(train_system.main, *options)
    assert "ensemble is left out: it mixes seeds" in said
    trained_on = {
        (arm, seed): read(tmp_path / f"e/{arm}/seed{seed}/checkpoints/best.ckpt")[0].train_images
        for arm in ("fine", "coarse", "bilateral")
        for seed in (3, 4)
    }
    for seed in (3, 4):
        assert len({trained_on[arm, seed] for arm in ("fine", "coarse", "bilateral")}) == 1
    assert trained_on["fine", 3] != trained_on["fine", 4]
    again = succeed(train_system.main, *options)
    assert again.count("done before") == 8
    status, _, err = in_process(train_system.main, *options[:-2], "dataset.split_seed=null")
    assert status == 1
    assert "holds a run of another configuration" in err


# Hemispheres that differ by nature


def test_natures_are_crossed_with_labels():
    """One hemisphere of a quarter of the width, in every place: learning either level, and on either side."""
    found = planned("num_seeds=1", "study=asymmetry", "asymmetry=width")
    wide, narrow = found["fine"].hparams.width, 0.0625
    assert wide == 0.25
    singles = {
        arm: (found[arm].hparams.mode, found[arm].hparams.width)
        for arm in ("fine", "coarse", "fine_mirrored", "coarse_mirrored")
    }
    assert singles == {
        "fine": ("fine", wide),
        "coarse": ("coarse", narrow),
        "fine_mirrored": ("fine", narrow),
        "coarse_mirrored": ("coarse", wide),
    }
    sides = {
        arm: (found[arm].hparams.fine_width, found[arm].hparams.coarse_width)
        for arm, row in ARMS.items()
        if (row.study == "asymmetry" and row.folder == "dual") or arm == "bilateral_nonspecialised"
    }
    assert sides == {
        "bilateral_nonspecialised": (wide, narrow),
        "bilateral_mirrored": (narrow, wide),
        "bilateral_left_alike": (wide, wide),
        "bilateral_right_alike": (narrow, narrow),
        "joint_left_alike": (wide, wide),
        "joint_right_alike": (narrow, narrow),
    }


@pytest.mark.parametrize("name", asymmetries())
def test_every_asymmetry_has_a_study(name):
    """In which the bilateral network is that of the asymmetry's own command, and each hemisphere its own side of it."""
    own = compose(
        ROOT / "arch_dual_head",
        schema=DualConfig,
        overrides=["dataset=navon"],
        config_name=f"asymmetry_{name}",
    ).hparams
    found = planned("num_seeds=1", "study=asymmetry", f"asymmetry={name}")
    keys = [key for row in PARAMETERS.values() for key in row.keys]
    ours = found["bilateral"].hparams
    assert {key: ours[key] for key in keys} == {key: own[key] for key in keys}
    for side, arms in {
        "farch": ("fine", "coarse_mirrored"),
        "carch": ("coarse", "fine_mirrored"),
    }.items():
        assert {found[arm].hparams.arch for arm in arms} == {own[side]}


def test_unspecialised_hemispheres_differ_as_those_of_the_bilateral_network_do():
    """Else the primary contrast would be of natures, too."""
    given = ["hparams.fine_high_pass=4", "hparams.coarse_low_pass=3", "hparams.coarse_width=0.25"]
    found = planned("num_seeds=1", "arms=[bilateral,unspecialised_pair]", "carch=vgg11", *given)
    keys = [key for row in PARAMETERS.values() for key in row.keys]
    ours, theirs = (found[arm].hparams for arm in ("bilateral", "unspecialised_pair"))
    assert {key: ours[key] for key in keys} == {key: theirs[key] for key in keys}
    for arm, index in (("unilateral", 0), ("unilateral_second", 1)):
        for row in PARAMETERS.values():
            assert found[arm].hparams[row.keys[0]] == ours[row.keys[index]]


def test_the_arms_of_natures_are_of_that_study_alone():
    assert not set(planned("num_seeds=1")) & {
        arm for arm, row in ARMS.items() if row.study == "asymmetry"
    }
    overrides = ["dataset=navon", "study=asymmetry", "asymmetry=k", "num_seeds=1"]
    with pytest.raises(UserError, match="asymmetry is 'k'; allowed"):
        compose(
            ROOT / "common", schema=StudyConfig, overrides=overrides, config_name="train_system"
        )


@pytest.mark.parametrize("given", [["study=asymmetry"], ["asymmetry=width"]])
def test_the_study_and_the_name_of_an_asymmetry_belong_together(given):
    with pytest.raises(UserError, match="belong together"):
        planned("num_seeds=1", *given)


@pytest.mark.slow
def test_a_study_of_natures_runs(tiny, succeed, tmp_path):
    said = succeed(
        train_system.main, *tiny, "study=asymmetry", "asymmetry=width", "num_seeds=1",
        f"save_dir={tmp_path}", "dataset.width=0.25", "analyse=false",
    )  # fmt: skip
    assert (tmp_path / "asymmetry_width-NAVON/results.csv").is_file(), said
    with (tmp_path / "asymmetry_width-NAVON/results.csv").open(newline="") as file:
        arms = {row["arm"] for row in csv.DictReader(file)}
    assert arms == set(arms_of("asymmetry"))


# ---------------------------------------------------------------- hemispheres that are connected


def test_a_study_of_the_callosum_connects_those_arms_that_have_one():
    found = planned("num_seeds=1", "study=callosum", "arms=null")
    assert set(found) == {*arms_of("callosum"), "unilateral", "unilateral_second"}
    kinds = {arm: found[arm].hparams.callosum.kind for arm in found if ARMS[arm].folder == "dual"}
    assert {arm for arm, kind in kinds.items() if kind} == {
        "callosal",
        "callosal_frozen",
        "unilateral_wide",
    }
    given = ["hparams.callosum.kind=gate", "dual.hparams.callosum.sign=inhibitory"]
    found = planned("num_seeds=1", "study=callosum", *given)
    for arm, kind in kinds.items():
        callosum = found[arm].hparams.callosum
        assert (callosum.kind, callosum.sign) == (
            ("gate", "inhibitory") if kind else (None, "free")
        )


def test_arms_that_are_named_are_those_of_the_study():
    default = {"fine", "coarse", "bilateral"}
    assert set(planned("num_seeds=1", "arms=null")) == default
    named = planned("num_seeds=1", "study=callosum", f"arms=[{','.join(default)}]")
    assert set(named) == default


def test_connected_arms_are_of_that_study_unless_they_are_asked_for():
    assert not {"callosal", "callosal_frozen"} & set(planned("num_seeds=1"))
    assert {"callosal", "callosal_frozen"} < set(planned("num_seeds=1", "study=callosum"))
    asked = planned("num_seeds=1", "arms=[callosal,unilateral_wide]")
    assert asked["callosal"].hparams.callosum.kind == "add"
    assert asked["unilateral_wide"].hparams.callosum.kind is None


@pytest.mark.parametrize("given", [["arms=[bilateral]", "hparams.callosum.kind=add"]])
def test_a_callosum_that_no_arm_has_is_refused(given):
    with pytest.raises(UserError, match=r"kind concerns callosal and callosal_frozen"):
        planned("num_seeds=1", *given)


def test_a_callosum_that_is_off_is_refused_where_an_arm_has_one():
    with pytest.raises(UserError, match="kind is null, and callosal is a network with a callosum"):
        planned("num_seeds=1", "study=callosum", "hparams.callosum.kind=null")


def test_the_wide_network_is_as_large_as_the_connected_one():
    sizes = {}
    for kind in ("null", "concatenate"):
        wide = [
            "hparams.macro_arch=unilateral_wide",
            "hparams.ffreeze=false",
            "hparams.cfreeze=false",
        ]
        keys = ["hparams.callosum.at=[2,3,4]", f"hparams.callosum.kind={kind}"]
        for name, macro in (("wide", wide), ("pair", [])):
            cfg = alone("config", *macro, *keys)
            classes = {"fine": 100, "coarse": 20}
            network = macro_architecture(cfg.hparams).load()(Parts(cfg.hparams, classes))
            sizes[name, kind] = sum(p.numel() for p in network.parameters())
    for kind in ("null", "concatenate"):
        assert sizes["wide", kind] == pytest.approx(sizes["pair", kind], rel=0.05)
    assert sizes["wide", "concatenate"] > 1.05 * sizes["wide", "null"]


@pytest.mark.slow
def test_a_study_of_the_callosum_runs(tiny, succeed, tmp_path):
    said = succeed(
        train_system.main, *tiny, "study=callosum", "num_seeds=1", f"save_dir={tmp_path}"
    )
    with (tmp_path / "callosum-NAVON/results.csv").open(newline="") as file:
        arms = {row["arm"] for row in csv.DictReader(file)}
    assert arms == {*arms_of("callosum"), "unilateral", "unilateral_second"}, said
    assert "What crosses the callosum" in (tmp_path / "callosum-NAVON/report.html").read_text()


# ---------------------------------------------------------------- hemispheres trained otherwise


@pytest.mark.slow
def test_a_study_of_paradigms_runs_and_leaves_the_frozen_hemisphere_as_it_was(
    tiny, succeed, tmp_path
):
    said = succeed(
        train_system.main, *tiny, "study=paradigms", "num_seeds=1", f"save_dir={tmp_path}"
    )
    place = tmp_path / "paradigms-NAVON"
    found = {(row["arm"], row["level"]) for row in rows(place)}
    assert {arm for arm, _ in found} >= set(arms_of("paradigms")), said
    assert [level for arm, level in found if arm == "rotation"] == ["rotation"]
    alone, pair = weights(place, "rotation", 0), weights(place, "bilateral_rotation", 0)
    for name, value in alone.items():
        if name.startswith("hemispheres.fine."):
            assert pair[name.replace("fine", "coarse", 1)].equal(value)
    assert (place / "report.html").is_file()
    assert not (place / "analysis/failure.txt").exists()


@pytest.mark.parametrize(
    ("study", "arms", "expected"),
    [
        ("sound", ("fine", "coarse", REFERENCE, "unilateral"), REFERENCE),
        ("callosum", ("fine", REFERENCE, "callosal", CONNECTED), CONNECTED),
        ("callosum", ("bilateral_nonspecialised", "callosal"), "callosal"),
        ("sound", ("fine",), "fine"),
    ],
)
def test_a_sweep_goes_by_the_arm_that_the_study_is_about(study, arms, expected):
    assert scored(study, arms) == expected
