"""The ways to train a hemisphere: from labels, or without them. Imports no torch."""

from dataclasses import dataclass
from typing import Any

from common.settings.choices import Choice


@dataclass(frozen=True)
class Paradigm(Choice):
    """A row: how a hemisphere is trained.

    One that learns from labels is chosen by hparams.paradigm, and hparams.mode says which labels. One that learns
    without makes up its task itself: hparams.mode chooses it by its name, which is also the name of its head.

    Args:
        help: what it learns from, in a few words.
        where: 'module:class' of its objective (`common.training.objective`).
        classes: of its task, in the order of the head's outputs; empty: those of the labels.
    """

    classes: tuple[str, ...] = ()


PARADIGMS = {
    "supervised": Paradigm("labels of its level", "common.training.supervised:Supervised"),
    "rotation": Paradigm(
        "by how much an image was rotated (Gidaris et al. 2018)",
        "common.training.rotation:Rotation",
        classes=("0°", "90°", "180°", "270°"),
    ),
}
WITH_LABELS = tuple(name for name, row in PARADIGMS.items() if not row.classes)
WITHOUT_LABELS = tuple(name for name, row in PARADIGMS.items() if row.classes)


def paradigm_of(hparams: Any) -> Paradigm:
    """Look up the row that hparams.mode or hparams.paradigm names."""
    return PARADIGMS[hparams.mode if hparams.mode in WITHOUT_LABELS else hparams.paradigm]
