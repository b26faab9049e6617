"""The ways to join the features of hemispheres, from which hparams.join chooses. Imports no torch."""

from common.settings.choices import Choice

JOINS = {
    "concatenate": Choice(
        "the features of all hemispheres side by side", "common.networks.join:Concatenate"
    ),
}
