"""What a cell, a table and a figure of the report say."""

import csv
import math
from dataclasses import asdict, dataclass, replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from helpers import row
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from analysis.report import results
from analysis.report.cells import cell, decimal, interval_words, sheet
from analysis.report.figures import INTERVALS, grouped_bars
from analysis.report.page import captioned
from analysis.report.part import Part
from analysis.report.result_figures import accuracy_bars, learning_curves
from analysis.report.svg import INK, PAPER, Frame, labels, picture, short
from analysis.section import Findings
from analysis.sections.attention import Look, Said, panels
from analysis.sections.calibration import reliability_curve
from analysis.sections.frequencies import CENTRE, SENSITIVITY, Frequencies, curves
from analysis.sections.gains import gains
from analysis.sections.independence import CASES, EXPECTED, show_independence
from analysis.sections.lesions import lesion_curves
from analysis.sections.similarity import cka_lines
from analysis.specialisation.page import course_lines
from analysis.specialisation.rows import Competence
from analysis.specialisation.tasks import TASKS
from analysis.values import Summary
from common.results.comparison import Comparison
from common.results.rows import Row
from common.results.statistics import DifferenceRow, differences
from common.settings.levels import LEVELS, SIDES
from study.arms import REFERENCE, plain_name


def over_seeds(mean: float, low: float | None = None, high: float | None = None) -> Summary:
    return Summary("gain", "fine", "", "", 2, mean, low, high)


@pytest.mark.parametrize(
    ("said", "number", "plus"),
    [("0.00", -0.001, False), ("0.00", 0.001, True), ("−3.99", -3.99, True), ("+2.04", 2.04, True)],
)
def test_numbers_have_a_minus_sign_and_zero_has_none(said, number, plus):
    assert decimal(number, 2, plus=plus) == said


def test_intervals_in_words():
    assert interval_words(over_seeds(-0.001, -0.01, 0.011)) == "0 % (95 % interval −1 to 1)"
    assert interval_words(over_seeds(0.72)) == "72 %"


def test_long_names_stay_apart():
    names = [f"a very long name of a class of animals ({i})" for i in (1, 2)]
    assert short(names[0], 20) == "a very long n…ls (1)"
    assert len(set(labels(names, 20))) == 2
    middle = [f"{'x' * 14}{i}{'y' * 14}" for i in (1, 2)]
    assert len(set(labels(middle, 20))) == 2
    assert labels(["same", "same"], 20) == ["same", "same"]


def draw(function, *args, **kwargs) -> Figure:
    figure = Figure(layout="constrained")
    FigureCanvasSVG(figure)
    function(figure, *args, **kwargs)
    figure.canvas.draw()
    return figure


def arm(*seeds: float) -> dict[str, object]:
    return {"mean": sum(seeds) / len(seeds), "low": None, "high": None, "seeds": [*seeds]}


def test_one_arm_far_away_does_not_blur_the_others():
    arms = {f"a{i}": arm(0.9 + i / 100, 0.905 + i / 100) for i in range(5)} | {"far": arm(0.42)}
    bars, zoom = draw(accuracy_bars, "fine labels", arms).axes
    low, high = zoom.get_xlim()
    assert 0.85 < low < 0.9
    assert high < 0.97
    assert [text.get_text() for text in zoom.texts] == ["← 42.00 %"]
    assert bars.get_xlim() == (0, 1)
    near = {f"a{i}": arm(0.3 + i / 10) for i in range(6)}
    assert not draw(accuracy_bars, "fine labels", near).axes[1].texts


def test_the_close_up_holds_the_reference_and_its_line_though_most_arms_are_elsewhere():
    arms = {f"a{i}": arm(0.01 + i / 1000, 0.012) for i in range(5)} | {REFERENCE: arm(0.13, 0.15)}
    zoom = draw(accuracy_bars, "fine labels", arms).axes[1]
    low, high = zoom.get_xlim()
    assert low < 0.13
    assert high > 0.15
    assert not zoom.texts
    assert [0.14, 0.14] in [[*map(float, line.get_xdata())] for line in zoom.lines]


def test_the_number_of_a_short_bar_stands_behind_it():
    bars = draw(accuracy_bars, "", {"low": arm(0.05, 0.06), "high": arm(0.9)}).axes[0]
    said = {text.get_text(): text for text in bars.texts}
    assert said["5.50 %"].get_position()[0] > 0.06
    assert said["5.50 %"].get_color() == INK
    assert said["90.00 %"].get_color() == PAPER


@pytest.mark.parametrize("chance", [0.01, 0.05, None])
def test_the_line_of_chance_goes_through_no_word(chance):
    figure = draw(accuracy_bars, "", {"a": arm(0.9), "b": arm(0.05)}, chance=chance)
    bars = figure.axes[0]
    for text in bars.texts:
        left = bars.transData.inverted().transform(text.get_window_extent().p0)[0]
        assert left > (chance or 0)


@pytest.mark.parametrize("chance", [0.05, 0.14])
def test_the_number_of_a_low_bar_stands_above_it_and_above_chance(chance):
    sides = {
        "left": over_seeds(0.08, 0.02, 0.16),
        "right": over_seeds(0.13),
        "both": over_seeds(0.8),
    }
    figure = draw(grouped_bars, "", {"fine": sides}, label="", chance={"fine": chance})
    (axes,) = figure.axes
    bottom = {
        text.get_text(): axes.transData.inverted().transform(text.get_window_extent().p0)[1]
        for text in axes.texts
    }
    assert bottom["8 %"] > 0.16
    assert bottom["13 %"] > max(0.13, chance)
    assert chance < bottom["80 %"] < 0.8
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours == {"8 %": INK, "13 %": INK, "80 %": PAPER}


def test_what_lesions_are_compared_with_is_named_in_the_legend_and_covers_no_curve():
    points = {"0.0": over_seeds(0.8), "1.0": over_seeds(0.1)}
    both = dict.fromkeys(SIDES, points)
    seeds = {side: {} for side in SIDES}
    known = {"chance": 0.05, "left hemisphere alone": 0.8}
    (axes,) = draw(lesion_curves, "", both, seeds, both, known).axes
    assert not axes.texts
    said = {text.get_text() for text in axes.get_legend().get_texts()}
    assert {*known} < said
    heights = [[*map(float, line.get_ydata())] for line in axes.lines]
    assert all([place, place] in heights for place in known.values())


def test_the_axis_of_what_noise_costs_begins_at_zero():
    high = {octave: over_seeds(0.5 + octave / 100) for octave in (1, 2, 4)}
    (axes,) = draw(curves, "", {"left": high, "right": high}, {}).axes
    assert axes.get_ylim()[0] == 0
    below = high | {2: over_seeds(-0.1)}
    (axes,) = draw(curves, "", {"left": below, "right": high}, {}).axes
    assert axes.get_ylim()[0] < -0.1


@pytest.mark.parametrize("name", ["unilateral", "unilateral_second", "bilateral"])
def test_title_and_legend_of_a_learning_curve_are_whole_in_its_files(name):
    table = [
        {f"{split}_{level}_accuracy": 0.5 for split in ("train", "val") for level in LEVELS}
        | {"epoch": epoch}
        for epoch in range(2)
    ]
    frame = Frame("curve", "", width=3.4, height=2.7)
    names = {"fine": "texture", "coarse": "shape"}
    drawing = picture(frame, learning_curves, plain_name(name), [table], names)
    figure = drawing.files.figure
    (axes,) = figure.axes
    shown = [one for one in axes.get_children() if isinstance(one, Text | Legend)]
    assert len(shown) > 1
    assert axes.get_title("left").split() == plain_name(name).split()
    assert {row["panel"] for row in csv.DictReader(drawing.files.data.splitlines())} == {
        plain_name(name)
    }
    for one in shown:
        assert one.get_window_extent().x1 <= figure.bbox.x1 + 1


def test_numbers_of_epochs_that_stand_close_do_not_run_into_each_other():
    epochs = (1, 2, 4, 8, 16, 18)
    rows = [Competence("bilateral", 0, epoch, "fine", "left", 0.5, 0.5) for epoch in epochs]
    (axes,) = draw(course_lines, "", rows).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "4", "8", "18"]
    drawn = [[*map(float, line.get_xdata())] for line in axes.lines]
    assert [float(epoch) for epoch in epochs] in drawn


def test_intervals_are_drawn_where_there_are_any():
    classes = {"a": over_seeds(0.1, 0.05, 0.15), "b": over_seeds(-0.1)}
    (axes,) = draw(gains, "", classes).axes
    spans = [[*map(float, line.get_xdata())] for line in axes.lines]
    assert [0.05, 0.15] in spans
    assert len(spans) == 2  # and the zero line
    points = {"0": over_seeds(0.9, 0.8, 1.0), "1": over_seeds(0.5)}
    for function, args in (
        (cka_lines, ({"left-right": points, "left-other seed": points}, ["conv", "features"])),
        (reliability_curve, ("", {"bilateral": (points, points)})),
    ):
        lines = [[*map(float, line.get_ydata())] for line in draw(function, *args).axes[0].lines]
        assert [0.8, 1.0] in lines
        assert [0.9, 0.5] in lines


@pytest.mark.parametrize("low", [None, 0.05])
def test_a_caption_explains_intervals_only_where_one_is_drawn(low):
    svg = picture(Frame("gain", ""), gains, "", {"a": over_seeds(0.1, low, low and 0.15)})
    caption = f"Most. {INTERVALS} Some."
    part = Part("new", "New", figures=[(svg, caption)])
    assert [said for _, said in captioned(part).figures] == [caption if low else "Most. Some."]


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_captions_of_sections_are_of_those_that_are_taken_back(seeds):
    found = Findings()
    for seed, task, side in product(range(seeds), TASKS, SIDES):
        about = {"seed": seed, "level": task, "side": side}
        found.values.add(CENTRE, 1 + seed / 10, item="bilateral", **about)
        for octave in (1, 2):
            item = f"bilateral: around {octave}"
            found.values.add(SENSITIVITY, 0.5 + seed / 10, item=item, **about)
    for seed, case in product(range(seeds), CASES):
        for of in ("images in a case", EXPECTED):
            found.values.add(of, 0.25 + seed / 10, item=case, seed=seed)
    parts = [Frequencies().render(found), Part("agreement", "")]
    show_independence(parts[1], found)
    captions = [said for part in parts for _, said in captioned(part).figures]
    assert len(captions) == 1 + len(TASKS)
    assert all(("interval" in said) == (seeds == 3) for said in captions)


def test_a_case_without_images_keeps_its_heading():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    said = {"left": {"fine": Said("a", 0.5, True), "coarse": Said("b", 0.754, False)}, "right": {}}
    labels = {"fine": "a", "coarse": "c"}
    shown = dict(panels([Look(0, "all are correct", labels, said, image, {})]))
    assert [*shown] == [
        "Only the left is correct",
        "Only the right is correct",
        "Only both together are correct",
        "All are correct",
    ]
    (left, right) = shown["All are correct"][0]["answers"]
    assert [(one["mark"], one["words"]) for one in left["said"]] == [
        ("✓", "a 50 %"),
        ("✗", "b 75 %"),
    ]
    assert [one["words"] for one in right["said"]] == ["–", "–"]
    assert [len(looks) for looks in shown.values()] == [0, 0, 0, 1]


def test_tables_show_what_is_there():
    rows = [DifferenceRow("a", "b", "fine", 1234567, 0.12345, None, None, 0.5)]
    shown = sheet("results", "", rows)
    assert [column.title for column in shown.columns] == [
        *("arm", "minus", "level", "seeds", "mean, %", "95 % interval")
    ]
    assert [one.text for one in shown.rows[0]][3:] == ["1,234,567", "12.35", "– to 50.00"]
    assert [one.value for one in shown.rows[0]][3:] == ["1234567", "0.12345", ""]
    wide = [replace(rows[0], ci95_low=-0.25, approximate=True)]
    assert sheet("results", "", wide, only=["ci95_low"]).rows[0][0].text == "≈ −25.00 to 50.00"
    assert sheet("none", "", []).rows == sheet("none", "", [], only=("arm",)).columns == []
    assert cell("mean", -0.01).text == "−1.00"
    assert cell("loss", math.nan).text == "–"
    assert cell("seeds", "0+1").text == "0+1"
    assert cell("macs", None).text == "–"


@dataclass(frozen=True, kw_only=True)
class Later(Row):
    """A row that has the metric, whatever the table of metrics holds."""

    coarse_via_fine_sum: float | None = None


def test_own_coarse_head_minus_via_fine_has_a_table_where_that_was_measured():
    def study(rows):
        return SimpleNamespace(
            rows=rows, differences=differences(rows, Comparison(reference=REFERENCE))
        )

    names = (REFERENCE, "unilateral")
    rows = [row(arm, seed, 0.5 + seed / 100, level="coarse") for arm in names for seed in range(3)]
    assert results.via_fine(study(rows)) is None
    for arm, higher in zip(names, (0, 1), strict=True):
        for seed in range(3):
            fine, via = row(arm, seed), 0.5 + higher * (2 + seed) / 100
            rows.append(Later(**asdict(fine) | {"coarse_via_fine_sum": via}))
    shown = results.via_fine(study(rows))
    assert [cell.text for cell in shown.rows[0]] == [
        *(REFERENCE, "+1.00", "1.00", "−1.48 to +3.48", "–", "–", "3")
    ]
    assert [cell.text for cell in shown.rows[1]] == [
        *("unilateral", "−2.00", "0.00", "–", "−3.00", "−5.48 to −0.52", "3")
    ]


@pytest.mark.parametrize("level", ["fine", "rotation"])
def test_learning_curves_are_accuracies_of_levels_and_tasks_and_nothing_else(level):
    table = [
        {"epoch": epoch, f"val_{level}_accuracy": 0.5, f"val_{level}_balanced_accuracy": 0.4}
        for epoch in range(2)
    ]
    figure, chance = Figure(), {"fine": 0.01, "coarse": 0.05, "rotation": 0.25}
    names = {"fine": "local", "coarse": "global", "rotation": "rotation"}
    learning_curves(figure, "a network", [table, table], names, chance)
    (axes,) = figure.axes
    drawn = {
        line.get_label(): list(line.get_ydata()) for line in axes.lines if len(line.get_ydata())
    }
    assert drawn == {
        f"_chance, {names[level]}": [chance[level]] * 2,
        names[level]: [0.5] * 2,
        f"_{names[level]}": [0.5] * 2,
    }
