"""The pictures for TensorBoard."""

import warnings

import numpy as np
import torch

from analysis.tensorboard import (
    EXAMPLES,
    MAX_NAMES,
    confusion_figure,
    confusion_picture,
    example_picture,
)


def shown_examples(labels: torch.Tensor, predictions: torch.Tensor) -> list[int]:
    """The rows of the images that the picture of examples shows, found by their colours."""
    count = len(labels)
    colours = torch.arange(3 * count, dtype=torch.uint8).reshape(count, 3) + 30
    images = colours[:, :, None, None].expand(count, 3, 8, 8).contiguous()
    drawn = example_picture(images, labels, predictions, ["a $b", "c"])
    shown = {tuple(pixel) for pixel in np.unique(drawn.reshape(-1, 3), axis=0).tolist()}
    return [row for row, colour in enumerate(colours.tolist()) if tuple(colour) in shown]


def test_the_examples_are_wrong_and_right_images_from_the_whole_set():
    labels = torch.arange(60) // 30  # class after class, as sets on disk are
    wrong = torch.arange(60) % 2 == 0
    found = shown_examples(labels, torch.where(wrong, 1 - labels, labels))
    assert len(found) == EXAMPLES
    assert int(wrong[found].sum()) == EXAMPLES // 2
    for mistaken in (True, False):
        of_half = [row for row in found if bool(wrong[row]) == mistaken]
        assert {int(labels[row]) for row in of_half} == {0, 1}


def test_networks_that_err_alike_are_shown_the_same_images():
    labels = torch.arange(60) // 30
    one = torch.where(torch.arange(60) % 2 == 0, 1 - labels, labels)
    found = shown_examples(labels, one)
    # Another network that also errs elsewhere: in the order of all, what both got wrong comes no earlier or later.
    spare = next(row for row in reversed(range(60)) if row not in found and row % 2)
    other = one.clone()
    other[spare] = 1 - labels[spare]
    assert len(set(found) & set(shown_examples(labels, other))) >= EXAMPLES - 1


def test_the_confusion_matrix_names_its_axes_and_few_classes():
    # Among them signs that mean a formula, and one that the font lacks.
    counts, names = torch.eye(3, dtype=torch.long), ["a $b", "c$ \u5927", "x" * 30]
    (axes,) = confusion_figure(counts, names).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == [text.get_text() for text in axes.get_xticklabels()] == [*names[:2], "x" * 20]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert confusion_picture(counts, names).dtype == np.uint8
    many = MAX_NAMES + 1
    (axes,) = confusion_figure(torch.eye(many), ["a"] * many).axes
    assert "a" not in [text.get_text() for text in axes.get_yticklabels()]
    assert axes.get_ylabel() == "true class"
