"""The sections of the report that come from the analyses: a picture, how to read it, the numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from analysis import figures
from analysis.agreement import CASES
from analysis.hemispheres import CKA_IMAGES, SHARES, Findings
from analysis.pictures import labels, picture, short
from analysis.tables import Cell, Sheet, decimal, interval_words, summary_cells, word_columns
from analysis.values import Summary
from common.settings.levels import LEVELS

SIDES = ("left", "right")
HALVES = ("left", "right", "both")
MOST = 8  # classes that gain, and that lose, most
RARE = 0.002  # share of images below which a bin of confidence is not drawn
MAX_ROWS = 40  # of a picture, and of a table that is not folded up
MOST_ROWS = 1000  # of any table, so that the page stays small


@dataclass
class Part:
    """One section."""

    id: str
    title: str
    text: list[str]
    figures: list[tuple[Markup, str]] = field(default_factory=list)
    tables: list[Sheet] = field(default_factory=list)
    folded: list[Sheet] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looks: list[Any] = field(default_factory=list)

    def add_table_of_classes(self, table: Sheet) -> None:
        """Show a table with a row for each class; a long one is folded up, and a very long one left to its file."""
        if len(table.rows) > MOST_ROWS:
            caption = f"{table.caption[:1].lower()}{table.caption[1:]}"
            self.notes.append(
                f"Left out is the table of {caption}: {len(table.rows):,} rows. They are in analysis/summary.csv."
            )
        elif len(table.rows) > MAX_ROWS:
            self.folded.append(table)
        else:
            self.tables.append(table)


def parts(found: Findings) -> Iterator[Part]:
    """The sections for which there are numbers, in reading order."""
    for make in (
        _known,
        _contributions,
        _lesions,
        _similarity,
        _looks,
        _agreement,
        _calibration,
    ):
        part = make(found)
        if part:
            yield part


def _known(found: Findings) -> Part | None:
    names = ("large letter", "small letter") if found.letters else LEVELS
    groups = {
        name: {
            half: summary
            for half in HALVES
            if (summary := found.values.get("probe accuracy", name, half))
        }
        for name in names
    }
    if not all(groups.values()):
        return None
    classes = found.class_names
    if found.letters:
        title = "The large and the small letter"
        text = [
            "The classic question to Navon figures: who sees the forest, and who the trees? The right "
            "hemisphere learned the large letter alone; the left one learned both together.",
            "How to read it: each bar is the share of test images whose letter can be read off the features "
            "of the left hemisphere, the right one, or both. A specialised hemisphere is high for one letter "
            "and low for the other.",
        ]
        chance = (
            f"Chance is {100 / len(classes['coarse']):.0f} % for the large letter and "
            f"{100 / len(found.letters):.0f} % for the small one ({len(found.letters)} letters; whoever knows "
            "the large one has fewer to choose from)."
        )
    else:
        title = "What can be read off each hemisphere"
        text = [
            "How to read it: each bar is the share of test images whose fine or coarse label can be read off "
            "the features of the left hemisphere, the right one, or both. What a hemisphere was not trained "
            "on, it may know all the same."
        ]
        fine, coarse = (100 / len(classes[level]) for level in LEVELS)
        chance = f"Chance is {fine:.3g} % for fine and {coarse:.3g} % for coarse labels."
    note = (
        "Measured with a linear probe, the same for all: ridge regression on the frozen features of "
        f"{found.reference_images:,} training images, its strength chosen on validation images. Heads could "
        f"not be compared, as each hemisphere was trained with that of its own level alone. {chance}"
    )
    return Part(
        id="known",
        title=title,
        text=text,
        figures=[
            (
                picture(
                    "probe",
                    title,
                    figures.grouped_bars,
                    "Test images read off the features",
                    groups,
                ),
                "Thin lines: 95 % intervals over seeds.",
            )
        ],
        tables=[
            Sheet(
                "probe",
                "Accuracy of the linear probe, %",
                word_columns(("what", "features"), ("mean", "95 % interval")),
                [
                    [Cell(name, name, True), Cell(half, half, True), *summary_cells(summary)]
                    for name, group in groups.items()
                    for half, summary in group.items()
                ],
            )
        ],
        notes=[note],
    )


def _contributions(found: Findings) -> Part | None:
    shares = {level: found.values.get("share of evidence", level, "left") for level in LEVELS}
    if not all(shares.values()):
        return None
    sentences = [
        f"the {level} head takes {interval_words(share)} of its evidence from the left hemisphere"
        for level, share in shares.items()
        if share
    ]
    part = Part(
        id="contributions",
        title="Whose features does each head use?",
        text=[
            f"{_sentence(' and '.join(sentences))}.",
            "How to read it: one dot for each class. To the right of the dashed line the left hemisphere "
            "says more for the right answer, above it the right hemisphere does.",
        ],
        notes=[
            "A logit is a sum over features, so it splits into the left half's part, the right half's part "
            "and a constant: weight × (feature − its mean over training images). Evidence is that part for "
            "the class of the image, against the mean of all classes; the share is that of the summed "
            "evidence."
        ],
    )
    for level in LEVELS:
        left, right = (found.values.items("evidence", level, side) for side in SIDES)
        svg = picture(
            f"evidence-{level}",
            f"Evidence from either half for each {level} class",
            figures.evidence_dots,
            f"{level} head",
            left,
            right,
            height=3.9,
        )
        part.figures.append((svg, f"{_count(len(left), level)}, means over seeds."))
        rows = [
            [
                Cell(short(name, 40), name, True),
                Cell(decimal(left[name].mean, 2), repr(left[name].mean)),
                Cell(decimal(right[name].mean, 2), repr(right[name].mean)),
            ]
            for name in left
            if name in right
        ]
        part.add_table_of_classes(
            Sheet(
                f"evidence-{level}",
                f"Evidence of the {level} head for the right class, in units of a logit",
                word_columns((f"{level} class",), ("left", "right")),
                rows,
            )
        )
    return part


def _lesions(found: Findings) -> Part | None:
    of = "accuracy with a share silenced"
    curves = {
        level: {side: found.values.items(of, level, side) for side in SIDES} for level in LEVELS
    }
    if not curves["fine"]["left"]:
        return None
    first, last = f"{SHARES[0]:.1f}", f"{SHARES[-1]:.1f}"
    rows = []
    for level in LEVELS:
        for label, side, item in (
            ("nothing", "left", first),
            ("the left hemisphere", "left", last),
            ("the right hemisphere", "right", last),
        ):
            summary = curves[level][side][item]
            rows.append(
                [Cell(level, level, True), Cell(label, label, True), *summary_cells(summary)]
            )
    return Part(
        id="lesions",
        title="What is lost when a hemisphere falls silent?",
        text=[
            "How to read it: from left to right more and more features of one hemisphere are silenced, those "
            "that the heads use most first. At 100 % that hemisphere says nothing any more. A curve that "
            "stays up was not needed, or is stood in for. Thin lines are seeds.",
        ],
        figures=[
            (
                picture(
                    f"lesions-{level}",
                    f"Accuracy of the {level} head with features silenced",
                    figures.lesion_curves,
                    f"{level} head",
                    curves[level],
                    {side: found.values.by_seed(of, level, side) for side in SIDES},
                ),
                "",
            )
            for level in LEVELS
        ],
        tables=[
            Sheet(
                "lesions",
                "Test accuracy of the bilateral network, %",
                word_columns(("head", "silenced"), ("mean", "95 % interval")),
                rows,
            )
        ],
        notes=[
            "Silenced means held at the mean over training images; nothing is trained again. A feature's use "
            "is its absolute weight times its standard deviation, both heads counting alike."
        ],
    )


def _similarity(found: Findings) -> Part | None:
    matrix = found.values.items("cka", "", "left-right")
    if not matrix:
        return None
    rows, columns = found.layers["left"], found.layers["right"]
    table = np.full((rows, columns), np.nan)
    for item, similarity in matrix.items():
        i, j = map(int, item.split(","))
        table[i, j] = similarity.mean
    pairs: dict[str, dict[str, Summary]] = {}
    if rows == columns:
        pairs["left-right"] = {
            str(i): matrix[f"{i},{i}"] for i in range(rows) if f"{i},{i}" in matrix
        }
    for pair in figures.PAIRS:
        points = found.values.items("cka", "", pair)
        if points and pair != "left-right":
            pairs[pair] = points
    drawn = []
    if pairs:
        svg = picture(
            "cka",
            "Linear CKA layer by layer",
            figures.cka_lines,
            pairs,
            max(rows, columns),
            height=3.4,
        )
        drawn.append(
            (
                svg,
                "1: the same up to rotation and scale; 0: nothing in common. Thin lines: 95 % intervals over seeds.",
            )
        )
    names = [[*map(str, range(1, count)), "F"] for count in (rows, columns)]
    svg = picture(
        "cka-matrix",
        "Linear CKA of all pairs of layers",
        figures.heat,
        np.clip(table, 0, 1),
        title="Every layer with every other",
        rows=names[0],
        columns=names[1],
        row_label="layer of the left hemisphere",
        column_label="layer of the right hemisphere",
        height=3.4,
    )
    drawn.append((svg, "Bright: alike. F: the features that the heads see."))
    cosine = {
        f"{count} {level} {noun}": {
            half: summary
            for half in HALVES
            if (summary := found.values.get("cosine", level, half, item))
        }
        for level in LEVELS
        for item, count, noun in (
            ("within classes", "one", "class"),
            ("between classes", "two", "classes"),
        )
    }
    lowest = min(s.mean for group in cosine.values() for s in group.values())
    drawn.append(
        (
            picture(
                "cosine",
                "Cosine similarity of images within and between classes",
                figures.grouped_bars,
                "Cosine of two images …",
                cosine,
                limits=(min(0, lowest - 0.05), 1),
                shares=False,
                height=3.3,
            ),
            "Cosine of centred features: 1 is the same direction, 0 unrelated.",
        )
    )
    text = [
        "How to read it: the line shows how alike the two hemispheres see the same images, layer by layer. "
        "Where it falls, they went separate ways. The dashed lines, the same hemisphere of two seeds, say "
        "how alike two networks are that learned the same thing.",
    ]
    if found.baseline:
        text.append(
            f"Unspecialised is the hemisphere of {found.baseline}, which learned both levels."
        )
    return Part(
        id="similarity",
        title="How alike are the hemispheres?",
        text=text,
        figures=drawn,
        tables=[
            Sheet(
                "cosine",
                "Cosine similarity of two images",
                word_columns(("images of", "features"), ("mean", "95 % interval")),
                [
                    [
                        Cell(name, name, True),
                        Cell(half, half, True),
                        *summary_cells(summary, percent=False),
                    ]
                    for name, group in cosine.items()
                    for half, summary in group.items()
                ],
            )
        ],
        notes=[
            "Linear CKA (Kornblith et al. 2019) with the unbiased estimator of Nguyen et al. (2021), on "
            f"{min(CKA_IMAGES, found.test_images):,} of {found.test_images:,} test images. Layers are the "
            "outputs of convolutions and linear layers, the last one the features. Cosines are over all "
            "pairs of test images."
        ],
    )


def _looks(found: Findings) -> Part | None:
    if not found.looks:
        return None
    from analysis.panels import panels

    return Part(
        id="attention",
        title="Where they look",
        text=[
            "How to read it: bright is where a hemisphere finds what speaks for the right class. Left and "
            "right are the two hemispheres of the bilateral network, fine and coarse its heads; a map "
            "without light found nothing in favour.",
        ],
        looks=panels(found),
        notes=[
            "Grad-CAM (Selvaraju et al. 2017) on the last layer of each hemisphere that has maps, for the "
            "first seed with such test images, which were drawn by chance. Each map is scaled to its "
            "own maximum. Right and wrong are about the coarse class, as below."
        ],
    )


def _agreement(found: Findings) -> Part | None:
    values = found.values
    if found.confusion is None:
        return None
    part = Part(
        id="agreement",
        title="Which hemisphere was right when?",
        text=[],
    )
    per_class: dict[str, dict[str, Summary]] = {}
    for case in CASES:
        for name, summary in values.items("images of a class in a case", "", case).items():
            per_class.setdefault(name, {})[case] = summary
    if per_class:
        part.text += [
            "About the coarse class. The left hemisphere alone is the network of the fine arm: it is right "
            "if the fine class that it says belongs to the right coarse class. The right hemisphere alone is "
            "the network of the coarse arm.",
            "How to read it: each bar is a coarse class, and its parts are the images that only one "
            "hemisphere, or neither, got right. Where the coloured parts are long, the hemispheres know "
            "different things and two can be better than one.",
        ]
        part.tables.append(
            Sheet(
                "cases",
                "Test images by who was right alone, and what the bilateral network made of them, %",
                word_columns(
                    ("right alone",),
                    ("images", "95 % interval", "bilateral right", "95 % interval"),
                ),
                [
                    [
                        Cell(case, case, True),
                        *summary_cells(values.get("images in a case", item=case)),
                        *summary_cells(values.get("bilateral accuracy in a case", item=case)),
                    ]
                    for case in CASES
                ],
            )
        )
        part.add_table_of_classes(
            Sheet(
                "cases-by-class",
                "Test images of each coarse class by who was right alone, %",
                word_columns(("coarse class",), CASES),
                [
                    [Cell(short(name, 40), name, True)]
                    + [summary_cells(cases.get(case))[0] for case in CASES]
                    for name, cases in per_class.items()
                ],
            )
        )
        ordered = sorted(
            per_class, key=lambda n: per_class[n]["both"].mean if "both" in per_class[n] else 0
        )
        shown = {name: per_class[name] for name in ordered[:MAX_ROWS]}
        part.figures.append(
            (
                picture(
                    "disagreement",
                    "Images on which not both hemispheres were right",
                    figures.disagreement,
                    shown,
                    height=0.8 + 0.19 * len(shown),
                ),
                f"The {len(shown)} coarse classes in which the hemispheres fail most often."
                if len(shown) < len(per_class)
                else "On the rest of each class both were right.",
            )
        )
    for level in LEVELS:
        classes = values.items("gain", level)
        gain = sorted(
            ((name, summary) for name, summary in classes.items() if abs(summary.mean) > 1e-9),
            key=lambda pair: -pair[1].mean,
        )
        if classes and not gain:
            part.notes.append(f"No {level} class gains or loses against the {level} arm.")
        if gain:
            count = min(MOST, (len(gain) + 1) // 2)
            most = dict([*gain[:count], *gain[max(count, len(gain) - count) :]])
            part.figures.append(
                (
                    picture(
                        f"gain-{level}",
                        f"{level} classes that gain and lose most",
                        figures.gains,
                        f"{level} classes",
                        most,
                        height=0.9 + 0.19 * len(most),
                    ),
                    f"Classes that gain and lose most: bilateral network against the {level} arm, with 95 % "
                    f"intervals over seeds. The extremes of many classes exaggerate: among "
                    f"{_count(len(classes), level)} some differ most by chance.",
                )
            )
    names = found.class_names["coarse"]
    if len(names) <= MAX_ROWS:
        counts = found.confusion.double()
        shares = (counts / counts.sum(1, keepdim=True).clamp_min(1)).numpy()
        axis = labels(names, 16)
        part.figures.append(
            (
                picture(
                    "confusion",
                    "Confusions of coarse classes",
                    figures.heat,
                    shares,
                    title="Confusions of the bilateral network",
                    rows=axis,
                    columns=axis,
                    row_label="coarse class",
                    column_label="taken for",
                    power=0.5,
                    shares=True,
                    height=4.1,
                ),
                "Share of each row's images, all seeds. Colours grow with the root, so that rare confusions "
                "show.",
            )
        )
    else:
        part.notes.append(
            f"A picture of confusions would need {len(names)} rows; it is among TensorBoard's images."
        )
    part.text = part.text or [
        "How to read it: how often the bilateral network takes one coarse class for another."
    ]
    return part


def _calibration(found: Findings) -> Part | None:
    values = found.values
    drawn = []
    rows = []
    for level in LEVELS:
        arms = [arm for arm in ("bilateral", level) if values.get("calibration error", level, arm)]
        if not arms:
            return None
        curves = {
            arm: (
                _filled(found, "confidence", level, arm),
                _filled(found, "reliability", level, arm),
            )
            for arm in arms
        }
        svg = picture(
            f"reliability-{level}",
            f"Reliability of the {level} head",
            figures.reliability_curve,
            f"{level} head",
            curves,
            height=3.5,
        )
        drawn.append((svg, "Thin lines: 95 % intervals over seeds."))
        rows += [
            [
                Cell(level, level, True),
                Cell(arm, arm, True),
                *summary_cells(values.get("calibration error", level, arm)),
            ]
            for arm in arms
        ]
    return Part(
        id="calibration",
        title="Is it right as often as it is sure?",
        text=[
            "How to read it: on the dashed line a network that is 80 % sure is right 80 % of the time. Below "
            "the line it is too sure of itself, above it not sure enough.",
        ],
        figures=drawn,
        tables=[
            Sheet(
                "calibration",
                "Expected calibration error, % (less is better)",
                word_columns(("head", "network"), ("mean", "95 % interval")),
                rows,
            )
        ],
        notes=[
            "15 bins of equal width (Naeini et al. 2015); bins with less than 0.2 % of the images have no "
            "dot. Label smoothing in training makes a network less sure."
        ],
    )


def _filled(found: Findings, of: str, level: str, arm: str) -> dict[str, Summary]:
    """A reliability curve without the bins that hold next to no image."""
    images = found.values.items("images of a confidence", level, arm)
    return {
        item: summary
        for item, summary in found.values.items(of, level, arm).items()
        if images[item].mean >= RARE
    }


def _count(number: int, level: str) -> str:
    return f"{number:,} {level} class{'es' * (number != 1)}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
