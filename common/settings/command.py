"""A command line: Hydra around a task, and every error a person can cause as one sentence."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from common.settings.arguments import tidied
from common.settings.checks import refuse_missing_paths
from common.settings.completion import asked_for, completions
from common.settings.compose import also_in, compose, finish, register
from common.settings.explain import explain
from common.settings.overrides import override_keys, refuse_malformed
from common.settings.sweep import (
    VARIANT,
    add_job,
    add_unfinished,
    jobs_of,
    study_of,
    table_at_the_end,
)
from common.settings.sweep_names import fixed_keys, sweep_name
from common.settings.variants import refuse_what_is_not_read, refuse_without_defaults
from common.system.errors import Unfinished
from common.system.output import replace_what_cannot_be_shown
from common.system.signals import Interrupted, signals

# A variable of the environment, since jobs may run in other processes: the keys that are the same in all of them.
FIXED = "BILATERAL_FIXED"
# Likewise: whether to show where an error comes from.
TRACEBACK = "BILATERAL_TRACEBACK"
# The score of a network that diverged, for a sweeper that searches: Optuna's takes no NaN.
WORST = 0.0


def command(
    task: Callable[[DictConfig], Any],
    *,
    schema: type,
    folder: Path,
    config_dir: Path | None = None,
    config_name: str = "config",
) -> None:
    """Run ``task`` with a configuration of ``config_dir`` (by default ``folder/config``) under Hydra.

    Overrides, --multirun, --cfg and completion are Hydra's, but for the values that the schema knows. The task gets
    the checked configuration. What a person can mend is printed as one sentence, with exit status 1; Ctrl-C ends with
    130, SIGTERM with 143, SIGUSR1 with 138.
    """

    def checked(cfg: DictConfig) -> Any:
        return _job(cfg, task, schema, folder, config_name)

    line = asked_for(sys.argv[1:])
    if line is not None and (found := completions(line, schema)):
        print(" ".join(found))
        return
    with one_sentence(schema):
        signals.install()
        replace_what_cannot_be_shown()
        register(schema)
        # Hydra then raises instead of printing 4 to 8 lines of its own.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        config_path = config_dir or folder / "config"
        run = hydra.main(version_base="1.3", config_path=str(config_path), config_name=config_name)
        sys.argv[1:] = tidied(sys.argv[1:], schema)
        refuse_malformed(sys.argv[1:])
        options = get_args_parser().parse_args()
        name = options.config_name or config_name
        refuse_without_defaults(config_path, name)
        refuse_what_is_not_read(config_path, name, schema)
        beside = also_in(options.config_dir) if options.config_dir else []
        for job in jobs_of(options.overrides) if options.multirun else ():
            _check_job([*job, *beside], schema, folder, config_path, name)
        os.environ[FIXED] = " ".join(fixed_keys(sys.argv[1:]))
        with table_at_the_end():
            run(checked)()


def _job(
    cfg: DictConfig, task: Callable[[DictConfig], Any], schema: type, folder: Path, usual: str
) -> Any:
    """Check a configuration as Hydra composed it, run ``task`` with it, and note the job of a sweep; give its score."""
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
        sweep = runtime.mode == RunMode.MULTIRUN and "exp_name" in cfg
        base = cfg.exp_name or study_of(cfg) if sweep else ""
        fixed = os.environ.get(FIXED, "").split()
        if sweep:
            cfg.exp_name = f"{base}_{sweep_name(overrides, fixed)}"
        refuse_missing_paths(cfg, schema)
        try:
            score = task(cfg)
        except Unfinished as error:
            # In a sweep one configuration that diverges is an outcome, and the others are still to be tried.
            if not (sweep and add_unfinished(cfg)):
                raise
            print(f"error: {error}", file=sys.stderr)
            if error.score is None:
                return WORST
            score = error.score
        if sweep:
            given = override_keys(overrides)
            if (variant := str(runtime.job.config_name)) != usual:
                given |= {VARIANT: variant}
            add_job(cfg, base, given, fixed, score)
    # A sweeper that searches, such as Optuna's, goes by it.
    return score


def _check_job(
    overrides: list[str], schema: type, folder: Path, config_dir: Path, config_name: str
) -> None:
    """Refuse a sweep for a mistake in one of its jobs, which would else be found when its turn comes."""
    try:
        cfg = compose(
            folder,
            schema=schema,
            overrides=overrides,
            config_dir=config_dir,
            config_name=config_name,
        )
    except InterpolationResolutionError as error:
        # What Hydra knows of a running job alone, such as its number.
        if "HydraConfig was not set" not in str(error):
            raise
    else:
        refuse_missing_paths(cfg, schema)


def typed_overrides() -> list[str]:
    """The job's overrides as they were typed: to list them would resolve what they refer to."""
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return overrides


class one_sentence(contextlib.AbstractContextManager):  # noqa: N801 - reads as a statement
    """Turn what a person can mend into one sentence on stderr and a non-zero exit.

    Whoever writes code that is added, such as a backbone, sees where it fails with BILATERAL_TRACEBACK=1.
    """

    def __init__(self, schema: type) -> None:
        self.schema = schema

    def __exit__(self, kind: Any, error: BaseException | None, where: Any) -> None:
        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            sys.exit(error.status)
        sentence = explain(error, self.schema) if isinstance(error, Exception) else None
        if sentence:
            if os.environ.get(TRACEBACK):
                traceback.print_exception(error)
            print(f"error: {sentence}", file=sys.stderr)
            sys.exit(1)
