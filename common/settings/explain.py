"""The one sentence for an error that a person can cause, wherever it was raised."""

import re
import shlex
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from common.settings.checks import allowed, show
from common.settings.overrides import spelled
from common.settings.schema import GROUPS, keys_of, sections_of
from common.settings.suggestions import (
    closest,
    section_without_keys,
    takes_list,
    unknown_key,
    without_folder,
)
from common.system.errors import UserError, failing_part, file_of, no_python, remedy


def explain(error: BaseException, schema: type) -> str | None:
    """The sentence for an error that a person can cause, on one line, or None for one that is ours."""
    sentence = (
        _of_ours(error)
        or _of_code(error)
        or _of_memory(error)
        or _of_groups(error, schema)
        or _of_configuration(error, schema)
        or _of_libraries(error)
        or _of_files(error)
        or failing_part(error)
    )
    return sentence and printable(sentence)


def printable(text: str) -> str:
    r"""A text that may hold a name, as a terminal may be given it: what cannot be printed is written as ``\x1b``.

    A name may hold anything: a line's end, a command to the terminal, or half a character that none can show.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _of_ours(error: BaseException) -> str | None:
    cause: BaseException | None = error
    # An interpolation that reads a file brings its own sentence within an error of OmegaConf.
    while isinstance(cause, OmegaConfBaseException) and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, UserError):
        return None
    text = str(cause)
    # From a process that loads images, torch brings it with a traceback before it.
    return text.strip().splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") else text


def _of_code(error: BaseException) -> str | None:
    """Of a file that was added, such as a backbone, and is no Python."""
    return no_python(error) if isinstance(error, SyntaxError) else None


def _of_memory(error: BaseException) -> str | None:
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "There is not enough memory: lower hparams.batch_size, or the widths of the network."
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader "):
        return (
            f"A process that loads images ended or is stuck ({_flat(str(error))}): there may be too little memory; "
            "fewer of them (hparams.num_workers, 0: none) take less."
        )
    # Both torch's, a RuntimeError, and Ray's are called so; neither is imported here.
    if type(error).__name__ != "OutOfMemoryError":
        return None
    if isinstance(error, RuntimeError):
        return "The GPU's memory is full: lower hparams.batch_size, or stages_per_gpu."
    return (
        "A machine's memory is full, and Ray has ended a process of this study: let fewer stages run at once, or lower "
        "hparams.batch_size; the same command goes on."
    )


def _of_groups(error: BaseException, schema: type) -> str | None:
    """Of a group, or of the file that a command starts from."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        names = sorted(name for name in error.options if not name.startswith("__"))
        if not names:
            return str(unknown_key(group, schema))
        close = closest(option, names, 0.5)
        hint = f" (did you mean {group}={close[0]}?)" if close else ""
        return f"{group}={option} is not there; allowed: {', '.join(names)}{hint}."
    if isinstance(error, MissingConfigException):
        return _of_config_name(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"A group needs a name, GROUP=NAME with one of {', '.join(GROUPS)}: {_flat(str(error))}."
    return None


def _of_config_name(error: MissingConfigException) -> str:
    if str(error.missing_cfg_file).endswith("_schema"):
        return "The file that --config-name names belongs to another command: give it to that one, or leave it out."
    place = re.search(r"provider=main, path=file://(.*)", str(error))
    if place is None:
        return _flat(str(error))
    names = sorted(file.stem for file in Path(place[1]).glob("*.yaml"))
    rest = f"allowed: {', '.join(names)}" if names else f"{place[1]} holds no YAML files"
    close = closest(str(error.missing_cfg_file), names)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"--config-name={error.missing_cfg_file} is not there; {rest}{hint}."


def _of_configuration(error: BaseException, schema: type) -> str | None:
    """Of a key or a value, in a file or on the command line."""
    if isinstance(error, YAMLError):
        return _of_yaml(error)
    if isinstance(error, UnicodeDecodeError):
        return f"A file of the configuration is not UTF-8 text: {_flat(str(error))}."
    if isinstance(error, OverrideParseException):
        return _of_override(error)
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return None
    cause: BaseException = error
    while not getattr(cause, "full_key", None) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    name = getattr(cause, "full_key", None)
    if isinstance(cause, ConfigKeyError | AttributeError) and name:
        return str(unknown_key(str(name), schema))
    if isinstance(cause, YAMLError):
        return _of_yaml(cause)
    file = re.match("In '(.+?)'", str(error))
    return (
        (_of_section(cause, name, schema, file[1]) if file else None)
        or _of_value(cause, name, schema)
        or _of_hydra(_detail(cause), name)
    )


def _of_yaml(error: YAMLError) -> str:
    advice = "; indent it with spaces, not with tabs" if r"'\t'" in str(error) else ""
    return f"A YAML file cannot be read: {_flat(str(error))}{advice}."


def _of_override(error: OverrideParseException) -> str:
    if "=" not in error.override:
        return f"{error.override!r} is not KEY=VALUE."
    key, _, value = error.override.partition("=")
    # Its own pair is enough where it holds one more of these, or ends in a backslash, as folders of Windows do.
    if (pair := re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL)) and (
        pair[2].count(pair[1]) % 2 or pair[2].endswith("\\")
    ):
        value = pair[2]
    quoted = shlex.quote(spelled({key: value})[0])
    return (
        f"{error.override!r} cannot be read; text with special characters needs quotes: {quoted}."
    )


def _of_section(cause: BaseException, name: str | None, schema: type, file: str) -> str | None:
    """Of a section with nothing below it, or with a value in place of keys, in a file of the configuration."""
    detail = _detail(cause)
    # Of a value OmegaConf says which dataclass it should have been, and not where.
    wanted = re.search(r"is not a subclass of (\w+)\. value", detail)
    empty = "not Optional" in detail
    places = [
        place
        for place, kind in sections_of(schema).items()
        if (wanted and kind.__name__ == wanted[1]) or (empty and without_folder(place) == name)
    ]
    return section_without_keys(places, schema, file) if places else None


def _of_value(cause: BaseException, name: str | None, schema: type) -> str | None:
    """Of a value that a key may not have."""
    detail = _detail(cause)
    item = keys_of(schema).get(re.sub(r"\[\d+\]$", "", str(name)))
    if isinstance(cause, MissingMandatoryValue):
        name = name or detail.rpartition(": ")[2]
        return f"{name} has no value: give {name}=..."
    if isinstance(cause, InterpolationResolutionError):
        detail = detail.removeprefix("MissingMandatoryValue while resolving interpolation: ")
        return f"{name} refers to a key that is not there, has no value or one of another kind ({detail})."
    if item and detail.startswith("Cannot merge"):
        return f"{name} is a mapping; allowed: {allowed(item)}."
    if item and isinstance(cause, ValidationError):
        given = _given(cause, detail)
        one = takes_list(item) and given.isdecimal()
        hint = f" (one value is a list too: {name}=[{given}])" if one else ""
        return f"{name} is {given}; allowed: {allowed(item)}{hint}."
    return None


def _of_hydra(detail: str, name: str | None) -> str:
    """Of what Hydra and OmegaConf say in words that a person need not know, where that is known."""
    if detail.startswith("Could not append"):
        override = detail.rpartition(": ")[0].partition("prefix: '")[2].partition("' Or add")[0]
        return f"+{override}: the key is there already; leave out the +."
    if detail.startswith("Could not override"):
        group = detail.partition("'")[2].partition("'")[0]
        return (
            f"{group}=NAME has no meaning here: the defaults list of the YAML file lacks {group}; a variant of "
            "config.yaml begins with defaults: [config, _self_]."
        )
    if detail.startswith("Ambiguous value"):
        override = detail.partition("argument ")[2].partition(" 1. To use")[0]
        return f"{override} holds a comma: several values need --multirun, a list needs [...], and text needs quotes."
    return f"{name}: {detail}" if name and str(name) not in detail else detail


def _of_libraries(error: BaseException) -> str | None:
    if type(error).__name__ == "MisconfigurationException":
        return f"Lightning refuses trainer_params: {_flat(str(error)).rstrip('.!')}."
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return (
            f"torch.compile fails here ({_flat(str(error).strip().splitlines()[0])}): it needs a C++ compiler and "
            "Python's headers; install them, or give hparams.compile=null."
        )
    return None


def _of_files(error: BaseException) -> str | None:
    if not isinstance(error, OSError):
        return None
    if error.strerror is None:
        return f"A file of the configuration cannot be read: {_flat(str(error))}."
    where = f": {file_of(error)}" if file_of(error) else ""
    return f"{error.strerror}{where}{remedy(error)}."


def _given(error: ValidationError, detail: str) -> str:
    """The value that a key was given, as far as OmegaConf says."""
    if "not Optional" in detail:
        return "null"
    value = getattr(error, "value", None)
    return show(value)[:80] if value is not None else "of another kind"


def _detail(error: BaseException) -> str:
    text = getattr(error, "msg", None) or str(error)
    return _flat(re.split("full_key:|See https:", str(text))[0])


def _flat(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
