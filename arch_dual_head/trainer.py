"""Train two heads on one or two hemispheres:  python trainer.py dataset=navon seeds=[0,1,2]."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from arch_dual_head.checks import check
from arch_dual_head.schema import DualConfig
from arch_dual_head.sources import mixed_seeds, refuse_missing_sources
from common.results.rows import collect, finished, validation_accuracy
from common.runs.description import Architecture, Stage
from common.runs.free_name import free_name
from common.runs.per_seed import refuse_unlike_sets
from common.settings.command import command, typed_overrides
from common.settings.overrides import override_keys
from study.arms import comparison, refuse_another_name

FOLDER = Path(__file__).resolve().parent


def train(cfg: DictConfig) -> float | None:
    """Train, test and record each seed; gives the mean validation accuracy, which a sweep goes by."""
    check(cfg)
    if not {"arm", "hparams.macro_arch"} & override_keys(typed_overrides()).keys():
        refuse_another_name(str(HydraConfig.get().job.config_name), cfg.arm)
    refuse_unlike_sets(cfg.dataset, cfg.seeds)
    refuse_missing_sources(cfg)
    cfg.exp_name = free_name(cfg)
    stages = [
        Stage(
            arm=cfg.arm,
            seed=seed,
            folder=FOLDER.name,
            config=cfg,
            seeds=mixed_seeds(cfg, seed),
            alike=len(cfg.seeds),
        )
        for seed in cfg.seeds
    ]
    # Imported late: torch takes seconds, Lightning more of them, and --help needs neither.
    from common.runs.plan_line import print_plan

    print_plan(stages)
    from arch_dual_head.datamodule import DualHeadData
    from arch_dual_head.module import DualHead
    from common.runs.experiment import run_experiment

    architecture = Architecture(DualHeadData, DualHead, DualConfig)
    run_experiment(stages, {FOLDER.name: architecture}, comparison())
    return validation_accuracy(collect(finished(stages[0].experiment)), stages[0].arm)


def main() -> None:
    """Run the command line."""
    command(train, schema=DualConfig, folder=FOLDER)


if __name__ == "__main__":
    main()
