"""What is saved of a figure: SVG, PDF and every number that is drawn."""

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.report import svg
from analysis.report.figures import grouped_bars, heat, intervals, reference
from analysis.report.svg import LEFT, Frame, drawn_here, picture, save_figures
from analysis.sections.independence import against_independence
from analysis.values import Summary

CSS = (Path(svg.__file__).parent / "report.css").read_text()


def over_seeds(mean: float, low: float | None = None, high: float | None = None) -> Summary:
    return Summary("of", "", "", "", 3, mean, low, high)


def numbers(draw, *args, **kwargs) -> list[dict[str, str]]:
    with drawn_here() as files:
        picture(Frame("name", "title"), draw, *args, **kwargs)
    return [*csv.DictReader(io.StringIO(files[0].data))]


def of(rows, **wanted) -> list[tuple[float, ...]]:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return [tuple(float(row[name] or "nan") for name in ("x", "y", "value")) for row in found]


def test_lines_and_points_are_saved_with_their_names():
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([1, 2, 4], [0.1, 0.25, 0.5], label="left")
        axes.scatter([3], [0.75], label="right")
        intervals(axes, [2], [over_seeds(0.25, 0.2, 0.3)], LEFT, of="left")
        reference(axes, 0.05, "chance")
        axes.set_title("A title")

    rows = numbers(draw)
    assert {row["panel"] for row in rows} == {"A title"}
    line = [point[:2] for point in of(rows, series="left", mark="line")]
    assert line == [(1, 0.1), (2, 0.25), (4, 0.5)]
    assert [point[:2] for point in of(rows, series="right", mark="point")] == [(3, 0.75)]
    assert [point[1] for point in of(rows, series="95 % interval of left")] == [0.2, 0.3]
    assert [row["y"] for row in rows if row["series"] == "chance"] == ["0.05"]


def test_bars_are_saved_with_their_lengths_whichever_way_they_lie():
    def draw(figure: Figure) -> None:
        upright, lying = figure.subplots(1, 2)
        upright.bar([0, 1], [0.5, 0.25], bottom=[0, 0.5], label="up")
        upright.set_xticks([0, 1], ["first class", "second class"])
        lying.barh([0, 1], [0.5, -0.25], label="down")
        lying.set_yticks([0, 1], ["a", "b"])

    rows = numbers(draw)
    assert of(rows, series="up") == [(0, 0.5, 0.5), (1, 0.75, 0.25)]
    assert [row["x_name"] for row in rows if row["series"] == "up"] == [
        "first class",
        "second class",
    ]
    assert of(rows, series="down") == [(0.5, 0, 0.5), (-0.25, 1, -0.25)]
    assert [row["y_name"] for row in rows if row["series"] == "down"] == ["a", "b"]


def test_names_that_are_numbers_are_saved_unless_each_says_its_place():
    def draw(figure: Figure) -> None:
        classes, shares = figure.subplots(1, 2)
        classes.barh([1, 0], [0.5, 0.25], label="classes")
        classes.set_yticks([1, 0], ["7", "3"])
        shares.plot([0, 0.5, 1], [0, 1, 2], label="shares")
        shares.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])

    rows = numbers(draw)
    assert [row["y_name"] for row in rows if row["series"] == "classes"] == ["7", "3"]
    assert {row["x_name"] for row in rows if row["series"] == "shares"} == {""}


def test_a_matrix_is_saved_cell_by_cell_without_its_scale():
    table = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6]])
    words = {"title": "t", "row_label": "r", "column_label": "c", "value_label": "v"}
    rows = numbers(heat, table, rows=["a", "b", "c"], columns=["x", "y"], **words)
    assert {row["mark"] for row in rows} == {"cell"}
    found = {(row["y_name"], row["x_name"]): float(row["value"]) for row in rows}
    for i, row in enumerate("abc"):
        for j, column in enumerate("xy"):
            assert found[row, column] == pytest.approx(table[i, j], nan_ok=True)


def test_grouped_bars_carry_chance_and_their_axis_a_unit():
    groups = {"fine": {"left": over_seeds(0.5, 0.4, 0.6), "right": over_seeds(0.25)}}
    rows = numbers(grouped_bars, "t", groups, label="accuracy", chance={"fine": 0.01})
    assert [point[2] for point in of(rows, series="left", mark="bar")] == [0.5]
    assert [point[1] for point in of(rows, series="95 % interval of left")] == [0.4, 0.6]
    assert {point[1] for point in of(rows, series="chance")} == {0.01}
    assert {row["x_name"] for row in rows if row["series"] == "chance"} == {"fine"}


def test_cases_are_saved_beside_what_independence_gives():
    cases = ("both", "left only", "right only", "neither")
    observed = {
        case: over_seeds(share) for case, share in zip(cases, (0.7, 0.1, 0.15, 0.05), strict=True)
    }
    expected = {
        case: over_seeds(share) for case, share in zip(cases, (0.68, 0.12, 0.17, 0.03), strict=True)
    }
    rows = numbers(against_independence, observed, expected)
    for case in cases:
        assert [point[2] for point in of(rows, series=case, mark="bar")] == [observed[case].mean]
        drawn = {
            float(r["y"]) for r in rows if r["series"] == "if independent" and r["x_name"] == case
        }
        assert drawn == {expected[case].mean}


def test_files_are_what_they_are_called_and_those_of_before_are_gone(tmp_path):
    for name in ("earlier.svg", "earlier.csv", "mine.txt"):
        (tmp_path / name).write_text("")
    with drawn_here() as files:
        shown = picture(
            Frame("a / b: c", "title"), lambda figure: figure.subplots().plot([0, 1], color=LEFT)
        )
    save_figures(tmp_path, files)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("a-b-c.svg", "a-b-c.pdf", "a-b-c.csv"),
        "mine.txt",
    }
    pdf = (tmp_path / "a-b-c.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    # Publishers refuse fonts of type 3.
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    saved = (tmp_path / "a-b-c.svg").read_text()
    assert LEFT in saved
    assert "var(" not in saved
    assert "var(--left)" in shown
    assert LEFT not in shown


def test_figures_are_the_same_each_time():
    def draw(figure: Figure) -> None:
        figure.subplots().plot([0, 1])

    files = []
    for _ in range(2):
        with drawn_here() as drawn:
            picture(Frame("name", "title"), draw)
        files += drawn
    one, other = files
    assert (one.name, one.svg, one.data) == (other.name, other.svg, other.data)
    assert one.pdf == other.pdf


def test_a_pdf_is_the_same_whenever_it_is_written():
    program = """
import hashlib
from analysis.report.svg import Frame, drawn_here, picture

with drawn_here() as files:
    picture(Frame("name", "title"), lambda figure: figure.subplots().plot([0, 1]))
print(hashlib.sha256(files[0].pdf).hexdigest())
"""
    # By this variable fonts take another time than the clock's.
    digests = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"SOURCE_DATE_EPOCH": when},
            cwd=Path(svg.__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for when in ("1000000000", "1500000000")
    ]
    assert digests[0] == digests[1]


def test_nothing_is_collected_outside_of_a_block():
    with drawn_here() as files:
        pass
    picture(Frame("name", "title"), lambda figure: figure.subplots())
    assert files == []


def test_the_colours_of_figures_are_the_light_ones_of_the_page():
    for colour, name in svg.VARIABLES.items():
        light = re.search(rf"--{name}: light-dark\((#\w+),", CSS)
        assert light, name
        assert light[1] == colour
