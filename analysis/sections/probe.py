"""Which labels can be read off frozen features: the same linear probe for every hemisphere and every kind of label.

Heads cannot be compared across hemispheres, because each hemisphere was trained with a head of its own level only.
A probe is the same for all: ridge regression on one-hot labels, in closed form.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import grouped_bars
from analysis.report.part import Part
from analysis.report.svg import picture
from analysis.section import Findings, Section
from analysis.seed import HALVES, Seed
from common.settings.levels import LEVELS

# Of the mean variance of a feature. The one that is best on the validation images is taken.
STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 2))
LETTERS = ("large letter", "small letter")


class Probes(Section):
    """Probes of both levels' labels or, on Navon figures, of the large and the small letter."""

    order = 10
    csv_order = 100

    def __init__(self) -> None:
        self.letters: list[str] = []  # the small ones, of Navon figures

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
        for half in HALVES:
            fit, choose_by, features = (one.of(half) for one in sets)
            for what in train:
                predicted = probe(
                    (fit, train[what]), (choose_by, validation[what]), features, counts[what]
                )
                right = (predicted == test[what]).double().mean().item()
                found.values.add("probe accuracy", right, level=what, side=half, seed=seed.number)

    def render(self, found: Findings) -> Part | None:
        """A bar for each hemisphere, and for both."""
        groups = {
            what: {
                half: summary
                for half in HALVES
                if (summary := found.values.get("probe accuracy", what, half))
            }
            for what in (LETTERS if self.letters else LEVELS)
        }
        if not all(groups.values()):
            return None
        title, text, chance = self._words(found)
        figure = picture("probe", title, grouped_bars, "Test images read off the features", groups)
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
            "Measured with the same linear probe for all: ridge regression on the frozen features of "
            f"{found.reference_images:,} training images, its strength chosen on validation images. Heads "
            f"cannot be compared: each hemisphere was trained with the head of its own level only. {chance}"
        )
        return Part(
            id="known",
            title=title,
            nav="What they know",
            text=text,
            figures=[(figure, "Thin lines: 95 % intervals over seeds.")],
            tables=[table],
            notes=[note],
        )

    def _words(self, found: Findings) -> tuple[str, list[str], str]:
        """Title, text, and what guessing would give."""
        classes = {level: len(names) for level, names in found.class_names.items()}
        if self.letters:
            text = [
                "The classic question about Navon figures: who sees the forest, and who the trees? The right "
                "hemisphere learned only the large letter; the left one learned both together.",
                "How to read it: each bar is the share of test images whose letter can be read off the features "
                "of the left hemisphere, the right one, or both. A specialised hemisphere is high for one letter "
                "and low for the other.",
            ]
            chance = (
                f"Chance is {100 / classes['coarse']:.0f} % for the large letter and "
                f"{100 / len(self.letters):.0f} % for the small one ({len(self.letters)} letters; fewer "
                "are possible once the large one is known)."
            )
            return "The large and the small letter", text, chance
        text = [
            "How to read it: each bar is the share of test images whose fine or coarse label can be read off "
            "the features of the left hemisphere, the right one, or both. A hemisphere may know labels on "
            "which it was not trained."
        ]
        fine, coarse = (100 / classes[level] for level in LEVELS)
        chance = f"Chance is {fine:.3g} % for fine and {coarse:.3g} % for coarse labels."
        return "What can be read off each hemisphere", text, chance


def probe(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], features: Tensor, classes: int
) -> Tensor:
    """Fit on training images, choose the ridge on validation images, and predict: (N, F) → labels (N,).

    Args:
        train: features (M, F) and labels (M,).
        validation: the same, of other images.
        features: of the images to predict.
        classes: number of labels.
    """
    mean, spread = train[0].double().mean(0), train[0].double().std(0).clamp_min(1e-6)

    def scaled(values: Tensor) -> Tensor:
        return (values.double() - mean) / spread

    inputs = scaled(train[0])
    targets = torch.nn.functional.one_hot(train[1], classes).double()
    offset = targets.mean(0)
    # One eigendecomposition serves every strength.
    values, vectors = torch.linalg.eigh(inputs.T @ inputs / len(inputs))
    projected = vectors.T @ (inputs.T @ (targets - offset)) / len(inputs)
    best, kept = -1.0, torch.empty(0)
    for strength in STRENGTHS:
        weight = vectors @ (projected / (values.clamp_min(0)[:, None] + strength))
        right = ((scaled(validation[0]) @ weight + offset).argmax(1) == validation[1]).double()
        if float(right.mean()) > best:
            best, kept = float(right.mean()), weight
    return (scaled(features) @ kept + offset).argmax(1)


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
    small = []
    for name, parent in zip(fine, parents.tolist(), strict=True):
        large, of, letter = name.partition(" of ")
        if not of or large != coarse[parent]:
            return None
        small.append(letter)
    letters = sorted(set(small))
    return letters, torch.tensor([letters.index(letter) for letter in small])
