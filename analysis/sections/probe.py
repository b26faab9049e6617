"""Which labels can be read off frozen features: the same linear probe for every hemisphere and every kind of label.

Heads cannot be compared across hemispheres, because each hemisphere was trained with a head of its own level only.
A probe is the same for all: multinomial logistic regression (`analysis.logistic`). What can be read off a hemisphere
that nobody trained says how much the probe itself, and the backbone's form, contribute.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from analysis.networks import FeatureCache, sides
from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import INTERVALS, grouped_bars
from analysis.report.part import Part
from analysis.report.svg import Frame, picture
from analysis.section import Findings, Section, listed
from analysis.seed import HALVES, Seed
from analysis.specialisation.tasks import most_common
from analysis.values import SHARE
from common.networks.macro import HemispheresAndHeads
from common.settings.levels import LEVELS
from common.system.randomness import derive

RANDOM = "random weights"
LETTERS = ("large letter", "small letter")


class Probes(Section):
    """Probes of both levels' labels or, on Navon figures, of the large and the small letter."""

    order = 10
    csv_order = 100

    def __init__(self) -> None:
        self.letters: list[str] = []  # the small ones, of Navon figures
        self.chance: dict[str, float] = {}  # by what is read off
        self.at_end: dict[str, None] = {}  # probes whose penalty is at the end of what was tried

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the accuracy of each probe on the features of each hemisphere, and of both."""
        images = seed.images
        navon = small_letters(
            images.class_names["fine"], images.class_names["coarse"], images.parents
        )
        counts = images.classes
        if navon:
            self.letters, letter_of = navon
            counts = dict(zip(LETTERS, (counts["coarse"], len(self.letters)), strict=True))

        def asked(labels: dict[str, Tensor]) -> dict[str, Tensor]:
            if not navon:
                return {level: labels[level] for level in LEVELS}
            return dict(zip(LETTERS, (labels["coarse"], letter_of[labels["fine"]]), strict=True))

        sets = (seed.train, seed.validation, seed.test)
        train, validation, test = (asked(one.labels) for one in sets)
        self.chance = {what: most_common(labels) for what, labels in test.items()}
        features = {half: tuple(one.of(half) for one in sets) for half in HALVES}
        features[RANDOM] = tuple(random_features(seed).values())
        for half, (fit, choose_by, asked_about) in features.items():
            for what in train:
                probe = seed.fits.fit(
                    (fit, train[what]), (choose_by, validation[what]), counts[what]
                )
                if probe.at_end:
                    self.at_end[f"the {what} off {half}, seed {seed.number}"] = None
                predicted = probe.logits(asked_about).argmax(1)
                right = (predicted == test[what]).double().mean().item()
                found.values.add(
                    "probe accuracy", right, level=what, side=half, seed=seed.number, within=SHARE
                )

    def render(self, found: Findings) -> Part | None:
        """A bar for each hemisphere, for both, and for a hemisphere that nobody trained."""
        groups = {
            what: {
                half: summary
                for half in (*HALVES, RANDOM)
                if (summary := found.values.get("probe accuracy", what, half))
            }
            for what in (LETTERS if self.letters else LEVELS)
        }
        if not all(groups.values()):
            return None
        title, text, chance = self._words()
        figure = picture(
            Frame("probe", title, height=3.3),
            grouped_bars,
            title="Test images read off the features",
            groups=groups,
            label="accuracy of the probe",
            chance=self.chance,
        )
        table = Sheet(
            "probe",
            "Accuracy of the linear probe, %",
            word_columns(("what", "features"), ("mean", "95 % interval")),
            [
                [Cell(what, what, True), Cell(half, half, True), *summary_cells(summary)]
                for what, group in groups.items()
                for half, summary in group.items()
            ],
        )
        note = (
            "Measured with the same linear probe for all: logistic regression on the frozen features of "
            f"{found.reference_images:,} training images, its penalty chosen on validation images. Heads "
            "cannot be compared: each hemisphere was trained with the head of its own level only. Random weights: a "
            f"left hemisphere before training. {chance}"
        )
        return Part(
            id="known",
            title=title,
            nav="What they know",
            text=text,
            figures=[(figure, f"{INTERVALS} Dashed: chance.")],
            tables=[table],
            notes=[note, *self._warnings()],
        )

    def _warnings(self) -> list[str]:
        """Where a weaker or a stronger penalty than any that was tried may be better."""
        if not self.at_end:
            return []
        return [
            "Warning: the penalty chosen is the strongest or the weakest that was tried for reading "
            f"{listed([*self.at_end])}. A better one may lie beyond, so that more could be read."
        ]

    def _words(self) -> tuple[str, list[str], str]:
        """Title, text, and what guessing would give."""
        first, second = (f"{100 * share:.3g} %" for share in self.chance.values())
        if self.letters:
            text = [
                "The classic question about Navon figures: who sees the forest, and who the trees? The right "
                "hemisphere learned only the large letter; the left one learned both together.",
                "How to read it: each bar is the share of test images whose letter can be read off the features "
                "of the left hemisphere, the right one, or both. A specialised hemisphere is high for one letter "
                "and low for the other.",
            ]
            chance = (
                f"Chance is {first} for the large letter and {second} for the small one ({len(self.letters)} letters; "
                "fewer are possible once the large one is known)."
            )
            return "The large and the small letter", text, chance
        text = [
            "How to read it: each bar is the share of test images whose fine or coarse label can be read off "
            "the features of the left hemisphere, the right one, or both. A hemisphere may know labels on "
            "which it was not trained."
        ]
        chance = f"Chance, always the most common class, is {first} for fine labels and {second} for coarse ones."
        return "What can be read off each hemisphere", text, chance


def random_features(seed: Seed) -> dict[str, Tensor]:
    """Features (N, F) of the seed's training, validation and test images, of a left hemisphere that nobody trained."""
    module, images = seed.module, seed.images
    with torch.random.fork_rng(devices=[]):  # all is drawn on the CPU
        torch.manual_seed(derive(seed.number, "untrained") % 2**32)
        fresh = type(module)(cfg=module.cfg, record=module.record).eval().to(module.device)
    hemisphere = sides(cast(HemispheresAndHeads, fresh.network))["left"]
    asked = {
        "train": (images.data.train_set, images.train_rows),
        "validation": (images.data.val_set, images.validation_rows),
        "test": (images.test, None),
    }
    return {
        name: FeatureCache(part.images, rows).features(fresh, hemisphere)
        for name, (part, rows) in asked.items()
    }


def small_letters(
    fine: Sequence[str], coarse: Sequence[str], parents: Tensor
) -> tuple[list[str], Tensor] | None:
    """The small letters, and of each fine class the position of its own among them, int64 (C,).

    A set holds Navon figures if each fine class is called "LARGE of SMALL" and LARGE is its coarse class.

    Args:
        fine: names of fine classes.
        coarse: names of coarse classes.
        parents: the coarse class of each fine one (C,).
    """
    if not len(parents):  # two independent labels, each of which is probed as it is
        return None
    small = []
    for name, parent in zip(fine, parents.tolist(), strict=True):
        large, of, letter = name.partition(" of ")
        if not of or large != coarse[parent]:
            return None
        small.append(letter)
    letters = sorted(set(small))
    return letters, torch.tensor([letters.index(letter) for letter in small])
