"""What every analysis has in common, and what all of them together found."""

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from analysis.report.part import IDS, Part
from analysis.seed import Seed
from analysis.values import Values
from common.system.errors import UserError
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


# In a sentence about what was left out of one seed.
WITH_SEED = re.compile(r"\bwith seed (\d+)\b")
SHOWN = 4  # names in a sentence


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: the first ones, and how many more there are."""
    more = f"; and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{'; '.join(names[:SHOWN])}{more}"


@dataclass
class Findings:
    """The analyses of a study with their numbers, and what had to be left out (a sentence each).

    ``chance`` is by level how often the most common class is right. ``pairs`` are the arms with two hemispheres, the
    first of which most analyses are about; ``tables`` are further csv files of ``analysis/``, by name without ending:
    the dataclass of their rows, and the rows. ``failures`` are the tracebacks of analyses that failed, by section.
    ``images`` says how many images were used for what.
    """

    sections: list[Section] = field(default_factory=list)
    values: Values = field(default_factory=Values)
    left_out: list[str] = field(default_factory=list)
    class_names: dict[str, list[str]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    test_images: int = 0
    reference_images: int = 0
    pairs: list[str] = field(default_factory=lambda: [REFERENCE])
    tables: dict[str, tuple[type, Sequence[Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def add(self, seed: Seed) -> None:
        """Add what all analyses compute for one seed."""
        images = seed.images
        self.class_names = images.class_names
        self.chance = images.chance
        self.test_images = len(images.test)
        self.reference_images = len(images.train_rows)
        for section in self._in_csv_order():
            if section.every_pair or seed.arm == self.pairs[0]:
                with self.spared(section):
                    section.compute(seed, self)

    def finish(self) -> None:
        """Let all analyses add what they can compute only now, after all seeds."""
        for section in self._in_csv_order():
            with self.spared(section):
                section.finish(self)

    def _in_csv_order(self) -> list[Section]:
        working = [one for one in self.sections if _name(one) not in self.failures]
        return sorted(working, key=lambda one: one.csv_order or one.order)

    @contextmanager
    def spared(self, section: Section | str) -> Iterator[None]:
        """Leave a section out from here on if it fails within the block, so that the rest of the report is there.

        What a person can mend, and a machine that is full, still stop the command.
        """
        try:
            yield
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:
            name = _name(section)
            self.failures[name] = traceback.format_exc()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.leave_out(
                f"{name}, which failed ({reason[:200]}); analysis/failure.txt says where."
            )

    def leave_out(self, sentence: str) -> None:
        """Note what had to be left out; the same sentence only once."""
        if sentence not in self.left_out:
            self.left_out.append(sentence)

    def omissions(self) -> list[str]:
        """What was left out, where it is the same of several seeds in one sentence."""
        found: dict[str, list[str]] = {}
        for sentence in self.left_out:
            seed = WITH_SEED.search(sentence)
            found.setdefault(WITH_SEED.sub("with {}", sentence), []).extend(
                seed.groups() if seed else []
            )
        return [
            sentence.replace("with {}", f"with seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}")
            for sentence, seeds in found.items()
        ]

    def parts(self) -> list[Part]:
        """The sections of the page for which there are numbers, in reading order."""
        found: list[Part] = []
        whose = dict.fromkeys(IDS, "the page")
        for section in sorted(self._in_csv_order(), key=lambda one: one.order):
            with self.spared(section):
                part = section.render(self)
                if part is None:
                    continue
                if not isinstance(part, Part):
                    raise TypeError(f"render gives {type(part).__name__}, not a Part")
                if part.id in whose:
                    raise ValueError(f"its id {part.id} is that of {whose[part.id]} too")
                whose[part.id] = _name(section)
                found.append(part)
        return found


def _name(section: Section | str) -> str:
    """What a sentence calls a section."""
    return section if isinstance(section, str) else type(section).__name__.lower()
