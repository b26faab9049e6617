"""Refuse, before anything is trained, that a checkpoint to build on is missing. Imports no torch."""

from pathlib import Path

from common.settings.levels import LEVELS
from common.system.errors import UserError


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
        what, remedy = f"the {part}", "train it first, or correct the key that names it"
        if part in LEVELS:
            what = f"the {part} hemisphere"
            # By default a checkpoint lies in a folder that says what it was trained on.
            mode = next((folder.name for folder in path.parents if folder.name in LEVELS), part)
            remedy = (
                f"train it first (python arch_single_head/trainer.py hparams.mode={mode}, with the same dataset and "
                f"seeds), or correct hparams.model_path_{part}"
            )
        raise UserError(f"There is no checkpoint at {path} to load {what} from: {remedy}.")
    return paths
