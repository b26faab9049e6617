"""Which hemisphere answered what? Of joins that weigh the hemispheres image by image (`common.networks.joins`)."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from analysis.networks import choices
from analysis.report.cells import Cell, Sheet, interval_words, summary_cells, word_columns
from analysis.report.figures import COLOURS, percent
from analysis.report.part import Part, count_classes
from analysis.report.svg import PAPER, Frame, labels, picture, short
from analysis.section import Findings, Section
from analysis.sections.contributions import class_means
from analysis.seed import Seed
from analysis.trials import KINDS, congruence, shared_classes
from analysis.values import SHARE, Item, Summary
from common.settings.levels import LEVELS, SIDES
from study.arms import plain_name

# What is averaged, each with the arm as item; a class stands behind the arm.
WEIGHT = "weight of a hemisphere"
MORE = "images in which a hemisphere weighs more"
RIGHT, WRONG = f"{WEIGHT} in right answers", f"{WEIGHT} in wrong answers"
CONGRUENT, CONFLICTING = OF_KINDS = tuple(f"{WEIGHT} in {kind} pictures" for kind in KINDS)
OF_CLASS = f"{WEIGHT} in a class"
MEANS = {
    WEIGHT: "all images",
    RIGHT: "answered correctly",
    WRONG: "answered wrongly",
    CONGRUENT: "congruent pictures",
    CONFLICTING: "conflicting pictures",
    MORE: "images in which it weighs more",
}
SHOWN = 8  # classes that lean most to either side, in the figure


class Choice(Section):
    """The weight of each hemisphere against level, class, correctness and, where there is such, congruency.

    For every arm whose join weighs the hemispheres image by image.
    """

    order = 25
    csv_order = 130
    every_pair = True

    def __init__(self) -> None:
        self.arms: dict[str, None] = {}

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add the mean weights of one seed; nothing where the join weighs hemispheres alike in all images."""
        weights = choices(seed.module, seed.network, seed.test.of("both"))
        if weights is None:
            return
        self.arms[seed.arm] = None
        networks = seed.study.networks(seed.arm)[seed.number]
        kinds = of_kinds(seed)
        for level in LEVELS:
            truth = seed.test.labels[level]
            right = seed.logits[level].argmax(1) == truth
            for index, side in enumerate(SIDES):
                one = weights[level][:, index].double()
                other = weights[level][:, 1 - index]
                numbers = {
                    WEIGHT: float(one.mean()),
                    RIGHT: float(one[right].mean()),  # NaN of none
                    WRONG: float(one[~right].mean()),
                    MORE: float((one > other).double().mean()),
                    **{of: float(one[where].mean()) for of, where in kinds.items()},
                }
                of_classes = class_means(one, truth, seed.images.classes[level]).tolist()
                of = [(name, seed.arm, Item(seed.arm), value) for name, value in numbers.items()]
                of += [
                    (OF_CLASS, f"{seed.arm}: {name}", Item(seed.arm, name), value)
                    for name, value in zip(seed.images.unique_names(level), of_classes, strict=True)
                ]
                for name, item, means, value in of:
                    found.values.add(
                        name,
                        value,
                        level=level,
                        side=side,
                        item=item,
                        seed=seed.number,
                        within=SHARE,
                        made_of=networks,
                        means=means,
                    )

    def render(self, found: Findings) -> Part | None:
        """A table of mean weights, and for each level the classes that lean most to either hemisphere."""
        if not self.arms:
            return None
        part = Part(
            id="choice",
            title="Which hemisphere answered what?",
            nav="Choice",
            text=[
                *(sentence(found, arm) for arm in self.arms),
                "How to read it: the join weighs the hemispheres anew in each image, and both weights add up to 100 %. "
                "A hemisphere that weighs more where the answer is correct than where it is wrong is asked where it "
                "knows. A weight says how much a hemisphere is listened to, not how much it contributes.",
            ],
            tables=[weight_table(found, list(self.arms))],
        )
        for arm in self.arms:
            for level in LEVELS:
                self._add_classes(part, found, arm, level)
        return part

    def _add_classes(self, part: Part, found: Findings, arm: str, level: str) -> None:
        of_classes = {
            side: {
                item.removeprefix(f"{arm}: "): one
                for item, one in found.values.items(OF_CLASS, level, side).items()
                if item.startswith(f"{arm}: ")
            }
            for side in SIDES
        }
        left = of_classes["left"]
        ordered = sorted(left, key=lambda name: -left[name].mean)
        half = min(SHOWN, (len(ordered) + 1) // 2)
        most = [*ordered[:half], *ordered[max(half, len(ordered) - half) :]]
        svg = picture(
            Frame(
                f"choice-{arm}-{level}",
                f"Weight of the left hemisphere in {level} classes, {plain_name(arm)}",
                height=0.9 + 0.19 * len(most),
            ),
            weights_of_classes,
            title=f"{level} head, {plain_name(arm)}",
            classes={name: left[name] for name in most},
        )
        part.figures.append(
            (svg, f"Of {count_classes(len(left), level)}, those that lean most to either side.")
        )
        rows = [
            [
                Cell(short(name, 40), name, True),
                *(cell for side in SIDES for cell in summary_cells(of_classes[side].get(name))),
            ]
            for name in left
        ]
        columns = word_columns(
            (f"{level} class",), ("left, %", "95 % interval", "right, %", "95 % interval")
        )
        caption = f"Weights in {level} classes, {arm}"
        part.add_table_of_classes(Sheet(f"choice-{arm}-{level}", caption, columns, rows))


def of_kinds(seed: Seed) -> dict[str, Tensor]:
    """Say which test images are congruent and which conflicting, bool (N,) by what is averaged over them.

    Nothing where a picture cannot be either (`analysis.trials.shared_classes`).
    """
    same = shared_classes(seed.images.class_names, nested=seed.images.nested)
    if same is None:
        return {}
    congruent = congruence(seed.test.labels, same)
    return dict(zip(OF_KINDS, (congruent, ~congruent), strict=True))


def sentence(found: Findings, arm: str) -> str:
    """How much the left hemisphere weighs in an arm, level by level."""
    words = " and ".join(
        f"{interval_words(one)} to the left one for {level} labels"
        for level in LEVELS
        if (one := found.values.get(WEIGHT, level, "left", arm))
    )
    return f"Of the weight of both hemispheres, the join of {arm} gives {words}."


def weight_table(found: Findings, arms: list[str]) -> Sheet:
    """Mean weights, a row for each arm, head and hemisphere."""
    measured = {one.of for one in found.values.values}
    means = {of: words for of, words in MEANS.items() if of in measured or of not in OF_KINDS}
    rows = [
        [
            *(Cell(word, word, True) for word in (arm, level, side)),
            *(
                cell
                for of in means
                for cell in summary_cells(found.values.get(of, level, side, arm))
            ),
        ]
        for arm in arms
        for level in LEVELS
        for side in SIDES
    ]
    titles = [title for words in means.values() for title in (f"{words}, %", "95 % interval")]
    return Sheet(
        "choice",
        "Mean weight of each hemisphere over test images",
        word_columns(("arm", "head", "hemisphere"), titles),
        rows,
    )


def weights_of_classes(figure: Figure, title: str, classes: Mapping[str, Summary]) -> None:
    """Draw, for each class, a bar for the weight of the left hemisphere and one for the right behind it."""
    axes = figure.subplots()
    places = torch.arange(len(classes)).flip(0).tolist()
    shares = [one.mean for one in classes.values()]
    axes.barh(places, shares, height=0.7, color=COLOURS["left"], label="left")
    rest = [1 - share for share in shares]
    axes.barh(places, rest, left=shares, height=0.7, color=COLOURS["right"], label="right")
    axes.axvline(0.5, color=PAPER, lw=1.1, ls=(0, (4, 3)), label="_equal")
    axes.set_yticks(places, labels([*classes], 22))
    axes.grid(False, axis="y")
    axes.set_title(title)
    axes.set_xlim(0, 1)
    axes.set_xlabel("weight of the left hemisphere; the rest is the right one's")
    axes.xaxis.set_major_formatter(percent)
