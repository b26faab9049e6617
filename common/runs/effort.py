"""Count what a stage's training takes, and that of all that it builds on: operations, images, updates of weights."""

from collections.abc import Sequence

from common.checkpoints.record import Record
from common.data.datamodule import HierarchicalData
from common.networks.costs import training_macs
from common.networks.macro import HemispheresAndHeads
from common.training.module import TrainingModule


def training_of(
    module: TrainingModule, data: HierarchicalData, parents: Sequence[Record]
) -> dict[str, int]:
    """Count multiply-adds ("macs"), "images" and weight "updates" of all epochs, with those of the parents.

    Returns:
        The three, or nothing where a parent's checkpoint is too old to say its own.
    """
    if not all(parent.training for parent in parents):
        return {}
    own = {"macs": 0, "images": 0, "updates": 0}
    network = module.network
    if isinstance(network, HemispheresAndHeads) and any(
        p.requires_grad for p in network.parameters()
    ):
        params = module.cfg.trainer_params
        updates = params.max_epochs * batches(data, params.limit_train_batches)
        images = updates * data.batch_size * module.objective.views_of_each
        distinct = images if module.transforms.augments else min(images, len(data.train_set))
        macs = training_macs(network, module.record.image_size, images=images, distinct=distinct)
        own = {"macs": macs, "images": images, "updates": updates}
    return {name: count + sum(one.training[name] for one in parents) for name, count in own.items()}


def batches(data: HierarchicalData, limit: int | float) -> int:
    """Count the batches of an epoch; ``limit`` is a number of them or a share, as Lightning's limit_train_batches."""
    full = len(data.train_set) // data.batch_size
    return int(full * limit) if isinstance(limit, float) else min(full, limit)
