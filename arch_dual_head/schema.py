"""The config keys of arch_dual_head/config/config.yaml. Imports no torch."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from arch_dual_head.checks import check_paths
from arch_dual_head.macro_architectures import MACRO_ARCHITECTURES
from common.networks.crossings import CallosumKeys
from common.networks.joins import JOINS
from common.networks.parameters import hemisphere_keys
from common.runs.schema import DualTrainerParams, RunKeys, training_keys
from common.settings.levels import BOTH, LEVELS, SIDES
from common.settings.schema import ALWAYS, key
from common.training.paradigms import WITHOUT_LABELS


@dataclass
@hemisphere_keys(*SIDES)
class DualNetwork:
    """Hemispheres, and how they make up a network."""

    mode: str = key(
        "both",
        "both levels; feature: only test.py",
        choices=("both", "feature"),
        neutral=ALWAYS,
    )
    macro_arch: str = key(
        "bilateral", "macro-architecture", choices=MACRO_ARCHITECTURES, neutral=ALWAYS
    )
    join: str = key(
        "concatenate",
        "how the features of the hemispheres become those that every head sees",
        choices=JOINS,
    )
    auxiliary: float = key(
        0.0,
        "weight in the training loss of heads that each hemisphere has for itself, which keep joint training from "
        "starving one side; 0: no such heads",
        low=0,
        high=1000,
    )
    decorrelation: float = key(
        1.0,
        "how much the mean squared correlation of left and right features counts in loss=decorrelated",
        low=0,
        high=1e6,
        of_loss=True,
    )
    callosum: CallosumKeys = field(default_factory=CallosumKeys)


@dataclass
@training_keys("dual")
class DualHparams(DualNetwork):
    """One or two hemispheres, two heads."""

    ffreeze: bool = key(True, "freeze the left hemisphere", neutral=ALWAYS)
    cfreeze: bool = key(True, "freeze the right hemisphere", neutral=ALWAYS)
    # A path, or a list of paths for an ensemble, or null.
    model_path_fine: Any = key(
        None,
        "checkpoint of the left hemisphere; {seed} stands for the run's seed, {next_seed} for the next one in the "
        "list; null: untrained; for an ensemble the list of its members",
        path=True,
        shapes_result=False,
    )
    model_path_coarse: Any = key(
        None, "checkpoint of the right hemisphere, likewise", path=True, shapes_result=False
    )
    fine_speciality: str = key(
        "fine",
        "what the left hemisphere's checkpoint was trained on: labels of one level, of both, or a task without labels",
        choices=(*LEVELS, BOTH, *WITHOUT_LABELS),
        neutral=ALWAYS,
    )
    coarse_speciality: str = key(
        "coarse",
        "what the right hemisphere's checkpoint was trained on, likewise",
        choices=(*LEVELS, BOTH, *WITHOUT_LABELS),
        neutral=ALWAYS,
    )
    plasticity_factor: float = key(
        1.0,
        "multiplies the plasticity of both hemispheres: what a variant such as bilateral_finetuned says of itself",
        above=0,
        high=1000,
        shapes_result=False,  # its product with each plasticity does
    )
    model_path: str | None = key(
        None,
        "checkpoint of a whole network to start from, instead of hemispheres",
        path=True,
        shapes_result=False,
    )


@dataclass
class BilateralEpochs:
    """Epochs of the bilateral network's parts, which say how much training it has had."""

    left: int = key(
        "${recipe.single.max_epochs}",
        "epochs of the left hemisphere; read where trainer_params.max_epochs is null",
        low=1,
        shapes_result=False,  # the epochs that follow from it do
    )
    right: int = key(
        "${recipe.single.max_epochs}",
        "epochs of the right hemisphere, likewise",
        low=1,
        shapes_result=False,
    )
    heads: int = key(
        "${recipe.heads_epochs}", "epochs of the heads, likewise", low=1, shapes_result=False
    )


@dataclass
class DualConfig(RunKeys):
    """arch_dual_head/config/config.yaml."""

    arm: str = key(
        "${hparams.macro_arch}", "the run's line in the tables, and its folder", shapes_result=False
    )
    hparams: DualHparams = field(default_factory=DualHparams)
    trainer_params: DualTrainerParams = field(default_factory=DualTrainerParams)
    bilateral_epochs: BilateralEpochs = field(default_factory=BilateralEpochs)

    @staticmethod
    def check(cfg: DictConfig) -> None:
        """Refuse values that contradict each other.

        Raises:
            UserError: names the keys and what is allowed.
        """
        RunKeys.check(cfg)
        check_paths(cfg.hparams)
