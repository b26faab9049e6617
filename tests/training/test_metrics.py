"""Top-5 and metrics of the hierarchy: known answers, what is undefined, no waiting for the device, in results too."""

import math

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import one_hot
from torchmetrics.classification import MulticlassAccuracy

import arch_dual_head.test
import arch_single_head.test
import train_system
from architectures import ARCHITECTURES
from common.checkpoints.record import Record
from common.data.hierarchy import Hierarchy, write_hierarchy
from common.data.labels import coarse_of_fine
from common.results.metrics import METRICS, NUMBER, Metric
from common.trained.load import load_module
from common.training.metrics import (
    Answers,
    EvaluationMetrics,
    LevelMetrics,
    MeanOfImages,
    by_level,
)

FAMILIES = [0, 0, 1, 1]  # four fine classes in two coarse ones
CLASSES = {"fine": 4, "coarse": 2}


def predicting(classes: list[int], of: int) -> torch.Tensor:
    """Logits whose highest is that of the given classes."""
    return one_hot(torch.tensor(classes), of).float()


def measured(fine, coarse, *, labels) -> dict[str, float]:
    """Metrics of predicted classes, of which one batch takes three and another the rest."""
    metrics = EvaluationMetrics(CLASSES, FAMILIES)
    for part in (slice(0, 3), slice(3, None)):
        metrics.update(
            {"fine": predicting(fine[part], 4), "coarse": predicting(coarse[part], 2)},
            {
                "fine": torch.tensor(labels[part]),
                "coarse": torch.tensor([FAMILIES[label] for label in labels[part]]),
            },
        )
    return {name: float(value) for name, value in metrics.compute().items()}


def test_consistency_and_mistakes_of_five_images():
    found = measured(fine=[0, 1, 2, 3, 3], coarse=[0, 1, 0, 1, 1], labels=[0, 0, 0, 2, 1])
    # Right: the first. Wrong: 1 for 0 and 3 for 2 within their family, 2 for 0 and 3 for 1 outside.
    assert found["fine_accuracy"] == pytest.approx(1 / 5)
    assert found["fine_within_family"] == pytest.approx(2 / 4)
    # Families predicted through the fine head: 0 0 1 1 1, by the coarse head: 0 1 0 1 1.
    assert found["fine_consistency"] == found["coarse_consistency"] == pytest.approx(3 / 5)
    assert "coarse_within_family" not in found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=4, max_size=40))
def test_balanced_accuracy_is_the_mean_over_classes_that_have_images(pairs):
    labels, fine = map(list, zip(*pairs, strict=True))
    found = measured(fine=fine, coarse=[0] * len(fine), labels=labels)
    right = np.equal(fine, labels)
    shares = [right[np.equal(labels, label)].mean() for label in set(labels)]
    assert found["fine_balanced_accuracy"] == pytest.approx(np.mean(shares))
    if len(set(labels)) == 4:
        theirs = MulticlassAccuracy(4, average="macro")(torch.tensor(fine), torch.tensor(labels))
        assert found["fine_balanced_accuracy"] == pytest.approx(float(theirs))


def test_balanced_accuracy_is_the_accuracy_where_classes_are_equally_frequent():
    labels = [0, 1, 2, 3] * 5
    found = measured(fine=[0, 1, 1, 2] * 3 + [3] * 8, coarse=[0, 1] * 10, labels=labels)
    for level in CLASSES:
        assert found[f"{level}_balanced_accuracy"] == pytest.approx(found[f"{level}_accuracy"])


def test_within_family_is_of_mistakes_only():
    found = measured(fine=[0, 1, 2, 3, 1], coarse=[0] * 5, labels=[0, 1, 2, 3, 0])
    assert found["fine_within_family"] == 1
    found = measured(fine=[0, 1, 2, 3, 2], coarse=[0] * 5, labels=[0, 1, 2, 3, 0])
    assert found["fine_within_family"] == 0


def test_without_a_mistake_its_severity_is_undefined():
    found = measured(fine=[0, 1, 2, 3, 0], coarse=[0] * 5, labels=[0, 1, 2, 3, 0])
    assert math.isnan(found["fine_within_family"])
    told = by_level({f"val_{name}": value for name, value in found.items()}, "val", CLASSES)
    assert told["fine"]["within_family"] is None
    assert told["fine"]["accuracy"] == 1
    assert list(told["fine"]) == list(METRICS)


def test_by_level_rounds_and_leaves_no_gap():
    values = {"test_fine_accuracy": 1 / 3, "test_fine_loss": 2 / 3, "test_fine_top5": 0.7777777}
    known = {"accuracy": 0.333333, "loss": 0.666667, "top5": 0.777778}
    assert by_level(values, "test", ["fine"]) == {"fine": dict.fromkeys(METRICS) | known}


def test_a_fine_head_alone_has_within_family_and_a_coarse_head_alone_has_neither():
    logits, labels = predicting([1, 2], 4), torch.tensor([0, 0])
    fine = EvaluationMetrics({"fine": 4}, FAMILIES)
    fine.update({"fine": logits}, {"fine": labels})
    assert fine.compute()["fine_within_family"] == 0.5
    assert "fine_consistency" not in fine.compute()

    coarse = EvaluationMetrics({"coarse": 2}, FAMILIES)
    coarse.update({"coarse": predicting([0, 1], 2)}, {"coarse": labels})
    found = coarse.compute()
    assert {"coarse_accuracy", "coarse_loss", "coarse_top5", "accuracy", "loss"} <= found.keys()
    assert not any("within_family" in name or "consistency" in name for name in found)


def test_without_a_hierarchy_neither_is_known():
    metrics = EvaluationMetrics(CLASSES, [])
    both = {"fine": predicting([0], 4), "coarse": predicting([0], 2)}
    metrics.update(both, {"fine": torch.tensor([1]), "coarse": torch.tensor([0])})
    assert not any("within_family" in name or "consistency" in name for name in metrics.compute())


def test_top5_by_hand():
    """The label's logit is the highest, the fifth and the sixth of seven."""
    metrics = EvaluationMetrics({"fine": 7}, [0] * 7)
    logits = torch.tensor([[7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]).repeat(3, 1)
    metrics.update({"fine": logits}, {"fine": torch.tensor([0, 4, 5])})
    assert metrics.compute()["fine_top5"] == pytest.approx(2 / 3)
    assert metrics.compute()["fine_accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_of_five_classes_or_fewer_the_label_is_always_among_the_first_five(classes):
    metrics = EvaluationMetrics({"fine": classes}, [0] * classes)
    metrics.update({"fine": torch.eye(classes)}, {"fine": torch.zeros(classes, dtype=torch.long)})
    assert metrics.compute()["fine_top5"] == 1


def test_reset_forgets_everything():
    metrics = EvaluationMetrics(CLASSES, FAMILIES)
    labels = {"fine": torch.tensor([0, 0]), "coarse": torch.tensor([0, 0])}
    wrong = {"fine": predicting([1, 2], 4), "coarse": predicting([1, 0], 2)}
    metrics.update(wrong, labels)
    first = metrics.compute()
    metrics.update({"fine": predicting([0, 1], 4), "coarse": predicting([0, 0], 2)}, labels)
    both, changed = (
        metrics.compute(),
        ("accuracy", "loss", "fine_within_family", "fine_consistency"),
    )
    assert all(both[name] != first[name] for name in changed)
    metrics.reset()
    metrics.update(wrong, labels)
    assert metrics.compute() == first


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
    logits = {"fine": rng.normal(size=(images, fine)), "coarse": rng.normal(size=(images, coarse))}
    labels = rng.integers(0, fine, images)
    metrics = EvaluationMetrics({"fine": fine, "coarse": coarse}, parent.tolist())
    for start in range(0, images, batch):
        part = slice(start, start + batch)
        metrics.update(
            {level: torch.from_numpy(values[part]) for level, values in logits.items()},
            {
                "fine": torch.from_numpy(labels[part]),
                "coarse": torch.from_numpy(parent[labels][part]),
            },
        )
    found = metrics.compute()
    guess = logits["fine"].argmax(1)
    consistent = parent[guess] == logits["coarse"].argmax(1)
    assert found["fine_consistency"] == pytest.approx(consistent.mean())
    wrong = guess != labels
    expected = (parent[guess] == parent[labels])[wrong].mean() if wrong.any() else math.nan
    assert float(found["fine_within_family"]) == pytest.approx(expected, nan_ok=True)
    higher = (logits["fine"] > logits["fine"][np.arange(images), labels][:, None]).sum(1)
    assert float(found["fine_top5"]) == pytest.approx((higher < 5).mean())


def test_nothing_waits_for_the_device():
    """Tensors of the meta device have no values: whatever asks for one, and waits for it on a GPU, fails."""
    metrics = EvaluationMetrics(CLASSES, FAMILIES).to("meta")
    logits = {level: torch.zeros(8, of, device="meta") for level, of in CLASSES.items()}
    labels = {level: torch.zeros(8, dtype=torch.long, device="meta") for level in CLASSES}
    metrics.update(logits, labels)
    with pytest.raises((RuntimeError, NotImplementedError)):
        metrics.within_family["fine"].count.item()


def test_evaluation_leaves_nothing_in_the_checkpoint_and_training_only_what_it_did():
    assert EvaluationMetrics(CLASSES, FAMILIES).state_dict() == {}
    training = LevelMetrics(CLASSES)
    training.persistent()
    assert not [
        name for name in training.state_dict() if "accuracy" not in name and "loss" not in name
    ]


def test_the_mean_is_of_images_that_count_and_of_none_is_not_a_number():
    given = iter(
        [
            (torch.tensor([True]), torch.tensor([False])),
            (torch.tensor([True, True, False]), torch.tensor([True, False, True])),
            (torch.tensor([5.5, math.nan]), torch.tensor([True, False])),
        ]
    )
    metric = MeanOfImages(lambda answers: next(given))
    nothing = Answers("fine", {}, {}, torch.tensor([]))
    metric.update(nothing)
    assert math.isnan(metric.compute())
    metric.update(nothing)
    assert metric.compute() == 0.5
    metric.update(nothing)
    assert metric.compute() == pytest.approx((1 + 0 + 5.5) / 3)


def confidence(answers: Answers) -> tuple[torch.Tensor, torch.Tensor]:
    """The highest probability of each image."""
    highest = answers.own[0].softmax(dim=1).amax(dim=1)
    return highest, torch.ones_like(highest, dtype=torch.bool)


def test_a_metric_is_a_function_and_a_row(monkeypatch):
    row = Metric("", f"{__name__}:confidence", title="confidence", better="higher", shown=NUMBER)
    monkeypatch.setitem(METRICS, "confidence", row)
    logits = {"fine": predicting([1, 2], 4), "coarse": predicting([0, 1], 2)}
    labels = {"fine": torch.tensor([0, 0]), "coarse": torch.tensor([0, 0])}
    metrics = EvaluationMetrics(CLASSES, FAMILIES)
    metrics.update(logits, labels)
    found = metrics.compute()
    assert found["coarse_confidence"] == pytest.approx(math.e / (math.e + 1))
    told = by_level({f"test_{name}": value for name, value in found.items()}, "test", CLASSES)
    assert told["fine"]["confidence"] == pytest.approx(math.e / (math.e + 3), abs=1e-6)
    # Training measures accuracy and loss alone.
    training = LevelMetrics(CLASSES)
    training.update(logits, labels)
    assert set(training.compute()) == {
        *(f"{level}_{name}" for level in CLASSES for name in ("accuracy", "loss")),
        *("accuracy", "loss"),
    }


# From the data set to the results


def test_label_ids_become_positions_among_the_heads_outputs(tmp_path):
    fine = {30: "c", 7: "a", 10: "b"}
    parent = {30: 2, 7: 40, 10: 2}
    hierarchy = Hierarchy(fine, {40: "y", 2: "x", 9: "empty"}, parent, 0, "none-sha256:0")
    write_hierarchy(hierarchy, tmp_path)
    # Outputs: fine 7, 10, 30; coarse 2, 9, 40.
    assert coarse_of_fine(tmp_path / "train" / "fine") == [2, 0, 0]


@pytest.fixture(scope="module")
def study(tiny, succeed, tmp_path_factory):
    save_dir = tmp_path_factory.mktemp("runs")
    options = [*tiny, "trainer_params.precision=32-true", f"save_dir={save_dir}", "exp_name=one"]
    succeed(train_system.main, *options, "num_seeds=1", "analyse=false")
    return save_dir / "one"


def predictions(study, arm: str) -> tuple[Record, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits and labels of the test images per level, computed without metrics and Trainer."""
    folder = "arch_dual_head" if arm == "bilateral" else "arch_single_head"
    parts = ARCHITECTURES[folder]
    checkpoint = study / arm / "seed0/checkpoints/best.ckpt"
    module = load_module(checkpoint, ARCHITECTURES)
    data = parts.data(module.cfg, seed=0)
    data.setup("test")
    batch = data.test_set.batch(torch.arange(len(data.test_set)))
    with torch.no_grad():
        logits = module.network(module.transforms(batch["images"]))
    return (
        module.record,
        {level: values.numpy() for level, values in logits.items()},
        {level: batch[level].numpy() for level in logits},
    )


def told(study, arm: str) -> dict:
    return yaml.safe_load((study / arm / "seed0/result.yaml").read_text())


@pytest.mark.parametrize("arm", ["fine", "bilateral"])
def test_results_say_what_the_networks_predict(arm, study, navon):
    record, logits, labels = predictions(study, arm)
    hierarchy = yaml.safe_load((navon / "hierarchy.yaml").read_text())
    ids = sorted(hierarchy["fine"])
    family = np.array([hierarchy["fine"][label]["coarse"] for label in ids])
    assert (np.array(sorted(hierarchy["coarse"]))[record.coarse_of_fine] == family).all()

    test = told(study, arm)["test"]
    guess = logits["fine"].argmax(1)
    wrong = guess != labels["fine"]
    assert 0 < wrong.sum() < 200
    within_family = (family[guess] == family[labels["fine"]])[wrong].mean()
    assert test["fine"]["within_family"] == pytest.approx(within_family, abs=1e-6)
    for level in logits:
        best = np.argsort(-logits[level], axis=1)[:, :5]
        top5 = (best == labels[level][:, None]).any(1).mean()
        assert test[level]["top5"] == pytest.approx(top5, abs=1e-6)
        assert test[level]["top5"] > test[level]["accuracy"]
    if arm == "bilateral":
        coarse = np.array(sorted(hierarchy["coarse"]))[logits["coarse"].argmax(1)]
        consistency = (family[guess] == coarse).mean()
        assert test["fine"]["consistency"] == pytest.approx(consistency, abs=1e-6)
        assert test["coarse"]["consistency"] == test["fine"]["consistency"]
        assert test["coarse"]["within_family"] is None
    else:
        assert test["fine"]["consistency"] is None


def test_validation_has_them_too(study):
    fine, coarse = (told(study, "bilateral")["validation"][level] for level in CLASSES)
    assert all(0 <= fine[name] <= 1 for name in ("top5", "consistency", "within_family"))
    assert coarse["within_family"] is None
    coarse = told(study, "coarse")["validation"]["coarse"]
    assert coarse["consistency"] is coarse["within_family"] is None


@pytest.mark.parametrize("arm", ["fine", "coarse", "bilateral"])
def test_test_py_prints_them(arm, study, in_process):
    command = arch_dual_head.test if arm == "bilateral" else arch_single_head.test
    checkpoint = study / arm / "seed0/checkpoints/best.ckpt"
    status, out, err = in_process(command.main, f"checkpoint={checkpoint}")
    assert status == 0, err
    table = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines()]
    result = told(study, arm)
    values = [*result["test"].values(), *result["chance"].values()]
    for name, row in METRICS.items():
        assert [row.title, *(row.text(one[name]) for one in values)] in table


def test_a_checkpoint_of_before_the_hierarchy_was_recorded_is_still_tested(
    study, in_process, tmp_path
):
    content = torch.load(study / "fine/seed0/checkpoints/best.ckpt", weights_only=True)
    del content["bilateral"]["coarse_of_fine"]
    torch.save(content, tmp_path / "old.ckpt")
    status, out, err = in_process(arch_single_head.test.main, f"checkpoint={tmp_path / 'old.ckpt'}")
    assert status == 0, err
    assert f"{100 * told(study, 'fine')['test']['fine']['accuracy']:.2f} %" in out
