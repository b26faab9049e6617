"""Which images are looked at, and where two maps are hottest."""

import math
from types import SimpleNamespace

import torch
from torch import nn

from analysis.section import Findings
from analysis.sections import attention
from analysis.sections.attention import CASES as LOOKS
from analysis.sections.attention import PER_CASE, Attention, choose, share_of_same_cells


def test_images_to_look_at_belong_to_their_case():
    left = torch.tensor([True, False, False, True] * 5)
    right = torch.tensor([False, True, False, True] * 5)
    chosen = choose(left, right, torch.ones(20, dtype=torch.bool))
    assert [case for case, _ in chosen] == [
        name
        for name in (
            "only the left is correct",
            "only the right is correct",
            "only both together are correct",
            "all are correct",
        )
        for _ in range(PER_CASE)
    ]
    assert [row % 4 for _, row in chosen] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert chosen == choose(left, right, torch.ones(20, dtype=torch.bool))
    nobody = torch.zeros(20, dtype=torch.bool)
    assert choose(nobody, nobody, nobody) == []


def test_hottest_cells_are_compared_where_both_maps_have_light():
    one = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 1.0, 0.0]])
    other = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert share_of_same_cells(one, other) == 0.5
    assert math.isnan(share_of_same_cells(-one.abs(), other))


def test_a_case_that_only_a_later_seed_has_is_looked_at(images, monkeypatch, seed):
    monkeypatch.setattr(
        attention,
        "look",
        lambda seed, chosen: [SimpleNamespace(case=case, seed=seed.number) for case, _ in chosen],
    )
    fine, coarse = (nn.functional.one_hot(y).float() for y in images.test.labels.values())
    wrong = coarse.roll(1, 1)
    rights = [
        {"left": fine, "right": wrong, "together": coarse},
        {"left": fine, "right": coarse, "together": coarse},
        {"left": fine, "right": wrong, "together": coarse},
    ]
    monkeypatch.setattr(attention, "add_hottest_cells", lambda *_: None)
    section, found = Attention(), Findings()
    for number, said in enumerate(rights):
        section.compute(seed(number, images, said=said), found)
    looks = [(one.case, one.seed) for one in section.looks]
    assert looks == [(LOOKS[0], 0)] * PER_CASE + [(LOOKS[3], 1)] * PER_CASE
