"""Arguments of a command line, as Hydra reads them and as a person may write them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString

from common.settings.checks import leaves
from common.settings.schema import GROUPS, keys_of
from common.system.errors import UserError


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
