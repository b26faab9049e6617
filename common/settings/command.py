"""A command line: Hydra around a task, and every error a person can cause as one sentence."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from common.settings.checks import allowed, show, unknown_key
from common.settings.compose import GROUPS, finish, override_keys, refuse_malformed, register
from common.settings.schema import keys_of
from common.system.errors import UserError
from common.system.signals import Interrupted, signals


def command(
    task: Callable[[DictConfig], Any],
    *,
    schema: type,
    folder: Path,
    config_dir: Path | None = None,
    config_name: str = "config",
) -> None:
    """Run ``task`` with a configuration of ``config_dir`` (by default ``folder/config``) under Hydra.

    Overrides, --multirun, --cfg and completion are Hydra's. The task gets the checked configuration. What a
    person can mend is printed as one sentence, with exit status 1; Ctrl-C ends with 130, SIGTERM with 143.
    """

    def checked(cfg: DictConfig) -> None:
        signals.install()  # once more: a launcher such as joblib's is in another process here
        runtime = HydraConfig.get()
        overrides = typed_overrides()
        # Here too, because Hydra prints a line of its own before it passes a task's error on.
        with one_sentence(schema):
            cfg = finish(
                cfg,
                schema=schema,
                folder=folder,
                overrides=overrides,
                config_name=str(runtime.job.config_name),
            )
            if runtime.mode == RunMode.MULTIRUN and "exp_name" in cfg:
                cfg.exp_name = f"{cfg.exp_name or 'study'}_{sweep_name(overrides)}"
            task(cfg)

    signals.install()
    register(schema)
    # Hydra then raises instead of printing 4 to 8 lines of its own.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    config_path = str(config_dir or folder / "config")
    run = hydra.main(version_base="1.3", config_path=config_path, config_name=config_name)
    with one_sentence(schema):
        refuse_malformed(sys.argv[1:])
        run(checked)()


def typed_overrides() -> list[str]:
    """The job's overrides as they were typed: to list them would resolve what they refer to."""
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return overrides


def sweep_name(overrides: list[str]) -> str:
    """The part of a sweep's experiment name that tells its jobs apart: ``hparams.lr-0.1_seeds-[0]``."""
    swept = {k: v for k, v in override_keys(overrides).items() if k not in ("exp_name", "save_dir")}
    name = "_".join(f"{key}-{value}" for key, value in swept.items())
    plain = re.sub(r"[^\w.,+\[\]-]+", "-", name)[:80]
    # A name that lost something gains a digest of the whole, so that two jobs never share one.
    return (
        plain if plain == name else f"{plain}-{blake2b(name.encode(), digest_size=4).hexdigest()}"
    )


class one_sentence(contextlib.AbstractContextManager):  # noqa: N801 - reads as a statement
    """Turn what a person can mend into one sentence on stderr and a non-zero exit."""

    def __init__(self, schema: type) -> None:
        self.schema = schema

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            sys.exit(error.status)
        sentence = explain(error, self.schema) if isinstance(error, Exception) else None
        if sentence:
            print(f"error: {sentence}", file=sys.stderr)
            sys.exit(1)


def explain(error: BaseException, schema: type) -> str | None:
    """The sentence for an error that a person can cause, on one line, or None for one that is ours."""
    sentence = _explain(error, schema)
    return sentence and printable(sentence)


def printable(text: str) -> str:
    r"""A text that may hold a name, as a terminal may be given it: what cannot be printed is written as ``\x1b``.

    A name may hold anything: a line's end, a command to the terminal, or half a character that none can show.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _explain(error: BaseException, schema: type) -> str | None:
    if isinstance(error, UserError):
        text = str(error)
        # From a process that loads images, torch brings it with a traceback before it.
        return (
            text.strip().splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") else text
        )
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "There is not enough memory: lower hparams.batch_size, or the widths of the network."
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader "):
        return (
            f"A process that loads images ended or is stuck ({_flat(str(error))}): there may be too little memory; "
            "fewer of them (hparams.num_workers, 0: none) take less."
        )
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        names = sorted(name for name in error.options if not name.startswith("__"))
        if not names:
            return str(unknown_key(group, [*GROUPS, *keys_of(schema)]))
        return f"{group}={option} is not there; allowed: {', '.join(names)}."
    if isinstance(error, MissingConfigException):
        return _explain_config_name(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_config(error, schema)
    if isinstance(error, YAMLError):
        return f"A YAML file cannot be read: {_flat(str(error))}."
    if type(error).__name__ == "MisconfigurationException":
        return f"Lightning refuses trainer_params: {_flat(str(error))}."
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full: lower hparams.batch_size, or stages_per_gpu."
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return (
            f"torch.compile fails here ({_flat(str(error).strip().splitlines()[0])}): it needs a C++ compiler and "
            "Python's headers; install them, or give hparams.compile=null."
        )
    if isinstance(error, UnicodeDecodeError):
        return f"A file of the configuration is not UTF-8 text: {_flat(str(error))}."
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"A group needs a name, GROUP=NAME with one of {', '.join(GROUPS)}: {_flat(str(error))}."
    if isinstance(error, OSError):
        if error.strerror is None:
            return f"A file of the configuration cannot be read: {_flat(str(error))}."
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    return None


def _explain_config_name(error: MissingConfigException) -> str:
    place = re.search(r"provider=main, path=file://(.*)", str(error))
    if place is None:
        return _flat(str(error))
    names = ", ".join(sorted(file.stem for file in Path(place[1]).glob("*.yaml")))
    rest = f"allowed: {names}" if names else f"{place[1]} holds no YAML files"
    return f"--config-name={error.missing_cfg_file} is not there; {rest}."


def _explain_config(error: BaseException, schema: type) -> str:
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override!r} is not KEY=VALUE."
        key, _, value = error.override.partition("=")
        return f"{error.override!r} cannot be read; text with special characters wants quotes: '{key}=\"{value}\"'."
    cause: BaseException = error
    while not getattr(cause, "full_key", None) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    name = getattr(cause, "full_key", None)
    if isinstance(cause, ConfigKeyError | AttributeError) and name:
        return str(unknown_key(str(name), list(keys_of(schema))))
    if isinstance(cause, YAMLError):
        return f"A YAML file cannot be read: {_flat(str(cause))}."
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
        return f"{name} is {_given(cause, detail)}; allowed: {allowed(item)}."
    if detail.startswith("Could not append"):
        override = detail.rpartition(": ")[0].partition("prefix: '")[2].partition("' Or add")[0]
        return f"+{override}: the key is there already; leave out the +."
    if detail.startswith("Ambiguous value"):
        override = detail.partition("argument ")[2].partition(" 1. To use")[0]
        return f"{override} holds a comma: several values want --multirun, a list [...], and text quotes."
    return f"{name}: {detail}" if name and str(name) not in detail else detail


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
