"""The plan of a study: its stages, their order, what each builds on, and what the command line hands on to them."""

import itertools
from types import SimpleNamespace

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from common.checkpoints.files import RECORD
from common.checkpoints.record import Record
from common.settings.compose import ROOT, SHARED, compose
from common.settings.explain import explain
from common.settings.levels import LEVELS
from common.settings.schema import GROUPS
from common.system.errors import UserError
from study.arms import ARMS, names, standing_for, trained_names
from study.overrides import overrides_for
from study.plan import plan as plan_of
from study.schema import StudyConfig

CHOICES = [
    f"{group}={file.stem}" for group in GROUPS for file in sorted((SHARED / group).glob("*.yaml"))
]


def plan(*overrides: str) -> dict[str, SimpleNamespace]:
    """The stages of a study by name."""
    cfg = compose(
        ROOT,
        schema=StudyConfig,
        overrides=overrides,
        config_dir=SHARED,
        config_name="train_system",
    )
    return {stage.name: stage for stage in plan_of(cfg, overrides)}


def navon(*overrides: str) -> dict[str, SimpleNamespace]:
    return plan("dataset=navon", *overrides)


def refusal(*overrides: str) -> str:
    """The one sentence with which a plan is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - explained below
        navon(*overrides)
    sentence = explain(caught.value, StudyConfig)
    assert sentence
    assert "\n" not in sentence
    return sentence


def arms_of(stages) -> list[str]:
    return list(dict.fromkeys(stage.arm for stage in stages.values()))


def write_hemisphere(file, epochs, fingerprint="") -> None:
    """Write a checkpoint that says for how many epochs it was trained, and holds no weights."""
    config = {"hparams": {}, "trainer_params": {"max_epochs": epochs}}
    record = Record("arch_single_head", "any", 0, config, {}, {}, [], [], [], "", fingerprint)
    torch.save({"state_dict": {}, RECORD: record.as_dict()}, file)


@pytest.fixture
def models(tmp_path):
    """A file that names two trained hemispheres per level: left ones of 5 epochs, right ones of 7."""
    for name, epochs in (("f0", 5), ("f1", 5), ("c0", 7), ("c1", 7)):
        write_hemisphere(tmp_path / name, epochs)
    file = tmp_path / "trained.yaml"
    file.write_text(f"fine: [f0, {tmp_path}/f1]\ncoarse: [c0, c1]\n")
    return file


@pytest.fixture(scope="module")
def everything():
    """All arms with five seeds; tests must not change it."""
    return navon("arms=all", "num_seeds=5")


# The graph


@pytest.mark.parametrize(
    "seeds", [1, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 7))]
)
def test_a_stage_comes_after_all_it_builds_on(seeds, capsys):
    stages = navon("arms=all", f"num_seeds={seeds}")
    names = list(stages)
    for name, stage in stages.items():
        assert all(names.index(parent) < names.index(name) for parent in stage.needs)
    left_out = {name for name, row in ARMS.items() if name not in arms_of(stages) and not row.study}
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
    stages = navon("arms=all", "seeds=[4,1,7]")
    for seed, following in ((4, 1), (1, 7), (7, 4)):
        fine = stages[f"bilateral_swapped_fine/seed{seed}"]
        assert fine.seeds == (seed, following)
        assert fine.needs == (f"fine/seed{seed}", f"fine/seed{following}")
        coarse = stages[f"bilateral_swapped_coarse/seed{seed}"]
        assert coarse.needs == (f"coarse/seed{following}", f"coarse/seed{seed}")
        ensemble = stages[f"ensemble/seed{seed}"]
        assert ensemble.needs == (f"unilateral/seed{seed}", f"unilateral/seed{following}")
        assert stages[f"bilateral/seed{seed}"].seeds == (seed,)


def test_paths_are_those_of_the_stages_it_needs(everything):
    for stage in everything.values():
        hparams = stage.config.hparams
        paths = []
        for key in ("model_path_fine", "model_path_coarse", "model_path"):
            path = hparams.get(key)
            paths += path if OmegaConf.is_list(path) else [path] if path else []
        assert paths == [str(everything[parent].best) for parent in stage.needs]


def test_hydra_composes_each_folder_once_for_all_arms(monkeypatch):
    composed = []
    compose_one = hydra.compose

    def counted(*arguments, **more):
        composed.append(arguments)
        return compose_one(*arguments, **more)

    monkeypatch.setattr(hydra, "compose", counted)
    navon("arms=all", "num_seeds=2", "hparams.lr=0.1", "arch=vgg11", "epochs.fine=3")
    assert len(composed) == 3  # the study's own, and one for each folder


def test_the_same_ensemble_is_listed_once(everything):
    two = navon("arms=[ensemble]", "num_seeds=2")
    assert [name for name in two if name.startswith("ensemble")] == ["ensemble/seed0"]
    assert sum(name.startswith("ensemble/") for name in everything) == 5
    (whole,) = (stage for stage in everything.values() if stage.arm == "ensemble_five")
    assert whole.seeds == (0, 1, 2, 3, 4)


def test_an_arm_brings_what_it_builds_on_and_nothing_else():
    assert arms_of(navon("arms=[bilateral_finetuned]", "num_seeds=1")) == [
        "fine",
        "coarse",
        "bilateral",
        "bilateral_finetuned",
    ]
    assert arms_of(navon("arms=[unilateral_wide]", "num_seeds=1")) == ["unilateral_wide"]
    assert arms_of(navon("arms=[ensemble]", "num_seeds=2")) == ["unilateral", "ensemble"]
    assert arms_of(navon("arms=unilateral", "num_seeds=1")) == ["unilateral"]
    assert arms_of(navon("num_seeds=1")) == ["fine", "coarse", "bilateral"]


def test_only_arms_that_run_need_be_fit_to_run():
    """Of the bilateral network and its hemispheres only the epochs are wanted here."""
    joint = navon("arms=[bilateral_nonspecialised]", "num_seeds=1", "hparams.loss=decorrelated")
    assert list(joint) == ["bilateral_nonspecialised/seed0"]
    epochs = joint["bilateral_nonspecialised/seed0"].config.bilateral_epochs
    assert dict(epochs) == {"left": 18, "right": 18, "heads": 20}
    assert "compares two hemispheres" in refusal("arms=[fine]", "hparams.loss=decorrelated")


@pytest.mark.parametrize("key", ["hparams.loss", "dual.hparams.loss"])
def test_an_arm_that_is_another_one_by_its_loss_keeps_it_and_says_so(key, capsys):
    arms = "arms=[bilateral_nonspecialised,decorrelated,unilateral_hierarchy]"
    stages = navon(arms, "num_seeds=1", f"{key}=soft_hierarchy")
    assert {name: one.config.hparams.loss for name, one in stages.items()} == {
        "bilateral_nonspecialised/seed0": "soft_hierarchy",
        "unilateral_hierarchy/seed0": "soft_hierarchy",
        "decorrelated/seed0": "decorrelated",
    }
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("decorrelated keeps hparams.loss=decorrelated, which makes it this arm")


def test_what_is_said_of_one_hemisphere_is_stronger_than_what_is_said_of_both():
    for overrides in (
        ("hparams.fine_width=0.125", "hparams.width=0.25"),
        ("hparams.width=0.25", "hparams.fine_width=0.125"),
    ):
        stages = navon("num_seeds=1", *overrides)
        assert stages["fine/seed0"].config.hparams.width == 0.125
        assert stages["coarse/seed0"].config.hparams.width == 0.25
        assert stages["bilateral/seed0"].config.hparams.fine_width == 0.125


@pytest.mark.parametrize("other", ["f0", "./f0", "a/../f0", "link"])
def test_a_hemisphere_given_for_two_seeds_is_refused(tmp_path, other):
    file = tmp_path / "trained.yaml"
    (tmp_path / "a").mkdir()
    for name in ("f0", "c0", "c1"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("f0")
    file.write_text(f"fine: [f0, {other}]\ncoarse: [c0, c1]\n")
    with pytest.raises(UserError, match="names a checkpoint twice under fine"):
        navon("num_seeds=2", f"trained_models={file}")


def test_no_arms_are_refused_as_such():
    with pytest.raises(UserError, match="arms is empty"):
        navon("arms=[]")


def test_trained_hemispheres_serve_every_arm(models, tmp_path):
    stages = navon("arms=all", "num_seeds=2", f"trained_models={models}")
    assert not {"fine", "coarse"} & set(arms_of(stages))
    swapped = stages["bilateral_swapped_fine/seed1"].config.hparams
    assert (swapped.model_path_fine, swapped.model_path_coarse) == (
        str(tmp_path / "f1"),
        str(tmp_path / "f0"),
    )


def test_swapped_hemispheres_have_the_parameters_of_their_speciality():
    stages = navon(
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
    given = {arm: number for number, arm in enumerate(trained_names(), start=2)}
    every = f"arms=[{','.join(names())}]"
    stages = navon(every, "num_seeds=2", *(f"epochs.{a}={n}" for a, n in given.items()))
    for arm in (arm for name in given for arm in standing_for(name)):
        key = arm if arm in given else "bilateral_swapped"
        assert stages[f"{arm}/seed0"].config.trainer_params.max_epochs == given[key]


def test_the_published_protocol_chooses_epochs_on_the_test_images():
    stages = navon("study=paper", "arms=all", "seeds=[0,1]")
    for stage in stages.values():
        config = stage.config
        assert config.dataset.val_dir == config.dataset.test_dir
        assert config.dataset.test_dir.endswith("coarse" if stage.arm == "coarse" else "fine")
        assert config.exp_name == "paper-NAVON"
        assert config.hparams.schedule == "constant"
        row = ARMS[stage.arm]
        if row.trained_like and not row.equal_training:
            assert config.trainer_params.max_epochs == 180
        if row.equal_training:
            assert set(config.bilateral_epochs.values()) == {180}
    # The command line goes before the preset.
    fast = navon("study=paper", "recipe=fast", "num_seeds=1")["fine/seed0"].config
    assert fast.hparams.schedule == "one_cycle"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["arms=[fine,monolateral]"], "monolateral"),
        (["arms=[]"], "arms"),
        (["arms=[null]"], "arms"),
        (["arms=5"], "arms names 5"),
        (["arms=[ensemble]", "num_seeds=1"], "num_seeds"),
        (["arms=[fine,unilateral]", "no_bilateral=true"], "no_bilateral"),
        (
            ["arms=[bilateral]", "no_bilateral=true"],
            "no_bilateral=true trains the hemispheres only",
        ),
        (["arms=all", "no_bilateral=true"], "no_bilateral=true trains the hemispheres only"),
        (["epochs.unilateral=3"], "epochs.unilateral"),
        (["epochs.bilateral_swapped=3", "arms=[bilateral]"], "epochs.bilateral_swapped"),
        (["arms=all", "hparams.fine_speciality=coarse"], "hparams.fine_speciality"),
        (["arms=all", "dual.arm=mine"], "dual.arm"),
        (["study=papier"], "study"),
    ],
)
def test_what_makes_no_study_is_refused(overrides, named):
    assert named in refusal(*overrides)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_study_is_planned_with_every_option(choice, prepared):
    root = [f"dataset.root={prepared}"] if choice == "dataset=folders" else []
    assert list(plan(choice, *root, "num_seeds=1")) == [
        "fine/seed0",
        "coarse/seed0",
        "bilateral/seed0",
    ]


# What the study hands on


def handed(folder, *overrides, side=None):
    specialities = LEVELS if side is None else (LEVELS[side],)
    return overrides_for(folder, overrides, specialities)


def test_bare_keys_reach_both_folders_and_prefixed_ones_their_own():
    for folder, other in (("single", "dual"), ("dual", "single")):
        side = 0 if folder == "single" else None
        assert handed(folder, "hparams.lr=1", side=side) == ["hparams.lr=1"]
        assert handed(folder, f"{folder}.hparams.lr=2", side=side) == ["hparams.lr=2"]
        assert handed(folder, f"{other}.hparams.lr=3", side=side) == []
        assert handed(folder, "dataset=navon", side=side) == ["dataset=navon"]
        # Its own comes last, whatever the order, so that it wins.
        both = [f"{folder}.hparams.lr=2", "hparams.lr=1"]
        assert handed(folder, *both, side=side) == ["hparams.lr=1", "hparams.lr=2"]


CSV_LOGGER = "pytorch_lightning.loggers.CSVLogger"


@pytest.mark.parametrize(
    ("overrides", "given"),
    [
        (["logger=wandb", "+logger.other.entity=our-lab"], {"entity": "our-lab"}),
        (["logger=wandb", "logger.other.project=mine"], {"project": "mine"}),
        (["logger=csv", f"+logger.other._target_={CSV_LOGGER}"], {"_target_": CSV_LOGGER}),
        (["logger=csv", f"logger.other={{_target_: {CSV_LOGGER}}}"], {"_target_": CSV_LOGGER}),
    ],
)
def test_another_librarys_keys_reach_both_folders(overrides, given):
    for config in configs("num_seeds=1", *overrides).values():
        assert given.items() <= config.logger.other.items()


def test_another_librarys_key_is_added_with_a_plus_in_a_study_too():
    assert "Unknown key logger.other.projekt" in refusal("logger=wandb", "logger.other.projekt=x")


def test_keys_of_a_hemisphere_reach_that_hemisphere():
    assert handed("single", "hparams.fine_width=2", side=0) == ["hparams.width=2"]
    assert handed("single", "hparams.fine_width=2", side=1) == []
    assert handed("single", "hparams.coarse_width=2", side=0) == []
    assert handed("single", "hparams.coarse_width=2", side=1) == ["hparams.width=2"]
    assert handed("dual", "hparams.fine_width=2") == ["hparams.fine_width=2"]
    both = ["hparams.fine_width=2", "hparams.coarse_width=2"]
    assert handed("dual", "hparams.width=2") == both
    for side in (0, 1):
        assert handed("single", "hparams.width=2", side=side) == ["hparams.width=2"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("hparams.mode=fine", "hparams.mode"),
        ("hparams.macro_arch=unilateral", "hparams.macro_arch"),
        ("dual.hparams.ffreeze=false", "dual.hparams.ffreeze"),
        ("hparams.cfreeze=false", "hparams.cfreeze"),
        ("hparams.model_path_fine=a.ckpt", "hparams.model_path_fine"),
        ("hparams.arch=vgg11", "arch=vgg11"),
        ("hparams.farch=vgg11", "farch=vgg11"),
        ("single.seeds=[1]", "seeds"),
        ("dual.save_dir=x", "save_dir"),
        ("single.exp_name=x", "exp_name"),
    ],
)
def test_keys_that_stages_set_themselves_are_refused(override, named):
    assert named in refusal(override, "num_seeds=1")


def configs(*overrides: str):
    return {name: stage.config for name, stage in navon(*overrides).items()}


def test_each_stage_of_a_study_gets_its_own_configuration(tmp_path):
    stages = configs(
        "seeds=[3,0]",
        "farch=vgg11",
        "carch=resnet18",
        "epochs.fine=2",
        "epochs.coarse=3",
        "epochs.bilateral=4",
        "hparams.lr=0.5",
        "dual.hparams.lr=0.25",
        "single.hparams.dropout=0.125",
        "hparams.fine_width=0.5",
        "evaluate=false",
        f"save_dir={tmp_path}",
        "exp_name=x",
    )
    assert list(stages) == [
        f"{arm}/seed{seed}" for seed in (3, 0) for arm in ("fine", "coarse", "bilateral")
    ]
    fine, coarse, both = (stages[f"{arm}/seed3"] for arm in ("fine", "coarse", "bilateral"))
    assert (fine.hparams.mode, coarse.hparams.mode, both.hparams.mode) == ("fine", "coarse", "both")
    assert (fine.hparams.arch, coarse.hparams.arch) == ("vgg11", "resnet18")
    assert (both.hparams.farch, both.hparams.carch) == ("vgg11", "resnet18")
    assert (fine.hparams.width, coarse.hparams.width) == (0.5, 0.25)
    assert (both.hparams.fine_width, both.hparams.coarse_width) == (0.5, 0.25)
    assert [c.trainer_params.max_epochs for c in (fine, coarse, both)] == [2, 3, 4]
    assert [c.hparams.lr for c in (fine, coarse, both)] == [0.5, 0.5, 0.25]
    assert (fine.hparams.dropout, coarse.hparams.dropout) == (0.125, 0.125)
    assert both.hparams.dropout == 0.2
    for cfg in stages.values():
        assert (cfg.evaluate, cfg.exp_name, cfg.save_dir) == (False, "x", str(tmp_path))
    assert both.hparams.macro_arch == "bilateral"
    assert both.hparams.ffreeze
    assert both.hparams.cfreeze
    # Each seed's bilateral network uses that seed's two hemispheres.
    for seed, level in itertools.product((3, 0), LEVELS):
        path = stages[f"bilateral/seed{seed}"].hparams[f"model_path_{level}"]
        assert path == str(tmp_path / f"x/{level}/seed{seed}/checkpoints/best.ckpt")


def test_study_defaults():
    stages = configs()
    assert [name for name in stages if name.startswith("fine")] == [
        f"fine/seed{seed}" for seed in range(5)
    ]
    assert {cfg.exp_name for cfg in stages.values()} == {"study-NAVON"}
    assert list(navon("num_seeds=1", "no_bilateral=true")) == ["fine/seed0", "coarse/seed0"]
    assert configs("seeds=[0]", "arch=vgg11")["fine/seed0"].hparams.arch == "vgg11"


@pytest.mark.parametrize("arms", ["[fine]", "[unilateral]", "all"])
@pytest.mark.parametrize(
    "given",
    [
        "hparams.macro_arch=unilateral",
        "dual.hparams.ffreeze=false",
        "dual.arm=a",
        "hparams.mode=fine",
    ],
)
def test_what_stages_set_is_refused_whatever_the_arms(given, arms):
    sentence = refusal(f"arms={arms}", given)
    assert sentence.startswith(f"{given.partition('=')[0]} is set by each stage of a study")


def test_seeds_twice_are_refused():
    sentence = refusal("num_seeds=1", "seeds=[0]")
    assert "num_seeds" in sentence
    assert "seeds (a list)" in sentence


def test_trained_hemispheres_take_the_place_of_stages(models, tmp_path):
    stages = configs("num_seeds=2", f"trained_models={models}")
    assert list(stages) == ["bilateral/seed0", "bilateral/seed1"]
    hparams = [cfg.hparams for cfg in stages.values()]
    assert [h.model_path_fine for h in hparams] == [str(tmp_path / f"f{i}") for i in (0, 1)]
    assert [h.model_path_coarse for h in hparams] == [str(tmp_path / f"c{i}") for i in (0, 1)]


def test_equal_training_equals_that_of_the_hemispheres_that_are_given(models):
    long = configs("num_seeds=2", f"trained_models={models}", "arms=[unilateral_long]")
    assert list(long) == ["unilateral_long/seed0", "unilateral_long/seed1"]
    for config in long.values():
        assert dict(config.bilateral_epochs) == {"left": 5, "right": 7, "heads": 20}


def test_equal_training_is_that_of_hemispheres_that_were_trained_before(tmp_path):
    for part, epochs in (("fine", 3), ("coarse", 4)):
        place = tmp_path / "runs/mine" / part / "seed0"
        place.mkdir(parents=True)
        (place / "config.yaml").write_text(f"trainer_params:\n  max_epochs: {epochs}\n")
        (place / "result.yaml").write_text("")
    added = ["num_seeds=1", "exp_name=mine", f"save_dir={tmp_path}/runs", "arms=[unilateral_long]"]
    equal = ["epochs.fine=3", "epochs.coarse=4"]
    assert list(configs(*added, *equal)) == ["unilateral_long/seed0"]
    sentence = refusal(*added, *equal[:1])
    assert f"{tmp_path}/runs/mine/coarse/seed0, which had 4 epochs there and has 18" in sentence
    assert "epochs.unilateral_long=N" in sentence
    # A number of its own says nothing of theirs, and another experiment has parts of its own.
    configs(*added, "epochs.unilateral_long=9")
    configs(*added, "budget=recipe")
    configs(*added, "exp_name=another")


@pytest.mark.parametrize("epochs", [6, None, "5"])
def test_hemispheres_without_one_number_of_epochs_are_no_measure_of_training(
    models, tmp_path, epochs
):
    write_hemisphere(tmp_path / "f1", epochs)
    given = ("num_seeds=2", f"trained_models={models}", "arms=[unilateral_long]")
    sentence = refusal(*given)
    assert sentence.startswith(f"{tmp_path}/f1 (trained_models) was trained for {epochs!r} epochs")
    assert "epochs.ARM=N" in sentence
    assert "budget=recipe" in sentence
    own = configs(*given, "epochs.unilateral_long=3")["unilateral_long/seed0"]
    assert own.trainer_params.max_epochs == 3
    recipe = configs(*given, "budget=recipe")["unilateral_long/seed0"]
    assert recipe.trainer_params.max_epochs == recipe.recipe.single.max_epochs


def test_hemispheres_of_a_level_that_were_trained_differently_are_refused(models, tmp_path):
    given = ("num_seeds=2", f"trained_models={models}")
    write_hemisphere(tmp_path / "c1", 7, "another")
    sentence = refusal(*given)
    assert sentence.startswith(f"{tmp_path}/c0 and {tmp_path}/c1 (trained_models, under coarse)")
    # Their images differ, and so may what identifies them.
    assert configs(*given, "dataset.split_seed=per_seed")


def test_a_trained_hemisphere_that_is_not_there_is_refused(models, tmp_path):
    (tmp_path / "c1").unlink()
    sentence = refusal("num_seeds=2", f"trained_models={models}")
    assert f"{tmp_path}/c1" in sentence
    assert "trained_models" in sentence


@pytest.mark.parametrize(
    "content",
    [
        "",
        "3",
        "[a, b]",
        "fine: [a]",
        "fine: [a]\ncoarse: [b]\nextra: [c]",
        "fine: a\ncoarse: b",
        "fine: [a, b]\ncoarse: [c]",
        "fine: [a]\ncoarse: []",
        "fine: [a]\ncoarse: {b: c}",
        "fine: [a]\ncoarse: [null]",
        "fine: [a]\ncoarse: [{b: c}]",
        "fine: [a\ncoarse: [b]",
        b"\xff\xfe\x00",
        None,
    ],
)
def test_malformed_list_of_trained_hemispheres_is_refused(tmp_path, content):
    file = tmp_path / "trained.yaml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    sentence = refusal("num_seeds=1", f"trained_models={file}")
    assert "trained.yaml" in sentence


def test_trained_hemispheres_without_a_bilateral_network_are_refused(models):
    sentence = refusal("num_seeds=2", "no_bilateral=true", f"trained_models={models}")
    assert "trained_models" in sentence
    assert "no_bilateral" in sentence
