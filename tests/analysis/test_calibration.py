"""Calibration of heads whose confidence is known."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import nn

from analysis.sections.calibration import (
    BINS,
    brier_score,
    calibrated_error,
    calibration_error,
    reliability,
    scores,
)
from analysis.sections.lesions import accuracy
from analysis.sections.temperature import fit_temperature


def test_a_head_that_is_half_sure_and_half_right_is_calibrated():
    logits = torch.zeros(10, 2) + torch.tensor([1e-3, 0])
    labels = torch.tensor([0, 1] * 5)
    assert calibration_error(logits, labels) == pytest.approx(0, abs=1e-3)
    assert calibration_error(20 * logits * 1e3, labels) == pytest.approx(0.5, abs=1e-3)


def test_the_calibration_error_is_that_of_the_reliability_curve(some):
    logits, labels = 2 * torch.randn(500, 4, generator=some), torch.arange(500) % 4
    curve = reliability(logits, labels)
    gap = (curve.confidence - curve.accuracy).abs().nan_to_num() * curve.images / 500
    assert len(curve.images) == BINS
    assert curve.images.sum() == 500
    assert calibration_error(logits, labels) == pytest.approx(float(gap.sum()), abs=1e-5)


@pytest.mark.parametrize("images", [100, 1000])
def test_a_calibrated_head_has_an_error_too_the_larger_the_fewer_images(some, images):
    logits = 2 * torch.randn(images, 10, generator=some)
    drawn = torch.multinomial(logits.softmax(1), 200, replacement=True, generator=some).T
    known = float(np.mean([calibration_error(logits, labels) for labels in drawn]))
    assert calibrated_error(logits) == pytest.approx(known, rel=0.1)
    assert (calibrated_error(logits) > 0.07) == (images == 100)
    assert calibrated_error(1000 * logits) < 0.01  # sure, and so right


def test_a_bin_of_few_images_is_not_averaged_with_those_of_many():
    logits = torch.zeros(1000, 2)
    logits[0, 0] = 9.0
    found = scores(logits, torch.zeros(1000, dtype=torch.int64))
    known = {place for place, value in found["reliability"].items() if not math.isnan(value)}
    assert known == {"7"}
    assert found["images of a confidence"]["14"] == pytest.approx(0.001)


def test_the_brier_score_runs_from_0_to_2():
    labels = torch.tensor([0, 1, 1])
    sure = 50 * nn.functional.one_hot(labels, 3).float()
    assert brier_score(sure, labels) == pytest.approx(0, abs=1e-9)
    assert brier_score(sure.roll(1, 1), labels) == pytest.approx(2, abs=1e-9)
    assert brier_score(torch.zeros(3, 3), labels) == pytest.approx((2 / 3) ** 2 + 2 / 9)


def test_a_reliability_curve_holds_all_images_at_their_confidence(some):
    logits, labels = torch.randn(200, 4, generator=some), torch.arange(200) % 4
    for temperature in (1.0, 3.0):
        found = scores(logits / temperature, labels)
        sums = {"confidence": 0.0, "reliability": 0.0}
        for place, images in found["images of a confidence"].items():
            for of in sums:
                sums[of] += images * found[of][place] if images else 0
        confidence = special.softmax(logits.numpy() / temperature, 1).max(1).mean()
        assert sums["confidence"] == pytest.approx(confidence, rel=1e-6)
        assert sums["reliability"] == pytest.approx(accuracy(logits, labels))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_temperature_is_found_again(some, temperature):
    """Labels drawn from what a head says, whose logits are then stretched."""
    logits = 2 * torch.randn(40_000, 5, generator=some)
    labels = torch.multinomial(logits.softmax(1), 1, generator=some)[:, 0]
    found = fit_temperature(temperature * logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    # Where the loss is least, its slope is 0: the mean logit of the labels is the one that the head expects.
    scaled = (temperature * logits / found).double()
    expected = (scaled.softmax(1) * scaled).sum(1).mean()
    assert float(scaled.gather(1, labels[:, None]).mean() - expected) == pytest.approx(0, abs=1e-4)
    assert calibration_error(scaled, labels) < 0.01


def test_a_temperature_has_bounds():
    labels = torch.arange(6) % 3
    right = nn.functional.one_hot(labels).float()
    assert fit_temperature(right, labels) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(-right, labels) == pytest.approx(20, rel=1e-3)
