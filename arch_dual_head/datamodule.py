"""Images with fine and coarse labels: fine from the folder, coarse from raw files or the index."""

from pathlib import Path

import numpy as np

from common.data.datamodule import HierarchicalData
from common.data.image_folder import ImageFolder
from common.data.labels import rows_of
from common.data.names import unique_names
from common.data.raw import read_split
from common.system.errors import UserError


class DualHeadData(HierarchicalData):
    """Images for two heads."""

    levels = ("fine", "coarse")

    def labels(self, directory: Path, folder: ImageFolder) -> dict[str, np.ndarray]:
        """Find the label ids int64 (N,) of both levels.

        Raises:
            UserError: the folder holds coarse labels, or the other source says nothing of an image.
        """
        if directory.name == "coarse":
            raise UserError(
                f"{directory} holds coarse labels; two heads take the fine folder and find coarse ones."
            )
        if self.cfg.dataset.raw_data_dir is None:
            index, row = rows_of(directory, folder)
            return {"fine": folder.labels, "coarse": index.coarse[row]}
        file = Path(self.cfg.dataset.raw_data_dir) / directory.parent.name
        raw = read_split(file)
        coarse = dict(zip(unique_names(raw.names, raw.fine), raw.coarse, strict=True))
        missing = next((name for name in folder.names if name not in coarse), None)
        if missing:
            raise UserError(
                f"{directory} holds {missing}, of which {file} (dataset.raw_data_dir) says nothing."
            )
        return {"fine": folder.labels, "coarse": np.array([coarse[name] for name in folder.names])}
