"""What shapes a stage's result: by it a finished stage is recognised, and another configuration refused."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from common.configuration import leaves
from common.data import HierarchicalData
from common.errors import UserError
from common.files import read_yaml
from common.randomness import derive

# Hyper-parameters that do not shape a result: how fast images come, and where hemispheres lie (their own
# fingerprints count instead).
UNSHAPING = ("num_workers", "model_path_fine", "model_path_coarse")
SHAPING_TRAINER = (
    "max_epochs",
    "precision",
    "deterministic",
    "gradient_clip_val",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
)


def identify(
    cfg: DictConfig, data: HierarchicalData, precision: str, parents: dict[str, str]
) -> dict[str, Any]:
    """Everything that shapes a stage's result, and nothing else, in plain containers."""
    trainer = {name: cfg.trainer_params[name] for name in SHAPING_TRAINER} | {
        "precision": precision
    }
    hparams = {name: value for name, value in dict(cfg.hparams).items() if name not in UNSHAPING}
    return {
        "data": {"train": data.digest, "test": data.test_digest()},
        "dataset": {"crop_padding": cfg.dataset.crop_padding, "flip": cfg.dataset.flip},
        "hparams": hparams,
        "trainer_params": trainer,
        "ckpt_callback": {"monitor": cfg.ckpt_callback.monitor, "mode": cfg.ckpt_callback.mode},
        "hemispheres": parents,
    }


def fingerprint(identity: dict[str, Any]) -> str:
    """A short name for an identity: equal ones have equal names."""
    return f"{derive(0, repr(identity)):016x}"


def refuse_other(arm: Path, identity: dict[str, Any]) -> None:
    """All seeds of an arm must be of one configuration, or their mean means nothing.

    Raises:
        UserError: a run below the folder ``arm`` has another identity; names what differs.
    """
    for file in sorted(arm.glob("seed*/fingerprint.yaml")):
        theirs, ours = dict(leaves(read_yaml(file))), dict(leaves(identity))
        different = [
            f"{name} is {theirs.get(name)} there and {ours.get(name)} here"
            for name in dict.fromkeys([*theirs, *ours])
            if theirs.get(name) != ours.get(name)
        ]
        if different:
            raise UserError(
                f"{file.parent} holds a run of another configuration ({'; '.join(different)}): "
                "choose another exp_name, or give fresh=true."
            )
