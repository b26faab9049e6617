"""What a checkpoint records about itself, and the check that a file's record is one: none of it is trusted."""

import math
import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from common.settings.checks import NAME_RULE, check_values, is_folder_name
from common.settings.levels import LEVELS
from common.settings.schema import keys_of
from common.system.errors import UserError

# Of the experiment folders, which lie above: imported when a record is checked.
SCHEMAS = {
    "arch_single_head": "arch_single_head.schema:SingleConfig",
    "arch_dual_head": "arch_dual_head.schema:DualConfig",
}
# Keys that checkpoints of before there were such keys do not have, and that no default stands for.
LATER = ("arm", "dataset.batch_size")
LARGEST_SIDE = 65536  # of an image, in pixels


@dataclass(frozen=True)
class Record:
    """All that is needed to rebuild and use a network, in plain containers.

    ``folder`` is the experiment folder whose module it belongs to and ``config`` that folder's configuration;
    ``label_ids`` and ``class_names`` are in the order of each head's outputs; ``mean`` and ``std`` are of
    training pixels scaled to 0..1; ``train_images`` identifies the images that training used;
    ``fingerprint`` identifies everything that shaped the weights; ``coarse_of_fine`` says for each fine class
    to which coarse class it belongs, both as positions among a head's outputs; ``seeds`` are those of all networks
    that it is built from (both empty in checkpoints of before that was recorded).
    """

    folder: str
    arm: str
    seed: int
    config: dict[str, Any]
    label_ids: dict[str, list[int]]
    class_names: dict[str, list[str]]
    mean: list[float]
    std: list[float]
    image_size: list[int]
    train_images: str
    fingerprint: str
    coarse_of_fine: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that the network predicts."""
        return tuple(self.label_ids)

    @property
    def num_classes(self) -> dict[str, int]:
        """Number of classes per level."""
        return {level: len(ids) for level, ids in self.label_ids.items()}

    def as_dict(self) -> dict[str, Any]:
        """Plain containers, as stored in a checkpoint."""
        return asdict(self)


def checked(record: Record, path: Path) -> Record:
    """A record out of a file, if it says what training writes; its configuration as this version knows it.

    Raises:
        UserError: names the file, and the first field that is something else.
    """
    for name, rule in RULES.items():
        value = getattr(record, name)
        if name == "folder" and isinstance(value, str) and value not in SCHEMAS:
            raise UserError(
                f"{path} was written by {value[:80]}, which is not part of this version."
            )
        if not rule.holds(value):
            raise _damaged(path, f"{name} is {reprlib.repr(value)}; allowed: {rule.allowed}")
    config = _configuration(record, path)
    _check_classes(record, config, path)
    return replace(record, config=config)


class Rule(NamedTuple):
    """What a field may be, as a function and in words."""

    holds: Callable[[Any], bool]
    allowed: str


def _is_integer(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_label(value: Any) -> bool:
    return _is_integer(value, 0, 2**63 - 1)


def _are(kind: Callable[[Any], bool], value: Any, length: int | None = None) -> bool:
    """Whether a value is a list (of a length) of nothing but one kind."""
    return isinstance(value, list) and length in (None, len(value)) and all(map(kind, value))


def _by_level(kind: Callable[[Any], bool], value: Any) -> bool:
    """Whether a value has a list of nothing but one kind for each level of a network."""
    levels = tuple(value) if isinstance(value, dict) else ()
    known = levels in (LEVELS, *((level,) for level in LEVELS))
    return known and all(_are(kind, one) and len(one) > 0 for one in value.values())


_LEVELS = f"{LEVELS[0]}, {LEVELS[1]} or both"
_TEXT = Rule(_is_text, "text")
RULES = {
    "folder": Rule(_is_text, ", ".join(SCHEMAS)),
    "arm": Rule(is_folder_name, NAME_RULE),
    "seed": Rule(lambda value: _is_integer(value, 0, 2**32 - 1), "an integer from 0 to 2^32 - 1"),
    "config": Rule(lambda value: isinstance(value, dict), "a configuration"),
    "label_ids": Rule(
        lambda value: (
            _by_level(_is_label, value) and all(len(set(v)) == len(v) for v in value.values())
        ),
        f"a list of different integers from 0 for {_LEVELS}",
    ),
    "class_names": Rule(lambda value: _by_level(_is_text, value), f"a list of text for {_LEVELS}"),
    "mean": Rule(lambda value: _are(_is_number, value, 3), "a list of three finite numbers"),
    "std": Rule(
        lambda value: _are(_is_number, value, 3) and min(value) > 0,
        "a list of three finite numbers above 0",
    ),
    "image_size": Rule(
        lambda value: _are(lambda side: _is_integer(side, 1, LARGEST_SIDE), value, 2),
        f"a list of two integers from 1 to {LARGEST_SIDE}",
    ),
    "train_images": _TEXT,
    "fingerprint": _TEXT,
    "coarse_of_fine": Rule(lambda value: _are(_is_label, value), "a list of integers from 0"),
    "seeds": Rule(lambda value: _are(_is_label, value), "a list of integers from 0"),
}


def _check_classes(record: Record, config: dict[str, Any], path: Path) -> None:
    """Refuse levels and classes of which one says something else than the other."""
    mode = config["hparams"]["mode"]
    expected = LEVELS if record.folder == "arch_dual_head" else (mode,)
    if record.levels != expected:
        found = " and ".join(record.levels)
        raise _damaged(path, f"label_ids are of {found}; allowed: of {' and '.join(expected)}")
    if tuple(record.class_names) != record.levels:
        raise _damaged(path, "class_names are of other levels than label_ids")
    for level, names in record.class_names.items():
        if len(names) != record.num_classes[level]:
            raise _damaged(
                path,
                f"class_names has {len(names)} {level} classes, and label_ids {record.num_classes[level]}",
            )
    parents = record.coarse_of_fine
    classes = record.num_classes
    if parents and (
        len(parents) != classes.get("fine", len(parents))
        or max(parents) >= classes.get("coarse", len(parents))
    ):
        raise _damaged(path, "coarse_of_fine does not fit the classes of label_ids")


def _configuration(record: Record, path: Path) -> dict[str, Any]:
    """The recorded configuration without keys that are no longer known, with those that came since.

    Nothing recorded is resolved: it is text, and no reference to this machine's variables.
    """
    schema = resolve_name(SCHEMAS[record.folder])
    cfg = OmegaConf.structured(schema)
    for name, item in keys_of(schema).items():
        value = _leaf(record.config, name)
        if value == MISSING:
            default = item.default
            if name not in LATER and (
                isinstance(default, str) and (default == MISSING or "${" in default)
            ):
                raise _damaged(path, f"config.{name} is missing")
            continue
        if not _is_plain(value):
            raise _damaged(
                path, f"config.{name} is {reprlib.repr(value)}; allowed: a plain value or a list"
            )
        try:
            OmegaConf.update(cfg, name, value, merge=False)
        except OmegaConfBaseException as error:
            raise _damaged(
                path, f"config.{name} is {reprlib.repr(value)}, of another kind"
            ) from error
    try:
        check_values(cfg, schema)
    except UserError as error:
        raise _damaged(path, f"config.{str(error).removesuffix('.')}") from error
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return plain


def _leaf(node: Any, name: str) -> Any:
    """A key's value in plain containers; `MISSING` where there is none."""
    for part in name.split("."):
        if not isinstance(node, dict) or part not in node:
            return MISSING
        node = node[part]
    return node


def _is_plain(value: Any) -> bool:
    """Whether a value is one that no part of which refers to something, or a list of such."""
    if isinstance(value, list):
        return not any(isinstance(one, list) for one in value) and all(map(_is_plain, value))
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    return value is None or isinstance(value, bool | int | float)


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged or not of this version: {what}; train it anew.")
