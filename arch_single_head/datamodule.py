"""Images with the labels of one level: the names of the folders they lie in."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from common.data.datamodule import HierarchicalData
from common.data.image_folder import ImageFolder
from common.settings.levels import LEVELS
from common.system.errors import UserError


class SingleHeadData(HierarchicalData):
    """Images for one head; ``hparams.mode`` says on which labels."""

    def __init__(self, cfg: DictConfig, *, seed: int) -> None:
        super().__init__(cfg, seed=seed)
        self.levels = (cfg.hparams.mode,)

    def labels(self, directory: Path, folder: ImageFolder) -> dict[str, np.ndarray]:
        """Find the label ids int64 (N,) of the mode's level.

        Raises:
            UserError: the folder's name says that its labels are of the other level.
        """
        (level,) = self.levels
        if directory.name in LEVELS and directory.name != level:
            raise UserError(
                f"{directory} holds {directory.name} labels, but hparams.mode is {level}."
            )
        return {level: folder.labels}
