"""Probes of features in which the answer is there, or not."""

from types import SimpleNamespace

import pytest
import torch

from analysis.logistic import fit
from analysis.sections.probe import small_letters
from analysis.seed import VALIDATION_IMAGES, StudyImages
from common.data.image_set import ImageSet


@pytest.mark.parametrize("counts", [[9_000] * 2 + [1] * 40, [30] * 400, [3] * 5])
def test_what_probes_learn_from_holds_every_class_and_enough_of_many(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    train = ImageSet(
        torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8),
        {"fine": labels, "coarse": labels // 2},
        torch.arange(len(labels)),
    )
    names = {
        level: SimpleNamespace(names=[*"?" * (int(of.max()) + 1)])
        for level, of in train.labels.items()
    }
    rows = StudyImages(SimpleNamespace(classes=names, train_set=train), train).train_rows
    assert len(rows.unique()) == len(rows)
    assert labels[rows].unique().tolist() == [*range(len(counts))]
    most = max(3_000, 10 * len(counts))
    assert min(most, sum(counts)) <= len(rows) <= most + len(counts)


def test_probes_are_chosen_on_validation_images_of_every_class(images):
    rows = images.validation_rows
    counts = torch.bincount(images.data.val_set.labels["fine"][rows], minlength=10)
    assert counts.sum() == VALIDATION_IMAGES
    assert counts.min() > 60


def test_a_probe_reads_what_is_there_and_not_what_is_not(some):
    features, labels = torch.randn(600, 10, generator=some), torch.arange(600) % 3
    features[torch.arange(600), labels] += 4
    noise = torch.randn(600, 10, generator=some)
    for inputs, low, high in ((features, 0.9, 1.0), (noise, 0.2, 0.5)):
        parts = [(inputs[i : i + 200], labels[i : i + 200]) for i in (0, 200)]
        right = (fit(*parts, 3).logits(inputs[400:]).argmax(1) == labels[400:]).double().mean()
        assert low <= right <= high


def test_a_probe_does_without_features_that_never_change(some):
    features, labels = torch.randn(90, 4, generator=some), torch.arange(90) % 2
    features[:, 0] = labels
    features[:, 3] = 1
    part = (features[:60], labels[:60])
    assert fit(part, part, 2).logits(features[60:]).argmax(1).equal(labels[60:])


def test_small_letters_come_from_names():
    parents = torch.tensor([0, 0, 1])
    letters, of = small_letters(["A of X", "A of B", "C of X"], ["A", "C"], parents)
    assert letters == ["B", "X"]
    assert of.tolist() == [1, 0, 1]
    assert small_letters(["dolphin", "A of B", "C of X"], ["A", "C"], parents) is None
    assert small_letters(["A of X", "C of B", "C of X"], ["A", "C"], parents) is None
