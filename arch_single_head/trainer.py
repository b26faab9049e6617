"""Train one hemisphere with one head:  python trainer.py hparams.mode=coarse seeds=[0,1,2]."""

from pathlib import Path

from omegaconf import DictConfig

from arch_single_head.schema import SingleConfig
from common.results.rows import collect, finished, validation_accuracy
from common.runs.description import Architecture, Stage
from common.runs.free_name import free_name
from common.runs.per_seed import refuse_unlike_sets
from common.settings.command import command
from common.settings.levels import LEVELS
from common.system.errors import UserError
from common.training.paradigms import WITHOUT_LABELS
from study.arms import comparison

FOLDER = Path(__file__).resolve().parent


def train(cfg: DictConfig) -> float | None:
    """Train, test and record each seed; gives the mean validation accuracy, which a sweep goes by."""
    if cfg.hparams.mode == "feature":
        raise UserError(
            "hparams.mode is 'feature', which needs a trained network; allowed here: "
            f"{', '.join((*LEVELS, *WITHOUT_LABELS))} "
            "(features come from: python test.py checkpoint=PATH hparams.mode=feature)."
        )
    refuse_unlike_sets(cfg.dataset, cfg.seeds)
    cfg.exp_name = free_name(cfg)
    stages = [
        Stage(arm=cfg.hparams.mode, seed=seed, folder=FOLDER.name, config=cfg, alike=len(cfg.seeds))
        for seed in cfg.seeds
    ]
    # Imported late: torch takes seconds, Lightning more of them, and --help needs neither.
    from common.runs.plan_line import print_plan

    print_plan(stages)
    from arch_single_head.datamodule import SingleHeadData
    from arch_single_head.module import SingleHead
    from common.runs.experiment import run_experiment

    architecture = Architecture(SingleHeadData, SingleHead, SingleConfig)
    run_experiment(stages, {FOLDER.name: architecture}, comparison())
    return validation_accuracy(collect(finished(stages[0].experiment)), stages[0].arm)


def main() -> None:
    """Run the command line."""
    command(train, schema=SingleConfig, folder=FOLDER)


if __name__ == "__main__":
    main()
