"""Features of some images in evaluation mode: what probes and means are computed of."""

from collections.abc import Iterator

import torch
from torch import Tensor

from common.data.datamodule import evaluation_batch
from common.data.image_set import ImageSet
from common.training.module import TrainingModule


@torch.no_grad()
def features_of(module: TrainingModule, images: ImageSet, places: Tensor) -> Iterator[Tensor]:
    """Give features side by side (B, F) of images without augmentation, batch after batch, on the module's device.

    Args:
        module: in evaluation mode; the caller chooses the precision.
        images: features that these keep are not computed again.
        places: of the images in that set, int64 (N,).
    """
    size = evaluation_batch(images.images.shape[-2:], gpu=module.device.type == "cuda")
    for some in places.split(size):
        batch = images.batch(some, module.device)
        if "features" in batch:
            yield batch["features"]
        else:
            yield module.evaluated(module.network.features, module.seen(batch)["images"])
