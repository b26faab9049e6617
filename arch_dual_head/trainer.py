"""Train two heads on one or two hemispheres:  python trainer.py dataset=navon seeds=[0,1,2]."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from arch_dual_head.sources import mixed_seeds, templates
from common.settings.command import command
from common.settings.schema import DualConfig
from common.system.errors import UserError

FOLDER = Path(__file__).resolve().parent


def check(cfg: DictConfig) -> None:
    """Refuse what cannot be combined.

    Raises:
        UserError: names the keys and what is allowed.
    """
    hparams = cfg.hparams
    if hparams.mode == "feature":
        raise UserError(
            "hparams.mode is 'feature', which needs a trained network; allowed here: both "
            "(features come from: python test.py checkpoint=PATH hparams.mode=feature)."
        )
    paths = {"fine": hparams.model_path_fine, "coarse": hparams.model_path_coarse}
    ensemble = hparams.macro_arch == "ensemble"
    if ensemble != OmegaConf.is_list(paths["fine"]) or (ensemble and not paths["fine"]):
        raise UserError(
            "hparams.model_path_fine must be a list of unilateral checkpoints with hparams.macro_arch=ensemble, "
            f"and one path or null with the others; it is {paths['fine']}."
        )
    for level, path in paths.items():
        if not ensemble and path is not None and not isinstance(path, str):
            raise UserError(f"hparams.model_path_{level} is {path}; allowed: a path or null.")
    if hparams.model_path is not None and (ensemble or any(paths.values())):
        raise UserError(
            "hparams.model_path loads the whole network: hparams.model_path_fine and "
            "hparams.model_path_coarse must then be null, and hparams.macro_arch no ensemble."
        )
    wide = hparams.macro_arch == "unilateral_wide"
    if wide and (hparams.ffreeze or paths["fine"] is not None):
        raise UserError(
            "hparams.macro_arch=unilateral_wide has a width of its own, so no checkpoint fits: it is trained from "
            "scratch, with hparams.ffreeze=false and hparams.model_path_fine=null."
        )
    if len(cfg.seeds) == 1 and any("{next_seed}" in path for path in templates(cfg)):
        raise UserError(
            f"{cfg.arm} takes networks of two seeds, and seeds is {list(cfg.seeds)}: give more, as seeds=[0,1]."
        )
    frozen = {
        "fine": hparams.ffreeze,
        "coarse": hparams.cfreeze and hparams.macro_arch == "bilateral",
    }
    for level, path in paths.items():
        if frozen[level] and path is None and not ensemble and hparams.model_path is None:
            raise UserError(
                f"hparams.{level[0]}freeze=true would freeze a {level} hemisphere that was never trained: "
                f"give hparams.model_path_{level}, or hparams.{level[0]}freeze=false to train it from scratch."
            )


def train(cfg: DictConfig) -> None:
    """Train, test and record each seed."""
    check(cfg)
    # Imported late: torch takes seconds, and --help needs none of it.
    from arch_dual_head.datamodule import DualHeadData
    from arch_dual_head.supervised import DualHead
    from common.runs.description import Architecture, Stage
    from common.runs.experiment import free_name, run_experiment

    cfg.exp_name = free_name(cfg)
    stages = [
        Stage(arm=cfg.arm, seed=seed, folder=FOLDER.name, config=cfg, seeds=mixed_seeds(cfg, seed))
        for seed in cfg.seeds
    ]
    run_experiment(stages, {FOLDER.name: Architecture(DualHeadData, DualHead)})


def main() -> None:
    """The command line."""
    command(train, schema=DualConfig, folder=FOLDER)


if __name__ == "__main__":
    main()
