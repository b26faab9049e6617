"""The Python way in: ask a trained network, or run a study, without the command line.

    from bilateral import load, study

`load` gives a `common.trained.inference.Trained`; `study` is `train_system.study`. What a person can mend is raised as
`common.system.errors.UserError`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.system.errors import UserError
from train_system import study

if TYPE_CHECKING:
    import torch

    from common.trained.inference import Trained

__all__ = ["load", "study"]


def load(checkpoint: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Trained:
    """A trained network of either experiment folder, out of its checkpoint alone.

    Args:
        checkpoint: path of a best.ckpt or last.ckpt.
        device: where to compute, as torch names it.

    Raises:
        UserError: a checkpoint that is missing or damaged.
    """
    # Imported late: torch takes seconds, and the commands that import this answer --help without it.
    import torch

    from architectures import ARCHITECTURES
    from common.trained.inference import Trained
    from common.trained.load import load_module

    module = load_module(Path(checkpoint).expanduser(), ARCHITECTURES)
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"{device!r} is no device that torch knows; try cpu or cuda.") from error
    return Trained(
        network=module.network, transforms=module.transforms, record=module.record, device=place
    )
