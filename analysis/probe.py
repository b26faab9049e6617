"""What can be read off frozen features: a linear probe, the same for every hemisphere and every kind of label.

Heads cannot be compared across hemispheres, for each hemisphere was trained with one of its own level alone. A probe
asks the same question of all: ridge regression on one-hot labels, in closed form.
"""

import torch
from torch import Tensor

# Of the mean variance of a feature. The one that is best on the validation images is taken.
STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 2))


def probe(
    train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], features: Tensor, classes: int
) -> Tensor:
    """Fit on training images, choose the ridge on validation images, and predict: (N, F) → labels (N,).

    Args:
        train: features (M, F) and labels (M,).
        validation: the same, of other images.
        features: of the images to predict.
        classes: number of labels.
    """
    mean, spread = train[0].double().mean(0), train[0].double().std(0).clamp_min(1e-6)

    def scaled(values: Tensor) -> Tensor:
        return (values.double() - mean) / spread

    inputs = scaled(train[0])
    targets = torch.nn.functional.one_hot(train[1], classes).double()
    offset = targets.mean(0)
    # One eigendecomposition serves every strength.
    values, vectors = torch.linalg.eigh(inputs.T @ inputs / len(inputs))
    projected = vectors.T @ (inputs.T @ (targets - offset)) / len(inputs)
    best, kept = -1.0, torch.empty(0)
    for strength in STRENGTHS:
        weight = vectors @ (projected / (values.clamp_min(0)[:, None] + strength))
        right = ((scaled(validation[0]) @ weight + offset).argmax(1) == validation[1]).double()
        if float(right.mean()) > best:
            best, kept = float(right.mean()), weight
    return (scaled(features) @ kept + offset).argmax(1)
