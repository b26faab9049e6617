"""The configuration of each arm: what its own command would run with, under what the study says."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from common.settings.compose import compose_unchecked, finish, with_variant
from study.arms import ARMS
from study.overrides import FOLDERS, overrides_for

# What study=NAME puts before the command line.
PRESETS = {
    "sound": (),
    # As published, with the test images for validation too, so that its numbers can be compared.
    "paper": ("recipe=paper", "dataset.val_dir=${dataset.test_dir}"),
}


def configurations(
    arms: Sequence[str], cfg: DictConfig, overrides: Sequence[str], seeds: list[int]
) -> dict[str, DictConfig]:
    """Give the checked configuration of each arm.

    Args:
        arms: their names.
        cfg: the study's own keys.
        overrides: its command line.
        seeds: of the study.

    Raises:
        UserError: what the folders' own commands would refuse.
    """
    # Hydra takes a tenth of a second each time; most arms share all but their own YAML file.
    shared: dict[tuple[str, ...], DictConfig] = {}
    found = {}
    for arm in arms:
        row = ARMS[arm]
        directory, schema = FOLDERS[row.folder]
        given = overrides_for(row.folder, [*PRESETS[cfg.study], *overrides], row.specialities)
        name = row.config or arm
        place = (row.folder, *given)
        if place not in shared:
            shared[place] = compose_unchecked(directory, schema=schema, overrides=given)
        composed = with_variant(shared[place], directory / "config", name, given)
        if composed is None:
            composed = compose_unchecked(
                directory, schema=schema, overrides=given, config_name=name
            )
        found[arm] = finish(
            composed,
            schema=schema,
            folder=directory,
            overrides=given,
            config_name=name,
            values=_values(arm, cfg, seeds),
        )
    return found


def _values(arm: str, cfg: DictConfig, seeds: list[int]) -> dict[str, Any]:
    """What the study's own keys say of an arm, by the keys of its folder."""
    row = ARMS[arm]
    values: dict[str, Any] = {"seeds": seeds, "evaluate": cfg.evaluate}
    single = row.folder == "single"
    if single:
        (values["hparams.mode"],) = row.specialities
    for key, level in zip(
        ("arch",) if single else ("farch", "carch"), row.specialities, strict=True
    ):
        arch = cfg[f"{level[0]}arch"] or cfg.arch
        if arch:
            values[f"hparams.{key}"] = arch
    epochs = cfg.epochs.get(row.alias or arm)
    if epochs:
        values["trainer_params.max_epochs"] = epochs
    return values
