"""Agreement against independence, lesions in a random order, and calibration of like with like."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.report.part import Part
from analysis.section import Findings
from analysis.sections import lesions
from analysis.sections.agreement import case_table
from analysis.sections.calibration import Calibration
from analysis.sections.independence import (
    CASES,
    CORRECTED,
    EXPECTED,
    IF_INDEPENDENT,
    KAPPA,
    OBSERVED,
    RELATED,
    add_independence,
    correlation,
    expected_cases,
    shares_if_independent,
    show_independence,
)
from analysis.sections.lesions import random_orders
from analysis.seed import FeatureSet
from analysis.values import CORRELATION, SHARE, Item, Value, Values
from common.networks.join import Concatenate
from common.networks.winner import Winner
from common.system.csv_text import as_csv

LEFT = torch.tensor([1, 1, 1, 0, 0, 0, 1, 0, 1, 1], dtype=torch.bool)
RIGHT = torch.tensor([1, 1, 0, 1, 1, 0, 1, 0, 1, 1], dtype=torch.bool)


def test_hemispheres_of_which_the_surer_one_answers_have_no_lesions():
    found = Findings()
    network = SimpleNamespace(join=Winner({"left": 2, "right": 2}))
    lesions.Lesions().compute(SimpleNamespace(network=network), found)
    assert not list(found.values)
    assert found.left_out[0].startswith("lesions; the surer of these hemispheres answers")


def test_independence_is_what_is_expected_of_two_networks_of_their_accuracies():
    found = Findings()
    add_independence(SimpleNamespace(number=0), found, LEFT, RIGHT)
    get = found.values.get
    a, b = 0.6, 0.7
    for case, share in zip(
        CASES, (a * b, a * (1 - b), (1 - a) * b, (1 - a) * (1 - b)), strict=True
    ):
        assert get(EXPECTED, item=case).mean == pytest.approx(share)
    assert get(CORRECTED, side="left").mean == pytest.approx(2 / 4)
    assert get(CORRECTED, side="right").mean == pytest.approx(1 / 3)
    assert get(IF_INDEPENDENT, side="left").mean == pytest.approx(b)
    assert get(IF_INDEPENDENT, side="right").mean == pytest.approx(a)
    # phi of the 2x2 table, and kappa: (observed - expected) / (1 - expected) agreement
    both, neither = 0.5, 0.2
    phi = (both - a * b) / np.sqrt(a * (1 - a) * b * (1 - b))
    assert get(RELATED).mean == pytest.approx(phi)
    chance = a * b + (1 - a) * (1 - b)
    assert get(KAPPA).mean == pytest.approx((both + neither - chance) / (1 - chance))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_nothing_impossible_is_said_of_any_answers(pairs):
    left, right = torch.tensor(pairs).T
    shares = shares_if_independent(left, right)
    assert shares.min() >= 0
    assert float(shares.sum()) == pytest.approx(1)
    phi = correlation(left, right)
    assert np.isnan(phi) or -1 - 1e-9 <= phi <= 1 + 1e-9
    found = Findings()
    add_independence(SimpleNamespace(number=0), found, left, right)
    part = Part("agreement", "")
    assert all(0 <= value.value <= 1 for value in found.values.values if value.of == CORRECTED)
    assert part.figures == []


def test_classes_without_images_expect_nothing():
    labels = torch.tensor([0] * 5 + [2] * 5)
    shares = expected_cases(LEFT, RIGHT, labels, 3)
    assert torch.isnan(shares[1]).all()
    assert shares[0].tolist() == pytest.approx([0.6 * 0.8, 0.6 * 0.2, 0.4 * 0.8, 0.4 * 0.2])


def test_the_page_shows_cases_against_independence():
    found = Findings()
    for seed in range(3):
        add_independence(SimpleNamespace(number=seed), found, LEFT, RIGHT)
        for case in CASES:
            for of, value in ((OBSERVED, 0.25), ("bilateral accuracy in a case", 0.9)):
                found.values.add(of, value, item=case, seed=seed, within=SHARE)
    part = Part("agreement", "")
    show_independence(part, found)
    assert len(part.figures) == 1
    cases, (corrections,) = case_table(found), part.tables
    shown = [[row[at].text for at in (0, 1, 3, 5)] for row in cases.rows]
    assert shown == [
        ["both", "25.0", "42.0", "90.0"],
        ["left only", "25.0", "18.0", "90.0"],
        ["right only", "25.0", "28.0", "90.0"],
        ["neither", "25.0", "12.0", "90.0"],
    ]
    assert [row[1].text for row in corrections.rows[:2]] == ["50.0", "33.3"]


def test_random_orders_are_the_same_at_each_call_and_others_for_another_seed():
    assert random_orders(20, 1).equal(random_orders(20, 1))
    assert not random_orders(20, 1).equal(random_orders(20, 2))
    orders = random_orders(20, 1).argsort(1)
    assert len({tuple(order) for order in orders.tolist()}) == lesions.ORDERS
    assert all(sorted(order) == [*range(20)] for order in orders.tolist())


def test_what_is_silenced_is_asked_once_however_many_orders_come_to_it(monkeypatch):
    """The left hemisphere's only features tell the fine class, the right one's the coarse class, half of them each."""
    asked = []

    def classify(module: object, network: object, features: torch.Tensor) -> dict:
        asked.append(features)
        return {"fine": features[:, :2], "coarse": features[:, 2:]}

    eye, labels = torch.eye(2), torch.tensor([0, 1, 0, 1])
    monkeypatch.setattr(lesions, "classify", classify)
    # A head sees the features of one hemisphere alone.
    slopes = {
        "fine": {"left": eye, "right": torch.zeros(2, 2)},
        "coarse": {"left": torch.zeros(2, 2), "right": eye},
    }
    monkeypatch.setattr(lesions, "halves_of", lambda network, features: slopes)
    images = FeatureSet(
        {"left": eye[labels], "right": eye[labels]}, {"fine": labels, "coarse": labels}
    )
    module = SimpleNamespace(device=torch.device("cpu"))
    found = Findings()
    network = SimpleNamespace(join=Concatenate({"left": 2, "right": 2}))
    seed = SimpleNamespace(
        number=0, module=module, network=network, train=images, test=images, alone={}
    )
    lesions.Lesions().compute(seed, found)
    # None, either or both of two features, of two hemispheres: none is the same for both.
    assert 5 <= len(asked) <= 7
    assert len({tuple(one.flatten().tolist()) for one in asked}) == len(asked)
    get = found.values.get
    for level, own, other in (("fine", "left", "right"), ("coarse", "right", "left")):
        # All features at their mean: every image is given the first class, half are right.
        assert get(lesions.LOST, level, own).mean == 0.5
        assert get(lesions.LOST, level, other).mean == 0
        assert get(lesions.OF, level, own, "0.0").mean == 1
        assert get(lesions.OF_RANDOM, level, own, "1.0").mean == 0.5


def test_curves_of_another_label_smoothing_stand_only_after_the_temperature():
    section = Calibration()
    section.smoothing = {"bilateral": 0.0, "fine": 0.1, "coarse": 0.0}
    found = Findings(pairs=["callosal"])
    for level in ("fine", "coarse"):
        for arm in ("bilateral", level):
            for behind in ("", " after temperature"):
                found.values.add(f"calibration error{behind}", 0.1, level=level, side=arm, seed=0)
                for of in ("confidence", "reliability", "images of a confidence"):
                    found.values.add(f"{of}{behind}", 0.5, level=level, side=arm, item="3", seed=0)
    part = section.render(found)
    shown = [
        ("left hemisphere alone" in svg, "right hemisphere alone" in svg) for svg, _ in part.figures
    ]
    assert shown == [(False, False), (True, False), (False, True), (False, True)]
    assert "another label smoothing" in part.figures[0][1]
    assert [(row[1].text, row[-1].text) for row in part.tables[0].rows] == [
        ("callosal", "0"),
        ("fine", "0.1"),
        ("callosal", "0"),
        ("coarse", "0"),
    ]


def test_items_have_columns_of_one_type_each():
    values = Values()
    values.add(
        "cka", 0.5, seed=0, item="0,1", within=CORRELATION, means=Item(layer="a", other_layer="b")
    )
    values.add("lesions", 0.5, seed=0, item="0.3", means=Item(share=0.3))
    header, first, second = as_csv(values.values, Value).splitlines()
    names = header.split(",")
    assert names[:6] == ["of", "level", "side", "item", "seed", "value"]
    assert (
        dict(zip(names, first.replace('"0,1"', "0").split(","), strict=True))["other_layer"] == "b"
    )
    assert dict(zip(names, second.split(","), strict=True))["share"] == "0.3"
