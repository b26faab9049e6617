"""Collect what a network answers to each test image, in the same pass that measures it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from common.data.image_set import ImageSet
from common.networks.macro import HemispheresAndHeads, Outputs
from common.results.predictions import Prediction
from common.settings.levels import SIDES
from common.training.features import features_of
from common.training.metrics import Batch
from common.training.module import TrainingModule

# Over at most so many training images, evenly chosen, a silenced hemisphere's features are averaged. Always over the
# same ones, also where the features of all are at hand: answers must not depend on that.
MEAN_IMAGES = 2_000


class Predictions(pl.Callback):
    """Keeps the answers of a test; of an objective that asks for other answers than the images' labels, nothing.

    Args:
        names: of the test images, in order.
        label_ids: the data set's label ids of each level, in the order of a head's outputs.
        train: the images that the network was trained on; without them no hemisphere is silenced.
    """

    def __init__(
        self,
        names: Sequence[str],
        label_ids: Mapping[str, Sequence[int]],
        train: ImageSet | None,
    ) -> None:
        self.names = names
        self.label_ids = label_ids
        self.train = train
        self.means: dict[str, Tensor] = {}
        self.parts: list[dict[str, Tensor]] = []

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Average the features of two hemispheres, whose network has its tested weights now."""
        self.parts, self.means = [], {}
        if self.train is not None and tuple(pl_module.network.sides) == SIDES:  # type: ignore[union-attr, arg-type]
            with trainer.precision_plugin.forward_context():
                self.means = training_means(pl_module, self.train)  # type: ignore[arg-type]

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep answers, on the device."""
        assert isinstance(outputs, Outputs)
        if not outputs.logits:
            return
        found = {}
        for level in self.label_ids:
            logits = outputs.logits[level]
            found[level] = batch[level]
            # By logits: probabilities may be equal where these differ.
            found[f"{level}_answer"] = logits.argmax(dim=1)
            found[f"{level}_probability"] = logits.float().softmax(dim=1).amax(dim=1)
        with trainer.precision_plugin.forward_context():
            for side in self.means:
                alone = answers_alone(pl_module.network, outputs.features, self.means, side)  # type: ignore[arg-type]
                found |= {f"{side}_{level}": alone[level] for level in self.label_ids}
        self.parts.append(found)

    def collected(self) -> list[Prediction]:
        """Give the answers of all images that were tested, in order."""
        if not self.parts:
            return []
        columns = {
            name: torch.cat([p[name] for p in self.parts]).tolist() for name in self.parts[0]
        }
        return [self._prediction(columns, row) for row in range(len(next(iter(columns.values()))))]

    def _prediction(self, columns: Mapping[str, list[Any]], row: int) -> Prediction:
        def of_levels(before: str, after: str) -> dict[str, int]:
            return {
                level: ids[columns[f"{before}{level}{after}"][row]]
                for level, ids in self.label_ids.items()
            }

        return Prediction(
            image=self.names[row],
            label=of_levels("", ""),
            answer=of_levels("", "_answer"),
            probability={level: columns[f"{level}_probability"][row] for level in self.label_ids},
            alone={side: of_levels(f"{side}_", "") for side in self.means},
        )


def training_means(module: TrainingModule, train: ImageSet) -> dict[str, Tensor]:
    """Average features over training images without augmentation: float32 (F,) by side.

    Args:
        module: in evaluation mode, on its device.
        train: its training images; features that these keep are not computed again.
    """
    count = min(MEAN_IMAGES, len(train))
    rows = torch.arange(count) * len(train) // count
    total = torch.zeros(module.network.num_features, device=module.device)
    for features in features_of(module, train, rows):
        total += features.float().sum(dim=0)
    return {
        side: mean[0] for side, mean in module.network.split((total / count).unsqueeze(0)).items()
    }


def answers_alone(
    network: HemispheresAndHeads,
    features: Mapping[str, Tensor],
    means: Mapping[str, Tensor],
    side: str,
) -> dict[str, Tensor]:
    """Let one hemisphere speak alone: by level the classes of the highest logits, int64 (B,).

    Args:
        network: of two hemispheres.
        features: (B, F) by side.
        means: (F,) by side: what the features of all other sides are set to, unless the join silences otherwise.
        side: the hemisphere that speaks.
    """
    held = [
        values.float() if one == side else network.join.silenced(means[one]).expand_as(values)
        for one, values in features.items()
    ]
    logits = network.classify(torch.cat(held, dim=1))
    return {level: values.argmax(dim=1) for level, values in logits.items()}
