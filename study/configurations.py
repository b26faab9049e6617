"""The configuration of each arm: what its own command would run with, under what the study says."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from common.settings.checks import plain_value
from common.settings.compose import compose_unchecked, finish
from common.settings.overrides import override_keys, spelled
from common.settings.variants import load_yaml, with_variant
from common.system.errors import UserError
from study.arms import ARMS, CONNECTS, PARTS, Arm, refuse_another_name
from study.overrides import FOLDERS, overrides_for
from study.schema import asymmetries
from study.trained_models import recorded_epochs

CALLOSUM = "hparams.callosum."
LOSS = "hparams.loss"
BACKBONES = ("arch", "farch", "carch")  # which are a study's own keys


def preset(cfg: DictConfig) -> list[str]:
    """What study=NAME puts before the command line.

    Raises:
        UserError: an asymmetry is missing, or has no meaning.
    """
    if (cfg.study == "asymmetry") != (cfg.asymmetry is not None):
        raise UserError(
            f"study=asymmetry and asymmetry=NAME belong together: give both, NAME one of {', '.join(asymmetries())}."
        )
    if cfg.study == "paper":
        # As published, with the test images for validation too, so that its numbers can be compared.
        return ["recipe=paper", "dataset.val_dir=${dataset.test_dir}"]
    if cfg.study == "asymmetry":
        own = {name: value for name, value in _nature(cfg).items() if name not in BACKBONES}
        return spelled({"hparams": own})
    if cfg.study == "callosum":
        return [f"{CALLOSUM}kind=add"]
    return []


def _nature(cfg: DictConfig) -> dict[str, Any]:
    """What the asymmetry of a study says of hemispheres, by keys of hparams of arch_dual_head; else nothing."""
    if cfg.asymmetry is None:
        return {}
    nature: Any = OmegaConf.load(asymmetries()[cfg.asymmetry])
    hparams: Any = OmegaConf.to_container(nature.hparams, resolve=False)
    return hparams


def configurations(
    arms: Sequence[str],
    cfg: DictConfig,
    overrides: Sequence[str],
    seeds: list[int],
    trained: Mapping[str, Sequence[str]],
) -> dict[str, DictConfig]:
    """Give the checked configuration of each arm.

    Args:
        arms: their names.
        cfg: the study's own keys.
        overrides: its command line.
        seeds: of the study.
        trained: checkpoints, one per seed, of arms that are not trained.

    Raises:
        UserError: what the folders' own commands would refuse.
    """
    _refuse_callosum_of_none(arms, overrides)
    configured = partial(
        _configuration, cfg=cfg, overrides=[*preset(cfg), *overrides], seeds=seeds, shared={}
    )
    found: dict[str, DictConfig] = {}

    @cache
    def epochs(arm: str) -> Any:
        if arm in trained:
            return recorded_epochs(arm, trained[arm])
        # One that is not run need not be fit to run.
        config = found.get(arm) or configured(arm, check=False)
        return config.trainer_params.max_epochs

    for arm in arms:
        found[arm] = configured(arm, values=_equal_training(arm, cfg, epochs))
    return found


def _configuration(
    arm: str,
    *,
    cfg: DictConfig,
    overrides: Sequence[str],
    seeds: list[int],
    shared: dict[tuple[str, ...], DictConfig],
    values: Mapping[str, Any] = MappingProxyType({}),
    check: bool = True,
) -> DictConfig:
    """The configuration of one arm.

    Args:
        arm: its name.
        cfg: the study's own keys, and ``seeds`` its seeds.
        overrides: its command line, after what its kind of study says.
        seeds: see ``cfg``.
        shared: what Hydra has composed for the arms before, which this one may share.
        values: further ones by the keys of its folder, stronger than all others.
        check: whether what its folder's own command would refuse is refused.
    """
    row = ARMS[arm]
    directory, schema = FOLDERS[row.folder]
    given = _concerning(row, overrides_for(row.folder, overrides, row.specialities))
    name = row.config or arm
    if not (directory / "config" / f"{name}.yaml").is_file():
        raise UserError(
            f"study/arms.py has a row {arm}, but {directory.name}/config/{name}.yaml is not there: add the file, "
            "or remove the row."
        )
    given = _keeping_its_loss(arm, directory / "config" / f"{name}.yaml", given)
    place = (row.folder, *given)
    # Hydra takes a tenth of a second each time; most arms share all but their own YAML file.
    if place not in shared:
        shared[place] = compose_unchecked(directory, schema=schema, overrides=given)
    composed = with_variant(shared[place], directory / "config", name, given)
    if composed is None:
        composed = compose_unchecked(directory, schema=schema, overrides=given, config_name=name)
    config = finish(
        composed,
        schema=schema,
        folder=directory,
        overrides=given,
        config_name=name,
        values=_values(arm, cfg, seeds) | dict(values),
        check=check,
    )
    if row.folder == "dual":
        refuse_another_name(name, config.arm)
    if row.callosum == CONNECTS and config.hparams.callosum.kind is None:
        raise UserError(
            f"{CALLOSUM}kind is null, and {arm} is a network with a callosum: give another kind, or leave it out "
            "of arms."
        )
    return config


def _refuse_callosum_of_none(arms: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse keys of a callosum where no arm has one."""
    given = [
        key for key in override_keys(overrides) if key.removeprefix("dual.").startswith(CALLOSUM)
    ]
    if given and not any(ARMS[arm].callosum == CONNECTS for arm in arms):
        having = " and ".join(arm for arm, row in ARMS.items() if row.callosum == CONNECTS)
        raise UserError(
            f"{given[0]} concerns {having}, of which arms names none: add one, or give study=callosum."
        )


def _concerning(row: Arm, given: Sequence[str]) -> list[str]:
    """Those overrides that concern an arm: keys of a callosum only where one connects hemispheres, or says a size."""
    return [one for one in given if row.callosum or not one.startswith(CALLOSUM)]


def _keeping_its_loss(arm: str, file: Path, given: Sequence[str]) -> list[str]:
    """The overrides without a loss, where the arm's own file says one: with another it would be another arm."""
    own = plain_value(load_yaml(file), LOSS) if file.stem != "config" else None
    if own is None or override_keys(given).get(LOSS, own) == own:
        return [*given]
    print(f"{arm} keeps {LOSS}={own}, which makes it this arm: {LOSS} is that of the other arms.")
    return [one for one in given if LOSS not in override_keys([one])]


def _equal_training(arm: str, cfg: DictConfig, epochs: Callable[[str], Any]) -> dict[str, Any]:
    """What `budget` says of an arm that is trained as much as the reference; ``epochs`` gives those of its parts."""
    if not ARMS[arm].equal_training or cfg.epochs.get(ARMS[arm].alias or arm):
        return {}
    if cfg.budget == "recipe":
        return {"recipe.dual.max_epochs": "${recipe.single.max_epochs}"}
    said = {f"bilateral_epochs.{part}": epochs(one) for part, one in PARTS.items()}
    return said | {"trainer_params.max_epochs": None}


def _values(arm: str, cfg: DictConfig, seeds: list[int]) -> dict[str, Any]:
    """What the study's own keys say of an arm, by the keys of its folder."""
    row = ARMS[arm]
    values: dict[str, Any] = {"seeds": seeds, "evaluate": cfg.evaluate}
    single = row.folder == "single"
    if single:
        values["hparams.mode"] = row.learns or row.specialities[0]
    for key, level in zip(
        ("arch",) if single else ("farch", "carch"), row.specialities, strict=True
    ):
        own = f"{level[0]}arch"
        arch = cfg[own] or cfg.arch or _nature(cfg).get(own)
        if arch:
            values[f"hparams.{key}"] = arch
    epochs = cfg.epochs.get(row.alias or arm)
    if epochs:
        values["trainer_params.max_epochs"] = epochs
    return values
