"""Equal training: as many epochs as make up the training operations of the bilateral network, hemispheres included."""

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig

from arch_dual_head.macro_architectures import macro_architecture
from arch_dual_head.networks import Parts, bilateral, specialist
from common.networks.costs import training_macs
from common.settings.levels import SIDES, SPELLING


def equal_epochs(
    cfg: DictConfig,
    *,
    num_classes: Mapping[str, int],
    image_size: Sequence[int],
    augments: bool,
    coarse_of_fine: Sequence[int] = (),
) -> int:
    """Compute the whole number of epochs that comes nearest to the operations of the bilateral network.

    Args:
        cfg: describes the network, the bilateral one beside it, and ``bilateral_epochs``.
        num_classes: of each level.
        image_size: height and width, in pixels.
        augments: whether an image is another one in each epoch, so that frozen hemispheres see it each time.
        coarse_of_fine: the coarse class of each fine class; empty where that is not known.
    """
    epochs, hparams = cfg.bilateral_epochs, dict(cfg.hparams)
    reference = Parts(
        hparams | {"macro_arch": "bilateral", "ffreeze": True, "cfreeze": True, "callosum": {}},
        num_classes,
    )
    operations = training_macs(
        bilateral(reference),
        image_size,
        images=epochs.heads,
        distinct=epochs.heads if augments else 1,
    )
    for side in SIDES:
        network = specialist(reference, side, SPELLING[side])
        operations += training_macs(network, image_size, images=epochs[side], distinct=0)
    # Of its own callosum, if it has one, the operations count.
    own = macro_architecture(hparams).load()(Parts(hparams, num_classes, coarse_of_fine))
    return max(1, round(operations / training_macs(own, image_size, images=1, distinct=0)))
