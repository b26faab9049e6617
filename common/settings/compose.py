"""From a composed Hydra configuration to a checked one: unknown keys, ranges, precedence and paths."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from common.settings.arguments import check_keys
from common.settings.checks import check_values, leaves, plain_value, show
from common.settings.schema import GROUPS, is_known, keys_of, schema_name
from common.settings.suggestions import unknown_key
from common.system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "common" / "config"


class SharedGroups(SearchPathPlugin):
    """Lets Hydra find the groups, whichever YAML file a command starts from.

    Hydra reads `hydra.searchpath` in that file alone, so that a variant built on config.yaml would have to repeat it.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Look in common/config after the experiment folder's own."""
        search_path.append("bilateral", "pkg://common.config")


Plugins.instance().register(SharedGroups)


@cache
def register(schema: type) -> None:
    """Make a schema known to Hydra, under the name that the YAML files use.

    Only one that is needed: for each group that --help lists, Hydra copies all that it knows.
    """
    node = OmegaConf.structured(schema)
    for name in schema.open_keys() if hasattr(schema, "open_keys") else []:
        OmegaConf.update(node, name, "???")
    ConfigStore.instance().store(name=schema_name(schema), node=node)


def compose(
    folder: Path,
    *,
    schema: type,
    overrides: Sequence[str],
    config_dir: Path | None = None,
    config_name: str = "config",
) -> DictConfig:
    """The checked configuration that a command would run with, by default ``folder``'s trainer.py.

    Arguments are those of `common.settings.command.command`, and the overrides of its command line.
    """
    cfg = compose_unchecked(
        folder,
        schema=schema,
        overrides=overrides,
        config_dir=config_dir,
        config_name=config_name,
    )
    return finish(cfg, schema=schema, folder=folder, overrides=overrides, config_name=config_name)


def compose_unchecked(
    folder: Path,
    *,
    schema: type,
    overrides: Sequence[str],
    config_dir: Path | None = None,
    config_name: str = "config",
) -> DictConfig:
    """The configuration as Hydra composes it: what `finish` takes. Arguments are those of `compose`."""
    refuse_malformed(overrides)
    check_keys(overrides, schema)
    refuse_without_defaults(config_dir or folder / "config", config_name)
    # Again: in a process of joblib's the registration above is lost.
    Plugins.instance().register(SharedGroups)
    register(schema)
    # Within a command Hydra is at work already: step aside, and come back.
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir or folder / "config"), version_base="1.3"):
            return hydra.compose(config_name, overrides=[*overrides, *_same_search(around)])
    finally:
        GlobalHydra.instance().clear()
        if around is not None:
            GlobalHydra.instance().initialize(around)


def also_in(config_dir: str | Path) -> list[str]:
    """What lets Hydra find groups in another folder too, as --config-dir does for the command itself."""
    return spelled({"hydra.searchpath": [f"file://{Path(config_dir).absolute()}"]})


def _same_search(around: Any) -> list[str]:
    """The same of the Hydra that is at work around, for a configuration that is composed within a command."""
    places = around.config_loader.get_search_path().get_path() if around is not None else []
    given = [place.path for place in places if place.provider == "command-line"]
    return also_in(given[0].removeprefix("file://")) if given else []


def refuse_without_defaults(config_dir: Path, config_name: str) -> None:
    """Refuse a YAML file that is built on no other one: without a schema and groups no key has a meaning.

    Raises:
        UserError: names the file and what it must begin with.
    """
    file = config_dir / f"{config_name.removesuffix('.yaml')}.yaml"
    body = _load(file) if file.is_file() else {"defaults": []}
    if isinstance(body, dict) and not isinstance(body.get("defaults"), list):
        raise UserError(
            f"{file} has no defaults list; a variant of config.yaml begins with defaults: [config, _self_]."
        )


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
        body = _load(file) if file.is_file() else None
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
    body = _load(file) if file.is_file() else None
    defaults = body.get("defaults") if isinstance(body, dict) else None
    if not isinstance(defaults, list) or not all(isinstance(item, str) for item in defaults):
        return []
    return defaults[1:] if defaults[:1] == ["config"] and defaults[1:][-1:] == ["_self_"] else []


def _load(file: Path) -> Any:
    """The content of a YAML file in plain containers, interpolations as they are."""
    return deepcopy(_read(file, file.stat().st_mtime_ns))


@cache
def _read(file: Path, changed: int) -> Any:
    # A study of all arms asks a hundred times for a dozen files.
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


def spelled(keys: Mapping[str, Any]) -> list[str]:
    """Python values as a command line spells them: {"epochs": {"fine": 2}} as epochs.fine=2."""
    return [f"{name}={_text(value)}" for name, value in leaves(keys)]


def quoted(argument: str, names: Sequence[str]) -> str:
    """An argument of a command line whose value is a path, if it is of one of these keys, as Hydra takes any path.

    Left alone is what Hydra reads as text, as a list, as a number or as a word of its own.
    """
    name, _, value = argument.partition("=")
    read = not value or value[0] in "['\"" or value in ("null", "true", "false")
    if name not in names or read or value.isdecimal():
        return argument
    return spelled({name: value})[0]


def quoted_paths(arguments: Sequence[str], schema: type) -> list[str]:
    """A command line whose paths hold what they like, ``=`` and ``[`` too: see `quoted`. A sweep is left as it is."""
    if any(option in arguments for option in ("--multirun", "-m")):
        return list(arguments)
    names = [name for name, item in keys_of(schema).items() if item.metadata.get("path")]
    return [quoted(argument, names) for argument in arguments]


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple | range):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, int | float):
        return str(value)
    return QuotedString(str(value), Quote.double).with_quotes()


def refuse_malformed(overrides: Sequence[str]) -> None:
    """Refuse what Hydra would take for something else: no key, a removed key, a group that is no name.

    Raises:
        UserError: shows the override.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        if not key and override:
            raise UserError(f"{override!r} names no key; allowed: KEY=VALUE.")
        if key.startswith("~"):
            raise UserError(f"{override}: a key cannot be removed; give it a value, {key[1:]}=...")
        group = key.lstrip("+").split("@")[0]
        named = not value.startswith(("[", "${")) and value != "_self_"
        if not named and (group in GROUPS or group.startswith("hydra/")):
            raise UserError(f"{override!r}: a group takes one name, {group}=NAME.")


def override_keys(overrides: Sequence[str]) -> dict[str, str]:
    """Key and value text of each override; `+` and `++` are dropped, a mapping counts as the keys in it."""
    found: dict[str, str] = {}
    for override in overrides:
        key, _, text = override.partition("=")
        key = key.lstrip("+~").split("@")[0]
        value = (
            OverridesParser.create().parse_override(override).value() if text[:1] == "{" else text
        )
        if isinstance(value, dict):
            found |= {f"{key}.{name}": json.dumps(leaf) for name, leaf in leaves(value)}
        else:
            found[key] = text
    return found


def finish(
    cfg: DictConfig,
    *,
    schema: type,
    folder: Path,
    overrides: Sequence[str],
    config_name: str = "config",
    values: Mapping[str, Any] | None = None,
    check: bool = True,
) -> DictConfig:
    """The configuration that a run uses: checked, resolved, with absolute paths.

    Args:
        cfg: as Hydra composed it, without its `hydra` node.
        schema: the dataclass that describes it.
        folder: what relative paths in YAML files are relative to.
        overrides: the command line's, whose paths are relative to the working directory.
        config_name: the YAML file under ``folder/config`` that was composed.
        values: further values by dotted key, stronger than the overrides.
        check: whether values that are not allowed are refused; not of what is read and never run.

    Raises:
        UserError: unknown key, value that is not allowed, or a group that an uncommented key contradicts.
    """
    cfg = cfg.copy()
    for name, value in (values or {}).items():
        OmegaConf.update(cfg, name, value)
    given = override_keys(overrides) | dict.fromkeys(values or {}, "")
    _refuse_unknown_keys(cfg, schema)
    _refuse_contradictions(cfg, schema, folder, given, config_name)
    paths = {
        name: item.metadata.get("unless")
        for name, item in keys_of(schema).items()
        if item.metadata.get("path")
    }
    written = OmegaConf.to_container(cfg, resolve=False)
    with open_dict(cfg):
        for name, unless in paths.items():
            # Before interpolations are resolved: one may read a file of a folder that is named here.
            if name in given or name == "dataset.root":
                value = plain_value(written, name)
                base = Path.cwd() if name in given else folder
                absolute = _absolute(value, base, unless)
                if absolute != value:
                    OmegaConf.update(cfg, name, absolute, merge=False)
    plain = _resolve(cfg, schema)
    for name, unless in paths.items():
        *sections, last = name.split(".")
        section = plain_value(plain, ".".join(sections)) if sections else plain
        if isinstance(section, dict) and last in section:
            section[last] = _absolute(section[last], folder, unless)
    resolved = OmegaConf.create(plain)
    if check:
        check_values(resolved, schema)
    if OmegaConf.is_missing(resolved, "checkpoint"):
        raise UserError("checkpoint has no value: give checkpoint=PATH.")
    return resolved


def _refuse_unknown_keys(cfg: DictConfig, schema: type) -> None:
    for name, _ in leaves(OmegaConf.to_container(cfg, resolve=False)):
        # A key such as model_path_fine may itself hold a mapping-free list: only its own name counts.
        if not is_known(schema, name):
            raise unknown_key(name, schema)


def _refuse_contradictions(
    cfg: DictConfig, schema: type, folder: Path, given: dict[str, str], config_name: str
) -> None:
    """A group chosen on the command line must not lose silently to an uncommented key in a config.yaml."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    for group in (group for group in GROUPS if group in given):
        theirs = _group_values(folder, group, given[group])
        for file, body in _bodies(folder / "config", config_name):
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
    body = _load(file)
    under = [item for item in body.pop("defaults", []) if isinstance(item, str)]
    variant = False
    for item in (item for item in under if item != "_self_"):
        variant |= (config_dir / f"{item}.yaml").is_file()
        yield from _bodies(config_dir, item)
    body.pop("hydra", None)
    if not variant:
        yield file, body


def _group_values(folder: Path, group: str, option: str) -> dict[str, Any]:
    for directory in (folder / "config", SHARED):
        file = directory / group / f"{option}.yaml"
        if file.is_file():
            return dict(leaves(_load(file), f"{GROUPS[group]}."))
    return {}


def _scalar(value: Any) -> Any:
    """YAML reads 1e-3 as text, Hydra as a number: compare numbers as numbers."""
    try:
        return value if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def _resolve(cfg: DictConfig, schema: type) -> dict:
    """A plain dictionary without interpolations, with what the schema leaves open left out."""
    if getattr(schema, "partial", False):
        return dict(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    for name, value in leaves(OmegaConf.to_container(cfg, resolve=False)):
        if value == "???":
            help = keys_of(schema)[name].metadata["help"]
            raise UserError(f"{name} has no value: give {name}=... ({help}).")
    return dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]


def _absolute(value: Any, base: Path, unless: str | None = None) -> Any:
    """A path, or each path of a list, made absolute; what is no path, or matches `unless`, as it is."""
    if isinstance(value, list):
        return [_join(base, str(item)) for item in value]
    path = isinstance(value, str) and value and not value.startswith("${") and value != "???"
    path = path and not (unless and re.fullmatch(unless, value))
    return _join(base, value) if path else value


def _join(base: Path, path: str) -> str:
    # normpath, not resolve: a symbolic link in the user's path is the user's choice.
    return os.path.normpath(base / expanded(path))


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path in which ``~`` is the user's folder; a name that begins with ~ and is no user's is that of a file."""
    # Path.expanduser would raise for the latter.
    return Path(os.path.expanduser(path))


def path_of(value: object, name: str, allowed: str) -> Path:
    """The path that a caller from Python gives as an argument.

    Raises:
        UserError: another value, with the argument's name and what is allowed.
    """
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name} is {value!r}; allowed: {allowed}.")
    return expanded(value)
