"""The whole study: left and right hemispheres for each seed, then the bilateral network on top of them.

    python train_system.py dataset=navon num_seeds=2

A study is a small graph of stages (arm x seed). `plan` describes it; `common.experiment` runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from common.command import command
from common.configuration import GROUPS, ROOT, compose, keys_of, override_keys
from common.errors import UserError
from common.files import read_yaml
from common.schema import HEMISPHERE, LEVELS, DualConfig, SingleConfig, StudyConfig, StudyKeys

if TYPE_CHECKING:
    from common.experiment import Stage

FOLDERS = {
    "single": (ROOT / "arch_single_head", SingleConfig),
    "dual": (ROOT / "arch_dual_head", DualConfig),
}
DEFAULT_SEEDS = 5
# Set by each stage for itself.
SET_BY_STAGES = {
    "single": ("hparams.mode",),
    "dual": (
        "hparams.mode",
        "hparams.macro_arch",
        "hparams.ffreeze",
        "hparams.cfreeze",
        "hparams.model_path_fine",
        "hparams.model_path_coarse",
    ),
}


def handed_on(folder: str, overrides: list[str], side: int | None = None) -> list[str]:
    """The study's overrides that concern one folder, spelled as that folder's trainer.py takes them.

    Args:
        folder: "single" or "dual".
        overrides: the study's own command line.
        side: for a single hemisphere, 0 for the fine and 1 for the coarse one: it then takes that side's
            parameters (hparams.fine_width as hparams.width).

    Raises:
        UserError: a key that the stages set themselves.
    """
    known = keys_of(FOLDERS[folder][1])
    common: list[str] = []
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
        if name in GROUPS or (name in known and parameter not in HEMISPHERE):
            target.append(f"{name}={value}")
        for single, sides in HEMISPHERE.items():
            if folder == "dual" and parameter == single:
                target += [f"hparams.{one}={value}" for one in sides]
            elif folder == "single" and side is not None and parameter in (single, sides[side]):
                target.append(f"hparams.{single}={value}")
    return [*common, *own]


def plan(cfg: DictConfig, overrides: list[str]) -> list[Stage]:
    """The study's stages, each after those it builds on.

    Args:
        cfg: the study's own keys.
        overrides: its command line, handed on to the two folders' configurations.

    Raises:
        UserError: keys that contradict each other, or what the folders' own commands would refuse.
    """
    from arch_dual_head.trainer import check
    from common.experiment import Stage, free_name

    seeds = _seeds(cfg)
    if cfg.no_bilateral and cfg.epochs.bilateral:
        raise UserError("epochs.bilateral has no meaning with no_bilateral=true: drop one of them.")
    trained = _trained_models(cfg, seeds)
    base = [f"seeds=[{','.join(map(str, seeds))}]", f"evaluate={str(cfg.evaluate).lower()}"]
    archs = {level: cfg[f"{level[0]}arch"] or cfg.arch for level in LEVELS}
    configs = {}
    for side, level in enumerate(LEVELS):
        stage_overrides = [*handed_on("single", overrides, side), *base, f"hparams.mode={level}"]
        stage_overrides += [f"hparams.arch={archs[level]}"] if archs[level] else []
        stage_overrides += (
            [f"trainer_params.max_epochs={cfg.epochs[level]}"] if cfg.epochs[level] else []
        )
        configs[level] = compose(
            FOLDERS["single"][0], schema=SingleConfig, overrides=stage_overrides
        )
    stage_overrides = [*handed_on("dual", overrides), *base]
    stage_overrides += [f"hparams.{level[0]}arch={arch}" for level, arch in archs.items() if arch]
    stage_overrides += (
        [f"trainer_params.max_epochs={cfg.epochs.bilateral}"] if cfg.epochs.bilateral else []
    )
    configs["bilateral"] = compose(FOLDERS["dual"][0], schema=DualConfig, overrides=stage_overrides)

    place = OmegaConf.create(
        {
            "exp_name": cfg.exp_name or f"study-{configs['fine'].dataset.name}",
            "save_dir": cfg.save_dir,
            "fresh": cfg.fresh,
        }
    )
    place.exp_name = free_name(place)
    for config in configs.values():
        config.merge_with(place)

    stages: list[Stage] = []
    for number, seed in enumerate(seeds):
        hemispheres = {
            level: Stage(arm=level, seed=seed, folder="arch_single_head", config=configs[level])
            for level in LEVELS
        }
        paths = {level: str(stage.best) for level, stage in hemispheres.items()}
        if trained:
            paths = {level: trained[level][number] for level in LEVELS}
        else:
            stages += hemispheres.values()
        if not cfg.no_bilateral:
            config = configs["bilateral"].copy()
            config.hparams.merge_with(
                {"macro_arch": "bilateral", "ffreeze": True, "cfreeze": True}
                | {f"model_path_{level}": path for level, path in paths.items()}
            )
            check(config)
            needs = () if trained else tuple(stage.name for stage in hemispheres.values())
            stages.append(
                Stage(
                    arm="bilateral", seed=seed, folder="arch_dual_head", config=config, needs=needs
                )
            )
    return stages


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
    except (YAMLError, UnicodeDecodeError) as error:
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
    for level in LEVELS:
        if cfg.epochs[level]:
            raise UserError(
                f"epochs.{level} has no meaning with trained_models, which are not trained: drop one."
            )
    if cfg.no_bilateral:
        raise UserError(
            "trained_models with no_bilateral=true leaves nothing to train: drop one of them."
        )
    return {level: [str(file.parent / path) for path in content[level]] for level in LEVELS}


def run(cfg: DictConfig) -> None:
    """Run the study and print its summary."""
    stages = plan(cfg, list(HydraConfig.get().overrides.task))
    # Imported late: torch takes seconds, and an error in the configuration needs none of it.
    from arch_dual_head.datamodule import DualHeadData
    from arch_dual_head.supervised import DualHead
    from arch_single_head.datamodule import SingleHeadData
    from arch_single_head.supervised import SingleHead
    from common.experiment import Architecture, run_experiment

    run_experiment(
        stages,
        {
            "arch_single_head": Architecture(SingleHeadData, SingleHead),
            "arch_dual_head": Architecture(DualHeadData, DualHead),
        },
    )
    if cfg.analyse:
        from analysis.pipeline import analyse_after_training

        analyse_after_training(stages[0].experiment)


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
