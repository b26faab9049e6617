"""What came out of a study, in words: page and terminal say the same, for both are made here.

A verdict is about the reference arm minus another one, or the other way round where a study asks so, and only says what
the tests of the study's tables show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import mean
from typing import NamedTuple

from analysis.report.cells import decimal
from analysis.report.questions import ask
from analysis.study import FinishedStudy
from common.results.contrasts import DIFFERS, LEVEL, less_than, same_within
from common.results.intervals import FEWEST, OF_SIX_DIGITS
from common.results.rows import level_shown
from common.results.sections import APPROXIMATE
from common.results.sharing import pairs
from common.results.statistics import PRIMARY as FAMILY
from common.results.statistics import REFERENCE as OTHERS
from common.results.statistics import DifferenceRow
from common.settings.levels import LEVELS
from study.arms import ARMS, ONE_NETWORK, PRIMARY, REFERENCE, is_control, plain_name

# The forms of a verdict; the words that lead to the other arm's name; and a sign, for eyes that do not see colours.
BETTER, WORSE, SAME, OPEN, FEW = "better", "worse", "same", "open", "few"
LINKS = {BETTER: "than", WORSE: "than", SAME: "as", OPEN: "from", FEW: "against"}
# What explains an answer: is it the specialisation, and is it more than one network of that size?
MAIN = (PRIMARY, ONE_NETWORK)
# Of two arms, so that neither size nor training explains a difference: epochs are whole, and widths are too.
ALIKE = 0.1
# A difference that is shown by itself, and not among so many tests.
UNDONE = "significant alone, but not after correction for {} tests"
SIGNS = {BETTER: "▲", WORSE: "▼", SAME: "=", OPEN: "?", FEW: "?"}


@dataclass(frozen=True)
class Verdict:
    """What the tests show of one comparison; ``row`` is an arm, mostly the reference, minus another, its ``minus``.

    ``ours`` and ``theirs`` are the accuracies that it compares, seed by seed, a fraction each; ``holes`` says whether
    one of the arms has seeds that the other lacks.
    """

    row: DifferenceRow
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    holes: bool = False

    def swapped(self) -> Verdict:
        """Give the same comparison the other way round."""
        return replace(self, row=self.row.swapped(), ours=self.theirs, theirs=self.ours)

    @property
    def form(self) -> str:
        """One of the forms above: by the study's own corrected test, and by its test of equivalence."""
        if self.row.seeds < FEWEST:
            return FEW
        if self.row.verdict == same_within(self.margin):
            return SAME
        if self.row.verdict == DIFFERS or self.small:
            return BETTER if self.row.mean > 0 else WORSE
        return OPEN

    @property
    def small(self) -> bool:
        """Whether a difference is shown, and shown to be less than the margin."""
        return self.row.verdict == less_than(self.margin)

    @property
    def margin(self) -> float:
        """Within which a difference does not matter, in percentage points."""
        return round(100 * (self.row.margin or 0), 10)

    @property
    def words(self) -> str:
        """The verdict."""
        margin = in_points(self.margin)
        by = f" by less than {margin}" if self.small else ""
        return {
            **{BETTER: f"better{by}", WORSE: f"worse{by}", OPEN: "not shown to differ"},
            SAME: f"the same within {margin}",
            FEW: "too few seeds to say",
        }[self.form]

    @property
    def sign(self) -> str:
        """A sign for it."""
        return SIGNS[self.form]

    @property
    def other(self) -> str:
        """The other arm, with the word that leads to it: ``than two unspecialised hemispheres``."""
        return f"{LINKS[self.form]} {plain_name(self.row.minus)}"

    @property
    def values(self) -> str:
        """Both accuracies."""
        return " against ".join(per_cent(mean(one)) for one in (self.ours, self.theirs))

    @property
    def numbers(self) -> str:
        """Difference and interval; under three seeds both values, and the range of differences."""
        if self.form == FEW:
            apart = sorted(one - two for one, two in zip(self.ours, self.theirs, strict=True))
            by_seed = (
                f"; differences by seed {_from_to(apart[0], apart[-1])}" if len(apart) > 1 else ""
            )
            return f"{self.values}{by_seed}{self._of_both}"
        difference = in_points(100 * self.row.mean, digits=2)
        low, high = self.row.ci95_low, self.row.ci95_high
        if low is None or high is None:
            equal = (self.row.std or 0) <= OF_SIX_DIGITS
            why = "the same in every seed" if equal else "of the same networks in every seed"
            return f"{difference}, {why}: no interval{self._of_both}"
        about = "approximate 95 %" if self.row.approximate else "95 %"
        return f"{difference}, {about} interval {_from_to(low, high)}{self._of_both}"

    @property
    def _of_both(self) -> str:
        """What is said where one of the arms has seeds that the other lacks; mostly empty."""
        if not self.holes:
            return ""
        return f"; of {len(self.ours)} seed{'s' * (len(self.ours) > 1)} that both have"

    @property
    def short(self) -> str:
        """The same for a column of such numbers: ``+2.90 (+0.57 to +6.38)``."""
        low, high = self.row.ci95_low, self.row.ci95_high
        if self.form == FEW or low is None or high is None:
            return self.numbers
        mark = f"{APPROXIMATE} " if self.row.approximate else ""
        difference = decimal(100 * self.row.mean, 2, plus=True)
        return f"{difference} ({mark}{_from_to(low, high)}){self._of_both}"

    @property
    def corrected_away(self) -> bool:
        """Whether the interval leaves 0 out, but the difference does not survive the correction."""
        low, high = self.row.ci95_low, self.row.ci95_high
        return self.form == OPEN and low is not None and high is not None and not low <= 0 <= high

    @property
    def note(self) -> str:
        """Why a verdict says less than its interval; mostly empty."""
        if not self.corrected_away or self.row.p_holm is None:
            return ""
        return f"{UNDONE.format(self.row.tests)} (p {self.row.p_holm:.4f})"

    @property
    def outlook(self) -> str:
        """How many seeds would show what is open, in a test alone; empty where these should have been enough."""
        needed = self.row.seeds_needed
        if self.form != OPEN or needed is None or needed <= self.row.seeds:
            return ""
        tests = self.row.tests or 1
        more = f", and more after correction for {tests}" if tests > 1 else ""
        return (
            f"With this spread a single test takes about {needed} seeds to show a difference of "
            f"{in_points(self.margin)} (80 % power){more}."
        )

    @property
    def via_fine(self) -> str:
        """The same comparison where both fine heads give the coarse class; empty where nothing is shown or known."""
        apart, low, high = (
            getattr(self.row, f"via_fine{end}") for end in ("", "_ci95_low", "_ci95_high")
        )
        if self.form not in (BETTER, WORSE) or apart is None or low is None or high is None:
            return ""
        return (
            f"Where the fine heads of both give the {level_shown(self.row)} class it is "
            f"{in_points(100 * apart, digits=2)}, 95 % interval {_from_to(low, high)}."
        )

    @property
    def before(self) -> str:
        """The beginning of a sentence that ``words`` goes on with, and ``after`` ends."""
        name, labels = plain_name(self.row.arm), f"on {level_shown(self.row)} labels"
        if self.form == FEW:
            return upper(f"{labels} {name} {self.other}:")
        return upper(f"{labels} {name} are")

    @property
    def after(self) -> str:
        """Its end."""
        said = "; ".join(filter(None, (self.numbers, self.note)))
        return said if self.form == FEW else f"{self.other}: {said}"

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        behind = "; ".join(filter(None, (self.numbers, self.note)))
        whose = "" if self.row.arm == REFERENCE else f"{plain_name(self.row.arm)}: "
        return f"{whose}{self.words} {self.other} on {level_shown(self.row)} labels ({behind})"


class Line(NamedTuple):
    """All verdicts about one other arm: its name, what it is a control of, and the verdict of each level."""

    arm: str
    name: str
    marks: tuple[str, ...]
    verdicts: Mapping[str, Verdict]

    @property
    def accuracies(self) -> str:
        """What the other arm reaches at each level."""
        found = (
            one.theirs if one.row.minus == self.arm else one.ours for one in self.verdicts.values()
        )
        return " and ".join(per_cent(mean(one)) for one in found)


class Group(NamedTuple):
    """Some comparisons under one heading; those that are not ``open`` are for a second look.

    The first group of a study is its ``main`` one: what answers the question.
    """

    title: str
    lines: list[Line]
    open: bool = True
    main: bool = False

    @property
    def columns(self) -> str:
        """What its verdicts give."""
        forms = {one.form for line in self.lines for one in line.verdicts.values()}
        return "both accuracies" if forms == {FEW} else "points (95 % interval)"


def subject() -> str:
    """What all verdicts are about, in words and as the tables call it."""
    return f"{plain_name(REFERENCE)} ({REFERENCE})"


def lines(study: FinishedStudy) -> list[Line]:
    """All comparisons with the reference arm, the primary one first, then in the order of the tables."""
    rows = [row if row.arm == REFERENCE else row.swapped() for row in study.differences]
    rows = sorted((r for r in rows if r.arm == REFERENCE), key=lambda row: row.family != FAMILY)
    return [
        Line(arm, plain_name(arm), _marks(study, arm), compare(study, REFERENCE, arm))
        for arm in dict.fromkeys(row.minus for row in rows)
    ]


def compare(study: FinishedStudy, arm: str, minus: str) -> dict[str, Verdict]:
    """The verdicts on one arm minus another by level; none where no seed has both."""
    rows = [row.swapped() if row.arm == minus else row for row in study.differences]
    found = {row.level: row for row in rows if (row.arm, row.minus) == (arm, minus)}
    return {level: _verdict(study, found[level]) for level in LEVELS if level in found}


def groups(study: FinishedStudy) -> list[Group]:
    """The comparisons under headings: the main one, controls, the reference's own hemispheres, and all others."""
    compared = lines(study)
    question = ask(study)
    asked = dict.fromkeys((question.other, *MAIN))
    main = [line for arm in asked for line in compared if line.arm == arm]
    others = [line for line in compared if line not in main]
    if main and main[0].arm == question.ours:
        # The card says it in the direction of the question.
        main[0] = main[0]._replace(verdicts=compare(study, question.ours, question.theirs))
    controls = [line for line in others if is_control(line.arm)]
    hemispheres = [line for line in others if line.arm in ARMS[REFERENCE].needs]
    others = [line for line in others if line not in [*controls, *hemispheres]]
    found = [
        Group(f"The main comparison{'s' * (len(main) > 1)}", main, main=True),
        Group("Other controls: networks of equal size, or of equal training", controls),
        Group("Its own hemispheres", hemispheres, main=not main and not controls),
        Group("All other comparisons", others, open=False),
    ]
    return [group for group in found if group.lines]


def correction(study: FinishedStudy) -> str:
    """Say how many comparisons p values are corrected for; empty where nothing was tested."""
    counts = _tests(study)
    families = {
        FAMILY: "{} of the planned comparison",
        OTHERS: "{} with all other arms" if FAMILY in counts else "{} with other arms",
    }
    said = [words.format(_count(counts[one])) for one, words in families.items() if one in counts]
    if not said:
        return ""
    margins = {row.margin for row in study.differences if row.margin is not None}
    same = "".join(
        f" Two networks count as the same where a test of equivalence, by the 90 % interval, shows that they differ by "
        f"less than the margin, {in_points(round(100 * margin, 10))} (the key margin); that is not corrected."
        for margin in sorted(margins)
    )
    return (
        f"A difference counts as shown where p is below {LEVEL:g} after Holm's correction for the number of tests: "
        f"{'; '.join(said)}.{same} Intervals are 95 %, paired by seed, and not corrected."
    )


def upper(words: str) -> str:
    """The beginning of a sentence."""
    return f"{words[:1].upper()}{words[1:]}"


def in_points(number: float, *, digits: int | None = None) -> str:
    """``0.5 points``; a difference, with a number of digits, has its sign: ``+0.50 points``."""
    text = f"{number:g}" if digits is None else decimal(number, digits, plus=True)
    return f"{text} point{'s' * (number != 1 or digits is not None)}"


def per_cent(share: float) -> str:
    """``81.54 %``."""
    return f"{decimal(100 * share, 2)} %"


def _count(tests: int) -> str:
    return f"{tests} test{'s' * (tests > 1)}"


def _from_to(low: float, high: float) -> str:
    return " to ".join(decimal(100 * end, 2, plus=True) for end in (low, high))


def _tests(study: FinishedStudy) -> dict[str, int]:
    """How many tests there are in each family."""
    return {row.family: row.tests for row in study.differences if row.family and row.tests}


def _marks(study: FinishedStudy, arm: str) -> tuple[str, ...]:
    return tuple(_marks_of(study, arm)) if is_control(arm) else ()


def _marks_of(study: FinishedStudy, arm: str) -> Iterator[str]:
    if arm == PRIMARY:
        yield "planned comparison"
    yield from _share(study, arm, "parameters", "size", planned=ARMS[arm].equal_size)
    yield from _share(study, arm, "train_macs", "training", planned=ARMS[arm].equal_training)


def _share(study: FinishedStudy, arm: str, cost: str, of: str, *, planned: bool) -> Iterator[str]:
    """What an arm costs beside the reference: as was counted; where nothing was, whether it is planned as equal."""
    counted = {row.arm: getattr(row, cost) for row in study.summary}
    ours, theirs = counted.get(REFERENCE), counted.get(arm)
    if ours and theirs:
        alike = abs(theirs - ours) <= ALIKE * ours
        yield f"{'equal' if alike else f'{theirs / ours:.2g} × its'} {of}"
    elif planned:
        yield f"equal {of}"


def _verdict(study: FinishedStudy, row: DifferenceRow) -> Verdict:
    ours, theirs = (
        [
            one
            for one in study.rows
            if (one.arm, one.level) == (arm, row.level) and one.accuracy is not None
        ]
        for arm in (row.arm, row.minus)
    )
    paired = pairs(ours, theirs)
    one, other = zip(
        *(tuple(mean(row.accuracy or 0 for row in side) for side in pair) for pair in paired),
        strict=True,
    )
    # One network of several seeds is compared with the mean of theirs: none of them is missing.
    holes = max(len(ours), len(theirs)) > sum(max(map(len, pair)) for pair in paired)
    return Verdict(row, one, other, holes)
