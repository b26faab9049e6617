"""The losses from which hparams.loss chooses. Imports no torch."""

from dataclasses import dataclass
from inspect import signature

from common.settings.choices import Choice


@dataclass(frozen=True)
class Loss(Choice):
    """A row: a loss, and whether it compares the features of two hemispheres with each other.

    One that does is refused where there are no two in one network, and where both are frozen without a callosum.
    """

    of_two_hemispheres: bool = False

    def takes(self, name: str) -> bool:
        """Say whether a key of hparams is a hyper-parameter of the loss, which is imported for that."""
        return name in signature(self.load()).parameters


LOSSES = {
    "cross_entropy": Loss(
        "cross-entropy of each level, summed over levels", "common.training.losses:cross_entropy"
    ),
    "soft_hierarchy": Loss(
        "cross-entropy with labels softened along the tree of classes (hparams.hierarchy_beta; Bertinetto et al. 2020)",
        "common.training.losses:soft_hierarchy",
    ),
    "decorrelated": Loss(
        "cross-entropy, plus hparams.decorrelation times the mean squared correlation of left and right features",
        "common.training.losses:decorrelated",
        of_two_hemispheres=True,
    ),
}
