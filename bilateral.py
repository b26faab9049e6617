"""The Python way in: ask a trained network, or run a study, without the command line.

    from bilateral import load, outcome, specialisation, study

`load` gives a `common.trained.inference.Trained`; `study` is `train_system.study`, whose tables `outcome` reads again;
`specialisation` measures two hemispheres. What a person can mend is raised as `common.system.errors.UserError`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.settings.paths import path_of
from common.system.errors import UserError
from train_system import outcome, study

if TYPE_CHECKING:
    import torch

    from analysis.pipeline import Specialised
    from common.trained.inference import Trained

__all__ = ["load", "outcome", "specialisation", "study"]


def load(checkpoint: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Trained:
    """A trained network of either experiment folder, out of its checkpoint alone.

    Args:
        checkpoint: path of a best.ckpt or last.ckpt.
        device: where to compute, as torch names it.

    Raises:
        UserError: a checkpoint that is missing or damaged, or a device that is not there.
    """
    # Imported late: torch takes seconds, and the commands that import this answer --help without it.
    import torch

    from architectures import ARCHITECTURES
    from common.trained.inference import Trained
    from common.trained.load import load_module

    file = path_of(checkpoint, "checkpoint", "the path of a best.ckpt or last.ckpt")
    module = load_module(file, ARCHITECTURES)
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there = ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"{device!r} is no device that torch knows; allowed here: {', '.join(there)}."
        ) from error
    if place.type not in there and f"{place.type}:{place.index or 0}" not in there:
        raise UserError(f"{device!r} is not there; allowed here: {', '.join(there)}.")
    return Trained(
        network=module.network,
        transforms=module.transforms,
        record=module.record,
        device=place,
        accuracy=_tested(file, module.record.fingerprint),
    )


def _tested(checkpoint: Path, fingerprint: str) -> dict[str, float]:
    """The test accuracy of a best.ckpt by level, if the result.yaml of its run lies where the run left it."""
    from common.results.rows import read_result

    file = checkpoint.parent.parent / "result.yaml"
    result = read_result(file) if checkpoint.name == "best.ckpt" and file.is_file() else None
    if result is None or result.get("fingerprint") != fingerprint:
        return {}
    return {level: values["accuracy"] for level, values in (result["test"] or {}).items()}


def specialisation(
    run: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None
) -> Specialised:
    """Measure how specialised the hemispheres of a run's networks are, by docs/specialisation.md; writes nothing.

    Args:
        run: folder of a finished study, or of one run of arch_dual_head/trainer.py.
        root: folder where its data set lies now, if that has moved.

    Raises:
        UserError: there is no finished study, its data or checkpoints are no longer what they were, or there is
            nothing to measure, such as no network with two hemispheres.
    """
    # Imported late, as above.
    from analysis.pipeline import specialised

    place = path_of(run, "run", "the folder of a finished study")
    moved = None if root is None else path_of(root, "root", "the folder of a data set")
    return specialised(place, data_root=None if moved is None else str(moved))
