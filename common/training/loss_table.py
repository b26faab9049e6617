"""The losses from which hparams.loss chooses. Imports no torch."""

from common.settings.choices import Choice

LOSSES = {
    "cross_entropy": Choice(
        "cross-entropy of each level, summed over levels", "common.training.losses:cross_entropy"
    ),
    "soft_hierarchy": Choice(
        "cross-entropy with labels softened along the tree of classes (hparams.hierarchy_beta; Bertinetto et al. 2020)",
        "common.training.losses:soft_hierarchy",
    ),
    "decorrelated": Choice(
        "cross-entropy, plus hparams.decorrelation times the mean squared correlation of left and right features",
        "common.training.losses:decorrelated",
    ),
}
# Those that compare the features of two hemispheres with each other.
OF_TWO_HEMISPHERES = ("decorrelated",)
