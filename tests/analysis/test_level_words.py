"""Names of levels on the page, and two tasks that are independent of each other."""

import ast
import re
from collections.abc import Iterator

import pytest
import torch
from markupsafe import Markup

from analysis.report.cells import Cell, Sheet, word_columns
from analysis.report.level_words import LevelWords
from analysis.report.part import Part, Tile
from analysis.report.svg import Frame, picture
from analysis.sections.probe import small_letters
from analysis.specialisation.tasks import chances, right
from common.settings.compose import ROOT

# Where any name fits: before what a level has, before the other level, or at the end of a phrase.
FITS = re.compile(
    r"§(?: (?:label|class|head|level|task|answer|one)| (?:and|or|within) (?:the )?§| ?[^\w ]|$)"
)
SAY = LevelWords({"fine": "local", "coarse": "large letter"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("On fine labels, the coarse head.", "On local labels, the large letter head."),
        ("Fine classes", "Local classes"),
        ("against the fine arm (coarse arm)", "against the fine arm (coarse arm)"),
        ("what fine/seed0 would show", "what fine/seed0 would show"),
        ("hparams.fine_width, fine=2, a finer one", "hparams.fine_width, fine=2, a finer one"),
        ("fine and coarse its heads.", "local and large letter its heads."),
    ],
)
def test_sentences_say_the_levels_names_and_keep_arms_and_keys(text, said):
    assert SAY.text(text) == said
    assert LevelWords({"fine": "fine", "coarse": "coarse"}).text(text) == text


def texts(node: ast.AST) -> Iterator[str]:
    """All strings of a piece of code but its docstrings; what is filled in is "…"."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(
            str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values
        )
        for one in node.values:
            yield from texts(one) if isinstance(one, ast.FormattedValue) else ()
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for one in ast.iter_child_nodes(node):
            yield from texts(one)


@pytest.mark.parametrize("folder", ["report", "sections", "specialisation"])
def test_fine_and_coarse_are_names_of_levels_and_no_other_words_of_a_sentence(folder):
    found = [
        said[place:]
        for file in sorted((ROOT / "analysis" / folder).glob("*.py"))
        for text in texts(ast.parse(file.read_text()))
        for said in [LevelWords({"fine": "§", "coarse": "§"}).text(text)]
        for place, sign in enumerate(said)
        if sign == "§" and not FITS.match(said, place)
    ]
    assert found == []


def test_in_tables_only_columns_of_levels_are_renamed():
    rows = [[Cell("fine", "fine", True), Cell("fine", "fine", True), Cell("1.0", "1")]]
    found = SAY.sheet(
        Sheet("t", "Of fine labels", word_columns(("arm", "level"), ("fine class",)), rows)
    )
    assert found.caption == "Of local labels"
    assert [column.title for column in found.columns] == ["arm", "level", "local class"]
    assert [cell.text for cell in found.rows[0]] == ["fine", "local", "1.0"]
    assert found.rows[0][1].value == "fine"  # as in the csv file


def test_pictures_keep_tags_arms_and_names_of_classes():
    svg = Markup(
        '<svg aria-label="The fine head"><g id="fine"><text>fine</text><text>fine sand</text></g></svg>'
    )
    found = SAY.picture(svg)
    assert isinstance(found, Markup)
    assert found == (
        '<svg aria-label="The local head"><g id="fine"><text>local</text><text>fine sand</text></g></svg>'
    )
    assert "<text>fine</text>" in SAY.picture(svg, alone=False)
    legend = Markup("<svg><text>left, fine</text><text>salt, fine</text></svg>")
    assert SAY.picture(legend) == "<svg><text>left, local</text><text>salt, fine</text></svg>"
    task = Markup(
        "<svg><text>left, fine within coarse</text><text>an arm, coarse task</text></svg>"
    )
    assert SAY.picture(task) == (
        "<svg><text>left, local within large letter</text><text>an arm, large letter task</text></svg>"
    )


def test_the_files_of_a_figure_say_what_the_page_says():
    def draw(figure) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0.2, 0.4], label="fine")
        axes.set_xticks([0, 1], ["fine head", "fine sand"])
        axes.set_ylabel("accuracy, coarse labels")
        axes.legend()

    drawing = picture(Frame("one", "The fine head"), draw)
    shown = SAY.picture(drawing)
    files = drawing.files
    for words in ("local head", "fine sand", "accuracy, large letter labels", ">local<"):
        assert words in shown
        assert words in files.svg
    assert "fine head" not in files.svg
    assert "line,local,0.0,local head" in files.data
    assert files.pdf.startswith(b"%PDF")
    # Drawing once more, as the PDF does, does not bring the old words back.
    said = [label.get_text() for label in files.figure.axes[0].get_xticklabels()]
    assert said == ["local head", "fine sand"]


def test_a_section_is_renamed_as_a_whole():
    cell = {"label": "left, fine head", "alt": "image", "png": "fine"}
    part = Part(
        "fine",
        "The fine head",
        text=["coarse labels"],
        notes=["a fine class"],
        tiles=[Tile("Bilateral, fine labels", "1 %", "(fine arm)")],
        looks=[("All", [{"name": "fine", "levels": ("fine", "coarse"), "cells": [cell]}])],
    )
    found = SAY.part(part)
    assert (found.id, found.title, found.text) == (
        "fine",
        "The local head",
        ["large letter labels"],
    )
    assert (found.notes, found.tiles) == (
        ["a local class"],
        [Tile("Bilateral, local labels", "1 %", "(fine arm)")],
    )
    ((_, (look,)),) = found.looks
    assert look["levels"] == ["local", "large letter"]
    assert look["cells"] == [{"label": "left, local head", "alt": "image", "png": "fine"}]


def test_independent_labels_are_tasks_as_they_are():
    none = torch.tensor([], dtype=torch.int64)
    labels = {"fine": torch.tensor([0, 1, 2]), "coarse": torch.tensor([1, 0, 1])}
    logits = {
        "fine": torch.tensor([[3.0, 1, 0], [2, 1, 0], [0, 0, 1]]),
        "coarse": torch.tensor([[1.0, 0], [1, 0], [0, 1]]),
    }
    found = right(logits, labels, none)
    assert {task: one.tolist() for task, one in found.items()} == {
        "fine": [True, False, True],
        "coarse": [False, True, True],
    }
    assert chances(labels, none) == {"fine": pytest.approx(1 / 3), "coarse": pytest.approx(2 / 3)}
    assert small_letters(["A of B"], ["A"], none) is None
