"""hparams.class_weights=balanced: each class counts as much as any other, at each level, in training alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import SCRATCH
from hypothesis import given
from hypothesis import strategies as st

import arch_dual_head.trainer
import arch_single_head.trainer
from common.data.raw import Raw, RawSplit, write_raw
from common.data.tree import write_tree
from common.networks.macro import Outputs
from common.training.loss_table import LOSSES, Loss
from common.training.losses import balanced, cross_entropy, soft_hierarchy

SINGLE, DUAL = arch_single_head.trainer.main, arch_dual_head.trainer.main
COUNTS = (20, 6, 37)  # training images of the fine classes; 2, 1 and 4 are held out
COARSE = (0, 0, 1)
# N / (C n_c) of the 18, 5 and 33 that are left, and of the 23 and 33 of their coarse classes.
EXPECTED = {"fine": [56 / 54, 56 / 15, 56 / 99], "coarse": [56 / 46, 56 / 66]}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_weights_are_inverse_frequencies_of_mean_one(labels):
    found = balanced(torch.tensor(labels), 6).double().numpy()
    counts = np.bincount(labels, minlength=6)
    there = counts > 0
    np.testing.assert_allclose(found[there], len(labels) / (there.sum() * counts[there]), rtol=1e-6)
    assert not found[~there].any()
    assert np.mean(found[labels]) == pytest.approx(1)
    # All images of a class count as much together as those of any other.
    np.testing.assert_allclose((found * counts)[there], len(labels) / there.sum(), rtol=1e-6)


def log_softmax(logits: torch.Tensor) -> np.ndarray:
    x = logits.detach().double().numpy()
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def outputs(batch: int = 8) -> tuple[Outputs, dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    sizes = {"fine": 6, "coarse": 3}
    logits = {level: torch.randn(batch, of, generator=random) for level, of in sizes.items()}
    labels = {level: torch.arange(batch) % of for level, of in sizes.items()}
    return Outputs({}, logits), labels


def test_each_image_counts_by_its_class_whatever_else_is_in_the_batch():
    found, labels = outputs()
    weights = {level: torch.rand(of) for level, of in {"fine": 6, "coarse": 3}.items()}
    loss = cross_entropy(found, labels, label_smoothing=0.0, class_weights=weights)
    expected = 0.0
    for level, y in labels.items():
        right = log_softmax(found.logits[level])[np.arange(8), y]
        expected -= (weights[level].double().numpy()[y] * right).sum() / 8
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    # One image alone is not scaled back to a weight of 1, as torch's own weighted mean would.
    alone = {level: y[:1] for level, y in labels.items()}
    first = Outputs({}, {level: x[:1] for level, x in found.logits.items()})
    plain = {
        level: float(cross_entropy(first, {level: y}, label_smoothing=0.1))
        for level, y in alone.items()
    }
    weighted = cross_entropy(first, alone, label_smoothing=0.1, class_weights=weights)
    expected = sum(float(weights[level][0]) * one for level, one in plain.items())
    assert float(weighted) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_are_weighed_by_the_true_class():
    found, labels = outputs()
    tree = {"hierarchy_beta": 3.0, "coarse_of_fine": (0, 0, 1, 1, 2, 2)}
    weights = {"fine": torch.rand(6)}
    labels = {"fine": labels["fine"]}
    each = [
        float(
            soft_hierarchy(
                Outputs({}, {"fine": found.logits["fine"][[i]]}),
                {"fine": labels["fine"][[i]]},
                **tree,
            )
        )
        for i in range(8)
    ]
    expected = np.mean(weights["fine"].numpy()[labels["fine"]] * each)
    loss = soft_hierarchy(found, labels, **tree, class_weights=weights)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (cross_entropy, {"label_smoothing": 0.1}),
        (soft_hierarchy, {"hierarchy_beta": 3.0, "coarse_of_fine": (0, 0, 1, 1, 2, 2)}),
    ],
)
def test_equal_weights_change_nothing(function, options):
    found, labels = outputs()
    ones = {level: torch.ones(logits.shape[1]) for level, logits in found.logits.items()}
    torch.testing.assert_close(
        function(found, labels, **options, class_weights=ones), function(found, labels, **options)
    )


# In training


@pytest.fixture(scope="module")
def unbalanced(tmp_path_factory) -> Path:
    """A set of COUNTS training images, of which a tenth of each class is held out."""
    rng = np.random.default_rng(0)

    def split(counts) -> RawSplit:
        fine = [label for label, count in enumerate(counts) for _ in range(count)]
        images = rng.integers(0, 256, (len(fine), 3, 16, 16), np.uint8)
        names = [f"image{i:02}.png" for i in range(len(fine))]
        return RawSplit(images, fine, [COARSE[label] for label in fine], names)

    folder = tmp_path_factory.mktemp("unbalanced")
    raw = Raw(split(COUNTS), split((2, 2, 2)), ["a", "b", "c"], ["ab", "c"])
    write_raw(raw, folder / "raw")
    write_tree(raw, folder / "SET", split_seed=0)
    return folder / "SET"


OPTIONS = ["hparams.class_weights=balanced", "hparams.dropout=0", "hparams.label_smoothing=0"]
RUNS = {
    "fine": (SINGLE, "hparams.mode=fine"),
    "coarse": (SINGLE, "hparams.mode=coarse"),
    "both": (DUAL, *SCRATCH),
}


def step(first_step, unbalanced: Path, run: str, *options: str) -> SimpleNamespace:
    main, *more = RUNS[run]
    return first_step(main, *more, f"dataset.root={unbalanced}", *OPTIONS, *options)


@pytest.mark.parametrize("run", RUNS)
def test_training_weighs_images_by_the_training_images_without_the_held_out_ones(
    run, first_step, unbalanced
):
    built = step(first_step, unbalanced, run)
    assert len(built.data.train_set) == 56
    logits = built.module.train()(built.batch)
    expected = 0.0
    for level in built.module.record.levels:
        y = built.batch[level].numpy()
        assert len(set(y.tolist())) > 1
        right = log_softmax(logits[level])[np.arange(len(y)), y]
        expected -= np.mean(np.array(EXPECTED[level])[y] * right)
    assert built.loss == pytest.approx(expected, rel=1e-4)


def test_a_loss_without_weights_of_classes_is_refused(
    unbalanced, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setitem(LOSSES, "cross_entropy", Loss("", f"{__name__}:unweighted"))
    options = [*tiny, f"dataset.root={unbalanced}", f"save_dir={tmp_path}"]
    status, _, err = in_process(SINGLE, *options, "hparams.class_weights=balanced")
    assert status == 1
    assert err.count("\n") == 1
    assert "hparams.loss=cross_entropy takes no weights of classes" in err


def unweighted(found: Outputs, labels: dict, *, label_smoothing: float) -> torch.Tensor:
    return cross_entropy(found, labels, label_smoothing=label_smoothing)
