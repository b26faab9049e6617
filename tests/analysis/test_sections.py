"""Analyses as files of a folder: a new one counts, a failing one costs nothing else."""

import sys

import pytest
import torch

from analysis import sections
from analysis.report.part import Part
from analysis.report.svg import Frame, drawn_here, picture
from analysis.section import Findings, Section


def test_what_is_left_out_of_several_seeds_is_one_sentence():
    found = Findings()
    for seed in (0, 10):
        found.leave_out(f"the share with seed {seed}; it has none.")
    found.leave_out("the map with seed 2; it is empty.")
    found.leave_out("the tree.")
    assert found.omissions() == [
        "the share with seeds 0, 10; it has none.",
        "the map with seed 2; it is empty.",
        "the tree.",
    ]


SPARSITY = """
from analysis.report.part import Part
from analysis.section import Section


class Sparsity(Section):
    order = 25

    def compute(self, seed, found):
        for side, features in seed.test.features.items():
            share = (features == 0).double().mean().item()
            found.values.add("sparsity", share, side=side, seed=seed.number)

    def render(self, found):
        left = found.values.get("sparsity", side="left")
        return left and Part("sparsity", "How sparse?", text=[f"Left: {100 * left.mean:.0f} %."])
"""


@pytest.fixture
def sections_with(tmp_path, monkeypatch):
    """Gives what is found with one more file, sparsity.py of such a text, in the folder of analyses."""

    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])

    def found(text: str) -> Findings:
        (tmp_path / "sparsity.py").write_text(text)
        found = Findings()
        try:
            sections.add_sections(found)
        finally:
            sys.modules.pop("analysis.sections.sparsity", None)
        return found

    return found


def test_a_new_file_in_the_folder_is_a_new_analysis(images, sections_with, seed):
    every = sections_with(SPARSITY).sections
    assert len(every) == len({type(one) for one in every})
    (new,) = (one for one in every if type(one).__name__ == "Sparsity")
    one = seed(0, images)
    one.test.features["left"] = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    found = Findings([new])
    found.add(one)
    assert [part.text for part in found.parts()] == [["Left: 75 %."]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("    order = 25\n", ""), "Sparsity gives no order"),
        (("import Part", "import Prat"), "ImportError: cannot import name 'Prat'"),
        (("def compute", "deff compute"), "SyntaxError"),
    ],
)
def test_a_file_that_is_no_analysis_costs_the_report_nothing_else(change, reason, sections_with):
    others = len(sections_with(SPARSITY).sections) - 1
    found = sections_with(SPARSITY.replace(*change))
    assert len(found.sections) == others
    (sentence,) = found.left_out
    assert sentence.startswith("sparsity, which failed (")
    assert reason in sentence
    assert found.failures.keys() == {"sparsity"}


class Shows(Section):
    order = 10

    def __init__(self, part) -> None:
        self.part = part

    def render(self, found):
        return self.part() if callable(self.part) else self.part


class ShowsLater(Shows):
    order = 20


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"id": "new"}, "render gives dict, not a Part"),
        (Part("first", "Again?"), "its id first is that of shows too"),
        (Part("results", "Which?"), "its id results is that of the page too"),
        (
            lambda: Part("new", "Drawn?", figures=[(picture(Frame("a b", "New"), str), "")]),
            "the page has another figure of the name a-b",
        ),
    ],
)
def test_a_section_that_takes_the_place_of_another_is_left_out(part, reason):
    def first():
        return Part("first", "First?", figures=[(picture(Frame("a b", "First"), str), "")])

    found = Findings([Shows(first), ShowsLater(part)])
    with drawn_here() as figures:
        assert [part.id for part in found.parts()] == ["first"]
    assert [one.name for one in figures] == ["a-b"]
    assert reason in found.left_out[0]
