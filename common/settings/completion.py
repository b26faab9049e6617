"""Complete with the tab key what Hydra's completion does not: values of keys, also within a list."""

import os
from collections.abc import Sequence

from common.settings.arguments import COMPLETION
from common.settings.schema import keys_of


def asked_for(arguments: Sequence[str]) -> str | None:
    """Give the line of which a shell asks how it may go on; None of any other command line."""
    query = len(arguments) > 1 and arguments[0] in COMPLETION and "query=" in arguments[1]
    return os.environ.get("COMP_LINE") if query else None


def completions(line: str, schema: type) -> list[str]:
    """Give what the last word of a line may become: KEY=VALUE, or KEY=[VALUE,VALUE with another name at the end.

    Args:
        line: as it was typed so far.
        schema: says which values a key, or an element of its list, may have.

    Returns:
        Nothing where the word is no key with such values: then Hydra knows better.
    """
    word = "" if line.endswith(" ") else line.rpartition(" ")[2].lstrip("'\"")
    key, equals, value = word.partition("=")
    item = keys_of(schema).get(key)
    if not equals or item is None:
        return []
    start = max(value.rfind("["), value.rfind(",")) + 1
    listed = value[:start].strip("[,").split(",")
    names = item.metadata["each"] or (item.metadata["choices"] or () if not start else ())
    return [
        f"{key}={value[:start]}{name}"
        for name in names
        if isinstance(name, str) and name.startswith(value[start:]) and name not in listed
    ]
