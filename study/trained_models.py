"""Hemispheres that a study uses instead of training its own: the file that `trained_models` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from yaml import YAMLError

from common.settings.checks import plain_value
from common.settings.levels import LEVELS
from common.system.atomic_files import read_yaml
from common.system.errors import UserError, shown

if TYPE_CHECKING:
    from common.checkpoints.record import Record


def trained_models(cfg: DictConfig, seeds: list[int]) -> dict[str, list[str]]:
    """Give the checkpoints of hemispheres, per level one for each seed; none if they are trained.

    Raises:
        UserError: the file does not name one checkpoint per level and seed, one of these is not there, or epochs are
            given for a level that is not trained.
    """
    if cfg.trained_models is None:
        return {}
    file = Path(cfg.trained_models)
    content = _content(file)
    found = {}
    for level in LEVELS:
        found[level] = _checkpoints(file, level, content[level], len(seeds))
        if cfg.epochs[level]:
            raise UserError(
                f"epochs.{level} has no meaning with trained_models, which are not trained: drop one."
            )
    return found


def refuse_mixed(trained: Mapping[str, Sequence[str]]) -> None:
    """Refuse hemispheres of one level that were trained differently: a mean over such seeds is of no configuration.

    Each stage would be refused for it, but only once those of other seeds and arms have been trained.

    Raises:
        UserError: names two of their checkpoints.
    """
    for level, paths in trained.items():
        # One alone is not read, which takes time.
        names = [record.fingerprint for record in _records(paths)] if len(paths) > 1 else []
        for path, name in zip(paths, names, strict=False):
            if name != names[0]:
                raise UserError(
                    f"{paths[0]} and {path} (trained_models, under {level}) were trained on other images or with other "
                    "settings: allowed are hemispheres that differ in their seed alone."
                )


def recorded_epochs(level: str, checkpoints: Sequence[str]) -> int:
    """Read for how many epochs the hemispheres of a level were trained.

    Raises:
        UserError: their checkpoints cannot be read, or do not say one number.
    """
    records = _records(checkpoints)
    said = [plain_value(record.config, "trainer_params.max_epochs") for record in records]
    for path, epochs in zip(checkpoints, said, strict=True):
        if type(epochs) is not int or epochs != said[0]:
            raise UserError(
                f"{path} (trained_models) was trained for {shown(epochs)} epochs, the first one under {level} for "
                f"{shown(said[0])}, and arms that are trained as much need one number: give epochs.ARM=N, or "
                "budget=recipe."
            )
    return int(said[0])


def _records(checkpoints: Sequence[str]) -> list[Record]:
    # Imported late: it takes torch, and most studies need nothing of what is in these files.
    from common.checkpoints.files import read

    return [read(Path(path))[0] for path in checkpoints]


def _content(file: Path) -> dict[str, Any]:
    """What the file says of each level."""
    try:
        content = read_yaml(file)
    except OSError as error:
        raise UserError(f"{file} (trained_models) cannot be read: {error.strerror}.") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file} (trained_models) is not YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict) or set(content) != set(LEVELS):
        raise UserError(
            f"{file} (trained_models) must hold two lists of checkpoints, fine: [...] and coarse: [...]."
        )
    return content


def _checkpoints(file: Path, level: str, paths: Any, seeds: int) -> list[str]:
    """The checkpoints of one level, which the file names relative to its own folder."""
    if (
        not isinstance(paths, list)
        or len(paths) != seeds
        or not all(isinstance(path, str) for path in paths)
    ):
        raise UserError(
            f"{file} (trained_models) must list {seeds} checkpoints under {level}, one per seed."
        )
    found = [file.parent / path for path in paths]
    # Resolved, since one file has many names: a, ./a, b/../a, a link to it.
    if len({path.resolve() for path in found}) < len(found):
        raise UserError(
            f"{file} (trained_models) names a checkpoint twice under {level}: seeds that share a hemisphere "
            "are not independent."
        )
    for path in found:
        if not path.is_file():
            raise UserError(
                f"{file} (trained_models) names {path} under {level}, which is not there."
            )
    return [str(path) for path in found]
