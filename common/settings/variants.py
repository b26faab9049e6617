"""Variants: YAML files of an experiment folder that are built on its config.yaml."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from common.settings.checks import leaves
from common.settings.overrides import override_keys
from common.settings.schema import GROUPS
from common.system.errors import UserError


def load_yaml(file: Path) -> Any:
    """The content of a YAML file in plain containers, interpolations as they are."""
    return deepcopy(_read(file, file.stat().st_mtime_ns))


@cache
def _read(file: Path, changed: int) -> Any:
    # A study of all arms asks a hundred times for a dozen files.
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def refuse_without_defaults(config_dir: Path, config_name: str) -> None:
    """Refuse a YAML file that is built on no other one, or whose own keys that one would overwrite.

    Without a schema and groups no key has a meaning.

    Raises:
        UserError: names the file and what it must begin with.
    """
    file = config_dir / f"{config_name.removesuffix('.yaml')}.yaml"
    body = load_yaml(file) if file.is_file() else {"defaults": []}
    if isinstance(body, dict) and not isinstance(body.get("defaults"), list):
        raise UserError(
            f"{file} has no defaults list; a variant of config.yaml begins with defaults: [config, _self_]."
        )
    defaults = body["defaults"] if isinstance(body, dict) else []
    after = defaults[defaults.index("_self_") :] if "_self_" in defaults else []
    for name in after[1:]:
        if isinstance(name, str) and (config_dir / f"{name}.yaml").is_file():
            raise UserError(
                f"{file}: {name} stands after _self_ in its defaults list and would overwrite this file's keys; "
                f"allowed: [{name}, _self_]."
            )


def refuse_what_is_not_read(config_dir: Path, config_name: str, schema: type) -> None:
    """Refuse keys and groups in a YAML file whose schema hands them on: only those of the command line are.

    Raises:
        UserError: names the file, the first of them, and where it is read.
    """
    if not hasattr(schema, "open_keys"):
        return
    sections = {name.partition(".")[0] for name in schema.open_keys()}
    file = config_dir / f"{config_name.removesuffix('.yaml')}.yaml"
    body = load_yaml(file) if file.is_file() else None
    if not isinstance(body, dict):
        return
    defaults = body.get("defaults", [])
    choices = (
        (str(group).split()[-1].lstrip("/"), option)  # of "override /group" too
        for item in defaults
        if isinstance(item, dict)
        for group, option in item.items()
    )
    unread = [
        *(
            f"{group}: {option}"
            for group, option in choices
            if group in GROUPS and option is not None
        ),
        *(name for name in body if name in sections),
    ]
    if unread:
        raise UserError(
            f"{file} sets {unread[0]}, which is not read there: give it on the command line, or set it in "
            "arch_single_head/config/config.yaml and arch_dual_head/config/config.yaml."
        )
    for name in defaults:
        if isinstance(name, str) and name != "_self_":
            refuse_what_is_not_read(config_dir, name, schema)


def with_variant(
    cfg: DictConfig, config_dir: Path, config_name: str, overrides: Sequence[str]
) -> DictConfig | None:
    """Lay a variant of config.yaml on what Hydra composed of config.yaml itself, in a tenth of Hydra's time.

    Args:
        cfg: config.yaml of ``config_dir``, composed with the overrides and not finished.
        config_dir: holds the variant.
        config_name: its file.
        overrides: of the command line, which are stronger than the variant.

    Returns:
        What Hydra would compose of the variant with these overrides, or None if only Hydra can: the variant
        builds on more than config.yaml and plain files beside it.
    """
    if config_name == "config":
        return cfg
    layers = _plain_layers(config_dir, config_name)
    if layers is None:
        return None
    cfg, given = cfg.copy(), override_keys(overrides)
    for name, value in (leaf for layer in layers for leaf in leaves(layer)):
        if name not in given:
            OmegaConf.update(cfg, name, value)
    return cfg


def _plain_layers(config_dir: Path, config_name: str) -> list[dict] | None:
    """The YAML files that a variant lays on config.yaml, one after another; None if they are more than that."""
    layers = []
    for name in _plain_defaults(config_dir / f"{config_name}.yaml"):
        file = config_dir / f"{config_name if name == '_self_' else name}.yaml"
        body = load_yaml(file) if file.is_file() else None
        if not isinstance(body, dict) or "@package" in file.read_text(encoding="utf-8"):
            return None
        if name != "_self_" and "defaults" in body:
            return None
        layers.append(
            {key: value for key, value in body.items() if key not in ("defaults", "hydra")}
        )
    return layers or None


def _plain_defaults(file: Path) -> list[str]:
    """The defaults list of a variant without config, which it begins with; empty if it holds groups."""
    body = load_yaml(file) if file.is_file() else None
    defaults = body.get("defaults") if isinstance(body, dict) else None
    if not isinstance(defaults, list) or not all(isinstance(item, str) for item in defaults):
        return []
    return defaults[1:] if defaults[:1] == ["config"] and defaults[1:][-1:] == ["_self_"] else []
