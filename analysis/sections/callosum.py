"""What crosses the callosum for: accuracy intact and cut, level by level, class by class, and beside lesions.

A cut takes the message away (`common.networks.callosum.Callosum.severed`); nothing is trained again. A hemisphere is
silenced (`analysis.networks.without`), behind the callosum: what it sent while it computed has arrived.
"""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from analysis.networks import FeatureCache, classify, side_by_side, without
from analysis.report.cells import (
    Cell,
    Sheet,
    decimal,
    ends_words,
    interval_words,
    summary_cells,
    word_columns,
)
from analysis.report.figures import COLOURS, INTERVALS, intervals, legend_above, percent
from analysis.report.part import Part
from analysis.report.svg import INK, Frame, picture, short
from analysis.section import Findings, Section
from analysis.sections.gains import accuracy_per_class
from analysis.sections.lesions import accuracy
from analysis.seed import Seed
from analysis.values import SHARE, Item, Summary
from common.networks.crossings import BOTH_WAYS
from common.settings.levels import LEVELS, SIDES
from study.arms import plain_name

Features = Mapping[str, Tensor]  # (N, F_side) by side
INTACT = "intact"
# What is measured, each with the arm and the cut as item.
OF = "accuracy with the callosum cut"
LOST = "accuracy lost when the callosum is cut"
SILENCED = "accuracy with the callosum cut and a hemisphere silenced"
OF_CLASS = "accuracy lost in a class when the callosum is cut"
PARAMETERS = "share of parameters in the callosum"
WORDS = {
    INTACT: "intact",
    "left_to_right": "left to right",
    "right_to_left": "right to left",
    BOTH_WAYS: "both ways",
}


class CallosumCut(Section):
    """Accuracy with the callosum intact, cut one way and cut both ways, for every arm that has one."""

    order = 35
    csv_order = 140
    every_pair = True

    def __init__(self) -> None:
        self.arms: dict[str, list[str]] = {}  # the cuts of each

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the accuracies of one seed, with each cut."""
        callosum = seed.network.callosum
        if callosum is None:
            return
        ways = callosum.directions
        cuts = [INTACT, *ways, *([BOTH_WAYS] if len(ways) > 1 else [])]
        self.arms[seed.arm] = cuts
        self._add(seed, found, PARAMETERS, share_of_parameters(seed), Item(seed.arm))
        right: dict[str, dict[str, Tensor]] = {}
        for cut in cuts:
            with callosum.severed(None if cut == INTACT else cut):
                test, train = self._features(seed, cut)
            logits = classify(seed.module, seed.network, side_by_side([*test.values()]))
            labels = seed.test.labels
            right[cut] = {level: logits[level].argmax(1) == labels[level] for level in LEVELS}
            item = Item(seed.arm, case=cut)
            for level in LEVELS:
                whole, now = (float(right[c][level].double().mean()) for c in (INTACT, cut))
                self._add(seed, found, OF, now, item, level=level)
                self._add(seed, found, LOST, whole - now, item, level=level)
            if cut in (INTACT, cuts[-1]):
                self._add_lesions(seed, found, item, test, train)
        for level in LEVELS:
            truth, classes = seed.test.labels[level], seed.images.classes[level]
            before, after = (
                accuracy_per_class(right[c][level], truth, classes) for c in (INTACT, cuts[-1])
            )
            names = seed.images.unique_names(level)
            for name, lost in zip(names, (before - after).tolist(), strict=True):
                self._add(seed, found, OF_CLASS, lost, Item(seed.arm, name), level=level)

    @staticmethod
    def _features(seed: Seed, cut: str) -> tuple[Features, Features]:
        """Give the features of test images, and of training images."""
        if cut == INTACT:
            return seed.test.features, seed.train.features
        images = seed.images
        test = FeatureCache(images.test.images)
        train = FeatureCache(images.data.train_set.images, images.train_rows)
        seen, known = (one.of_network(seed.module, seed.network) for one in (test, train))
        return seen, known

    def _add_lesions(
        self, seed: Seed, found: Findings, item: Item, test: Features, train: Features
    ) -> None:
        """Add the accuracy of each head without either hemisphere."""
        for side in SIDES:
            logits = classify(
                seed.module, seed.network, without(side, test, train, seed.network.join)
            )
            for level in LEVELS:
                share = accuracy(logits[level], seed.test.labels[level])
                self._add(seed, found, SILENCED, share, item, level=level, side=side)

    @staticmethod
    def _add(seed: Seed, found: Findings, of: str, value: float, means: Item, **place: str) -> None:
        networks = seed.study.networks(seed.arm)[seed.number]
        within = SHARE if of in (OF, SILENCED) else None  # what is lost is a difference
        item = ": ".join(filter(None, (means.arm, means.class_name, means.case)))
        known = {"within": within, "made_of": networks, "means": means, "item": item}
        found.values.add(of, value, seed=seed.number, **known, **place)  # type: ignore[arg-type]

    def render(self, found: Findings) -> Part | None:
        """A figure and a table for each arm, lesions beside cuts, and the classes."""
        if not self.arms:
            return None
        part = Part(
            id="callosum",
            title="What crosses the callosum?",
            nav="Callosum",
            text=[
                *(sentence(found, arm, cuts[-1]) for arm, cuts in self.arms.items()),
                "How to read it: the callosum of the trained network is cut, so that nothing reaches a hemisphere from "
                "the other one, and nothing is trained again. What is lost is what the network relies on, not what it "
                "would lack if it had never been connected: for that, compare the arms.",
            ],
            tables=[cut_table(found, self.arms), lesion_table(found, self.arms)],
            notes=[
                "A silenced hemisphere has its mean features over training images, with the callosum in the same "
                "state; what it sent to the other one while it computed has arrived."
            ],
        )
        for arm, cuts in self.arms.items():
            svg = picture(
                Frame(f"callosum-{arm}", f"Accuracy with the callosum cut, {plain_name(arm)}"),
                bars,
                title=plain_name(arm),
                levels={
                    level: {cut: found.values.get(OF, level, "", f"{arm}: {cut}") for cut in cuts}
                    for level in LEVELS
                },
                chance=found.chance,
            )
            part.figures.append((svg, INTERVALS))
            for level in LEVELS:
                part.add_table_of_classes(class_table(found, arm, level))
        return part


def share_of_parameters(seed: Seed) -> float:
    """The callosum's part of the network's parameters."""
    callosum = seed.network.callosum
    own = sum(one.numel() for one in callosum.parameters()) if callosum else 0
    return own / sum(one.numel() for one in seed.network.parameters())


def sentence(found: Findings, arm: str, cut: str) -> str:
    """What an arm loses when its callosum is cut."""
    parts = []
    for level in LEVELS:
        lost = found.values.get(LOST, level, "", f"{arm}: {cut}")
        if lost is None:
            continue
        ends = ends_words(lost, 100, 1)
        points = f"{decimal(100 * lost.mean, 1)} points{f' ({ends})' if ends else ''}"
        parts.append(f"{points} on {level} labels")
    size = found.values.get(PARAMETERS, item=arm)
    held = f", which holds {interval_words(size)} of its parameters," if size else ""
    return f"Cutting the callosum of {plain_name(arm)}{held} costs {' and '.join(parts)}."


def cut_table(found: Findings, arms: Mapping[str, list[str]]) -> Sheet:
    """Accuracy and what is lost, a row for each arm, cut and head."""
    rows = [
        [
            *(Cell(word, word, True) for word in (arm, WORDS[cut], level)),
            *summary_cells(found.values.get(OF, level, "", f"{arm}: {cut}")),
            *summary_cells(found.values.get(LOST, level, "", f"{arm}: {cut}")),
        ]
        for arm, cuts in arms.items()
        for cut in cuts
        for level in LEVELS
    ]
    return Sheet(
        "callosum",
        "Test accuracy with the callosum cut, %, and what is lost, points",
        word_columns(
            ("arm", "cut", "head"), ("accuracy", "95 % interval", "lost", "95 % interval")
        ),
        rows,
    )


def lesion_table(found: Findings, arms: Mapping[str, list[str]]) -> Sheet:
    """Accuracy without a hemisphere, with the callosum intact and cut, a row for each arm, cut and hemisphere."""
    rows = [
        [
            *(Cell(word, word, True) for word in (arm, WORDS[cut], f"the {side} one")),
            *(
                cell
                for level in LEVELS
                for cell in summary_cells(found.values.get(SILENCED, level, side, f"{arm}: {cut}"))
            ),
        ]
        for arm, cuts in arms.items()
        for cut in (INTACT, cuts[-1])
        for side in SIDES
    ]
    titles = [title for level in LEVELS for title in (f"{level} head, %", "95 % interval")]
    return Sheet(
        "callosum-lesions",
        "Test accuracy with a hemisphere silenced",
        word_columns(("arm", "callosum", "silenced"), titles),
        rows,
    )


def class_table(found: Findings, arm: str, level: str) -> Sheet:
    """What each class loses when all is cut."""
    before = f"{arm}: "
    rows = [
        [Cell(short(item.removeprefix(before), 40), item, True), *summary_cells(one)]
        for item, one in found.values.items(OF_CLASS, level).items()
        if item.startswith(before)
    ]
    return Sheet(
        f"callosum-{arm}-{level}",
        f"Accuracy lost in {level} classes when the callosum of {arm} is cut, points",
        word_columns((f"{level} class",), ("lost", "95 % interval")),
        rows,
    )


def bars(
    figure: Figure,
    title: str,
    levels: Mapping[str, Mapping[str, Summary | None]],
    chance: Mapping[str, float],
) -> None:
    """Draw accuracy with each cut, a bar for each level, and the accuracy of guessing on each level."""
    axes = figure.subplots()
    for number, (level, cuts) in enumerate(levels.items()):
        points = [one for one in cuts.values() if one is not None]
        places = [place + 0.38 * (number - 0.5) for place in range(len(points))]
        axes.bar(
            places, [one.mean for one in points], width=0.36, color=COLOURS[level], label=level
        )
        intervals(axes, places, points, INK, of=level)
        if level in chance:
            said = f"_chance, {level}"
            axes.axhline(chance[level], color=COLOURS[level], lw=0.9, ls=(0, (4, 3)), label=said)
    names = [WORDS[cut] for cut in next(iter(levels.values()))]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("what is cut (dashed: chance)")
    axes.set_ylabel("test accuracy")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(percent)
    legend_above(axes, title, 2)
