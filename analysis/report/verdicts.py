"""What came out of a study, in words: page and terminal say the same, for both are made here.

A verdict is about the reference arm minus another one, and only says what the tests of the study's tables show.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from analysis.report.additions import missing_controls
from analysis.report.cells import decimal
from analysis.study import FinishedStudy
from common.results.contrasts import DIFFERS, LEVEL, same_within
from common.results.intervals import FEWEST
from common.results.rows import level_shown
from common.results.sections import APPROXIMATE
from common.results.sharing import pairs
from common.results.statistics import PRIMARY as FAMILY
from common.results.statistics import DifferenceRow
from common.settings.levels import LEVELS
from study.arms import ARMS, CONNECTS, ONE_NETWORK, PRIMARY, REFERENCE, is_control, plain_name

# The forms of a verdict; the words that lead to the other arm's name; and a sign, for eyes that do not see colours.
BETTER, WORSE, SAME, OPEN, FEW = "better", "worse", "same", "open", "few"
LINKS = {BETTER: "than", WORSE: "than", SAME: "as", OPEN: "from", FEW: "against"}
# What answers the question: is it more than one network of that size, and is it the specialisation?
MAIN = (ONE_NETWORK, PRIMARY)
SIGNS = {BETTER: "▲", WORSE: "▼", SAME: "=", OPEN: "?", FEW: "?"}


@dataclass(frozen=True)
class Verdict:
    """What the tests show of one comparison; ``row`` is the reference minus the other arm, its ``minus``.

    ``ours`` and ``theirs`` are the accuracies that it compares, seed by seed, a fraction each.
    """

    row: DifferenceRow
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def form(self) -> str:
        """One of the forms above: by the study's own corrected test, and by its test of equivalence."""
        if self.row.seeds < FEWEST:
            return FEW
        if self.row.verdict == same_within(self.margin):
            return SAME
        if self.row.verdict == DIFFERS:
            return BETTER if self.row.mean > 0 else WORSE
        return OPEN

    @property
    def margin(self) -> float:
        """Within which a difference does not matter, in percentage points."""
        return round(100 * (self.row.margin or 0), 10)

    @property
    def words(self) -> str:
        """The verdict."""
        return {
            **{BETTER: "better", WORSE: "worse", OPEN: "not shown to differ"},
            SAME: f"the same within {in_points(self.margin)}",
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
    def numbers(self) -> str:
        """Difference and interval; under three seeds both values, and the range of differences."""
        if self.form == FEW:
            both = " against ".join(per_cent(mean(one)) for one in (self.ours, self.theirs))
            apart = sorted(one - two for one, two in zip(self.ours, self.theirs, strict=True))
            return both if len(apart) == 1 else f"{both}; by seed {_from_to(apart[0], apart[-1])}"
        difference = in_points(100 * self.row.mean, digits=2)
        low, high = self.row.ci95_low, self.row.ci95_high
        if low is None or high is None:
            return f"{difference}, the same in every seed or of shared networks: no interval"
        about = "approximate 95 %" if self.row.approximate else "95 %"
        return f"{difference}, {about} interval {_from_to(low, high)}"

    @property
    def short(self) -> str:
        """The same for a column of such numbers: ``+2.90 (+0.57 to +6.38)``."""
        low, high = self.row.ci95_low, self.row.ci95_high
        if self.form == FEW or low is None or high is None:
            return self.numbers
        mark = f"{APPROXIMATE} " if self.row.approximate else ""
        return f"{decimal(100 * self.row.mean, 2, plus=True)} ({mark}{_from_to(low, high)})"

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
        return f"p {self.row.p_holm:.4f} after correction"

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        behind = "; ".join(filter(None, (self.numbers, self.note)))
        return f"{self.words} {self.other} on {level_shown(self.row)} labels ({behind})"


class Line(NamedTuple):
    """All verdicts about one other arm: its name, what it is a control of, and the verdict of each level."""

    arm: str
    name: str
    marks: tuple[str, ...]
    verdicts: Mapping[str, Verdict]


class Group(NamedTuple):
    """Some comparisons under one heading; those that are not ``open`` are for a second look.

    The first group of a study is its ``main`` one: what answers the question.
    """

    title: str
    lines: list[Line]
    open: bool = True
    main: bool = False


def question(study: FinishedStudy) -> str:
    """What the study asks, by the arms that it has."""
    rows = [ARMS[arm] for arm in study.arms if arm in ARMS]
    if REFERENCE not in study.arms:
        some = plain_name(study.arms[0]) if len(study.arms) == 1 else "these networks"
        return f"How well do{'es' * (len(study.arms) == 1)} {some} do?"
    if any(row.study == "asymmetry" for row in rows):
        return "Do hemispheres do better on the labels that suit their nature?"
    if any(row.study == "paradigms" for row in rows):
        return "Do two hemispheres do better when both learn from labels?"
    if any(row.callosum == CONNECTS for row in rows):
        return "Do two hemispheres do better when they are connected?"
    if PRIMARY in study.arms and ONE_NETWORK not in study.arms:
        return "Do two specialised hemispheres do better than two unspecialised ones?"
    return "Do two specialised hemispheres do better than one?"


def subject() -> str:
    """What all verdicts are about, at the beginning of a sentence."""
    name = plain_name(REFERENCE)
    return f"{name[:1].upper()}{name[1:]} (the {REFERENCE} network)"


def lines(study: FinishedStudy) -> list[Line]:
    """All comparisons with the reference arm, the primary one first, then in the order of the tables."""
    rows = [row if row.arm == REFERENCE else row.swapped() for row in study.differences]
    rows = sorted((r for r in rows if r.arm == REFERENCE), key=lambda row: row.family != FAMILY)
    found: dict[str, dict[str, Verdict]] = {}
    for row in rows:
        found.setdefault(row.minus, {})[row.level] = _verdict(study, row)
    return [
        Line(
            arm, plain_name(arm), _marks(arm), {level: of[level] for level in LEVELS if level in of}
        )
        for arm, of in found.items()
    ]


def groups(study: FinishedStudy) -> list[Group]:
    """The comparisons under headings: the main one, controls, the reference's own hemispheres, and all others."""
    compared = lines(study)
    main = [line for arm in MAIN for line in compared if line.arm == arm]
    controls = [line for line in compared if is_control(line.arm) and line not in main]
    hemispheres = [line for line in compared if line.arm in ARMS[REFERENCE].needs]
    others = [line for line in compared if line not in [*main, *controls, *hemispheres]]
    found = [
        Group("Two hemispheres, compared with …", main, main=True),
        Group("Other controls: networks of equal size, or of equal training", controls),
        Group("Its own hemispheres", hemispheres, main=not main and not controls),
        Group("All other comparisons", others, open=False),
    ]
    return [group for group in found if group.lines]


def correction(study: FinishedStudy) -> str:
    """Say how many comparisons p values are corrected for; empty where nothing was tested."""
    tested = {
        (row.family == FAMILY, row.test) for row in study.differences if row.p_holm is not None
    }
    counts = Counter(named_before for named_before, _ in tested)
    families = {
        True: "{} in the comparison that was chosen before any result was seen",
        False: "{} with all other arms" if True in counts else "{} with other arms",
    }
    said = [families[one].format(counts[one]) for one in (True, False) if one in counts]
    if not said:
        return ""
    return (
        f"A difference counts as shown if p is below {LEVEL:g} after Holm's correction for how many comparisons there "
        f"are: {'; '.join(said)}. Intervals are paired by seed, 95 %, and not corrected."
    )


def say(study: FinishedStudy) -> list[str]:
    """The lines that the terminal ends with, before where the report is."""
    if study.debug:
        return ["Debug run: no result."]
    found = groups(study)
    shown = [line for group in found if group.open for line in group.lines]
    rest = sum(len(line.verdicts) for group in found if not group.open for line in group.lines)
    said = [f"{question(study)} {subject()} are, by test accuracy:"] if found else []
    said += [f"- {verdict.sentence}" for line in shown for verdict in line.verdicts.values()]
    if rest:
        said.append(f"- {rest} more comparison{'s' * (rest > 1)}: in the report.")
    if addition := missing_controls(study):
        said.append(f"{addition.sentence} {addition.command}")
    return said


def in_points(number: float, *, digits: int | None = None) -> str:
    """``0.5 points``; a difference, with a number of digits, has its sign: ``+0.50 points``."""
    text = f"{number:g}" if digits is None else decimal(number, digits, plus=True)
    return f"{text} point{'s' * (number != 1 or digits is not None)}"


def per_cent(share: float) -> str:
    """``81.54 %``."""
    return f"{decimal(100 * share, 2)} %"


def _from_to(low: float, high: float) -> str:
    return " to ".join(decimal(100 * end, 2, plus=True) for end in (low, high))


def _marks(arm: str) -> tuple[str, ...]:
    return tuple(_marks_of(arm)) if is_control(arm) else ()


def _marks_of(arm: str) -> Iterator[str]:
    if arm == PRIMARY:
        yield "named before looking"
    if ARMS[arm].equal_size:
        yield "equal size"
    if ARMS[arm].equal_training:
        yield "equal training"


def _verdict(study: FinishedStudy, row: DifferenceRow) -> Verdict:
    ours, theirs = (
        [
            one
            for one in study.rows
            if (one.arm, one.level) == (arm, row.level) and one.accuracy is not None
        ]
        for arm in (row.arm, row.minus)
    )
    compared = [
        tuple(mean(one.accuracy or 0 for one in side) for side in pair)
        for pair in pairs(ours, theirs)
    ]
    return Verdict(row, *zip(*compared, strict=True))
