"""Where hemispheres agree, and with whom: cases, confusions, accuracy of each class."""

import torch
from torch import nn

from analysis.section import Findings
from analysis.sections import agreement
from analysis.sections.agreement import case_of, cases_per_class, confusion
from analysis.sections.gains import accuracy_per_class
from analysis.sections.independence import CASES


def test_cases():
    left = torch.tensor([True, True, False, False])
    right = torch.tensor([True, False, True, False])
    case = case_of(left, right)
    assert [CASES[i] for i in case] == ["both", "left only", "right only", "neither"]
    counts = cases_per_class(case, torch.tensor([0, 0, 1, 1]), 2)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_confusion_has_true_classes_in_rows():
    counts = confusion(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]), 2)
    assert counts.tolist() == [[1, 2], [0, 0]]


def test_accuracy_per_class():
    correct, labels = torch.tensor([True, False, True]), torch.tensor([0, 0, 1])
    found = accuracy_per_class(correct, labels, 3)
    assert found[:2].tolist() == [0.5, 1]
    assert found[2].isnan()


def test_the_left_hemisphere_answers_with_the_coarse_class_of_its_fine_one(images, seed):
    fine, coarse = (nn.functional.one_hot(y).float() for y in images.test.labels.values())
    mistaken = fine.view(-1, 5, 2).flip(2).flatten(1)  # the other fine class of the same coarse one
    said = {"left": mistaken, "right": coarse.roll(1, 1), "together": coarse}
    section, found = agreement.Agreement(), Findings()
    section.compute(seed(0, images, said=said), found)
    shares = {case: one.mean for case, one in found.values.items("images in a case").items()}
    assert shares == {"both": 0, "left only": 1, "right only": 0, "neither": 0}
    assert section.confusion.equal(torch.eye(5, dtype=torch.long) * 600)
