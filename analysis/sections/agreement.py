"""Which hemisphere is correct when, and what the bilateral network predicts then."""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from analysis.report.cells import Cell, Sheet, summary_cells, word_columns
from analysis.report.figures import heat, percent
from analysis.report.part import MAX_ROWS, Part
from analysis.report.svg import INK, LEFT, OTHER, RIGHT, Frame, labels, picture, short
from analysis.section import Findings, Section
from analysis.sections.gains import add_gains, show_gains
from analysis.sections.independence import (
    CASES,
    EXPECTED,
    OBSERVED,
    add_independence,
    expected_cases,
    show_independence,
)
from analysis.seed import Seed
from analysis.values import SHARE, Item, Summary
from common.settings.levels import LEVELS

BILATERAL = "bilateral accuracy in a case"


class Agreement(Section):
    """Which hemisphere is correct when, gains of the bilateral network, and its confusions."""

    order = 60

    def __init__(self) -> None:
        self.confusion: Tensor | None = None  # of coarse classes, over all seeds

    def compute(self, seed: Seed, found: Findings) -> None:
        """Add confusions, gains, and the share of images and the accuracy in each case."""
        truth, classes = seed.test.labels["coarse"], seed.images.classes["coarse"]
        counts = confusion(seed.logits["coarse"].argmax(1), truth, classes)
        self.confusion = counts if self.confusion is None else self.confusion + counts
        add_gains(seed, found)
        if not seed.images.nested:
            found.leave_out(
                "which hemisphere was correct when; the two labels are independent, so that each hemisphere alone "
                "answers a question of its own."
            )
            return
        said = coarse_answers(seed)
        if said is None:
            found.leave_out(
                "which hemisphere is correct when, and where they look; the networks that were trained on one "
                "level are no longer there."
            )
            return
        left, right, together = (answers == truth for answers in said)
        add_independence(seed, found, left, right)
        case = case_of(left, right)
        shares = cases_per_class(case, truth, classes).double()
        shares = shares / shares.sum(1, keepdim=True)
        expected = expected_cases(left, right, truth, classes)
        for index, name in enumerate(CASES):
            where = case == index
            for of, value in (
                (OBSERVED, where.double().mean().item()),
                (BILATERAL, together[where].double().mean().item()),
            ):
                found.values.add(
                    of, value, item=name, seed=seed.number, within=SHARE, means=Item(case=name)
                )
            names = seed.images.unique_names("coarse")
            for of, parts in (
                ("images of a class in a case", shares),
                ("images of a class in a case if independent", expected),
            ):
                for label, part in zip(names, parts[:, index].tolist(), strict=True):
                    found.values.add(
                        of,
                        part,
                        side=name,
                        item=label,
                        seed=seed.number,
                        within=SHARE,
                        means=Item(class_name=label, case=name),
                    )

    def render(self, found: Findings) -> Part | None:
        """The cases as a table, and by class as bars; gains; confusions."""
        if self.confusion is None:
            return None
        part = Part(
            id="agreement",
            title="Which hemisphere is correct when?",
            nav="Agreement",
            text=[
                "How to read it: how often the bilateral network takes one coarse class for another."
            ],
        )
        show_cases(part, found)
        show_independence(part, found)
        show_gains(part, found)
        names = found.class_names["coarse"]
        if len(names) <= MAX_ROWS:
            part.figures.append(confusion_figure(self.confusion, names))
        else:
            part.notes.append(
                f"A picture of confusions would need {len(names)} rows; it is among TensorBoard's images."
            )
        return part


class CoarseAnswers(NamedTuple):
    """The coarse class that each network took each image for, int64 (N,)."""

    left: Tensor
    right: Tensor
    together: Tensor


def coarse_answers(seed: Seed) -> CoarseAnswers | None:
    """What the hemispheres alone and the bilateral network say; None if a hemisphere's own network is gone.

    The left hemisphere says a fine class: its answer is the coarse class to which that belongs.
    """
    if set(seed.alone) != set(LEVELS):
        return None
    return CoarseAnswers(
        seed.images.parents[seed.alone["fine"].argmax(1)],
        seed.alone["coarse"].argmax(1),
        seed.logits["coarse"].argmax(1),
    )


def case_of(left: Tensor, right: Tensor) -> Tensor:
    """Whether the left and the right hemisphere were correct, bool (N,) each → position in `CASES`, int64 (N,)."""
    return torch.where(left & right, 0, torch.where(left, 1, torch.where(right, 2, 3)))


def cases_per_class(case: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class (N,) were in each case (N,): int64 (C, 4)."""
    pairs = torch.bincount(labels * len(CASES) + case, minlength=classes * len(CASES))
    return pairs.reshape(classes, len(CASES))


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many images of each class (row) were taken for each class (column): int64 (C, C)."""
    pairs = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return pairs.reshape(classes, classes)


def show_cases(part: Part, found: Findings) -> None:
    """Add the cases, over all images and by class, if the hemispheres' own networks were there."""
    per_class: dict[str, dict[str, Summary]] = {}
    for case in CASES:
        for name, summary in found.values.items("images of a class in a case", "", case).items():
            per_class.setdefault(name, {})[case] = summary
    if not per_class:
        return
    part.text = [
        "About the coarse class. The left hemisphere alone is the network of the fine arm: it is correct "
        "if the fine class that it predicts belongs to the coarse class of the image. The right hemisphere alone is "
        "the network of the coarse arm.",
        "How to read it: each bar is a coarse class, and its parts are the images that only one "
        "hemisphere, or neither, classified correctly. Where both coloured parts are long, the hemispheres "
        "know different things, and two can be better than one.",
    ]
    ordered = sorted(
        per_class, key=lambda n: per_class[n]["both"].mean if "both" in per_class[n] else 0
    )
    shown = {name: per_class[name] for name in ordered[:MAX_ROWS]}
    neither = found.values.items("images of a class in a case if independent", "", "neither")
    svg = picture(
        Frame(
            "disagreement",
            "Images on which one hemisphere or neither was correct",
            height=0.95 + 0.19 * len(shown),
        ),
        disagreement,
        classes=shown,
        neither=neither,
    )
    caption = (
        (
            f"The {len(shown)} coarse classes in which the hemispheres fail most often. "
            if len(shown) < len(per_class)
            else "On the other images of each class both are correct. "
        )
        + "A line: how long the part of neither would be if they erred independently within the class."
    )
    part.figures.append((svg, caption))
    part.tables.append(case_table(found))
    rows = [
        [Cell(short(name, 40), name, True)] + [summary_cells(cases.get(case))[0] for case in CASES]
        for name, cases in per_class.items()
    ]
    part.add_table_of_classes(
        Sheet(
            "cases-by-class",
            "Test images of each coarse class by which hemisphere alone is correct, %",
            word_columns(("coarse class",), CASES),
            rows,
        )
    )


def case_table(found: Findings) -> Sheet:
    """How many images are in each case and would be if errors were independent, and the accuracy of both on them."""
    measures = {"images": OBSERVED, "if independent": EXPECTED, "bilateral correct": BILATERAL}
    rows = []
    for case in CASES:
        cells = (summary_cells(found.values.get(of, item=case)) for of in measures.values())
        rows.append([Cell(case, case, True), *chain.from_iterable(cells)])
    return Sheet(
        "cases",
        "Test images by which hemisphere alone is correct, their share if errors were independent, and accuracy of "
        "the bilateral network, %",
        word_columns(
            ("correct alone",), [head for name in measures for head in (name, "95 % interval")]
        ),
        rows,
    )


def disagreement(
    figure: Figure,
    classes: Mapping[str, Mapping[str, Summary]],
    neither: Mapping[str, Summary],
) -> None:
    """Draw for each class the share of images on which one hemisphere or neither was correct, by case.

    ``neither``: the share on which neither would be correct if they erred independently, by class.
    """
    axes = figure.subplots()
    styles = {"left only": (LEFT, 0.9), "right only": (RIGHT, 0.9), "neither": (OTHER, 0.55)}
    places = np.arange(len(classes))[::-1]
    start = np.zeros(len(classes))
    for case, (colour, alpha) in styles.items():
        widths = np.array([cases[case].mean if case in cases else 0 for cases in classes.values()])
        axes.barh(places, widths, left=start, height=0.72, color=colour, alpha=alpha, label=case)
        start = start + widths
    last = start - np.array(
        [one["neither"].mean if "neither" in one else 0 for one in classes.values()]
    )
    furthest = [0.01, *start]
    for place, foot, name in zip(places, last, classes, strict=True):
        if name in neither:
            end = foot + neither[name].mean
            furthest.append(end)
            ends, label = [place - 0.36, place + 0.36], "_neither, if independent (end of the bar)"
            axes.plot([end, end], ends, color=INK, lw=1.3, label=label)
    axes.set_yticks(places, labels([*classes], 20))
    axes.grid(False, axis="y")
    axes.set_ylim(-0.6, len(classes) - 0.4)
    # Hemispheres that complement each other would, if independent, fail together more often than there is room for.
    longest = max(furthest)
    axes.set_xlim(0, 1.04 * longest if longest > 1 else min(1, 1.04 * longest))
    axes.xaxis.set_major_formatter(percent)
    axes.set_xlabel("share of the class's images")
    figure.legend(loc="outside upper left", ncols=3, handlelength=1, columnspacing=1.2)


def confusion_figure(counts: Tensor, names: list[str]) -> tuple[Markup, str]:
    """A confusion matrix (C, C) with the ``names`` of its C coarse classes, and the caption."""
    shares = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    axis = labels(names, 16)
    svg = picture(
        Frame("confusion", "Confusions of coarse classes", height=4.1),
        heat,
        table=shares.numpy(),
        title="Confusions of both hemispheres together",
        rows=axis,
        columns=axis,
        row_label="coarse class of the image",
        column_label="class that it is taken for",
        value_label="share of the row's images",
        power=0.5,
        shares=True,
    )
    caption = (
        "Share of each row's images, all seeds. Brightness grows with the square root, so that rare "
        "confusions are visible."
    )
    return svg, caption
