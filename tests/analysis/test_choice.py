"""The section on which hemisphere answered what, on weights that are known."""

from types import SimpleNamespace

import pytest
import torch

from analysis.section import Findings
from analysis.sections import choice
from analysis.sections.choice import (
    CONFLICTING,
    CONGRUENT,
    MORE,
    OF_CLASS,
    RIGHT,
    WEIGHT,
    WRONG,
    Choice,
)

# Two images of class 0, two of class 1; the first of each is answered right.
TRUTH = torch.tensor([0, 0, 1, 1])
LOGITS = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
LEFT = torch.tensor([0.9, 0.2, 0.8, 0.4])


def seed(number: int = 0, arm: str = "bilateral", nested: bool = True) -> SimpleNamespace:
    both = {"fine": TRUTH, "coarse": TRUTH if nested else torch.tensor([1, 0, 0, 0])}
    return SimpleNamespace(
        number=number,
        arm=arm,
        study=SimpleNamespace(networks=lambda _: {seed: {str(seed): 1.0} for seed in range(9)}),
        module=None,
        network=None,
        test=SimpleNamespace(labels=both, of=lambda _: None),
        logits=dict.fromkeys(("fine", "coarse"), LOGITS),
        images=SimpleNamespace(
            nested=nested,
            class_names={"fine": ["A", "B"], "coarse": ["B", "A"]},
            classes={"fine": 2, "coarse": 2},
            unique_names=lambda level: [f"{level} 0", f"{level} 1"],
        ),
    )


@pytest.fixture
def weighed(monkeypatch):
    weights = torch.stack([LEFT, 1 - LEFT], dim=1)
    monkeypatch.setattr(choice, "choices", lambda *_: {"fine": weights, "coarse": weights.flip(1)})


def test_weights_are_averaged_over_right_and_wrong_answers_and_classes(weighed):
    section, found = Choice(), Findings()
    section.compute(seed(), found)
    expected = {WEIGHT: 0.575, RIGHT: 0.85, WRONG: 0.3, MORE: 0.5}
    for of, left in expected.items():
        assert found.values.get(of, "fine", "left", "bilateral").mean == pytest.approx(left)
        assert found.values.get(of, "fine", "right", "bilateral").mean == pytest.approx(1 - left)
        assert found.values.get(of, "coarse", "right", "bilateral").mean == pytest.approx(left)
    classes = found.values.items(OF_CLASS, "fine", "left")
    assert {name: one.mean for name, one in classes.items()} == {
        "bilateral: fine 0": pytest.approx(0.55),
        "bilateral: fine 1": pytest.approx(0.6),
    }


def test_of_letters_out_of_letters_weights_are_averaged_over_congruent_and_conflicting_pictures(
    weighed,
):
    section, found = Choice(), Findings()
    section.compute(seed(nested=False), found)
    # A of A, A of B, B of B, B of B: coarse class 0 is B, and only the second picture conflicts.
    for of, left in ((CONGRUENT, (0.9 + 0.8 + 0.4) / 3), (CONFLICTING, 0.2)):
        assert found.values.get(of, "fine", "left", "bilateral").mean == pytest.approx(left)
        assert found.values.get(of, "coarse", "right", "bilateral").mean == pytest.approx(left)
    part = section.render(found)
    titles = [column.title for column in part.tables[0].columns]
    at = titles.index("conflicting pictures, %")
    assert titles.index("congruent pictures, %") < at
    assert part.tables[0].rows[0][at].text == "20.0"


def test_of_nested_classes_no_picture_is_congruent(weighed):
    section, found = Choice(), Findings()
    section.compute(seed(), found)
    assert not {CONGRUENT, CONFLICTING} & {one.of for one in found.values.values}
    titles = [column.title for column in section.render(found).tables[0].columns]
    assert not any("congruent" in title for title in titles)


def test_the_page_shows_each_arm_that_weighs(weighed):
    section, found = Choice(), Findings()
    for arm in ("bilateral", "unspecialised_pair"):
        section.compute(seed(arm=arm), found)
    part = section.render(found)
    assert "the join of bilateral gives 57 % to the left one for fine labels" in part.text[0]
    assert "and 43 % to the left one for coarse labels" in part.text[0]
    table = part.tables[0]
    assert [[cell.text for cell in row[:3]] for row in table.rows][:2] == [
        ["bilateral", "fine", "left"],
        ["bilateral", "fine", "right"],
    ]
    assert table.rows[0][3].text == "57.5"
    assert len(table.rows) == 8
    assert len(part.figures) == 4


def test_where_nothing_is_weighed_there_is_no_section(monkeypatch):
    monkeypatch.setattr(choice, "choices", lambda *_: None)
    section, found = Choice(), Findings()
    section.compute(seed(), found)
    assert section.render(found) is None
    assert not found.values.values
