"""The ways to train a hemisphere, from which hparams.paradigm chooses. Imports no torch."""

from common.settings.choices import Choice

PARADIGMS = {
    "supervised": Choice("labels of its level", "common.training.supervised:Supervised"),
}
