"""What a person meant by a key that nobody reads: the sentence that names the right one."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import Field
from typing import get_args, get_origin

from common.settings.schema import GROUPS, keys_of
from common.system.errors import UserError
from common.system.words import first_of

# What other programs call the last part of a key.
OTHER_NAMES = {
    "learning_rate": "lr",
    "epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "seed": "seeds",
    "batch": "batch_size",
    "bs": "batch_size",
    "gpu": "devices",
    "gpus": "devices",
    "num_gpus": "devices",
    "device": "accelerator",
    "workers": "num_workers",
    "wd": "weight_decay",
    "optim": "optimizer",
    "backbone": "arch",
    "model": "arch",
    "out_dir": "save_dir",
    "output_dir": "save_dir",
    "path": "checkpoint",
    "ckpt": "checkpoint",
    "images": "image",
    "data": "dataset",
}
# Where a value that is meant for training is sought first.
SECTIONS = ("", "hparams", "trainer_params", "dataset", "ckpt_callback", "logger")
# More than these are not listed in a sentence.
MANY = 12


def groups_of(schema: type) -> list[str]:
    """The groups that a command has, whose names are keys on its command line too.

    Files of a group set many keys: a section of which a command knows one alone takes none.
    """
    sections = Counter(name.split(".")[0] for name in keys_of(schema))
    return [group for group, section in GROUPS.items() if sections[section] > 1]


def unknown_key(name: str, schema: type, value: str | None = None) -> UserError:
    """Say which key was meant, or which there are.

    Args:
        name: the key that is not there.
        schema: says which are there.
        value: what it was given on a command line, which the sentence then repeats.
    """
    if name.startswith("hydra."):
        return UserError(
            f"Unknown key {name}; --cfg hydra, in place of --multirun, lists those of Hydra and of its launchers."
        )
    if name.startswith("logger.other."):
        return UserError(
            f"Unknown key {name}; beside logger=NAME an argument that its file does not name is added with a plus, "
            f"+{name}={value or 'VALUE'}."
        )
    meant = _meant(name, schema)
    if meant:
        keys = keys_of(schema)
        spelled = [_given(key, keys.get(key), value) for key in meant]
        return UserError(f"Unknown key {name}: did you mean {' or '.join(spelled)}?")
    return UserError(f"Unknown key {name}; {_there_are(name, schema)}.")


def section_given_a_value(name: str, schema: type, value: str) -> UserError:
    """Say that a key holds others, and name some of them."""
    inner = _keys_below(name, schema)
    general = _by_last_part(OTHER_NAMES.get(name, ""), schema)
    if general:
        return UserError(
            f"{name} has a value for each of {inner}: give {name}.{inner.partition(',')[0]}={value} or the like, "
            f"or {general[0]}={value} for all of them."
        )
    return UserError(f"{name} is a section: give one of its keys ({inner}), as {name}.KEY=VALUE.")


def section_without_keys(places: Sequence[str], schema: type, file: str) -> str:
    """Say which keys a file may hold below a section, where it holds none, or a value in place of them.

    Args:
        places: where the section stands in the schema; of a study's also below single and dual.
        schema: says which keys there are.
        file: in Hydra's words.
    """
    name = " or ".join(dict.fromkeys(map(without_folder, places)))
    inner = _keys_below(places[0], schema)
    return f"{file}.yaml: {name} is a section: write its keys below it ({inner}), or leave it out."


def without_folder(name: str) -> str:
    """A key or section of a study as the file of a folder spells it: hparams of dual.hparams."""
    return name.removeprefix("single.").removeprefix("dual.")


def _keys_below(section: str, schema: type) -> str:
    """The keys of a section, or the first of many."""
    start = f"{section}."
    inner = [key.removeprefix(start) for key in keys_of(schema) if key.startswith(start)]
    return first_of(inner, MANY)


def closest(name: str, known: Iterable[str], cutoff: float = 0.65) -> list[str]:
    """The known name that a mistyped one resembles most, if one does."""
    return difflib.get_close_matches(name, list(known), 1, cutoff)


def _meant(name: str, schema: type) -> list[str]:
    """The keys that a mistyped one may stand for, at most three."""
    section, _, last = name.rpartition(".")
    beside = _beside(section, schema)
    other = next((OTHER_NAMES[near] for near in closest(last, OTHER_NAMES, 0.85)), "")
    if section and (other in beside or closest(last, beside)):
        return [f"{section}.{other if other in beside else closest(last, beside)[0]}"]
    found = _within(section.split(".")[0], last, schema) or _by_last_part(last, schema)
    found = found or _by_last_part(other, schema)
    if found or closest(last, beside):
        return found or closest(last, beside)
    keys = sorted(filter(_is_plain, keys_of(schema)), key=_section_rank, reverse=True)
    plain = {key.rpartition(".")[2]: key for key in keys}
    near = [plain[part] for part in closest(last, plain, 0.8)]
    # Where there is such a section, its name is not what is mistyped.
    return near if near or (section and beside) else closest(name, plain.values(), 0.8)


def _beside(section: str, schema: type) -> list[str]:
    """The last parts of the keys in a section; without one, top-level keys, groups and sections."""
    if not section:
        return [*groups_of(schema), *dict.fromkeys(key.split(".")[0] for key in keys_of(schema))]
    return [k.rpartition(".")[2] for k in keys_of(schema) if k.rpartition(".")[0] == section]


def _within(folder: str, last: str, schema: type) -> list[str]:
    """The key of one folder, single or dual, that ends in a name: dual.hparams.lr of dual.lr."""
    found = [
        key
        for key in keys_of(schema)
        if key.startswith(f"{folder}.") and key.endswith(f".{last}") and "recipe" not in key
    ]
    found.sort(key=lambda key: _section_rank(key.removeprefix(f"{folder}.")))
    return [] if _is_plain(f"{folder}.") else found[:1]


def _by_last_part(last: str, schema: type) -> list[str]:
    """The keys of any section that end in a name: all of it, or behind fine_ and coarse_ or the like."""
    if not last:
        return []
    known = [*groups_of(schema), *(key for key in keys_of(schema) if _is_plain(key))]
    exact = [key for key in known if key.rpartition(".")[2] == last]
    exact.sort(key=_section_rank)
    if exact and not exact[0].startswith("dataset."):
        return exact[:1]
    behind = [key for key in known if key.startswith("hparams.") and _ends_in(key, last)]
    return [*behind, *exact][:3]


def _ends_in(key: str, name: str) -> bool:
    """Whether a key is one hemisphere's spelling of a parameter: hparams.fine_width or hparams.farch."""
    last = key.rpartition(".")[2]
    return last in (f"fine_{name}", f"coarse_{name}", f"f{name}", f"c{name}")


def _is_plain(key: str) -> bool:
    """Whether a key is one that a person would give, rather than one folder's or a recipe's."""
    return not key.startswith(("single.", "dual.", "recipe."))


def _section_rank(key: str) -> int:
    """How late a key's section is looked at."""
    section = key.rpartition(".")[0]
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _given(key: str, item: Field | None, value: str | None) -> str:
    """A key with the value that was given for the mistyped one."""
    if value is None:
        return key
    lists = item is not None and takes_list(item) and not value.startswith("[")
    return f"{key}=[{value}]" if lists else f"{key}={value}"


def takes_list(item: Field) -> bool:
    """Whether the value of a key is a list."""
    return any(get_origin(kind) is list for kind in (item.type, *get_args(item.type)))


def _there_are(name: str, schema: type) -> str:
    """The keys of the section, or the first of many and where to find them all."""
    section = name.rpartition(".")[0]
    siblings = [
        key.removeprefix(f"{section}.").split(".")[0]
        for key in keys_of(schema)
        if not section or key.startswith(f"{section}.")
    ]
    siblings = list(dict.fromkeys(siblings))
    if siblings and len(siblings) <= MANY:
        return f"allowed{f' in {section}' if section else ''}: {', '.join(siblings)}"
    if section and siblings:
        return f"allowed in {section}: {first_of(siblings, MANY)} (--help-all lists all keys)"
    return "--help-all lists all keys, and docs/keys.md explains them"
