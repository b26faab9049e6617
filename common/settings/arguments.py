"""The words of a command line before Hydra reads them: options, and what is neither an option nor KEY=VALUE."""

from collections.abc import Sequence

from common.settings.schema import is_known, keys_of
from common.settings.suggestions import closest, groups_of, section_given_a_value, unknown_key
from common.system.errors import UserError

ALONE = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--resolve",
    "--run",
    "-r",
    "--multirun",
    "-m",
)
# Hydra does one of these.
INSTEAD = {
    **dict.fromkeys(("--run", "-r"), "--run"),
    **dict.fromkeys(("--multirun", "-m"), "--multirun"),
    **dict.fromkeys(("--cfg", "-c"), "--cfg"),
    **dict.fromkeys(("--info", "-i"), "--info"),
}
# Ours: every key with its value, which Hydra shows under another name.
ALL = "--help-all"
COMPLETION = ("--shell-completion", "-sc")
WITH_VALUE = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--package", "-p", "--config-name", "-cn"), ()),
    **dict.fromkeys(("--config-dir", "-cd", "--experimental-rerun"), ()),
}
WITH_VALUE_OR_ALONE = {
    **dict.fromkeys(
        ("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    )
}


def tidied(arguments: Sequence[str], schema: type) -> list[str]:
    """Check the words of a command line and put options first, since Hydra takes overrides only side by side.

    Args:
        arguments: those of the command line.
        schema: says which keys there are.

    Raises:
        UserError: an option or a key that is not there, two options that exclude each other, or a word that is
            neither an option nor KEY=VALUE.
    """
    if any(argument in COMPLETION for argument in arguments):
        return list(arguments)
    options: list[str] = []
    overrides: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == ALL:
            options += ["--cfg", "job"]
        elif not word.startswith("-") or word == "-":
            overrides.append(_override(word, rest, schema))
        elif name in ALONE and not equals:
            options.append(word)
        elif name in ("--config-path", "-cp"):
            raise UserError(
                f"{name} would take away the files that a command is made of: give --config-dir DIR, whose files are "
                "found beside them."
            )
        elif name in WITH_VALUE:
            given = value if equals else (rest.pop(0) if rest else "")
            options += [name, _allowed(name, given, WITH_VALUE[name])]
        elif name in WITH_VALUE_OR_ALONE:
            taken = not equals and rest and rest[0] in WITH_VALUE_OR_ALONE[name]
            given = rest.pop(0) if taken else value
            options += [name, _allowed(name, given, WITH_VALUE_OR_ALONE[name])] if given else [name]
        else:
            raise _no_option(word, rest, schema)
    modes = list(dict.fromkeys(INSTEAD[option] for option in options if option in INSTEAD))
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes)} exclude each other: give one of them.")
    check_keys(overrides, schema)
    return [*options, *overrides]


def check_keys(overrides: Sequence[str], schema: type) -> None:
    """Refuse an override of a key that is not there, or of a section, before anything is composed.

    Raises:
        UserError: names the key that was meant.
    """
    known = keys_of(schema)
    sections = {
        ".".join(parts[:end])
        for parts in (name.split(".") for name in known)
        for end in range(1, len(parts))
    }
    for override in overrides:
        key, equals, value = override.partition("=")
        name = key.lstrip("+~")
        if (
            not equals
            or not name
            or any(mark in name for mark in "@/[")
            or name.split(".")[0] == "hydra"
        ):
            continue
        if name in sections and name not in groups_of(schema) and not value.startswith(("{", "$")):
            raise section_given_a_value(name, schema, value)
        if not (is_known(schema, name) or name in sections or name in groups_of(schema)):
            raise unknown_key(name, schema, value)
        # Hydra would take any number for true.
        if (
            name in known
            and known[name].type in (bool, "bool")
            and value.isdecimal()
            and int(value) > 1
        ):
            raise UserError(f"{name} is {value}; allowed: true or false.")


def _override(word: str, rest: list[str], schema: type) -> str:
    """A word that may be KEY=VALUE.

    Raises:
        UserError: it is a key without a value or a path without a key, so that it is clear what was meant.
    """
    following = rest[0] if rest else ""
    if "=" not in word and following.startswith("="):
        value = following.lstrip("=") or "".join(rest[1:2])
        raise UserError(f"Write {word}={value} in one word, without spaces.")
    if "=" in word:
        return word
    if _is_key(word, schema) and following and "=" not in following and following[0] != "-":
        raise UserError(f"Write {word}={following} in one word, without spaces.")
    wanted = [name for name, item in keys_of(schema).items() if item.metadata.get("exists")]
    if wanted and ("/" in word or "." in word):
        raise UserError(f"Write {wanted[0]}={word}.")
    return word


def _is_key(word: str, schema: type) -> bool:
    return word in keys_of(schema) or word in groups_of(schema)


def _allowed(option: str, value: str, choices: Sequence[str]) -> str:
    """The value of an option, if it may have it."""
    if not value or (choices and value not in choices):
        said = f"{option}={value} is not possible" if value else f"{option} needs a value"
        rest = f"; allowed: {', '.join(choices)}" if choices else ""
        raise UserError(f"{said}{rest}.")
    return value


def _no_option(word: str, rest: Sequence[str], schema: type) -> UserError:
    """The sentence for an option that is not there: most such are keys."""
    name, equals, value = word.partition("=")
    key = name.lstrip("-").replace("-", "_")
    given = bool(equals or (rest and not rest[0].startswith("-")))
    value = value if equals else rest[0] if given else "true"
    close = closest(name, [*ALONE, ALL, *WITH_VALUE, *WITH_VALUE_OR_ALONE], 0.75)
    if name.startswith("--") and close and not _is_key(key, schema):
        return UserError(f"There is no option {name}; did you mean {close[0]}?")
    try:
        check_keys([f"{key}={value}"], schema)
    except UserError as error:
        meant = str(error).partition("did you mean ")[2].rstrip("?")
        if not meant:
            return UserError(f"There is no option {name}; keys are given as KEY=VALUE, see --help.")
        if not given:
            return UserError(
                f"There is no option {name}; did you mean {meant.replace('=true', '=VALUE')}?"
            )
        return UserError(f"There is no option {name}; write {meant}.")
    return UserError(
        f"Write {key}={value} instead of {' '.join([word, *rest[: 1 - bool(equals)]])}."
    )
