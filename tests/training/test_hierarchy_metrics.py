"""Metrics that need the hierarchy: by hand, and computed a second way in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.training.metrics import EvaluationMetrics

FAMILIES = [0, 0, 1, 1]  # four fine classes in two coarse ones
CLASSES = {"fine": 4, "coarse": 2}


def measured(fine, coarse, labels, families=FAMILIES, batch=2) -> dict[str, float]:
    """Metrics of logits (lists of lists), given in batches."""
    fine, labels = torch.tensor(fine), torch.tensor(labels)
    sizes = {"fine": fine.shape[1]}
    logits, right = {"fine": fine}, {"fine": labels}
    if coarse is not None:
        logits["coarse"] = torch.tensor(coarse)
        right["coarse"] = torch.tensor(families)[labels]
        sizes["coarse"] = logits["coarse"].shape[1]
    metrics = EvaluationMetrics(sizes, families)
    for rows in torch.arange(len(labels)).split(batch):
        metrics.update(
            {level: values[rows] for level, values in logits.items()},
            {level: values[rows] for level, values in right.items()},
        )
    return {name: float(value) for name, value in metrics.compute().items()}


def test_four_images_by_hand():
    found = measured(
        # Predicted: 0, 1, 2, 3.
        fine=[
            [9.0, 1.0, 2.0, 3.0],
            [1.0, 9.0, 2.0, 3.0],
            [3.0, 2.0, 4.0, 1.0],
            [1.0, 2.0, 3.0, 9.0],
        ],
        # Predicted: 0, 1, 1, 1.
        coarse=[[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]],
        labels=[0, 0, 0, 3],
    )
    # Right; within the family; outside of it; right.
    assert found["fine_accuracy"] == 2 / 4
    assert found["fine_within_family"] == 1 / 2
    assert found["fine_mistake_severity"] == (1 + 2) / 2
    assert found["fine_ahd1"] == (0 + 1 + 2 + 0) / 4
    # Of four classes, all are among the highest five: distances 0, 1, 2, 2.
    assert found["fine_ahd5"] == (0 + 1 + 2 + 2) / 4
    assert found["fine_coarse_via_fine"] == 3 / 4
    # The third image's two families: e³ + e² against e⁴ + e; the second one is higher.
    assert found["fine_coarse_via_fine_sum"] == 3 / 4
    # Within the right family 0 is the highest in the first and third, 1 in the second.
    assert found["fine_within_coarse"] == 3 / 4
    # Coarse head: right, wrong, wrong, right.
    assert found["coarse_accuracy"] == 2 / 4
    assert found["fine_path"] == found["coarse_path"] == 2 / 4
    assert found["fine_consistency"] == 3 / 4
    assert found["fine_tice"] == found["coarse_tice"] == 1 / 4


def test_the_sum_and_the_highest_probability_may_disagree():
    """Class 2 is the most probable one, and classes 0 and 1 together are more probable than 2 and 3."""
    logits = [np.log([0.3, 0.29, 0.4, 0.01]).tolist()]
    found = measured(logits, None, labels=[1])
    assert found["fine_coarse_via_fine"] == 0
    assert found["fine_coarse_via_fine_sum"] == 1


def test_a_fine_head_alone_has_all_that_asks_for_no_coarse_head():
    found = measured([[9.0, 1.0, 2.0, 3.0]], None, labels=[1])
    assert {name for name in found if name.startswith("fine_")} >= {
        *("fine_coarse_via_fine", "fine_coarse_via_fine_sum", "fine_within_coarse"),
        *("fine_within_family", "fine_mistake_severity", "fine_ahd1", "fine_ahd5"),
    }
    assert not {"fine_path", "fine_tice"} & found.keys()


def test_a_path_needs_no_hierarchy():
    metrics = EvaluationMetrics(CLASSES, [])
    right = {"fine": torch.eye(4), "coarse": torch.eye(2)[[0, 0, 1, 0]]}
    metrics.update(
        right, {"fine": torch.tensor([0, 1, 2, 3]), "coarse": torch.tensor([0, 0, 1, 1])}
    )
    found = metrics.compute()
    assert found["fine_path"] == 3 / 4
    assert "fine_tice" not in found


def test_one_coarse_class_holds_all():
    found = measured([[1.0, 2.0, 3.0]], [[1.0]], labels=[0], families=[0, 0, 0])
    assert found["fine_mistake_severity"] == found["fine_coarse_via_fine"] == 1
    assert found["fine_within_coarse"] == found["fine_path"] == 0


@given(
    seed=st.integers(0, 2**16),
    images=st.integers(1, 40),
    fine=st.integers(1, 12),
    coarse=st.integers(1, 4),
    batch=st.integers(1, 40),
)
def test_any_predictions_in_any_batches(seed, images, fine, coarse, batch):
    rng = np.random.default_rng(seed)
    parent = rng.integers(0, coarse, fine)
    logits = rng.normal(size=(images, fine)).astype(np.float32)
    own = rng.normal(size=(images, coarse)).astype(np.float32)
    labels = rng.integers(0, fine, images)
    found = measured(logits.tolist(), own.tolist(), labels.tolist(), parent.tolist(), batch)

    distance = np.where(
        np.arange(fine)[:, None] == np.arange(fine), 0, 1 + (parent[:, None] != parent)
    )
    order = np.argsort(-logits, axis=1)
    tree = distance[labels[:, None], order]  # from the most probable class on
    wrong = tree[:, 0] > 0
    odds = np.exp(logits)
    sums = np.stack([odds[:, parent == c].sum(1) for c in range(coarse)], axis=1)
    children = np.where(parent == parent[labels][:, None], logits, -np.inf)
    coarse_right = own.argmax(1) == parent[labels]
    via = parent[order[:, 0]] == parent[labels]
    expected = {
        "mistake_severity": tree[wrong, 0].mean() if wrong.any() else math.nan,
        "within_family": (tree[wrong, 0] == 1).mean() if wrong.any() else math.nan,
        "ahd1": tree[:, 0].mean(),
        "ahd5": tree[:, :5].mean(),
        "coarse_via_fine": via.mean(),
        "coarse_via_fine_sum": (sums.argmax(1) == parent[labels]).mean(),
        "within_coarse": (children.argmax(1) == labels).mean(),
        "path": (~wrong & coarse_right).mean(),
        "tice": (parent[order[:, 0]] != own.argmax(1)).mean(),
    }
    for name, value in expected.items():
        assert found[f"fine_{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True), name
    assert found["fine_tice"] == pytest.approx(1 - found["fine_consistency"])
    if wrong.any():  # two ways to say the same of two levels
        assert found["fine_mistake_severity"] == pytest.approx(2 - found["fine_within_family"])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_probabilities_are_of_float32_under_autocast(kind):
    """Families of many classes whose sums differ by less than bfloat16 or float16 can tell."""
    families = [0] * 100 + [1] * 100
    logits = torch.zeros(1, 200)
    logits[0, 150] = 0.01
    metrics = EvaluationMetrics({"fine": 200}, families)
    with torch.autocast("cpu", kind):
        metrics.update({"fine": logits}, {"fine": torch.tensor([199])})
    assert metrics.compute()["fine_coarse_via_fine_sum"] == 1
