"""What shapes a stage's result: by it a finished stage is recognised, and another configuration refused."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from common.data.datamodule import HierarchicalData
from common.networks.hemisphere import HemisphereConfig
from common.settings.compose import leaves
from common.settings.schema import HEMISPHERE
from common.system.atomic_files import read_mapping
from common.system.errors import UserError
from common.system.randomness import derive

# Hyper-parameters that do not shape a result: how fast images come, and where hemispheres lie (their own
# fingerprints count instead).
UNSHAPING = ("num_workers", "model_path_fine", "model_path_coarse", "model_path")
# Parameters of a hemisphere that change nothing at this value. They are left out there, so that a result from before
# there was such a parameter is still known.
NEUTRAL = {
    name: item.default
    for item in fields(HemisphereConfig)
    if item.default is not MISSING
    for name in (item.name, *HEMISPHERE[item.name])
}
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
    cfg: DictConfig,
    data: HierarchicalData,
    precision: str,
    parents: dict[str, str],
    processes: int = 1,
) -> dict[str, Any]:
    """Everything that shapes a stage's result, and nothing else, in plain containers."""
    trainer = {name: cfg.trainer_params[name] for name in SHAPING_TRAINER} | {
        "precision": precision
    }
    if processes > 1:
        # Each has BatchNorm statistics and random numbers of its own.
        trainer["processes"] = processes
    hparams = {
        name: value
        for name, value in dict(cfg.hparams).items()
        if name not in UNSHAPING and value is not None and value != NEUTRAL.get(name, MISSING)
    }
    rule = {"monitor": cfg.ckpt_callback.monitor, "mode": cfg.ckpt_callback.mode}
    if cfg.ckpt_callback.save_top_k > 1:
        # The files that hold the best epochs are other ones.
        rule["save_top_k"] = cfg.ckpt_callback.save_top_k
    return {
        "data": {"train": data.digest, "test": data.test_digest()},
        "dataset": {"crop_padding": cfg.dataset.crop_padding, "flip": cfg.dataset.flip},
        "hparams": hparams,
        "trainer_params": trainer,
        "ckpt_callback": rule,
        "hemispheres": parents,
    }


def fingerprint(identity: dict[str, Any]) -> str:
    """A short name for an identity: equal ones have equal names."""
    return f"{derive(0, repr(identity)):016x}"


def refuse_other_configuration(
    place: Path, identity: dict[str, Any], sources: dict[str, str]
) -> None:
    """All seeds of an arm must be of one configuration, or their mean means nothing.

    Args:
        place: the stage's folder; those of the arm's other seeds lie beside it.
        identity: what `identify` says of the stage.
        sources: digests of the weights it builds on, which differ from seed to seed.

    Raises:
        UserError: names the folder and what differs there.
    """
    for file in sorted(place.parent.glob("seed*/fingerprint.yaml")):
        theirs, ours = read_mapping(file), identity | {"sources": sources}
        if file.parent != place:
            theirs, ours = theirs | {"sources": {}}, ours | {"sources": {}}
        there, here = dict(leaves(theirs)), dict(leaves(ours))
        different = [
            f"{name} is {there.get(name)} there and {here.get(name)} here"
            for name in dict.fromkeys([*there, *here])
            # As text, because 1 batch and a share of 1.0 are equal as numbers.
            if repr(there.get(name)) != repr(here.get(name))
        ]
        if different:
            raise UserError(
                f"{file.parent} holds a run of another configuration ({'; '.join(different)}): "
                "choose another exp_name, or give fresh=true."
            )
