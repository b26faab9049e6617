"""What the validation accuracy still gained in an epoch when training ended."""

import math
from collections.abc import Sequence
from statistics import linear_regression


def slope(curve: Sequence[float]) -> float | None:
    """Fit a line by least squares to the last fifth of a curve, rounded up, and at least to its last two epochs.

    Args:
        curve: accuracy after each epoch, a fraction.

    Returns:
        What the line gains in an epoch, a fraction; None for a curve of fewer than two epochs.
    """
    if len(curve) < 2:
        return None
    last = curve[-max(2, math.ceil(len(curve) / 5)) :]
    return linear_regression(range(len(last)), last).slope
