"""Rotation: by how many quarter turns was the image rotated?"""

from omegaconf import DictConfig
from torch import Tensor

from common.checkpoints.record import Record
from common.system.errors import UserError
from common.training.pretext import Pretext


class Rotation(Pretext):
    """Tells rotations by 0, 90, 180 and 270 degrees apart.

    As Gidaris, Singh & Komodakis 2018, Unsupervised representation learning by predicting image rotations (ICLR),
    section 3: four rotations, and all four copies of an image in the same step.

    Raises:
        UserError: images are not square.
    """

    def __init__(self, hparams: DictConfig, record: Record) -> None:
        height, width = record.image_size
        if height != width:
            raise UserError(
                f"hparams.mode=rotation turns images by quarters, and these are {width} x {height} pixels; allowed: "
                "square ones."
            )
        super().__init__(hparams, record)

    def views(self, images: Tensor) -> list[Tensor]:
        """Turn images (B, 3, H, H) counter-clockwise by 0 to 3 quarters."""
        return [images.rot90(quarters, (2, 3)) for quarters in range(4)]
