"""How alike two representations of the same images are (linear CKA), and how alike images are within one (cosine)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Deeper networks are thinned out to this many layers, first and last kept.
MAX_LAYERS = 10


def gram(representation: Tensor) -> Tensor:
    """Representation (N, ...) → scalar products of all pairs of images (N, N), without the diagonal, centred.

    Centred as in the unbiased estimator of the Hilbert-Schmidt independence criterion (Song et al. 2012,
    jmlr.org/papers/v13/song12a.html, equation 5): all rows sum to zero, without the diagonal. The biased one finds
    similarity in noise when a layer has more values than there are images.
    """
    flat = representation.flatten(1).float()
    flat = flat - flat.mean(0)  # changes nothing but rounding
    products = (flat @ flat.T).double().fill_diagonal_(0)
    n = len(products)
    means = products.sum(0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    return (products - means[:, None] - means[None, :]).fill_diagonal_(0)


def cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, arxiv.org/abs/1905.00414) of two `gram`s (N, N).

    1 for representations that are equal up to rotation and scale, about 0 for unrelated ones. Estimated without
    bias as by Nguyen et al. 2021 (arxiv.org/abs/2010.15327), so that it may fall a little below 0.
    """
    norm = float(one.square().sum().sqrt() * other.square().sum().sqrt())
    return float((one * other).sum()) / norm if norm > 0 else float("nan")


def layer_grams(
    backbone: nn.Module, images: Tensor, *, forward: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """`gram`s of a backbone's layers: the outputs of its convolutions and linear layers, then its features.

    Args:
        backbone: in evaluation mode.
        images: few enough to go through at once.
        forward: how to run the backbone on them, to features (N, F).
    """
    layers = [m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    count = min(MAX_LAYERS, len(layers))
    chosen = [layers[round(i * (len(layers) - 1) / max(count - 1, 1))] for i in range(count)]
    grams: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda module, inputs, output: grams.append(gram(output)))
        for layer in chosen
    ]
    try:
        features = forward(images)
    finally:
        for handle in handles:
            handle.remove()
    return [*(one.cpu() for one in grams), gram(features).cpu()]


def cosine_within_and_between(features: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean cosine similarity of two images of one class, and of two classes.

    Over all pairs of images, from sums of unit vectors alone: no N x N matrix is made.

    Args:
        features: (N, F), centred.
        labels: (N,).
    """
    unit = nn.functional.normalize(features.double(), dim=1)
    counts = torch.bincount(labels).double()
    sums = torch.zeros(len(counts), unit.shape[1], dtype=unit.dtype).index_add_(0, labels, unit)
    squared = unit.square().sum()  # N, but for images whose features are all zero
    within = sums.square().sum() - squared
    between = sums.sum(0).square().sum() - sums.square().sum()
    pairs_within = (counts * (counts - 1)).sum()
    pairs_between = counts.sum().square() - counts.square().sum()
    return float(within / pairs_within), float(between / pairs_between)
