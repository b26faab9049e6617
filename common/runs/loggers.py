"""Make the loggers of a stage: TensorBoard events, and any other logger of Lightning that the configuration names."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from common.runs.description import Stage
from common.system.errors import UserError


class EventLogger(TensorBoardLogger):
    """Lightning's own logger without its hparams.yaml, which would be empty: config.yaml holds everything."""

    def save(self) -> None:
        """Flush."""
        self.experiment.flush()


@contextmanager
def loggers_of(stage: Stage, fingerprint: str, step: int | None) -> Iterator[list[Logger]]:
    """Make the loggers of a stage, and end a run that the other one began, so that the next stage has its own.

    Args:
        stage: whose run it is.
        fingerprint: of the stage, by which a run that is continued is known.
        step: from there on earlier TensorBoard events are hidden; None: all, for the stage begins anew.

    Raises:
        UserError: the other logger cannot be made.
    """
    found = _make(stage, fingerprint, step)
    try:
        yield found
    finally:
        for logger in found:
            # That of Weights & Biases is one for the process until it is finished.
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if callable(finish):
                finish()


def _make(stage: Stage, fingerprint: str, step: int | None) -> list[Logger]:
    rule = stage.config.logger
    found: list[Logger] = []
    if rule.tensorboard:
        found.append(EventLogger(stage.place, name="", version="", purge_step=step or 0))
    if rule.other:
        found.append(_other(stage, fingerprint, rule.other))
    return found


def _other(stage: Stage, fingerprint: str, arguments: DictConfig) -> Logger:
    """Make the logger whose class and arguments stand in ``logger.other``.

    It is told what only the stage knows, by those of its arguments that are not given: the run's name, a folder, and
    an id by which a run that is continued is known as the same one.
    """
    named = str(arguments["_target_"])
    given = {str(name): value for name, value in arguments.items() if name != "_target_"}
    full = f"{stage.config.exp_name}/{stage.name}"
    own = {
        "name": full,
        "run_name": full,
        "save_dir": str(stage.place),
        "id": f"{full.replace('/', '-')}-{fingerprint[:8]}",
    }
    try:
        module, _, name = named.rpartition(".")
        kind = getattr(import_module(module), name)
        takes = inspect.signature(kind).parameters
        logger = kind(**{key: value for key, value in own.items() if key in takes} | given)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"logger.other._target_={named} cannot be made: {why}") from error
    if not isinstance(logger, Logger):
        raise UserError(f"logger.other._target_={named} is no logger of Lightning.")
    try:
        # Lightning makes the run itself at its first use: with arguments that are passed on unread, it fails there.
        getattr(logger, "experiment", None)
    except Exception as error:
        why = " ".join(str(error).split())
        raise UserError(f"logger.other._target_={named} cannot begin a run: {why}") from error
    return logger
