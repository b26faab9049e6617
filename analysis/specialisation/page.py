"""The section of the page about specialisation: sentences, the course over training, tables."""

from collections.abc import Mapping, Sequence
from statistics import mean

from matplotlib.figure import Figure

from analysis.report.cells import Cell, Sheet, decimal, summary_cells, word_columns
from analysis.report.figures import COLOURS, legend_above
from analysis.report.part import Part
from analysis.report.svg import FAINT, Frame, picture
from analysis.specialisation.measures import DEAD
from analysis.specialisation.rows import Competence, Index
from analysis.specialisation.tasks import COARSE, FINE, TASKS, WITHIN
from analysis.specialisation.words import deaths, sentence, tasks_of, verdict
from analysis.values import Summary, Values
from common.settings.levels import SIDES
from study.arms import plain_name

STYLES = {WITHIN: ("-", "o"), FINE: ("-", "o"), COARSE: ((0, (4, 2)), "s")}
SHORT = {WITHIN: "fine within coarse", FINE: "fine", COARSE: "coarse"}
# Which of its coarse class's children an image shows, where there are such.
ABOUT_WITHIN = "Fine within coarse: the likeliest fine class among those of the true coarse class. "


def part(
    values: Values, arms: Sequence[str], course: Sequence[Competence], tests: Sequence[Index]
) -> Part:
    """The section.

    Args:
        values: measures of the trained networks.
        arms: that have two hemispheres, in the order of the tables.
        course: competences at saved epochs, of all arms.
        tests: p of tests by sign flips; none with too few seeds.
    """
    found = Part(
        id="specialisation",
        title="How specialised are the hemispheres?",
        nav="Specialisation",
        text=[
            *(sentence(values, arm) for arm in arms[:1]),
            *filter(None, (deaths(values, arm) for arm in arms)),
            "How to read it: a competence of 0 is guessing, 1 is perfect, read off a hemisphere's features by the "
            "same kind of probe for all. Laterality is +1 where only the left hemisphere has it, −1 where only the "
            "right one has. Unique is what is lost from the two together without a hemisphere's features, shared "
            "what either brings; necessary is what the trained heads lose when a hemisphere falls silent.",
        ],
        tables=[competence_table(values, arms), dissociation_table(values, arms, tests)],
        notes=[
            "Probes: multinomial logistic regression, its L2 penalty chosen on validation images. "
            f"{ABOUT_WITHIN if tasks_of(values, arms[0])[0] == WITHIN else ''}A dissociation is called double only "
            "where each hemisphere is better at one task and both 95 % intervals exclude 0; p of D is that of "
            "the test by sign flips, from six seeds. (1): of one seed, where competences are of more: laterality "
            f"takes two that add up to {DEAD:g} or more. docs/specialisation.md defines every measure."
        ],
    )
    arm = next((arm for arm in arms if any(row.arm == arm for row in course)), None)
    if arm is not None:
        rows = [row for row in course if row.arm == arm]
        name = plain_name(arm)
        svg = picture(
            Frame("specialisation", f"Competence over training, {name}"),
            course_lines,
            title=name,
            rows=rows,
        )
        caption = (
            "After some epochs of their training, each hemisphere's probe on fewer images, asked about validation "
            "images. Thin lines are seeds."
        )
        found.figures.append((svg, caption))
    return found


def course_lines(figure: Figure, title: str, rows: Sequence[Competence]) -> None:
    """Draw the competence of each hemisphere on each task by epoch: the mean over seeds, and every seed."""
    axes = figure.subplots()
    seeds = sorted({row.seed for row in rows})
    for task, (style, marker) in STYLES.items():
        for side in SIDES:
            points = _by_epoch([row for row in rows if (row.task, row.side) == (task, side)])
            if not points:
                continue
            axes.plot(
                [*points],
                [mean(kappas.values()) for kappas in points.values()],
                color=COLOURS[side],
                ls=style,
                marker=marker,
                ms=4,
                label=f"{side}, {SHORT[task]}",
            )
            for seed in seeds if len(seeds) > 1 else ():
                line = {epoch: one[seed] for epoch, one in points.items() if seed in one}
                axes.plot(
                    [*line], [*line.values()], color=COLOURS[side], ls=style, lw=0.7, alpha=0.6
                )
    axes.axhline(0, color=FAINT, lw=0.8)
    axes.set_ylim(min(0, *(row.kappa for row in rows)) - 0.02, 1.02)
    axes.set_xscale("log", base=2)
    epochs = sorted({row.epoch for row in rows if row.epoch is not None})
    # The last epoch has its number whatever stands close before it.
    apart = [one for one in epochs if one == epochs[-1] or 1.2 * one < epochs[-1]]
    axes.set_xticks(apart, [str(epoch) for epoch in apart])
    axes.minorticks_off()
    axes.set_xlabel("epoch")
    axes.set_ylabel("competence (0: chance, 1: perfect)")
    legend_above(axes, title, 2)
    axes.set_title(title, pad=38)  # above two lines of legend


def _by_epoch(rows: Sequence[Competence]) -> dict[int, dict[int, float]]:
    """Competences by epoch and seed."""
    found: dict[int, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: row.epoch or 0):
        if row.epoch is not None:
            found.setdefault(row.epoch, {})[row.seed] = row.kappa
    return found


def competence_table(values: Values, arms: Sequence[str]) -> Sheet:
    """Measures 1, 2, 4 and 5: a row for each arm and task, means over seeds."""
    columns: Mapping[str, tuple[str, str]] = {
        "left": ("competence", "left"),
        "right": ("competence", "right"),
        "both": ("competence", "both"),
        "laterality": ("laterality", ""),
        "unique left": ("unique", "left"),
        "unique right": ("unique", "right"),
        "shared": ("shared", ""),
        "necessary left": ("necessity", "left"),
        "necessary right": ("necessity", "right"),
        "errors alike": ("error consistency", "left-right"),
        "errors of two lefts": ("error consistency", "left-other seed"),
        "errors of two rights": ("error consistency", "right-other seed"),
    }
    rows = []
    for arm in arms:
        for task in TASKS:
            competence = values.get("competence", task, "left", arm)
            if competence is None:
                continue
            cells = [
                _mean(values.get(of, task, side, arm), competence.seeds, plus=name == "laterality")
                for name, (of, side) in columns.items()
            ]
            rows.append([Cell(arm, arm, True), Cell(SHORT[task], task, True), *cells])
    caption = "Competence of each hemisphere and of both, and what follows from it"
    return Sheet("specialisation", caption, word_columns(("arm", "task"), columns), rows)


def dissociation_table(values: Values, arms: Sequence[str], tests: Sequence[Index]) -> Sheet:
    """Measures 3 and 6: a row for each arm, means with 95 % intervals, and p of the sign flips of D."""
    first = tasks_of(values, arms[0])[0]
    ps = {test.arm: test.value for test in tests if test.measure.startswith("double")}
    rows = []
    for arm in arms:
        found = {
            "double": values.get("double dissociation", item=arm),
            first: values.get("simple effect", first, item=arm),
            COARSE: values.get("simple effect", COARSE, item=arm),
            "dissimilarity": values.get("dissimilarity", item=arm),
        }
        cells = [cell for one in found.values() for cell in summary_cells(one, percent=False)]
        words = verdict(values, arm)
        p = Cell(decimal(ps[arm], 3), repr(ps[arm])) if arm in ps else Cell("–", "")
        rows.append([Cell(arm, arm, True), Cell(words, words, True), *cells, p])
    numbers = (
        *("D", "95 % interval", f"left − right, {SHORT[first]}", "95 % interval"),
        *("left − right, coarse", "95 % interval", "dissimilarity", "95 % interval", "p of D"),
    )
    columns = word_columns(("arm", "dissociation"), numbers)
    return Sheet("dissociation", "Dissociation of the two tasks", columns, rows)


def _mean(summary: Summary | None, seeds: int, *, plus: bool) -> Cell:
    """A mean, and in brackets of how many seeds it is, where others are of more."""
    if summary is None:
        return Cell("–", "")
    fewer = f" ({summary.seeds})" if summary.seeds < seeds else ""
    return Cell(f"{decimal(summary.mean, 2, plus=plus)}{fewer}", repr(summary.mean))
