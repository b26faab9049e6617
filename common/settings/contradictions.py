"""Refuse a group of the command line that an uncommented key in a config.yaml contradicts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from common.settings.checks import leaves, plain_value, show
from common.settings.schema import GROUPS, keys_of
from common.settings.variants import load_yaml
from common.system.errors import UserError


def refuse_contradictions(
    cfg: DictConfig,
    schema: type,
    folders: Sequence[Path],
    given: Mapping[str, str],
    config_name: str,
) -> None:
    """A group chosen on the command line must not lose silently to an uncommented key in a config.yaml.

    Args:
        cfg: as Hydra composed it.
        schema: the dataclass that describes it.
        folders: where YAML files of groups lie, the one of ``config_name`` first.
        given: the overrides by key.
        config_name: the YAML file that was composed.

    Raises:
        UserError: names the file and the key in it.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    for group in (group for group in GROUPS if group in given):
        theirs = _group_values(folders, group, given[group])
        for file, body in _bodies(folders[0], config_name):
            for name, value in leaves(body):
                source = theirs.get(name, _owner(plain, schema, name, group))
                # What is taken from elsewhere in the group follows it; what the group leaves open must be given.
                if (
                    name in given
                    or source in (None, "???")
                    or str(value).startswith(f"${{{group}.")
                ):
                    continue
                wanted = OmegaConf.create({"value": source}, parent=cfg).value
                found = OmegaConf.select(cfg, name)
                if _scalar(wanted) != _scalar(found):
                    raise UserError(
                        f"{group}={given[group]} says {name}={show(wanted)}, but {file} has {name}: {show(found)} "
                        f"uncommented: comment that line out, or give {name}=... on the command line."
                    )


def _owner(plain: Any, schema: type, name: str, group: str) -> str | None:
    """The interpolation that a key has by default, if it leads to ``group``, maybe by way of another group."""
    item = keys_of(schema).get(name)
    default = link = str(item.default) if item else ""
    while link.startswith("${") and link.endswith("}"):
        if link.startswith(f"${{{group}."):
            return default
        link = str(plain_value(plain, link[2:-1]))
    return None


def _bodies(config_dir: Path, config_name: str) -> Iterator[tuple[Path, dict]]:
    """The YAML files of an experiment folder that make up a configuration, each without its defaults list.

    But for variants, which are built on another one of the folder: what they change was asked for by their name.
    """
    file = config_dir / f"{config_name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        return
    body = load_yaml(file)
    under = [item for item in body.pop("defaults", []) if isinstance(item, str)]
    variant = False
    for item in (item for item in under if item != "_self_"):
        variant |= (config_dir / f"{item}.yaml").is_file()
        yield from _bodies(config_dir, item)
    body.pop("hydra", None)
    if not variant:
        yield file, body


def _group_values(folders: Sequence[Path], group: str, option: str) -> dict[str, Any]:
    for directory in folders:
        file = directory / group / f"{option}.yaml"
        if file.is_file():
            return dict(leaves(load_yaml(file), f"{GROUPS[group]}."))
    return {}


def _scalar(value: Any) -> Any:
    """YAML reads 1e-3 as text, Hydra as a number: compare numbers as numbers."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value
