"""What chance gives: against formulas, of sets with equal and with unequal classes, of new metrics too."""

import math

import numpy as np
import pytest
import torch

from common.results.metrics import METRICS, NUMBER, Metric
from common.training.chance import chance
from common.training.metrics import Answers


def labels_of(fine: list[int], parent: list[int]) -> dict[str, torch.Tensor]:
    labels = torch.tensor(fine)
    return {"fine": labels, "coarse": torch.tensor(parent)[labels]}


def test_a_hundred_classes_in_twenty_of_equal_size():
    parent = [label // 5 for label in range(100)]
    labels = labels_of([label for label in range(100) for _ in range(3)], parent)
    found = chance({"fine": 100, "coarse": 20}, parent, labels)
    exact = {
        "accuracy": 1 / 100,
        "top5": 5 / 100,
        "coarse_via_fine": 5 / 100,
        "coarse_via_fine_sum": 5 / 100,
        "within_family": 4 / 99,
        "mistake_severity": (4 * 1 + 95 * 2) / 99,
        "ahd1": (4 * 1 + 95 * 2) / 100,
        "ahd5": (4 * 1 + 95 * 2) / 100,
    }
    for name, value in exact.items():
        assert found["fine"][name] == pytest.approx(value, abs=1e-3), name
    near = {"within_coarse": 1 / 5, "consistency": 1 / 20, "tice": 19 / 20, "path": 1 / 2000}
    for name, value in near.items():
        assert found["fine"][name] == pytest.approx(value, abs=5e-3), name
    assert found["fine"]["loss"] == pytest.approx(math.log(100), abs=1e-3)
    assert found["coarse"]["accuracy"] == pytest.approx(1 / 20, abs=1e-3)
    assert found["coarse"]["top5"] == pytest.approx(5 / 20, abs=1e-3)
    assert found["coarse"]["loss"] == pytest.approx(math.log(20), abs=1e-3)
    assert found["coarse"]["within_coarse"] is None


def test_unequal_classes_and_families():
    """Families of one, two and four fine classes, and images of some classes more often than of others."""
    parent = [0, 1, 1, 2, 2, 2, 2]
    fine = np.repeat(np.arange(7), [70, 10, 20, 30, 5, 5, 60])
    found = chance({"fine": 7, "coarse": 3}, parent, labels_of(fine.tolist(), parent))["fine"]
    family = np.bincount(parent)[np.array(parent)[fine]]  # of each image: classes in its family
    expected = {
        "accuracy": 1 / 7,
        "top5": 5 / 7,
        "coarse_via_fine": (family / 7).mean(),
        "within_coarse": (1 / family).mean(),
        "within_family": ((family - 1) / 6).mean(),
        "mistake_severity": (2 - (family - 1) / 6).mean(),
        "ahd1": ((family - 1) / 7 + 2 * (7 - family) / 7).mean(),
        # Probabilities are all but equal: the largest family always has the highest sum.
        "coarse_via_fine_sum": (family == 4).mean(),
        "path": 1 / 21,
        "consistency": 1 / 3,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-2), name


def test_one_head_and_no_hierarchy():
    found = chance({"coarse": 4}, [], {"coarse": torch.tensor([0, 1, 2, 3])})
    assert list(found) == ["coarse"]
    assert found["coarse"]["accuracy"] == pytest.approx(1 / 4)
    assert found["coarse"]["consistency"] is None


def test_it_is_the_same_whenever_it_is_asked():
    """Whatever was drawn before, and in whatever order the images are."""
    found = []
    for fine in ([0, 3, 3, 5], [3, 5, 0, 3]):
        found.append(chance({"fine": 6}, [0, 0, 1, 1, 2, 2], {"fine": torch.tensor(fine)}))
        torch.rand(3)
    assert found[0] == found[1]


def second(answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether the label's logit is the second highest."""
    logits, labels = answers.own
    values = logits.topk(2, dim=1).indices[:, 1] == labels
    return values, torch.ones_like(values)


def test_a_new_metric_has_it_too(monkeypatch):
    row = Metric("", f"{__name__}:second", title="second", better="higher", shown=NUMBER)
    monkeypatch.setitem(METRICS, "second", row)
    found = chance({"fine": 8}, [], {"fine": torch.arange(8)})
    assert found["fine"]["second"] == pytest.approx(1 / 8, abs=1e-3)
