"""What a configuration may hold: every key known, every value of its kind and range; the sentence where one is not."""

from collections.abc import Collection, Iterator
from dataclasses import Field
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf

from common.settings.schema import keys_of
from common.settings.suggestions import closest, takes_list
from common.system.errors import UserError, checkpoint_in

# What `is_folder_name` allows, in words.
NAME_RULE = "a folder name of at most 150 characters without / and ="


def allowed(item: Field) -> str:
    """What a key may be, in words."""
    rule = item.metadata
    if rule.get("words"):
        return str(rule["words"])
    if rule.get("choices"):
        names = [_as_yaml(choice) for choice in rule["choices"]]
        prefix = rule.get("prefix")
        return ", ".join([*names, *([f"{prefix}NAME"] if prefix else [])])
    kinds = get_args(item.type) or (item.type,)
    if takes_list(item):
        words = "a list of integers, such as [0,1]"
    elif bool in kinds:
        words = "true or false"
    elif rule.get("path"):
        words = "a path" if str in kinds else "a path, a list of paths, or null"
    elif str in kinds:
        words = "text"
    else:
        words = "an integer" if int in kinds else "a number"
        bounds = (("above", "above"), ("low", "at least"), ("high", "at most"))
        found = [f"{word} {rule[name]:g}" for name, word in bounds if rule.get(name) is not None]
        words = f"{words} {' and '.join(found)}".rstrip()
    return f"{words}, or null" if type(None) in kinds else words


def check_values(cfg: DictConfig, schema: type) -> None:
    """Refuse what the schema does not allow.

    Raises:
        UserError: names the key, its value and what is allowed.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    for name, item in keys_of(schema).items():
        rule = item.metadata
        value = plain_value(plain, name)
        if isinstance(value, str) and (value == "???" or value.startswith("${")):
            continue
        prefix = rule.get("prefix")
        if prefix and isinstance(value, str) and value.startswith(prefix) and value != prefix:
            continue
        if rule.get("choices") and not _is_one_of(value, rule["choices"]):
            close = closest(str(value), map(str, rule["choices"]))
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(f"{name} is {show(value)}; allowed: {allowed(item)}{hint}.")
        bounds = {bound: rule.get(bound) for bound in ("above", "low", "high")}
        if all(bound is None for bound in bounds.values()):
            continue
        # Of a key with one type OmegaConf has refused null by now.
        if value is None and (item.type is not Any or item.default is None):
            continue
        above, low, high = bounds["above"], bounds["low"], bounds["high"]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Written so that NaN, which compares as false, is refused.
        if not (
            number
            and (above is None or value > above)
            and (low is None or value >= low)
            and (high is None or value <= high)
            and value < float("inf")
        ):
            raise UserError(f"{name} is {show(value)}; allowed: {allowed(item)}.")
    if hasattr(schema, "check"):
        schema.check(cfg)
    _check_names(cfg, plain)
    _refuse_empty_paths(plain, schema)


def refuse_missing_paths(cfg: DictConfig, schema: type) -> None:
    """Refuse a path that must be there when a command starts and is not, before anything large is imported.

    Raises:
        UserError: names the key and the path.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    for name, item in keys_of(schema).items():
        kind, value = item.metadata.get("exists"), plain_value(plain, name)
        for path in value if isinstance(value, list) else [value]:
            if kind and isinstance(path, str) and path != "???":
                _refuse_missing(name, Path(path), kind)


def _refuse_missing(name: str, path: Path, kind: str) -> None:
    """Refuse a path that is not there, or a folder in place of a file, or a file in place of a folder."""
    if kind == "file" and path.is_dir():
        inside = checkpoint_in(path)
        hint = f": give a file, such as {name}={inside}" if inside else "; allowed: a file"
        raise UserError(f"{name}={path} is a folder{hint}.")
    if kind == "folder" and path.is_file():
        raise UserError(f"{name}={path} is a file; allowed: a folder.")
    if not path.exists():
        raise UserError(f"{name}={path} is not there: correct the path (here is {Path.cwd()}).")


def _check_names(cfg: DictConfig, plain: Any) -> None:
    seeds = OmegaConf.select(cfg, "seeds")
    if seeds is not None and (
        not seeds
        or len(set(seeds)) != len(seeds)
        or not all(isinstance(s, int) and 0 <= s < 2**32 for s in seeds)
    ):
        raise UserError(
            f"seeds is {seeds}; allowed: a list of different integers from 0 to 2^32 - 1."
        )
    for key in ("exp_name", "arm"):
        name = OmegaConf.select(cfg, key)
        if name is not None and not is_folder_name(name):
            raise UserError(f"{key} is {show(name)}; allowed: {NAME_RULE}.")
    # Only a part of a folder's name, so "/" in it is found there.
    name = plain_value(plain, "dataset.name")
    if isinstance(name, str) and not name.strip():
        raise UserError(f"dataset.name is {show(name)}; allowed: {NAME_RULE}.")


def _refuse_empty_paths(plain: Any, schema: type) -> None:
    """Refuse an empty path: it would be the working directory, or with more behind it the file system's root."""
    for name, item in keys_of(schema).items():
        if item.metadata.get("path") and plain_value(plain, name) == "":
            raise UserError(f"{name} has no value; allowed: {allowed(item)}.")


def is_folder_name(name: Any) -> bool:
    """Whether a value may be the name of an experiment's or an arm's folder."""
    return (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and "/" not in name
        and "=" not in name
        and len(name) <= 150
        and name.isprintable()
    )


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything in a plain dictionary that is not itself a dictionary."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def plain_value(node: Any, name: str) -> Any:
    """A key's value in a plain dictionary; None where there is none."""
    for part in name.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _is_one_of(value: Any, choices: Collection[Any]) -> bool:
    """Whether a value is a choice; 0 and 1, which equal false and true, are other values than these."""
    return any(type(value) is type(choice) and value == choice for choice in choices)


def _as_yaml(choice: Any) -> str:
    return "null" if choice is None else str(choice).lower() if choice in (True, False) else choice


def show(value: Any) -> str:
    """A value as a sentence shows it."""
    return "null" if value is None else repr(value) if isinstance(value, str) else str(value)
