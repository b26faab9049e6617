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
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from common.configuration import finish, keys_of, override_keys, unknown_key
from common.errors import UserError
from common.interruption import Interrupted, signals
from data_scripts.errors import DataError


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
        runtime = HydraConfig.get()
        overrides = list(runtime.overrides.task)
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
    # Hydra then raises instead of printing 4 to 8 lines of its own.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    config_path = str(config_dir or folder / "config")
    run = hydra.main(version_base="1.3", config_path=config_path, config_name=config_name)
    with one_sentence(schema):
        run(checked)()


def sweep_name(overrides: list[str]) -> str:
    """The part of a sweep's experiment name that tells its jobs apart: ``hparams.lr-0.1_seeds-[0]``."""
    swept = {k: v for k, v in override_keys(overrides).items() if k not in ("exp_name", "save_dir")}
    name = "_".join(f"{key}-{value}" for key, value in swept.items())
    short = re.sub(r"[^\w.,+\[\]-]+", "-", name)
    # A name cut short keeps a digest of the whole, so that two jobs never share one.
    return (
        short
        if len(short) <= 80
        else f"{short[:80]}-{blake2b(name.encode(), digest_size=4).hexdigest()}"
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
    """The sentence for an error that a person can cause, or None for one that is ours."""
    if isinstance(error, UserError | DataError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        names = sorted(name for name in error.options if not name.startswith("__"))
        return f"{group}={option} is not there; allowed: {', '.join(names)}."
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_config(error, schema)
    if isinstance(error, YAMLError):
        return f"A YAML file cannot be read: {_flat(str(error))}."
    if type(error).__name__ == "MisconfigurationException":
        return f"Lightning refuses trainer_params: {_flat(str(error))}."
    if type(error).__name__ == "OutOfMemoryError":
        return "The GPU's memory is full: lower hparams.batch_size."
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    return None


def _explain_config(error: BaseException, schema: type) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    name = getattr(cause, "full_key", None)
    if isinstance(cause, ConfigKeyError | AttributeError) and name:
        return str(unknown_key(str(name), list(keys_of(schema))))
    if isinstance(cause, YAMLError):
        return f"A YAML file cannot be read: {_flat(str(cause))}."
    first = getattr(cause, "msg", None) or str(cause)
    detail = _flat(re.split("full_key:|See https:", str(first))[0])
    return f"{name}: {detail}" if name and str(name) not in detail else detail


def _flat(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
