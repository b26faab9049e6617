"""The ways to join the features of hemispheres, from which hparams.join chooses. Imports no torch."""

from common.settings.choices import Choice

JOINS = {
    "concatenate": Choice(
        "the features of all hemispheres side by side", "common.networks.join:Concatenate"
    ),
    "mean": Choice("the mean of each feature over hemispheres", "common.networks.join:Mean"),
    "product": Choice(
        "the product of each feature over hemispheres", "common.networks.join:Product"
    ),
    "gate": Choice(
        "side by side, each hemisphere weighed image by image", "common.networks.gate:Gate"
    ),
    "attention": Choice(
        "one token for each hemisphere, each attending to both",
        "common.networks.attention:Attention",
    ),
    "winner": Choice(
        "in evaluation the more confident hemisphere's own head answers; it needs hparams.auxiliary above 0",
        "common.networks.winner:Winner",
    ),
}
