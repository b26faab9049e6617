"""Navon's experiment: congruent and conflicting pictures, asked for one label and for the other (`analysis.trials`)."""

from collections.abc import Iterator

from torch import Tensor

from analysis.networks import classify, without
from analysis.report.cells import Cell, Sheet, decimal, ends_words, summary_cells, word_columns
from analysis.report.figures import INTERVALS, grouped_bars
from analysis.report.part import Part
from analysis.report.svg import Frame, picture
from analysis.section import Findings, Section
from analysis.seed import HALVES, Seed
from analysis.trials import (
    CONFLICTING,
    KINDS,
    Effects,
    Trial,
    answered,
    congruence,
    effects,
    shared_classes,
    trials,
)
from analysis.values import SHARE, ByImage, Item, Summary
from common.results.intervals import FEWEST
from common.settings.levels import LEVELS, SIDES
from study.arms import plain_name

# What is measured, of each task and half, with the arm, and the kind of picture where there is one, as item.
ACCURACY = "accuracy by congruence"
CONFIDENCE = "confidence by congruence"
INTRUSIONS = "errors that name the other level"
INTERFERENCE = "interference"
ADVANTAGE = "advantage of the coarse level"
ASYMMETRY = "asymmetry of interference"


class Congruency(Section):
    """What congruence does to the answers of both hemispheres and of each alone, for every arm that has two."""

    order = 12
    csv_order = 150
    every_pair = True

    def __init__(self) -> None:
        self.trials: list[Trial] = []

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add accuracy, confidence and errors of one seed, and its trials."""
        images, labels = seed.images, seed.test.labels
        same = shared_classes(images.class_names, nested=images.nested)
        if same is None:
            return
        congruent = congruence(labels, same)
        if congruent.all() or not congruent.any():
            found.leave_out(
                "congruent and conflicting pictures; the test images are all of one kind."
            )
            return
        for half, logits in by_half(seed):
            said = answered(logits, labels, same)
            self._add(seed, found, half, effects(said, congruent))
            self.trials += trials(
                said,
                labels,
                congruent,
                figures=images.data.test_names(),
                names=images.class_names,
                level_names=found.values.level_names,
                arm=seed.arm,
                seed=seed.number,
                side=half,
            )

    @staticmethod
    def _add(seed: Seed, found: Findings, half: str, one: Effects) -> None:
        networks = seed.study.networks(seed.arm)[seed.number]
        # Not what was loaded: seeds that hold out other training images load the same test images anew.
        images = seed.images.data.test_digest()

        def add(of: str, value: float, level: str = "", kind: str = "", scores: str = "") -> None:
            found.values.add(
                of,
                value,
                seed=seed.number,
                level=level,
                side=half,
                item=f"{seed.arm}: {kind}" if kind else seed.arm,
                means=Item(seed.arm, case=kind),
                within=SHARE if of in (ACCURACY, CONFIDENCE, INTRUSIONS) else None,
                made_of=networks,
                by_image=ByImage(images, one.scores[scores]) if scores else None,
            )

        for level in LEVELS:
            for kind in KINDS:
                add(ACCURACY, one.accuracy[kind, level], level, kind)
                add(CONFIDENCE, one.confidence[kind, level], level, kind)
            add(INTRUSIONS, one.intrusions[level], level)
            add(INTERFERENCE, one.interference[level], level, scores=level)
        add(ADVANTAGE, one.advantage, scores="advantage")
        add(ASYMMETRY, one.asymmetry, scores="asymmetry")

    def finish(self, found: Findings) -> None:
        """Hand on the trials, which become analysis/trials.csv."""
        if self.trials:
            found.tables["trials"] = (Trial, self.trials)

    def render(self, found: Findings) -> Part | None:
        """Which level has precedence in the first arm, a figure of it, and tables of all."""
        arms = [arm for arm in found.pairs if found.values.get(ADVANTAGE, side="both", item=arm)]
        if not arms:
            return None
        svg = picture(
            Frame(
                "congruency",
                f"Accuracy on congruent and conflicting pictures, {plain_name(arms[0])}",
            ),
            grouped_bars,
            title=plain_name(arms[0]),
            groups={
                f"{level} task, {kind}": {
                    half: summary
                    for half in HALVES
                    if (summary := found.values.get(ACCURACY, level, half, f"{arms[0]}: {kind}"))
                }
                for level in LEVELS
                for kind in KINDS
            },
            label="accuracy",
            chance={
                f"{level} task, {kind}": share
                for level, share in found.chance.items()
                for kind in KINDS
            },
        )
        classes = len(found.class_names["fine"])
        return Part(
            id="congruency",
            title="Congruent and conflicting pictures",
            nav="Congruency",
            text=[
                *(sentence(found, arm) for arm in arms[:1]),
                "How to read it: in a congruent picture both labels are the same class, in a conflicting one they are "
                "not. The task is to name one of them. Interference is what conflict costs: accuracy on congruent "
                "pictures minus that on conflicting ones. The coarse level has precedence (Navon 1977) where it is "
                "named better, and disturbs the fine task more than the fine level disturbs the coarse task.",
            ],
            figures=[(svg, f"{INTERVALS} Dashed: chance.")],
            tables=[precedence_table(found, arms), answer_table(found, arms)],
            notes=[
                "Left, right: what the heads answer while the other hemisphere is silent, its features at their mean "
                "over training images; nothing is trained again. Advantage: accuracy in the coarse task minus that in "
                "the fine one, on conflicting pictures. Asymmetry: interference in the fine task minus that in the "
                "coarse one. Their intervals, and those of interference, count the pictures as a sample too, beside "
                "the seeds (min F', Clark 1973). Errors of conflicting pictures that name the other label: of wrong "
                "answers by chance, "
                f"{100 / (classes - 1):.0f} %. Every answer is in analysis/trials.csv."
            ],
        )


def by_half(seed: Seed) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Give the logits (N, C) by level of the left and of the right hemisphere, the other one silent, and of both."""
    for side, other in zip(SIDES, reversed(SIDES), strict=True):
        alone = without(other, seed.test.features, seed.train.features, seed.network.join)
        yield side, classify(seed.module, seed.network, alone)
    yield "both", seed.logits


def sentence(found: Findings, arm: str) -> str:
    """Which level has precedence in an arm with both of its hemispheres, as far as its seeds show."""

    def points(one: Summary | None) -> str:
        """A difference in words, with its interval."""
        assert one is not None
        words = f"{decimal(100 * one.mean, 1, plus=True)} points"
        ends = ends_words(one, 100, 1)
        return f"{words} ({ends})" if ends else words

    values = found.values
    advantage, asymmetry = (values.get(of, side="both", item=arm) for of in (ADVANTAGE, ASYMMETRY))
    costs = {level: values.get(INTERFERENCE, level, "both", arm) for level in LEVELS}
    return (
        f"In {arm}, the advantage of the coarse level on conflicting pictures is {points(advantage)}. Conflict costs "
        f"{points(costs['fine'])} in the fine task and {points(costs['coarse'])} in the coarse task, an asymmetry of "
        f"{points(asymmetry)}. {VERDICTS[precedence(advantage, asymmetry)]}"
    )


VERDICTS = {
    "coarse": "That is precedence of the coarse level: both the advantage and the asymmetry are above 0.",
    "fine": "That is precedence of the fine level: both the advantage and the asymmetry are below 0.",
    "none": "No precedence of either level is shown: it takes an advantage and an asymmetry of one sign, with "
    "intervals that exclude 0.",
    "too few seeds": "Whether that is precedence cannot be said: intervals take three seeds or more.",
    "no intervals": "Whether that is precedence cannot be said: where all seeds agree exactly, or share all their "
    "networks, or a kind has a single picture, there is no interval.",
}


def precedence(advantage: Summary | None, asymmetry: Summary | None) -> str:
    """Say which level has precedence, one of `VERDICTS`: both intervals lie on its side of 0."""
    ends = [one.interval for one in (advantage, asymmetry) if one and one.interval]
    if len(ends) < 2:
        few = advantage is None or asymmetry is None or advantage.seeds < FEWEST
        return "too few seeds" if few else "no intervals"
    if all(low > 0 for low, _ in ends):
        return "coarse"
    return "fine" if all(high < 0 for _, high in ends) else "none"


def precedence_table(found: Findings, arms: list[str]) -> Sheet:
    """Advantage, interference and asymmetry: a row for each arm and half, in percentage points."""
    measures = {
        "advantage": (ADVANTAGE, ""),
        "interference in the fine task": (INTERFERENCE, "fine"),
        "interference in the coarse task": (INTERFERENCE, "coarse"),
        "asymmetry": (ASYMMETRY, ""),
    }
    rows = [
        [
            *(Cell(word, word, True) for word in (arm, half)),
            *(
                cell
                for of, level in measures.values()
                for cell in summary_cells(found.values.get(of, level, half, arm))
            ),
        ]
        for arm in arms
        for half in HALVES
    ]
    heads = [head for name in measures for head in (name, "95 % interval")]
    caption = "Advantage of the coarse level, and interference, percentage points"
    return Sheet("precedence", caption, word_columns(("arm", "hemisphere"), heads), rows)


def answer_table(found: Findings, arms: list[str]) -> Sheet:
    """Accuracy, confidence and errors: a row for each arm, task, half and kind of picture."""
    rows = []
    for arm in arms:
        for level in LEVELS:
            for half in HALVES:
                for kind in KINDS:
                    of_errors = (
                        found.values.get(INTRUSIONS, level, half, arm)
                        if kind == CONFLICTING
                        else None
                    )
                    cells = [
                        *summary_cells(found.values.get(ACCURACY, level, half, f"{arm}: {kind}")),
                        *summary_cells(found.values.get(CONFIDENCE, level, half, f"{arm}: {kind}")),
                        *summary_cells(of_errors),
                    ]
                    words = (arm, level, half, kind)
                    rows.append([*(Cell(word, word, True) for word in words), *cells])
    numbers = ("accuracy, %", "confidence, %", "errors that name the other label, %")
    heads = [head for name in numbers for head in (name, "95 % interval")]
    columns = word_columns(("arm", "task", "hemisphere", "pictures"), heads)
    return Sheet("congruency", "Answers to congruent and conflicting pictures", columns, rows)
