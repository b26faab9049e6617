"""From a composed Hydra configuration to a checked one: unknown keys, ranges, precedence and paths."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict

from common.settings.arguments import check_keys
from common.settings.checks import check_values, leaves, plain_value
from common.settings.contradictions import refuse_contradictions
from common.settings.overrides import override_keys, refuse_malformed, spelled
from common.settings.paths import absolute
from common.settings.schema import is_known, keys_of, schema_name
from common.settings.suggestions import unknown_key
from common.settings.variants import refuse_what_is_not_read, refuse_without_defaults
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
    refuse_what_is_not_read(config_dir or folder / "config", config_name, schema)
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
    refuse_contradictions(cfg, schema, [folder / "config", SHARED], given, config_name)
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
                whole = absolute(value, base, unless)
                if whole != value:
                    OmegaConf.update(cfg, name, whole, merge=False)
    plain = _resolve(cfg, schema)
    for name, unless in paths.items():
        *sections, last = name.split(".")
        section = plain_value(plain, ".".join(sections)) if sections else plain
        if isinstance(section, dict) and last in section:
            section[last] = absolute(section[last], folder, unless)
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


def _resolve(cfg: DictConfig, schema: type) -> dict:
    """A plain dictionary without interpolations, with what the schema leaves open left out."""
    if getattr(schema, "partial", False):
        return dict(OmegaConf.to_container(cfg, resolve=False))  # type: ignore[arg-type]
    for name, value in leaves(OmegaConf.to_container(cfg, resolve=False)):
        if value == "???":
            help = keys_of(schema)[name].metadata["help"]
            raise UserError(f"{name} has no value: give {name}=... ({help}).")
    return dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
