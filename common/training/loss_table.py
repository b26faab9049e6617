"""The losses from which hparams.loss chooses. Imports no torch."""

from common.settings.choices import Choice

LOSSES = {
    "cross_entropy": Choice(
        "cross-entropy of each level, summed over levels", "common.training.losses:cross_entropy"
    ),
}
