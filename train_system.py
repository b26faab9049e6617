"""The whole study: left and right hemispheres for each seed, the bilateral network on top, and its rivals.

    python train_system.py dataset=navon num_seeds=2 arms=all

A study is a small graph of stages (arm x seed). `plan` describes it; `common.runs.experiment` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from common.results.rows import finished
from common.settings.command import command, explain, typed_overrides
from common.settings.compose import GROUPS, ROOT, SHARED, compose, keys_of, override_keys, spelled
from common.settings.schema import (
    ARMS,
    DEFAULT_ARMS,
    HEMISPHERE,
    LEVELS,
    DualConfig,
    SingleConfig,
    StudyConfig,
    StudyKeys,
)
from common.system.atomic_files import read_yaml
from common.system.errors import Unfinished, UserError
from common.system.signals import signals

if TYPE_CHECKING:
    from common.results.statistics import SummaryRow
    from common.runs.description import Stage
    from common.runs.experiment import Engine

FOLDERS = {
    "single": (ROOT / "arch_single_head", SingleConfig),
    "dual": (ROOT / "arch_dual_head", DualConfig),
}
DEFAULT_SEEDS = 5
# What study=NAME puts before the command line.
PRESETS = {
    "sound": (),
    # As published, with the test images for validation too, so that its numbers can be compared.
    "paper": ("recipe=paper", "dataset.val_dir=${dataset.test_dir}"),
}
# Set by each stage for itself.
SET_BY_STAGES = {
    "single": ("hparams.mode",),
    "dual": (
        "arm",
        "hparams.mode",
        "hparams.macro_arch",
        "hparams.ffreeze",
        "hparams.cfreeze",
        "hparams.fine_speciality",
        "hparams.coarse_speciality",
        "hparams.model_path_fine",
        "hparams.model_path_coarse",
        "hparams.model_path",
    ),
}


@dataclass(frozen=True)
class Arm:
    """An arm with two heads: what it is stands in arch_dual_head/config/<arm>.yaml, what it builds on here.

    ``loads``: for each key of a checkpoint, the arms it takes one from, and how many seeds further in the list
    that one is. ``specialities``: the levels whose parameters the left and the right hemisphere have.
    """

    loads: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    specialities: tuple[str, str] = LEVELS

    @property
    def mixes(self) -> int:
        """How many seeds' networks it is made of."""
        return 1 + max((ahead for taken in self.loads.values() for _, ahead in taken), default=0)

    @property
    def needs(self) -> set[str]:
        """The arms it builds on."""
        return {arm for taken in self.loads.values() for arm, _ in taken}


# Each after those it builds on. fine and coarse have no entry: they are arch_single_head's.
DUAL_ARMS = {
    "bilateral": Arm({"model_path_fine": [("fine", 0)], "model_path_coarse": [("coarse", 0)]}),
    "bilateral_finetuned": Arm({"model_path": [("bilateral", 0)]}),
    "bilateral_nonspecialised": Arm(),
    "bilateral_swapped_fine": Arm(
        {"model_path_fine": [("fine", 0)], "model_path_coarse": [("fine", 1)]},
        specialities=("fine", "fine"),
    ),
    "bilateral_swapped_coarse": Arm(
        {"model_path_fine": [("coarse", 1)], "model_path_coarse": [("coarse", 0)]},
        specialities=("coarse", "coarse"),
    ),
    "unilateral": Arm(),
    "unilateral_wide": Arm(),
    "ensemble": Arm({"model_path_fine": [("unilateral", ahead) for ahead in range(2)]}),
    "ensemble_five": Arm({"model_path_fine": [("unilateral", ahead) for ahead in range(5)]}),
}
# Trained like hemispheres, by the recipe's values for them, though with two heads.
FROM_SCRATCH = ("bilateral_nonspecialised", "unilateral", "unilateral_wide")
# What a name in `arms` stands for, where that is not the arm of this name alone.
ALIASES = {
    "bilateral_swapped": ("bilateral_swapped_fine", "bilateral_swapped_coarse"),
    "ensemble": ("ensemble", "ensemble_five"),
}


def handed_on(folder: str, overrides: Sequence[str], specialities: Sequence[str]) -> list[str]:
    """The study's overrides that concern one folder, spelled as that folder's trainer.py takes them.

    Args:
        folder: "single" or "dual".
        overrides: the study's own command line.
        specialities: the level of each hemisphere, whose parameters it takes (hparams.fine_width as
            hparams.width of the single, or as hparams.coarse_width of a right hemisphere that is fine too).

    Raises:
        UserError: a key that the stages set themselves.
    """
    known = keys_of(FOLDERS[folder][1])
    common: list[str] = []
    sided: list[str] = []  # of one hemisphere, so stronger than what is said of both
    own: list[str] = []
    for key, value in override_keys(overrides).items():
        target = own if key.startswith(f"{folder}.") else common
        name = key.removeprefix(f"{folder}.")
        if key in keys_of(StudyKeys) or name.split(".")[0] in FOLDERS:
            continue
        parameter = name.removeprefix("hparams.")
        if name in keys_of(StudyKeys):
            raise UserError(f"{key} has no meaning in a study: give {name}=... for all of it.")
        if key == name and parameter in ("arch", "farch", "carch"):
            raise UserError(f"{key} is {parameter} in a study: give {parameter}={value}.")
        if name in SET_BY_STAGES[folder]:
            raise UserError(
                f"{key} is set by each stage of a study; run trainer.py in the folder to choose it yourself."
            )
        of_hemisphere = parameter in {
            p for names in HEMISPHERE.items() for p in (names[0], *names[1])
        }
        if name in GROUPS or (name in known and not of_hemisphere):
            target.append(f"{name}={value}")
        for single, sides in HEMISPHERE.items():
            for place, level in enumerate(specialities):
                if parameter in (single, sides[LEVELS.index(level)]):
                    here = single if folder == "single" else sides[place]
                    general = parameter == single or target is own
                    (target if general else sided).append(f"hparams.{here}={value}")
    return [*common, *sided, *own]


def plan(cfg: DictConfig, overrides: Sequence[str]) -> list[Stage]:
    """The study's stages, each after those it builds on.

    Args:
        cfg: the study's own keys.
        overrides: its command line, handed on to the two folders' configurations.

    Raises:
        UserError: keys that contradict each other, or what the folders' own commands would refuse.
    """
    seeds = _seeds(cfg)
    trained = _trained_models(cfg, seeds)
    arms = _arms(cfg, seeds)
    configs = {arm: _configuration(arm, cfg, overrides, seeds) for arm in arms}
    # Imported late: an error in the configuration needs none of it, and torch takes seconds.
    from arch_dual_head.trainer import check
    from common.runs.description import Stage
    from common.runs.experiment import free_name

    name = f"{'study' if cfg.study == 'sound' else cfg.study}-{configs[arms[0]].dataset.name}"
    place = OmegaConf.create(
        {"exp_name": cfg.exp_name or name, "save_dir": cfg.save_dir, "fresh": cfg.fresh}
    )
    place.exp_name = free_name(place)
    for config in configs.values():
        config.merge_with(place)

    stages: dict[tuple[str, int], Stage] = {}
    for arm, number in _order(arms, len(seeds)):
        seed = seeds[number]
        if arm in LEVELS:
            if not trained:
                stages[arm, seed] = Stage(
                    arm=arm, seed=seed, folder="arch_single_head", config=configs[arm]
                )
            continue
        config = configs[arm].copy()
        needs = []
        for key, taken in DUAL_ARMS[arm].loads.items():
            paths = []
            for source, ahead in taken:
                other = (number + ahead) % len(seeds)
                if trained and source in LEVELS:
                    paths.append(trained[source][other])
                else:
                    parent = stages[source, seeds[other]]
                    paths.append(str(parent.best))
                    needs.append(parent.name)
            config.hparams[key] = paths if config.hparams.macro_arch == "ensemble" else paths[0]
        check(config)
        mixed = [seeds[(number + ahead) % len(seeds)] for ahead in range(DUAL_ARMS[arm].mixes)]
        stages[arm, seed] = Stage(
            arm=arm,
            seed=seed,
            folder="arch_dual_head",
            config=config,
            needs=tuple(needs),
            seeds=tuple(mixed),
        )
    if not stages:
        raise UserError(
            "trained_models with arms=[fine,coarse] or no_bilateral=true leaves nothing to train."
        )
    return list(stages.values())


def _arms(cfg: DictConfig, seeds: list[int]) -> list[str]:
    """The arms to run, those they build on among them, each after those."""
    asked = cfg.arms if OmegaConf.is_list(cfg.arms) else [cfg.arms]
    asked = list(ARMS) if list(asked) == ["all"] else list(asked)
    if not asked:
        raise UserError(f"arms is empty; allowed: all, or a list of {', '.join(ARMS)}.")
    for arm in asked:
        if arm not in ARMS:
            raise UserError(f"arms names {arm!r}; allowed: all, or a list of {', '.join(ARMS)}.")
    if cfg.no_bilateral:
        if set(asked) - set(DEFAULT_ARMS):
            raise UserError("no_bilateral=true trains the hemispheres only: drop it, or arms.")
        asked = [arm for arm in asked if arm in LEVELS]
    chosen: set[str] = set()
    for arm in (arm for name in asked for arm in ALIASES.get(name, (name,))):
        mixes = DUAL_ARMS[arm].mixes if arm in DUAL_ARMS else 1
        if mixes > len(seeds):
            print(f"{arm} is left out: it takes {mixes} seeds, and there are {len(seeds)}.")
        else:
            chosen |= _needed(arm)
    if not chosen:
        raise UserError("arms leaves nothing to run with so few seeds: give more, as num_seeds=5.")
    for name, epochs in cfg.epochs.items():
        if epochs and not chosen & set(ALIASES.get(name, (name,))):
            raise UserError(
                f"epochs.{name} has no meaning without the arm {name}: drop it, or add that."
            )
    return [arm for arm in (*LEVELS, *DUAL_ARMS) if arm in chosen]


def _needed(arm: str) -> set[str]:
    """An arm and all that it builds on."""
    parents = DUAL_ARMS[arm].needs if arm in DUAL_ARMS else set()
    return {arm}.union(*(_needed(parent) for parent in parents))


def _order(arms: list[str], seeds: int) -> Iterator[tuple[str, int]]:
    """Arms and the numbers of seeds: a seed's stages together, then those that mix seeds."""
    mixes = {arm: DUAL_ARMS[arm].mixes if arm in DUAL_ARMS else 1 for arm in arms}
    yield from ((arm, number) for number in range(seeds) for arm in arms if mixes[arm] == 1)
    for arm in (arm for arm in arms if mixes[arm] > 1):
        # Around the whole list every ensemble is the same one.
        once = arm.startswith("ensemble") and mixes[arm] == seeds
        yield from ((arm, number) for number in range(1 if once else seeds))


def _configuration(
    arm: str, cfg: DictConfig, overrides: Sequence[str], seeds: list[int]
) -> DictConfig:
    """What the arm's own command would run with."""
    folder = "single" if arm in LEVELS else "dual"
    specialities = (arm,) if arm in LEVELS else DUAL_ARMS[arm].specialities
    given = handed_on(folder, [*PRESETS[cfg.study], *overrides], specialities)
    given += [f"seeds=[{','.join(map(str, seeds))}]", f"evaluate={str(cfg.evaluate).lower()}"]
    given += [f"hparams.mode={arm}"] if arm in LEVELS else []
    for key, level in zip(
        ("arch",) if arm in LEVELS else ("farch", "carch"), specialities, strict=True
    ):
        arch = cfg[f"{level[0]}arch"] or cfg.arch
        given += [f"hparams.{key}={arch}"] if arch else []
    # The two swapped arms share one key.
    epochs = cfg.epochs.get(next((n for n, arms in ALIASES.items() if arm in arms), arm))
    given += [f"trainer_params.max_epochs={epochs}"] if epochs else []
    directory, schema = FOLDERS[folder]
    name = "config" if arm in LEVELS else arm
    config = compose(directory, schema=schema, overrides=given, config_name=name)
    if name == arm:
        # An arm whose hemispheres learn slower than others keeps that when their plasticity is chosen.
        variant: Any = OmegaConf.load(directory / "config" / f"{name}.yaml")
        for key in HEMISPHERE["plasticity"]:
            if f"hparams.{key}" in override_keys(given):
                config.hparams[key] *= OmegaConf.select(variant, f"hparams.{key}", default=1.0)
    return config


def _seeds(cfg: DictConfig) -> list[int]:
    if cfg.seeds is not None and cfg.num_seeds is not None:
        raise UserError("Give num_seeds (seeds 0 to n-1) or seeds (a list), not both.")
    return list(cfg.seeds) if cfg.seeds is not None else list(range(cfg.num_seeds or DEFAULT_SEEDS))


def _trained_models(cfg: DictConfig, seeds: list[int]) -> dict[str, list[str]] | None:
    """Hemisphere checkpoints to use instead of training, one per level and seed."""
    if cfg.trained_models is None:
        return None
    file = Path(cfg.trained_models)
    try:
        content = read_yaml(file)
    except OSError as error:
        raise UserError(f"{file} (trained_models) cannot be read: {error.strerror}.") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file} (trained_models) is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict) or set(content) != set(LEVELS):
        raise UserError(
            f"{file} (trained_models) must hold two lists of checkpoints, fine: [...] and coarse: [...]."
        )
    for level in LEVELS:
        paths = content[level]
        if (
            not isinstance(paths, list)
            or len(paths) != len(seeds)
            or not all(isinstance(p, str) for p in paths)
        ):
            raise UserError(
                f"{file} (trained_models) must list {len(seeds)} checkpoints under {level}, one per seed."
            )
        if len(set(paths)) < len(paths):
            raise UserError(
                f"{file} (trained_models) names a checkpoint twice under {level}: seeds that share a hemisphere "
                "are no independent ones."
            )
    for level in LEVELS:
        if cfg.epochs[level]:
            raise UserError(
                f"epochs.{level} has no meaning with trained_models, which are not trained: drop one."
            )
    return {level: [str(file.parent / path) for path in content[level]] for level in LEVELS}


def _engine(cfg: DictConfig, stages: list[Stage]) -> Engine | None:
    """What runs the stages where it is not this process, one after another."""
    if cfg.engine == "serial":
        return None
    from architectures import ARCHITECTURES

    # Optional: what is not installed is missed by those alone who ask for it.
    from common.runs.ray_engine import RayEngine

    return RayEngine(
        stages, ARCHITECTURES, address=cfg.ray_address, stages_per_gpu=cfg.stages_per_gpu
    )


def execute(cfg: DictConfig, overrides: list[str]) -> list[SummaryRow]:
    """Plan the study, run it, and print its summary, which is returned."""
    if cfg.engine == "serial" and (cfg.stages_per_gpu != 1 or cfg.ray_address is not None):
        raise UserError(
            "stages_per_gpu and ray_address have no meaning with engine=serial: give engine=ray, or drop them."
        )
    stages = plan(cfg, overrides)
    if any(stage.config.dataset.val_dir == stage.config.dataset.test_dir for stage in stages):
        print("The best epochs are chosen on the test images, as published: no number is held out.")
    told = [name for name in override_keys(overrides) if name.startswith("single.")]
    scratch = [arm for arm in FROM_SCRATCH if arm in {stage.arm for stage in stages}]
    if told and scratch:
        print(f"{', '.join(told)} concerns fine and coarse, not {', '.join(scratch)}.")
    from architectures import ARCHITECTURES
    from common.runs.experiment import run_experiment
    from common.system.distributed import Machines

    hole = None
    try:
        summary = run_experiment(stages, ARCHITECTURES, _engine(cfg, stages))
    except Unfinished as error:  # what was finished is looked at all the same
        hole = error
    first = Machines(stages[0].config.trainer_params.num_nodes).first
    if cfg.analyse and first and any(finished(stages[0].experiment)):
        from analysis.pipeline import analyse_after_training

        analyse_after_training(stages[0].experiment)
    if hole:
        raise hole
    return summary


def run(cfg: DictConfig) -> None:
    """The study of a command line."""
    execute(cfg, typed_overrides())


def study(*overrides: str, **keys: Any) -> list[SummaryRow]:
    """Run a study from Python: the same as the command line, which is not read.

    Args:
        overrides: as on the command line, "hparams.lr=0.1".
        keys: the same as arguments; keys of a section in a dictionary, epochs={"fine": 2}.

    Returns:
        Mean and spread of test accuracy (a fraction) per arm and level, as in summary.csv.

    Raises:
        UserError: whatever a person can mend, in one sentence.
        Interrupted: Ctrl-C, or a notebook's stop button; the same call continues.
    """
    text = [*overrides, *spelled(keys)]
    try:
        cfg = compose(
            ROOT, schema=StudyConfig, overrides=text, config_dir=SHARED, config_name="train_system"
        )
        with signals.installed():
            return execute(cfg, text)
    except Exception as error:
        sentence = explain(error, StudyConfig)
        if sentence is None or (isinstance(error, UserError) and str(error) == sentence):
            raise
        raise UserError(sentence) from error


def main() -> None:
    """The command line."""
    command(
        run,
        schema=StudyConfig,
        folder=ROOT,
        config_dir=ROOT / "common" / "config",
        config_name="train_system",
    )


if __name__ == "__main__":
    main()
