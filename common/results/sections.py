"""The tables of an experiment that a person is shown, as text: what stands in which line, and the notes below."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from common.results.climbing import slope_lines, still_climbing
from common.results.comparison import Comparison
from common.results.contrasts import LEVEL, less_than, same_within
from common.results.images import ImageRow
from common.results.intervals import FEWEST
from common.results.metrics import FURTHER, METRICS, NONE, percent, texts
from common.results.rows import Row, level_shown
from common.results.statistics import (
    PRIMARY,
    REFERENCE,
    DifferenceRow,
    SummaryRow,
    differences,
    own_minus_via_fine,
    summarise,
)
from common.settings.levels import LEVELS

APPROXIMATE = "≈"
PAIRS = "(n): the difference is of n seeds, those that both arms have."


class Section(NamedTuple):
    """A table for a person.

    The first of ``lines`` is the header; the first ``labels`` cells of each name what the others are about. Where
    a cell has two rows (a value above its interval), they may as well stand side by side. ``notes`` stand below.
    """

    title: str
    labels: int
    lines: list[list[str]]
    notes: tuple[str, ...] = ()


def side_by_side(section: Section) -> Section:
    """Put the two rows of each cell into columns of their own."""
    lines = [[part for cell in line for part in cell.split("\n")] for line in section.lines]
    return section._replace(lines=lines)


def sections(rows: Sequence[Row], comparison: Comparison) -> list[Section]:
    """Make the tables that a person is shown; without a tested stage, one of validation accuracies."""
    reference, margin = comparison.reference, comparison.margin
    summary = summarise(rows)
    if not summary:
        lines = [[r.arm, level_shown(r), str(r.seed), percent(r.val_accuracy)] for r in rows]
        header = ["arm", "level", "seed", "validation accuracy"]
        return [Section("validation accuracy", 2, [header, *lines])]
    compared = [
        row.swapped() if row.arm == reference else row
        for row in differences(rows, comparison)
        if row.family is not None
    ]
    fewer = _fewer_pairs(summary, compared)
    found = [
        _primary(compared, margin),
        _accuracies(summary, compared, fewer, reference),
        _contrasts(compared, fewer, reference, margin),
        _own_minus_via_fine(own_minus_via_fine(rows)),
        _via_fine(compared, reference),
        *_further(summary),
        _slopes(summary),
        _costs(summary),
        _training(summary),
    ]
    return [one for one in found if len(one.lines) > 1 and len(one.lines[0]) > one.labels]


def _primary(compared: Sequence[DifferenceRow], margin: float) -> Section:
    """The contrast that was named beforehand: the reference minus the primary arm."""
    rows = [row.swapped() for row in compared if row.family == PRIMARY]
    header = ["level", "seeds", "difference\n95 % interval", "p\np, Holm", "verdict\nseeds needed"]
    lines = [
        [level_shown(row), str(row.seeds), _difference(row), _p(row), _verdict(row)] for row in rows
    ]
    name = "".join(f", {row.arm} minus {row.minus}" for row in rows[:1])
    title = f"primary contrast{name}, in points"
    return Section(title, 1, [header, *lines], tuple(_explained(rows, margin)))


def _fewer_pairs(
    summary: Sequence[SummaryRow], compared: Sequence[DifferenceRow]
) -> dict[tuple[str, str], str]:
    """Say of the arms and levels with seeds that the reference lacks how many pairs their difference is of."""
    seeds = {(row.arm, row.level): row.seeds for row in summary}
    said = {
        (row.arm, row.level): _of_fewer(row.seeds, seeds[row.arm, row.level]) for row in compared
    }
    return {name: text for name, text in said.items() if text}


def _accuracies(
    summary: Sequence[SummaryRow],
    compared: Sequence[DifferenceRow],
    fewer: Mapping[tuple[str, str], str],
    reference: str,
) -> Section:
    lines = [["arm", "level", "seeds", "accuracy\n95 % interval"]]
    lines += [
        [r.arm, level_shown(r), str(r.seeds), f"{percent(r.mean, r.std)}\n{_interval(r)}"]
        for r in summary
    ]
    notes = []
    if any(r.approximate for r in summary) or any(row.approximate for row in compared):
        notes.append(
            f"{APPROXIMATE}: approximate, widened for networks that share parts between seeds."
        )
    if any(row.seeds < FEWEST for row in summary):
        notes.append(f"An interval or a test takes {FEWEST} seeds or more.")
    if not compared:
        return Section("test accuracy", 2, lines, tuple(notes))
    lines[0].append(f"minus {reference}\n95 % interval")
    cells = {
        (row.arm, row.level): _difference(row, fewer.get((row.arm, row.level), ""))
        for row in compared
    }
    if fewer:
        notes.append(PAIRS)
    for line, r in zip(lines[1:], summary, strict=True):
        line.append(cells.get((r.arm, r.level), f"{NONE}\n{NONE}"))
    return Section("test accuracy, differences in percentage points", 2, lines, tuple(notes))


def _contrasts(
    compared: Sequence[DifferenceRow],
    fewer: Mapping[tuple[str, str], str],
    reference: str,
    margin: float,
) -> Section:
    """The tests of all other contrasts with the reference arm; none that had too few seeds."""
    rows = [row for row in compared if row.family == REFERENCE and row.p is not None]
    header = ["arm", "level", "points", "p\np, Holm", "verdict\nseeds needed"]
    lines = []
    for row in rows:
        points = f"{100 * row.mean:+.2f}{fewer.get((row.arm, row.level), '')}"
        lines.append([row.arm, level_shown(row), points, _p(row), _verdict(row)])
    notes = [PAIRS] if any((row.arm, row.level) in fewer for row in rows) else []
    title = f"contrasts: arm minus {reference}, in percentage points"
    return Section(title, 2, [header, *lines], (*notes, *_explained(rows, margin)))


def _explained(rows: Sequence[DifferenceRow], margin: float) -> Iterable[str]:
    """Say what p and words mean in a table of contrasts, and how many seeds the margin takes."""
    number = next((row.tests for row in rows if row.tests), None)
    if number:
        yield (
            f"p: paired t-test over seeds; Holm: corrected for the {number} tests of this table; *: below {LEVEL:g}."
        )
    words = {row.verdict for row in rows}
    if small := [one for one in (same_within(margin), less_than(margin)) if one in words]:
        yield (
            f"{', '.join(small)}: two one-sided tests (TOST) exclude, at {100 * LEVEL:g} %, a difference of "
            f"{_points(margin)} or more; not corrected."
        )
    needed = [row.seeds_needed for row in rows if row.seeds_needed is not None]
    if needed:
        ends = dict.fromkeys(f"{end:,}" for end in (min(needed), max(needed)))
        yield (
            f"With the spread seen here, {' to '.join(ends)} seeds would show a difference of {_points(margin)} "
            "(80 % power, two-sided 5 %, paired t)."
        )


def _points(margin: float) -> str:
    return "1 point" if margin == 1 else f"{margin:g} points"


def _own_minus_via_fine(found: Sequence[DifferenceRow]) -> Section:
    lines = [["arm", "seeds", "own minus via fine\n95 % interval"]]
    lines += [[row.arm, str(row.seeds), _difference(row)] for row in found]
    note = "Accuracy of the coarse head minus that of the coarse class to which the fine head gives most probability."
    return Section("own coarse head minus via fine, in points", 1, lines, (note,))


def _via_fine(compared: Sequence[DifferenceRow], reference: str) -> Section:
    """The differences of coarse labels again, where fine heads answer them."""
    lines = [["arm", "seeds", f"minus {reference}\n95 % interval"]]
    for row in compared:
        if row.via_fine is not None:
            ends = _ends(row.via_fine_ci95_low, row.via_fine_ci95_high, "+.2f")
            mark = f"{APPROXIMATE} " if row.approximate and ends != NONE else ""
            lines.append([row.arm, str(row.seeds), f"{100 * row.via_fine:+.2f}\n{mark}{ends}"])
    return Section("coarse labels via fine, differences in percentage points", 1, lines)


def image_sections(found: Sequence[ImageRow]) -> list[Section]:
    """Make a table of the contrasts image by image, if there are any."""
    lines = [["arm", "level", "points\n95 % interval", "ahead\n95 % interval", "differ\nkappa"]]
    for row in found:
        ahead = NONE if row.ahead is None else f"{100 * row.ahead:.0f} %"
        kappa = (
            NONE if row.kappa is None else f"{row.kappa:.2f}{_of_fewer(row.kappa_seeds, row.seeds)}"
        )
        points = f"{100 * row.mean:+.2f}\n{_ends(row.ci95_low, row.ci95_high, '+.2f')}"
        ahead += f"\n{_ends(row.ahead_ci95_low, row.ahead_ci95_high, '.0f')}"
        differ = f"{round((row.mcnemar or 0) * row.seeds)} of {row.seeds}"
        lines.append([row.arm, level_shown(row), points, ahead, f"{differ}\n{kappa}"])
    notes: tuple[str, ...] = (
        "points: interval of a bootstrap over seeds and images; ahead: share of seeds in which the arm is ahead.",
        f"differ: seeds in which the two networks differ (McNemar, p below {LEVEL:g}); kappa: error consistency.",
    )
    if any(row.kappa is not None and row.kappa_seeds < row.seeds for row in found):
        notes += (
            "(1): kappa of one seed; it has none where both are right, or wrong, everywhere.",
        )
    title = f"image by image: arm minus {found[0].minus}, in percentage points" if found else ""
    return [Section(title, 2, lines, notes)] if found else []


def _of_fewer(seeds: int, of: int) -> str:
    """Say of how many seeds a value is, where others of the row are of more: " (1)"; else nothing."""
    return f" ({seeds})" if seeds < of else ""


def _further(summary: Sequence[SummaryRow]) -> list[Section]:
    """Make a table for each title that metrics name, with what chance gives below the arms."""
    found = []
    for title in dict.fromkeys(METRICS[name].table for name in FURTHER):
        # Results of before there was a metric have no column for it.
        names = [
            name
            for name in FURTHER
            if METRICS[name].table == title
            and any(getattr(r, f"{name}_mean") is not None for r in summary)
            and not (METRICS[name].unless_accuracy and _repeats_accuracy(summary, name))
        ]
        lines = [["arm", "level", *(METRICS[name].title for name in names)]]
        shown = [r for r in summary if any(r.level in METRICS[name].levels for name in names)]
        for r in shown:
            means = {name: getattr(r, f"{name}_mean") for name in names}
            lines.append([r.arm, level_shown(r), *texts(means, names)])
        for level in LEVELS:
            chance = {name: _chance(shown, level, name) for name in names}
            if any(value is not None for value in chance.values()):
                called = next(level_shown(r) for r in shown if r.level == level)
                lines.append(["chance", called, *texts(chance, names)])
        found.append(Section(title, 2, lines))
    return found


def _repeats_accuracy(summary: Sequence[SummaryRow], name: str) -> bool:
    """Say whether a metric is the accuracy in each row, as far as they are recorded."""
    values = [(getattr(r, f"{name}_mean"), r.mean) for r in summary]
    return all(one is None or abs(one - accuracy) < 2e-6 for one, accuracy in values)


def _chance(summary: Sequence[SummaryRow], level: str, name: str) -> float | None:
    """Find what chance gives of a metric in the first row that says so: all arms are tested on the same images."""
    found = (getattr(r, f"{name}_chance") for r in summary if r.level == level)
    return next((value for value in found if value is not None), None)


def _slopes(summary: Sequence[SummaryRow]) -> Section:
    climbing = still_climbing(summary)
    title = "slope of validation accuracy at the end of training"
    return Section(title, 2, slope_lines(summary), (climbing,) if climbing else ())


def _costs(summary: Sequence[SummaryRow]) -> Section:
    header = ["arm", "parameters, M (trained)", "multiply-adds, M", "seconds"]
    by_arm = {
        r.arm: [
            r.arm,
            f"{_millions(r.parameters, 3)} ({_millions(r.trained_parameters, 3)})",
            _millions(r.macs, 1),
            f"{r.seconds:,.1f}",
        ]
        for r in summary
    }
    return Section("costs, of one image and of training", 1, [header, *by_arm.values()])


def _training(summary: Sequence[SummaryRow]) -> Section:
    """Say how much training each arm has had; nothing of studies from before it was counted."""
    by_arm = {
        r.arm: [r.arm, f"{r.train_macs / 1e12:,.3f}"] for r in summary if r.train_macs is not None
    }
    header = ["arm", "multiply-adds, T"]
    return Section("training, with all that an arm builds on", 1, [header, *by_arm.values()])


def _interval(row: SummaryRow | DifferenceRow, sign: str = "") -> str:
    mark = f"{APPROXIMATE} " if row.approximate else ""
    return f"{mark}{_ends(row.ci95_low, row.ci95_high, f'{sign}.2f')}"


def _ends(low: float | None, high: float | None, form: str) -> str:
    if low is None or high is None:
        return NONE
    return f"{100 * low:{form}} to {100 * high:{form}}"


def _difference(row: DifferenceRow, fewer: str = "") -> str:
    return f"{100 * row.mean:+.2f}{fewer}\n{_interval(row, sign='+')}"


def _p(row: DifferenceRow) -> str:
    """Both p of a contrast; a star where the corrected one survives."""
    if row.p is None or row.p_holm is None:
        return f"{NONE}\n{NONE}"
    star = " *" if row.p_holm < LEVEL else ""
    return f"{_probability(row.p)}\n{_probability(row.p_holm)}{star}"


def _probability(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _verdict(row: DifferenceRow) -> str:
    needed = NONE if row.seeds_needed is None else f"{row.seeds_needed:,}"
    return f"{row.verdict or NONE}\n{needed}"


def _millions(number: float | None, digits: int) -> str:
    return NONE if number is None else f"{number / 1e6:,.{digits}f}"
