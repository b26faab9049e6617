"""Refuse, before anything is trained, that a checkpoint to build on is missing. Imports no torch."""

from pathlib import Path

from common.settings.levels import LEVELS
from common.system.errors import UserError
from common.training.paradigms import WITHOUT_LABELS


def refuse_missing(paths: dict[str, Path]) -> dict[str, Path]:
    """Give the checkpoints that a run builds on, by what they serve as (fine, coarse, network, member0, ...).

    Raises:
        UserError: one is not there, or is of a training that was not finished.
    """
    for part, path in paths.items():
        if path.is_file():
            training = path.with_name("last.ckpt").is_file() and path.parent.name == "checkpoints"
            if training and not (path.parent.parent / "result.yaml").is_file():
                raise UserError(
                    f"{path} is of a training that was not finished: run its command again first."
                )
            continue
        what = f"the {part} hemisphere" if part in LEVELS else f"the {part}"
        wrong = f"hparams.model_path_{part}" if part in LEVELS else "the key that names it"
        remedy = f"train it first{_how(path, part)}, or correct {wrong}"
        raise UserError(f"There is no checkpoint at {path} to load {what} from: {remedy}.")
    return paths


def _how(path: Path, part: str) -> str:
    """Name the command that writes a checkpoint: its path tells, if it has the form that commands give it."""
    arm = part
    if path.parent.name == "checkpoints" and len(path.parents) > 3:
        arm = path.parents[2].name  # <arm>/seed<n>/checkpoints/best.ckpt
    elif part not in LEVELS:
        return ""
    folder, choice = "dual", f"--config-name {arm}"
    if arm in (*LEVELS, *WITHOUT_LABELS):
        folder, choice = "single", f"hparams.mode={arm}"
    command = f"python arch_{folder}_head/trainer.py {choice}"
    return f" ({command}, with the same dataset and seeds)"
