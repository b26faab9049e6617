"""The config keys of arch_single_head/config/config.yaml. Imports no torch."""

from dataclasses import dataclass, field

from omegaconf import DictConfig

from common.networks.parameters import hemisphere_keys
from common.runs.schema import RunKeys, SingleTrainerParams, training_keys
from common.settings.levels import BOTH, LEVELS
from common.settings.schema import ALWAYS, key
from common.system.errors import UserError
from common.training.loss_table import LOSSES
from common.training.paradigms import PARADIGMS, WITH_LABELS, WITHOUT_LABELS

# Keys of hparams that are about labels, each with its only value where none are learned.
OF_LABELS = {
    "loss": "cross_entropy",
    "class_weights": None,
}


@dataclass
@training_keys("single")
@hemisphere_keys()
class SingleHparams:
    """One hemisphere, one head."""

    mode: str = key(
        "fine",
        "what is learned: fine or coarse labels; without labels: rotation (docs/paradigms.md); feature: only test.py",
        choices=(*LEVELS, *WITHOUT_LABELS, "feature"),
        neutral=ALWAYS,
    )
    paradigm: str = key("supervised", "how labels are learned", choices=WITH_LABELS)


@dataclass
class SingleConfig(RunKeys):
    """arch_single_head/config/config.yaml."""

    hparams: SingleHparams = field(default_factory=SingleHparams)
    trainer_params: SingleTrainerParams = field(default_factory=SingleTrainerParams)

    @staticmethod
    def check(cfg: DictConfig) -> None:
        """Refuse values that contradict each other.

        Raises:
            UserError: names the keys and what is allowed.
        """
        RunKeys.check(cfg)
        hparams = cfg.hparams
        for name in (*LEVELS, BOTH, "feature"):
            if name in PARADIGMS:
                raise UserError(
                    f"The row {name} of PARADIGMS (common/training/paradigms.py) is called as hparams.mode={name}, "
                    "which means something else; allowed: a name of its own."
                )
        if LOSSES[hparams.loss].of_two_hemispheres:
            raise UserError(
                f"hparams.loss={hparams.loss} compares two hemispheres, and here is one; allowed in arch_dual_head."
            )
        if hparams.mode in WITHOUT_LABELS:
            for name, plain in OF_LABELS.items():
                if hparams[name] != plain:
                    raise UserError(
                        f"hparams.{name}={hparams[name]} is about labels, and hparams.mode={hparams.mode} learns "
                        f"without; allowed with it: {'null' if plain is None else plain}."
                    )
