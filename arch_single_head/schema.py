"""The config keys of arch_single_head/config/config.yaml. Imports no torch."""

from dataclasses import dataclass, field

from common.networks.parameters import hemisphere_keys
from common.runs.schema import RunKeys, SingleTrainerParams, training_keys
from common.settings.levels import LEVELS
from common.settings.schema import ALWAYS, key
from common.training.paradigms import PARADIGMS


@dataclass
@training_keys("single")
@hemisphere_keys()
class SingleHparams:
    """One hemisphere, one head."""

    mode: str = key(
        "fine",
        "labels to train on: fine or coarse; feature: only test.py",
        choices=(*LEVELS, "feature"),
        neutral=ALWAYS,
    )
    paradigm: str = key("supervised", "what the hemisphere learns from", choices=PARADIGMS)


@dataclass
class SingleConfig(RunKeys):
    """arch_single_head/config/config.yaml."""

    hparams: SingleHparams = field(default_factory=SingleHparams)
    trainer_params: SingleTrainerParams = field(default_factory=SingleTrainerParams)
