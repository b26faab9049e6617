"""What shapes a stage's result: by it a finished stage is recognised, and another configuration refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from common.checkpoints.pretrained import identity_of
from common.data.datamodule import HierarchicalData
from common.networks.hemisphere import effective_plasticity
from common.networks.parameters import PARAMETERS
from common.results.rows import seed_files
from common.settings.checks import leaves, show
from common.settings.schema import ALWAYS, keys_of, shaping
from common.system.atomic_files import read_mapping
from common.system.errors import UserError
from common.system.randomness import derive
from common.training.loss_table import LOSSES

# What a sentence says of values that are digests, which tell a person nothing.
CHANGED = {
    "data.train": "the training images, their classes or those held out have changed since",
    "data.test": "the test images or their classes have changed since",
    "data.images": "the images have changed since",
}


def identify(
    cfg: DictConfig,
    data: HierarchicalData,
    precision: str,
    parents: dict[str, str],
    *,
    schema: type,
    sides: Sequence[str | None],
    processes: int = 1,
    per_seed: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that shapes a stage's result, and nothing else, in plain containers.

    Args:
        cfg: the stage's configuration, and ``schema`` what describes it.
        data: the images it is trained and tested on.
        precision: as it is used, never "auto".
        parents: fingerprints of the networks it builds on.
        schema: says of each key whether it shapes a result, and at which value it changes nothing.
        sides: the hemispheres whose keys shape the network.
        processes: that train it together.
        per_seed: what each seed has for itself (`common.runs.per_seed.kinds`).
    """
    trainer = shaping(schema, "trainer_params", dict(cfg.trainer_params) | {"precision": precision})
    if processes > 1:
        # Each has BatchNorm statistics and random numbers of its own.
        trainer["processes"] = processes
    hparams = shaping(schema, "hparams", _flat(hemisphere_values(dict(cfg.hparams), sides)))
    unread = _of_other_losses(cfg.hparams.loss, schema)
    # Beside what differs from seed to seed, what must not.
    own: dict[str, Any] = dict.fromkeys(per_seed, "per_seed")
    if own == {"split": "per_seed"}:
        own = {"images": data.images_digest}
    return {
        "data": {"train": data.digest, "test": data.test_digest()} | own,
        "dataset": shaping(schema, "dataset", dict(cfg.dataset)),
        # null leaves a value open.
        "hparams": {
            name: value
            for name, value in hparams.items()
            if value is not None and name not in unread
        },
        "trainer_params": trainer,
        "ckpt_callback": shaping(schema, "ckpt_callback", dict(cfg.ckpt_callback)),
        "hemispheres": parents,
    }


def _flat(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Give keys of groups in dotted form, as callosum.at; a group that is off, its ``kind`` being null, counts not."""
    found: dict[str, Any] = {}
    for name, value in hparams.items():
        if not isinstance(value, Mapping | DictConfig):
            found[name] = value
        elif value.get("kind") is not None:
            plain: Any = OmegaConf.to_container(OmegaConf.create(dict(value)))
            found |= {f"{name}.{key}": one for key, one in plain.items()}
    return found


def _of_other_losses(loss: str, schema: type) -> set[str]:
    """Name the hyper-parameters of losses that this one does not take: whatever their values, they change nothing."""
    keys = keys_of(schema).items()
    names = {name.removeprefix("hparams.") for name, item in keys if item.metadata["of_loss"]}
    return {name for name in names if not LOSSES[loss].takes(name)}


def hemisphere_values(hparams: dict[str, Any], sides: Sequence[str | None]) -> dict[str, Any]:
    """Give each hemisphere's parameters as they take effect; a file of weights by its content, wherever it lies.

    A side that the network does not have takes the other one's, as it does in a study: its keys change nothing.
    """
    values = dict(hparams)
    for side in sides:
        values[PARAMETERS["plasticity"].spelled("plasticity", side)] = effective_plasticity(
            hparams, side
        )
        arch, weights = (PARAMETERS[name].spelled(name, side) for name in ("arch", "pretrained"))
        values[weights] = identity_of(values[arch], values.get(weights))
    if "left" in sides and "right" not in sides:
        for name, parameter in PARAMETERS.items():
            values[parameter.spelled(name, "right")] = values[parameter.spelled(name, "left")]
    return values


def fingerprint(identity: dict[str, Any]) -> str:
    """A short name for an identity: equal ones have equal names."""
    return f"{derive(0, repr(identity)):016x}"


def refuse_other_configuration(
    place: Path, identity: dict[str, Any], sources: dict[str, str], *, schema: type
) -> None:
    """Refuse a folder of another configuration: over all seeds of an arm it must be one, or their mean means nothing.

    Args:
        place: the stage's folder; those of the arm's other seeds lie beside it.
        identity: what `identify` says of the stage.
        sources: digests of the weights it builds on, which differ from seed to seed.
        schema: knows the values of keys that an identity leaves out.

    Raises:
        UserError: names the folder and what differs there.
    """
    for file in seed_files(place.parent, "fingerprint.yaml"):
        if not _holds_a_run(file.parent):
            continue
        theirs, ours = read_mapping(file), identity | {"sources": sources}
        if file.parent != place:
            theirs, ours = _over_seeds(theirs), _over_seeds(ours)
        there, here = dict(leaves(theirs)), dict(leaves(ours))
        different = [
            CHANGED.get(name)
            or f"{name} was {_shown(name, there, schema)} and is now {_shown(name, here, schema)}"
            for name in dict.fromkeys([*there, *here])
            # As text, because 1 batch and a share of 1.0 are equal as numbers.
            if repr(there.get(name)) != repr(here.get(name))
        ]
        _refuse(file.parent, different)


def refuse_other_images(place: Path, cfg: DictConfig, data: Mapping[str, Any]) -> None:
    """Refuse an experiment whose other arms saw other images: they are compared with each other.

    Digests are of one folder, and those of training images of some levels' labels: others say nothing of each other.

    Args:
        place: the stage's folder; those of other arms lie beside the arm's.
        cfg: the stage's configuration, which says what it reads.
        data: what `identify` says of its images.

    Raises:
        UserError: names the folder of the other arm and what differs there.
    """
    own = {"set", "images"} & data.keys()  # each seed sees others
    others = (arm for arm in place.parent.parent.glob("*") if arm != place.parent)
    for arm in sorted(others):
        # One of its runs is enough, for `refuse_other_configuration` holds its seeds together.
        runs = (
            file
            for file in seed_files(arm, "fingerprint.yaml")
            if _holds_a_run(file.parent) and (not own or file.parent.name == place.name)
        )
        file = next(runs, None)
        if file is None:
            continue
        theirs = read_mapping(file).get("data") or {}
        different = [use for use in ("train", "test") if theirs.get(use, data[use]) != data[use]]
        config = file.with_name("config.yaml")
        if different and config.is_file():
            there, here = _reads(read_mapping(config)), _reads(cfg)
            alike = [use for use in different if there[use] == here[use]]
            _refuse(file.parent, [CHANGED[f"data.{use}"] for use in alike])


def _reads(cfg: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Say of training and test images what of them a configuration reads, wherever they lie."""
    dataset = cfg["dataset"]
    return {
        "train": (Path(dataset["train_dir"]).name, cfg["hparams"]["mode"]),
        "test": Path(dataset["test_dir"]).name,
    }


def _refuse(place: Path, different: Sequence[str]) -> None:
    """Refuse to go on beside a run from which something differs; nothing differs, nothing happens."""
    if different:
        raise UserError(
            f"{place} holds a run of another configuration ({'; '.join(different)}): "
            "choose another exp_name, or give fresh=true."
        )


def _holds_a_run(place: Path) -> bool:
    """Say whether a stage came as far as a checkpoint; one that failed before left nothing to be mixed up with."""
    return (place / "result.yaml").is_file() or any(place.glob("checkpoints/*.ckpt"))


def _over_seeds(identity: dict[str, Any]) -> dict[str, Any]:
    """Leave out of an identity what may differ between the seeds of an arm."""
    data = identity["data"]
    if "set" in data or "images" in data:
        differ = ("train", "test") if "set" in data else ("train",)
        data = {name: value for name, value in data.items() if name not in differ}
        identity = identity | {"data": data, "hemispheres": {}}
    return identity | {"sources": {}}


def _shown(name: str, identity: dict[str, Any], schema: type) -> str:
    """Write a value of an identity; one that is left out is the neutral value of its key."""
    item = keys_of(schema).get(name)
    neutral = item.metadata["neutral"] if item else None
    value = identity.get(name, None if neutral is ALWAYS else neutral)
    return str(value).lower() if isinstance(value, bool) else show(value)
