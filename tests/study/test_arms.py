"""Every arm of the study: what it is, what it builds on, and that nothing is trained twice."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from omegaconf import OmegaConf

import arch_dual_head.trainer
import train_system
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from common.checkpoints.files import load_network, read
from common.networks.backbones import build_backbone
from common.networks.macro import BilateralNet, UnilateralNet
from common.networks.parameters import PARAMETERS
from common.networks.size import parameters, width_for
from common.settings.command import explain
from common.settings.compose import ROOT, compose
from common.settings.levels import LEVELS
from common.system.errors import UserError
from study.schema import ARMS, StudyConfig

DUAL = ROOT / "arch_dual_head"
STAGE_ARMS = (*LEVELS, *train_system.DUAL_ARMS)


def study(*overrides: str) -> dict[str, SimpleNamespace]:
    """The stages of a study by name."""
    overrides = ("dataset=navon", *overrides)
    cfg = compose(
        ROOT / "common",
        schema=StudyConfig,
        overrides=overrides,
        config_name="train_system",
    )
    return {stage.name: stage for stage in train_system.plan(cfg, overrides)}


def refusal(*overrides: str) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - explained below
        study(*overrides)
    sentence = explain(caught.value, StudyConfig)
    assert sentence
    return sentence


def arms_of(stages) -> list[str]:
    return list(dict.fromkeys(stage.arm for stage in stages.values()))


# The graph


@pytest.mark.parametrize(
    "seeds", [1, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 7))]
)
def test_a_stage_comes_after_all_it_builds_on(seeds, capsys):
    stages = study("arms=all", f"num_seeds={seeds}")
    names = list(stages)
    for name, stage in stages.items():
        assert all(names.index(parent) < names.index(name) for parent in stage.needs)
    left_out = {name for name in STAGE_ARMS if name not in arms_of(stages)}
    said = capsys.readouterr().out
    assert all(f"{arm} is left out" in said for arm in left_out)
    assert said.count("left out") == len(left_out)
    wanted = {
        1: {
            "bilateral_swapped_fine",
            "bilateral_swapped_coarse",
            "ensemble",
            "ensemble_five",
        }
    }
    assert left_out == wanted.get(seeds, {"ensemble_five"} if seeds < 5 else set())


def test_arms_pair_each_seed_with_the_next_of_the_list():
    stages = study("arms=all", "seeds=[4,1,7]")
    for seed, following in ((4, 1), (1, 7), (7, 4)):
        fine = stages[f"bilateral_swapped_fine/seed{seed}"]
        assert fine.seeds == (seed, following)
        assert fine.needs == (f"fine/seed{seed}", f"fine/seed{following}")
        coarse = stages[f"bilateral_swapped_coarse/seed{seed}"]
        assert coarse.needs == (f"coarse/seed{following}", f"coarse/seed{seed}")
        ensemble = stages[f"ensemble/seed{seed}"]
        assert ensemble.needs == (f"unilateral/seed{seed}", f"unilateral/seed{following}")
        assert stages[f"bilateral/seed{seed}"].seeds == (seed,)


def test_paths_are_those_of_the_stages_it_needs():
    stages = study("arms=all", "num_seeds=5")
    for stage in stages.values():
        hparams = stage.config.hparams
        paths = []
        for key in ("model_path_fine", "model_path_coarse", "model_path"):
            path = hparams.get(key)
            paths += path if OmegaConf.is_list(path) else [path] if path else []
        assert paths == [str(stages[parent].best) for parent in stage.needs]


def test_the_same_ensemble_is_listed_once():
    two = study("arms=[ensemble]", "num_seeds=2")
    assert [name for name in two if name.startswith("ensemble")] == ["ensemble/seed0"]
    five = study("arms=[ensemble]", "num_seeds=5")
    assert sum(name.startswith("ensemble/") for name in five) == 5
    (whole,) = (stage for stage in five.values() if stage.arm == "ensemble_five")
    assert whole.seeds == (0, 1, 2, 3, 4)


def test_an_arm_brings_what_it_builds_on_and_nothing_else():
    assert arms_of(study("arms=[bilateral_finetuned]", "num_seeds=1")) == [
        "fine",
        "coarse",
        "bilateral",
        "bilateral_finetuned",
    ]
    assert arms_of(study("arms=[unilateral_wide]", "num_seeds=1")) == ["unilateral_wide"]
    assert arms_of(study("arms=[ensemble]", "num_seeds=2")) == ["unilateral", "ensemble"]
    assert arms_of(study("arms=unilateral", "num_seeds=1")) == ["unilateral"]
    assert arms_of(study("num_seeds=1")) == ["fine", "coarse", "bilateral"]


def test_a_study_and_the_arms_own_command_train_with_the_same_plasticity():
    stages = study("arms=[bilateral_finetuned]", "num_seeds=1", "dual.hparams.fine_plasticity=0.05")
    alone = compose(
        DUAL,
        schema=DualConfig,
        overrides=["dataset=navon", "hparams.fine_plasticity=0.05"],
        config_name="bilateral_finetuned",
    )
    for cfg in (stages["bilateral_finetuned/seed0"].config, alone):
        left, right = DualHead.hemisphere_configs(cfg).values()
        assert left.plasticity == pytest.approx(0.005)  # the arm's own factor is 0.1
        assert right.plasticity == pytest.approx(0.1)


def test_what_is_said_of_one_hemisphere_is_stronger_than_what_is_said_of_both():
    for overrides in (
        ("hparams.fine_width=0.125", "hparams.width=0.25"),
        ("hparams.width=0.25", "hparams.fine_width=0.125"),
    ):
        stages = study("num_seeds=1", *overrides)
        assert stages["fine/seed0"].config.hparams.width == 0.125
        assert stages["coarse/seed0"].config.hparams.width == 0.25
        assert stages["bilateral/seed0"].config.hparams.fine_width == 0.125


def test_a_hemisphere_given_for_two_seeds_is_refused(tmp_path):
    file = tmp_path / "trained.yaml"
    file.write_text("fine: [f0, f0]\ncoarse: [c0, c1]\n")
    with pytest.raises(UserError, match="names a checkpoint twice under fine"):
        study("num_seeds=2", f"trained_models={file}")


def test_no_arms_are_refused_as_such():
    with pytest.raises(UserError, match="arms is empty"):
        study("arms=[]")


def test_every_name_that_arms_allows_is_an_arm():
    named = [arm for name in ARMS for arm in train_system.ALIASES.get(name, (name,))]
    assert sorted(named) == sorted(STAGE_ARMS)


def test_trained_hemispheres_serve_every_arm(tmp_path):
    file = tmp_path / "trained.yaml"
    file.write_text("fine: [f0, f1]\ncoarse: [c0, c1]\n")
    stages = study("arms=all", "num_seeds=2", f"trained_models={file}")
    assert not {"fine", "coarse"} & set(arms_of(stages))
    swapped = stages["bilateral_swapped_fine/seed1"].config.hparams
    assert (swapped.model_path_fine, swapped.model_path_coarse) == (
        str(tmp_path / "f1"),
        str(tmp_path / "f0"),
    )


# What each arm is


@pytest.mark.slow
@pytest.mark.parametrize("arm", train_system.DUAL_ARMS)
def test_each_arm_runs_alone_with_the_configuration_that_the_study_gives_it(arm):
    alone = compose(
        DUAL,
        schema=DualConfig,
        overrides=["dataset=navon", "seeds=[0,1,2,3,4]"],
        config_name=arm,
    )
    arch_dual_head.trainer.check(alone)
    stage = next(s for s in study("arms=all", "num_seeds=5").values() if s.arm == arm)
    assert alone.arm == arm
    for one in (alone, stage.config):
        for key in ("model_path_fine", "model_path_coarse", "model_path"):
            one.hparams[key] = None
        one.exp_name = one.save_dir = ""
    assert alone == stage.config


@pytest.mark.slow
def test_networks_from_scratch_are_trained_by_the_recipe_of_hemispheres():
    for recipe in ("fast", "paper"):
        stages = study("arms=all", "num_seeds=2", f"recipe={recipe}")
        hemisphere = stages["fine/seed0"].config
        for arm in ("bilateral_nonspecialised", "unilateral", "unilateral_wide"):
            config = stages[f"{arm}/seed0"].config
            for key in ("lr", "weight_decay", "label_smoothing", "dropout", "batch_size"):
                assert config.hparams[key] == hemisphere.hparams[key]
            assert config.trainer_params.max_epochs == hemisphere.trainer_params.max_epochs
            assert not config.hparams.ffreeze
    # A value of the command line is everybody's, and `trainer` still chooses the epochs.
    stages = study("arms=all", "num_seeds=1", "hparams.lr=0.5", "trainer=debug")
    assert {stage.config.hparams.lr for stage in stages.values()} == {0.5}
    assert {stage.config.trainer_params.max_epochs for stage in stages.values()} == {1}


def test_swapped_hemispheres_have_the_parameters_of_their_speciality():
    stages = study(
        "arms=all",
        "num_seeds=2",
        "farch=vgg11",
        "carch=resnet18",
        "hparams.fine_width=0.5",
        "hparams.coarse_width=0.125",
    )
    for arm, arch, width in (("fine", "vgg11", 0.5), ("coarse", "resnet18", 0.125)):
        hparams = stages[f"bilateral_swapped_{arm}/seed0"].config.hparams
        assert (hparams.farch, hparams.carch) == (arch, arch)
        assert (hparams.fine_width, hparams.coarse_width) == (width, width)
        assert (hparams.fine_speciality, hparams.coarse_speciality) == (arm, arm)


def test_epochs_of_each_arm():
    given = {
        arm: number
        for number, arm in enumerate(ARMS, start=2)
        if arm != "ensemble"  # is not trained
    }
    stages = study("arms=all", "num_seeds=2", *(f"epochs.{a}={n}" for a, n in given.items()))
    for arm in STAGE_ARMS:
        if arm.startswith("ensemble"):
            continue
        key = arm if arm in given else "bilateral_swapped"
        assert stages[f"{arm}/seed0"].config.trainer_params.max_epochs == given[key]


def test_the_published_protocol_chooses_epochs_on_the_test_images():
    stages = study("study=paper", "arms=all", "seeds=[0,1]")
    for stage in stages.values():
        config = stage.config
        assert config.dataset.val_dir == config.dataset.test_dir
        assert config.dataset.test_dir.endswith("coarse" if stage.arm == "coarse" else "fine")
        assert config.exp_name == "paper-NAVON"
        assert config.hparams.schedule == "constant"
        if not stage.arm.startswith("ensemble"):
            assert config.trainer_params.max_epochs == 180
    # The command line goes before the preset.
    fast = study("study=paper", "recipe=fast", "num_seeds=1")["fine/seed0"].config
    assert fast.hparams.schedule == "one_cycle"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["arms=[fine,monolateral]"], "monolateral"),
        (["arms=[]"], "arms"),
        (["arms=null"], "arms"),
        (["arms=[ensemble]", "num_seeds=1"], "num_seeds"),
        (["arms=[fine,unilateral]", "no_bilateral=true"], "no_bilateral"),
        (["epochs.unilateral=3"], "epochs.unilateral"),
        (["epochs.bilateral_swapped=3", "arms=[bilateral]"], "epochs.bilateral_swapped"),
        (["arms=all", "hparams.fine_speciality=coarse"], "hparams.fine_speciality"),
        (["arms=all", "dual.arm=mine"], "dual.arm"),
        (["study=papier"], "study"),
    ],
)
def test_what_makes_no_study_is_refused(overrides, named):
    sentence = refusal(*overrides)
    assert named in sentence
    assert "\n" not in sentence


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
        backbone=build_backbone(arch, width=width),
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
            left_backbone=build_backbone(arch, width=width),
            right_backbone=build_backbone(arch, width=width),
            num_classes={"fine": 100, "coarse": 20},
            dropout=0,
            freeze_left=False,
            freeze_right=False,
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
    two_levels = [arm for arm in train_system.DUAL_ARMS if arm != "ensemble_five"]
    assert found == {
        ("fine", "fine"),
        ("coarse", "coarse"),
        *((arm, level) for arm in two_levels for level in LEVELS),
    }
    assert "ensemble_five is left out" in whole.said


def test_each_stage_is_trained_once(whole):
    started = [line for line in whole.said.splitlines() if line.endswith(": started")]
    assert len(started) == len(set(started)) == 2 * 9 + 1  # and one ensemble


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
    module.load_hemispheres(SimpleNamespace(train_images=record.train_images))
    assert all(module.network.state_dict()[name].equal(saved[name]) for name in saved)
    with pytest.raises(UserError, match="other images"):
        module.load_hemispheres(SimpleNamespace(train_images="others"))
    cfg.hparams.model_path = str(whole.place / "unilateral/seed0/checkpoints/best.ckpt")
    with pytest.raises(UserError, match="unilateral network"):
        module.load_hemispheres(SimpleNamespace(train_images=record.train_images))


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
