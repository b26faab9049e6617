"""What describes a config key: type, default, range, help, and whether it shapes a result. Imports no torch.

Schemas themselves are dataclasses that lie with what they describe: `common.runs.schema` (keys that both experiment
folders share), `arch_single_head.schema`, `arch_dual_head.schema`, `study.schema`, `common.trained.schema` and
`analysis.schema`. A default such as ``${recipe.single.lr}`` names the group that owns the key; an uncommented value in
a config.yaml or on the command line takes its place.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

# The groups of YAML files, and the section of a configuration that each one writes to.
GROUPS = {"dataset": "dataset", "recipe": "recipe", "trainer": "trainer_params", "logger": "logger"}

# As `neutral` of a key that every fingerprint holds, whatever its value.
ALWAYS = object()


def key(
    default: Any,
    help: str = "",
    *,
    choices: Collection[Any] | None = None,
    each: Sequence[str] = (),
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
    exists: str | None = None,
    unless: str | None = None,
    prefix: str | None = None,
    words: str = "",
    open: bool = False,
    shapes_result: bool = True,
    of_loss: bool = False,
    neutral: Any = None,
) -> Any:
    """Describe a config key as a dataclass field.

    Args:
        default: its value where nobody gives one.
        help: one sentence for a person, printed in docs/keys.md.
        choices: allowed values, or a table whose names they are; with ``prefix``, any name after that prefix is
            allowed too.
        each: names that an element of a list may be, which the tab key completes.
        above: lowest value, itself excluded.
        low: lowest value.
        high: highest value.
        path: whether it names a file or folder; see `common.settings.compose.finish` for what it is relative to.
        exists: what a path must name when a command starts: "file", "folder" or "any"; None: nothing yet.
        unless: pattern of values of a path that are names and no paths.
        prefix: see ``choices``.
        words: what is allowed, in words, where the type does not say it.
        open: whether it may be a section, whose keys are those of another library.
        shapes_result: whether another value gives another result, so that it is part of a stage's fingerprint.
        of_loss: whether losses alone read it, so that it shapes no result of one that does not take it by its name.
        neutral: value at which it changes nothing and is left out of the fingerprint, so that runs from before there
            was such a key are still recognised. None: the default, if that is a plain value. `ALWAYS`: there is none.
    """
    plain = not (isinstance(default, str) and (default == "???" or "${" in default))
    metadata = {
        "help": help,
        "choices": choices,
        "each": each,
        "prefix": prefix,
        "words": words,
        "open": open,
        "path": path,
        "exists": exists,
        "unless": unless,
        "above": above,
        "low": low,
        "high": high,
        "shapes_result": shapes_result,
        "of_loss": of_loss,
        "neutral": (default if plain else ALWAYS) if neutral is None else neutral,
    }
    if isinstance(default, list | dict):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def keys_of(schema: type) -> dict[str, Field]:
    """Every leaf key of a schema in dotted form, with its dataclass field."""
    found: dict[str, Field] = {}
    hints = get_type_hints(schema)
    for item in fields(schema):
        kind = next(
            (t for t in (hints[item.name], *get_args(hints[item.name])) if is_dataclass(t)), None
        )
        if isinstance(kind, type):
            found |= {f"{item.name}.{name}": leaf for name, leaf in keys_of(kind).items()}
        else:
            found[item.name] = item
    return found


@cache
def sections_of(schema: type) -> dict[str, type]:
    """Every section of a schema in dotted form, with its dataclass; one comes before those within it."""
    found: dict[str, type] = {}
    for name, hint in get_type_hints(schema).items():
        if is_dataclass(hint) and isinstance(hint, type):
            found[name] = hint
            found |= {f"{name}.{inner}": kind for inner, kind in sections_of(hint).items()}
    return found


def is_known(schema: type, name: str) -> bool:
    """Say whether a schema has a key, or one above it that is open to all keys below."""
    known = keys_of(schema)
    return name in known or any(
        item.metadata["open"] and name.startswith(f"{above}.") for above, item in known.items()
    )


def shaping(schema: type, section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep those values of a section that shape a result: not neutral, and of keys that say so.

    Args:
        schema: of the whole configuration.
        section: the name of one of its sections, such as hparams.
        values: of that section, by name.
    """
    kept: dict[str, Any] = {}
    for key_name, item in keys_of(schema).items():
        owner, _, name = key_name.partition(".")
        rule = item.metadata
        if owner == section and name in values and rule["shapes_result"]:
            kept |= {name: values[name]} if values[name] != rule["neutral"] else {}
    return kept


def schema_name(schema: type) -> str:
    """The name by which YAML files refer to a schema: SingleConfig is single_schema."""
    return f"{schema.__name__.removesuffix('Config').lower()}_schema"
