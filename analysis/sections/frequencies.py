"""Which spatial frequencies each hemisphere uses: what it still knows under noise of one octave (`analysis.masking`).

The spatial-frequency account of hemispheric asymmetry expects higher ones in the left hemisphere
(`common.networks.spatial_frequency`). Both are asked by the same probes, as for measures of specialisation.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from statistics import fmean

from matplotlib.figure import Figure

from analysis.masking import IMAGES, STRENGTHS, Mask, centre_frequency, octaves, seen, sensitivities
from analysis.report.cells import Cell, Sheet, decimal, ends_words, summary_cells, word_columns
from analysis.report.figures import COLOURS, INTERVALS, intervals, legend_above, percent
from analysis.report.part import Part
from analysis.report.svg import FAINT, Frame, picture
from analysis.section import Findings, Section
from analysis.seed import HALVES, Seed
from analysis.specialisation.measures import DEAD, competence, dead
from analysis.specialisation.page import SHORT
from analysis.specialisation.reading import ask, fit_probes
from analysis.specialisation.tasks import TASKS, WITHIN
from analysis.specialisation.words import TASK_NAMES, of_fewer
from analysis.values import Bounds, Item, Summary, Values
from common.results.intervals import FEWEST
from common.settings.levels import SIDES
from study.arms import PRIMARY, plain_name

# What is measured, of each task and half, with the arm (and the octave) as item.
SENSITIVITY = "noise sensitivity"
CENTRE = "centre frequency"
SHIFT = "centre frequency, left minus right"
EXCESS = "noise sensitivity, minus the control"


class Frequencies(Section):
    """Noise sensitivity by octave, of the first arm with two hemispheres and of its unspecialised control."""

    order = 17
    csv_order = 160
    every_pair = True

    def __init__(self) -> None:
        self.networks: dict[int, dict[str, float]] = {}  # of both arms, by seed

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add how sensitive each hemisphere is to noise of each octave, and the mean octave of that."""
        if seed.arm not in (found.pairs[0], PRIMARY):
            return
        height, width = seed.images.test.images.shape[-2:]
        if len(octaves(height, width)) < 2:
            found.leave_out(
                "which spatial frequencies the hemispheres use; the images are too small."
            )
            return
        networks = seed.study.networks(seed.arm)[seed.number]
        self.networks[seed.number] = self.networks.get(seed.number, {}) | networks
        for task, known in competences(seed).items():
            _add(seed, found, task, known)

    def finish(self, found: Findings) -> None:
        """Add by how much more noise costs both hemispheres of the first arm than those of its control, by seed."""
        asked = any(one.of == SENSITIVITY for one in found.values.values)
        if asked and not _arms(found):
            found.leave_out(
                "which spatial frequencies the hemispheres use; one of them is dead on each task, in every seed."
            )
        compared = [arm for arm in found.pairs[:1] if arm != PRIMARY]
        for arm, task in product(compared, TASKS):
            for number, costs in found.values.by_seed(SENSITIVITY, task, "both").items():
                if arm in costs and PRIMARY in costs:
                    excess = costs[arm] - costs[PRIMARY]
                    found.values.add(
                        EXCESS,
                        excess,
                        seed=number,
                        level=task,
                        side="both",
                        item=arm,
                        made_of=self.networks[number],
                        means=Item(arm=arm),
                    )

    def render(self, found: Findings) -> Part | None:
        """Which hemisphere uses higher frequencies, a curve for each, and a table."""
        arms = _arms(found)
        if not arms:
            return None
        subject = found.pairs[0]
        part = Part(
            id="frequencies",
            title="Which spatial frequencies they use",
            nav="Frequencies",
            text=[
                *sentences(found.values, subject),
                *robustness(found.values, subject),
                "How to read it: every image gets noise of one octave of spatial frequencies, low ones on the left of "
                "the axis, high ones on the right. The higher the curve, the more of what a hemisphere knows is lost, "
                "and the more it uses these frequencies. A hemisphere for global form has its curve further left.",
            ],
            tables=[table(found.values, dict.fromkeys((subject, *arms)))],
            notes=[
                "Critical-band masking (Solomon & Pelli 1994; Subramanian et al. 2023), with noise whose standard "
                f"deviation is {', '.join(f'{one:g}' for one in STRENGTHS)} times that of training pixels, on up to "
                f"{IMAGES:,} test images. What is lost is a share of the competence without noise, the mean of "
                f"{len(STRENGTHS)} strengths, read off by the probes of the section on specialisation. Centre: the "
                "mean octave, each counted by what its noise costs, in octaves above 1 cycle per image; where all cost "
                "alike it is the middle one, so a weak hemisphere is drawn there. Seeds: those in which neither "
                "hemisphere is dead on the task. Both: what noise costs the two hemispheres side by side, the mean of "
                "all octaves, over all seeds. Intervals are not corrected for their number. Sergent (1982) and "
                "Ivry & Robertson (1998) expect higher frequencies in the left hemisphere."
            ],
        )
        for task in (task for task in TASKS if found.values.get(CENTRE, task, "left", arms[0])):
            # One word alone in a picture may be a class, and stays (`analysis.report.level_words`).
            about = SHORT[task] if task == WITHIN else f"{SHORT[task]} task"
            title = f"{plain_name(arms[0])}, {about}"
            svg = picture(
                Frame(f"frequencies-{task}", f"What noise of an octave costs: {title}", height=3.3),
                curves,
                title=title,
                sides={side: _by_octave(found.values, arms[0], task, side) for side in SIDES},
                control={
                    f"{plain_name(arm)}, {side}": _by_octave(found.values, arm, task, side)
                    for arm in arms[1:]
                    for side in SIDES
                },
            )
            part.figures.append((svg, INTERVALS))
        return part


Known = dict[str, dict[Mask | None, float]]  # competences by half and mask; None: without noise


def competences(seed: Seed) -> dict[str, Known]:
    """Give by task what the probes of `analysis.specialisation` read off each half, without noise and under it."""
    images = seed.images
    probes = fit_probes(images, seed.fits, train=seed.train, validation=seed.validation)
    found: dict[str, Known] = {}
    for mask, view in seen(seed):
        for half in HALVES:
            right = ask(probes, half, images, view)
            for task, guessing in images.guessing.items():
                accuracy = float(right[task].double().mean())
                halves = found.setdefault(task, {})
                halves.setdefault(half, {})[mask] = competence(accuracy, guessing)
    return found


def _add(seed: Seed, found: Findings, task: str, known: Known) -> None:
    """Add the numbers of one seed and task, of halves that are not dead on it: of left and right both or neither."""
    networks = seed.study.networks(seed.arm)[seed.number]
    centres: dict[str, float] = {}

    def add(
        of: str,
        value: float,
        half: str = "",
        centre: int | None = None,
        within: Bounds | None = None,
    ) -> None:
        found.values.add(
            of,
            value,
            seed=seed.number,
            level=task,
            side=half,
            item=_item(seed.arm, centre) if centre else seed.arm,
            within=within,
            made_of=networks,
            means=Item(arm=seed.arm, cycles=centre),
        )

    clean = {half: masked[None] for half, masked in known.items()}
    alive = () if dead(clean["left"], clean["right"]) else SIDES
    for half in (*alive, "both") if clean["both"] >= DEAD else ():
        sensitivity = sensitivities(known[half])
        for centre, share in sensitivity.items():
            add(SENSITIVITY, share, half, centre)
        add(SENSITIVITY, fmean(sensitivity.values()), half)
        centres[half] = centre_frequency(sensitivity)
        add(CENTRE, centres[half], half, within=Bounds(0, math.log2(max(sensitivity))))
    if "left" in centres:
        add(SHIFT, centres["left"] - centres["right"])


def _arms(found: Findings) -> list[str]:
    """The first arm and its control, of those of which both hemispheres know something in any seed."""
    return [
        arm
        for arm in dict.fromkeys((*found.pairs[:1], PRIMARY))
        if any(found.values.get(CENTRE, task, "left", arm) for task in TASKS)
    ]


def _item(arm: str, centre: int) -> str:
    """Name noise of the octave around so many cycles per image."""
    return f"{arm}: around {centre}"


def _by_octave(values: Values, arm: str, task: str, half: str) -> dict[int, Summary]:
    """Noise sensitivity by the centre of its octave, in cycles per image."""
    found, centre = {}, 1
    while one := values.get(SENSITIVITY, task, half, _item(arm, centre)):
        found[centre] = one
        centre *= 2
    return found


def curves(
    figure: Figure,
    title: str,
    sides: Mapping[str, Mapping[int, Summary]],
    control: Mapping[str, Mapping[int, Summary]],
) -> None:
    """Draw noise sensitivity by octave.

    Args:
        figure: to draw into.
        title: of the picture.
        sides: of each hemisphere, by the centre of the octave.
        control: the same of other hemispheres, by what they are called.
    """
    axes = figure.subplots()
    for (name, points), style in zip(control.items(), ("--", ":"), strict=False):
        axes.plot(
            [*points],
            [one.mean for one in points.values()],
            color=FAINT,
            ls=style,
            lw=1.1,
            label=name,
        )
    for side, points in sides.items():
        axes.plot(
            [*points],
            [one.mean for one in points.values()],
            color=COLOURS[side],
            marker="o" if side == "left" else "s",
            ms=4,
            label=side,
        )
        intervals(axes, [*points], [*points.values()], COLOURS[side], of=side)
    axes.set_xscale("log", base=2)
    ticks = [*sides["left"]]
    axes.set_xticks(ticks, [str(one) for one in ticks])
    axes.minorticks_off()
    axes.set_xlabel("noise of the octave around, cycles per image")
    axes.set_ylabel("lost of the competence")
    axes.set_ylim(min(0, axes.get_ylim()[0]))
    axes.yaxis.set_major_formatter(percent)
    legend_above(axes, title, 2)
    axes.set_title(title, pad=38)  # above two lines of legend


def sentences(values: Values, arm: str) -> Iterator[str]:
    """Say for each task which hemisphere of an arm uses higher frequencies, as far as its seeds show."""
    for task in TASKS:
        left, right = (values.get(CENTRE, task, side, arm) for side in SIDES)
        both, shift = values.get(CENTRE, task, "both", arm), values.get(SHIFT, task, item=arm)
        if both is None:
            continue
        if left is None or right is None or shift is None:
            yield (
                f"On {TASK_NAMES[task]} nothing is compared: a hemisphere of {plain_name(arm)} is dead in every seed."
            )
            continue
        yield (
            f"On {TASK_NAMES[task]} the centre frequency of {plain_name(arm)} is {decimal(2**left.mean, 1)} cycles per "
            f"image in the left hemisphere and {decimal(2**right.mean, 1)} in the right one "
            f"({decimal(left.mean, 2)} and {decimal(right.mean, 2)} octaves; left minus right {_octaves(shift)}"
            f"{of_fewer(shift, both.seeds)}). "
            f"{VERDICTS[verdict(shift, seeds=both.seeds)]}{_of_control(values, task, arm)}"
        )


def _of_control(values: Values, task: str, arm: str) -> str:
    """Say what the same difference is where both hemispheres learned the same."""
    shift = None if arm == PRIMARY else values.get(SHIFT, task, item=PRIMARY)
    return f" In {plain_name(PRIMARY)} it is {_octaves(shift)}." if shift else ""


def _octaves(shift: Summary) -> str:
    return _with_ends(f"{decimal(shift.mean, 2, plus=True)} octaves", shift, 1, 2)


def robustness(values: Values, arm: str) -> Iterator[str]:
    """Say for each task whether noise costs both hemispheres of an arm more than those of its control."""
    for task in TASKS:
        excess = values.get(EXCESS, task, "both", arm)
        if excess is None:
            continue
        by_seed = values.by_seed(SENSITIVITY, task, "both").values()
        # Of the seeds that both have, as their difference is.
        common = [one for one in by_seed if {arm, PRIMARY} <= one.keys()]
        ours, theirs = (
            f"{decimal(100 * fmean(one[name] for one in common), 1)} %" for name in (arm, PRIMARY)
        )
        words = _with_ends(f"{decimal(100 * excess.mean, 1, plus=True)} points", excess, 100, 1)
        yield (
            f"Over all octaves, noise costs {plain_name(arm)} {ours} of what both together know of {TASK_NAMES[task]}, "
            f"and {plain_name(PRIMARY)} {theirs} (difference {words}). {COSTS[verdict(excess, seeds=excess.seeds)]}"
        )


def _with_ends(words: str, summary: Summary, scale: int, digits: int) -> str:
    """A difference in words, and after a comma its interval if it has one."""
    return ", ".join(filter(None, (words, ends_words(summary, scale, digits))))


VERDICTS = {
    "higher": "As far as these seeds show, the left one uses higher frequencies.",
    "lower": "As far as these seeds show, the left one uses lower frequencies.",
    "not shown": "No difference is shown.",
    "too few seeds": (
        "Whether that is a difference cannot be said: it takes three seeds or more in which neither hemisphere is "
        "dead on the task."
    ),
    "chosen": (
        "Whether that is a difference cannot be said: the seeds in which neither hemisphere is dead on the task are "
        "chosen by what came out."
    ),
    "no interval": (
        "Whether that is a difference cannot be said: where all seeds agree exactly, or share all their networks, "
        "there is no interval."
    ),
}
COSTS = {
    "higher": "Specialised ones lose more.",
    "lower": "Specialised ones lose less.",
    "not shown": VERDICTS["not shown"],
    **{one: VERDICTS[one] for one in ("too few seeds", "chosen", "no interval")},
}


def verdict(difference: Summary, *, seeds: int) -> str:
    """Say what the interval of a difference shows, one of `VERDICTS`; of fewer than all ``seeds``, nothing."""
    if difference.seeds >= FEWEST and difference.seeds < seeds:
        return "chosen"
    if difference.interval is None:
        return "too few seeds" if difference.seeds < FEWEST else "no interval"
    low, high = difference.interval
    return "higher" if low > 0 else "lower" if high < 0 else "not shown"


def table(values: Values, arms: Iterable[str]) -> Sheet:
    """Centres and noise sensitivity: a row for each arm and task."""
    rows = []
    for arm in arms:
        for task in TASKS:
            costs, shift = (
                values.get(SENSITIVITY, task, "both", arm),
                values.get(SHIFT, task, item=arm),
            )
            if costs is None:
                continue
            octave = (*(values.get(CENTRE, task, side, arm) for side in SIDES), shift)
            seeds = str(shift.seeds if shift else 0)
            rows.append(
                [
                    *(Cell(arm, arm, True), Cell(SHORT[task], task, True), Cell(seeds, seeds)),
                    *(cell for one in octave for cell in summary_cells(one, percent=False)),
                    *summary_cells(costs),
                ]
            )
    numbers = ("centre left", "centre right", "left − right", "noise costs both, %")
    heads = ["seeds", *(head for name in numbers for head in (name, "95 % interval"))]
    caption = "Centre frequencies, octaves above 1 cycle per image, and what noise costs"
    return Sheet("frequencies", caption, word_columns(("arm", "task"), heads), rows)
