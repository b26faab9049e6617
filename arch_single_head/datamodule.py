"""Images with the labels of one level, the names of the folders they lie in, or with the classes of a pretext task."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from common.data.datamodule import HierarchicalData
from common.data.image_folder import ImageFolder
from common.data.labels import Classes
from common.settings.levels import LEVELS
from common.system.errors import UserError
from common.training.paradigms import WITHOUT_LABELS, paradigm_of


class SingleHeadData(HierarchicalData):
    """Images for one head; ``hparams.mode`` says on which labels, or names a paradigm that learns without."""

    def __init__(self, cfg: DictConfig, *, seed: int) -> None:
        super().__init__(cfg, seed=seed)
        self.levels = (cfg.hparams.mode,)

    def read_classes(self, directory: Path) -> dict[str, Classes]:
        """Read the classes of both levels, and those of the mode's own task."""
        names = paradigm_of(self.cfg.hparams).classes
        own = {self.cfg.hparams.mode: Classes([*range(len(names))], [*names])} if names else {}
        return super().read_classes(directory) | own

    def labels(self, directory: Path, folder: ImageFolder) -> dict[str, np.ndarray]:
        """Find the label ids int64 (N,) of the mode's level; in a task without labels all images are as they are: 0.

        Raises:
            UserError: the folder's name says that its labels are of the other level.
        """
        (level,) = self.levels
        if level in WITHOUT_LABELS:
            return {level: np.zeros(len(folder.names), dtype=np.int64)}
        if directory.name in LEVELS and directory.name != level:
            raise UserError(
                f"{directory} holds {directory.name} labels, but hparams.mode is {level}."
            )
        return {level: folder.labels}
