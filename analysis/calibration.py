"""Is a head right as often as it is sure? Expected calibration error and the reliability curve."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15


class Reliability(NamedTuple):
    """Per bin of confidence: mean confidence, accuracy (NaN in an empty bin), number of images; (BINS,) each."""

    confidence: Tensor
    accuracy: Tensor
    images: Tensor


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error (Naeini et al. 2015) of logits (N, C), as torchmetrics computes it."""
    error = multiclass_calibration_error(
        logits.softmax(1), labels, num_classes=logits.shape[1], n_bins=BINS
    )
    return float(error)


def reliability(logits: Tensor, labels: Tensor) -> Reliability:
    """Accuracy as a function of confidence, in `BINS` bins of equal width."""
    confidence, prediction = logits.double().softmax(1).max(1)
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(BINS, dtype=torch.double).index_add_(0, place, values) / images

    images = torch.bincount(place, minlength=BINS)
    return Reliability(mean(confidence), mean((prediction == labels).double()), images)
