"""What every analysis has in common, and what all of them together found."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.report.part import Part
from analysis.seed import Seed
from analysis.values import Values
from study.arms import REFERENCE


class Section:
    """One analysis: what it computes for each seed, and the section of the page that shows it.

    ``order`` is its place on the page, ``csv_order`` that of its rows in the csv files, where it is another one.
    One instance serves all seeds of a study, so it may keep what is not a number. ``every_pair``: whether it looks at
    every arm whose network has two hemispheres (`Seed.arm` says which), and not only at the first such arm.
    """

    order: int
    csv_order: int | None = None
    every_pair: bool = False

    def compute(self, seed: Seed, found: "Findings") -> None:
        """Add the numbers of one seed to ``found.values``."""
        raise NotImplementedError

    def finish(self, found: "Findings") -> None:
        """Add what can be computed only after all seeds; by default nothing."""

    def render(self, found: "Findings") -> Part | None:
        """The section of the page, after all seeds; None where there are no numbers."""
        raise NotImplementedError


@dataclass
class Findings:
    """The analyses of a study with their numbers, and what had to be left out (a sentence each).

    ``pairs`` are the arms with two hemispheres, the first of which most analyses are about; ``tables`` are further csv
    files of ``analysis/``, by name without ending: the dataclass of their rows, and the rows.
    """

    sections: list[Section] = field(default_factory=list)
    values: Values = field(default_factory=Values)
    left_out: list[str] = field(default_factory=list)
    class_names: dict[str, list[str]] = field(default_factory=dict)
    test_images: int = 0
    reference_images: int = 0
    pairs: list[str] = field(default_factory=lambda: [REFERENCE])
    tables: dict[str, tuple[type, Sequence[Any]]] = field(default_factory=dict)

    def add(self, seed: Seed) -> None:
        """Add what all analyses compute for one seed."""
        images = seed.images
        self.class_names = images.class_names
        self.test_images = len(images.test)
        self.reference_images = len(images.train_rows)
        for section in self._in_csv_order():
            if section.every_pair or seed.arm == self.pairs[0]:
                section.compute(seed, self)

    def finish(self) -> None:
        """Let all analyses add what they can compute only now, after all seeds."""
        for section in self._in_csv_order():
            section.finish(self)

    def _in_csv_order(self) -> list[Section]:
        return sorted(self.sections, key=lambda one: one.csv_order or one.order)

    def leave_out(self, sentence: str) -> None:
        """Note what had to be left out; the same sentence only once."""
        if sentence not in self.left_out:
            self.left_out.append(sentence)

    def parts(self) -> list[Part]:
        """The sections of the page for which there are numbers, in reading order."""
        ordered = sorted(self.sections, key=lambda one: one.order)
        return [part for section in ordered if (part := section.render(self)) is not None]
