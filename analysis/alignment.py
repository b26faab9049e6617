"""How alike two representations of the same images are: linear centred kernel alignment (CKA)."""

import torch
from torch import Tensor

CKA_IMAGES = 512  # test images
FEWEST = 4  # of them: with three, what is left after centring is zero


def gram(representation: Tensor) -> Tensor:
    """Representation (N, ...) → scalar products of all pairs of images (N, N), without the diagonal, centred.

    Centred as in the unbiased estimator of the Hilbert-Schmidt independence criterion (Song et al. 2012,
    jmlr.org/papers/v13/song12a.html, equation 5): all rows sum to zero, without the diagonal. The biased one finds
    similarity in noise when a layer has more values than there are images. NaN for fewer than four images.
    """
    flat = representation.flatten(1).float()
    flat = flat - flat.mean(0)  # changes nothing but rounding
    products = (flat @ flat.T).double().fill_diagonal_(0)
    n = len(products)
    if n < FEWEST:
        return torch.full_like(products, torch.nan)
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
