"""Sparse layers: winner-take-all over space and over the images of a batch.

Source: Makhzani & Frey 2015, "Winner-take-all autoencoders" (arxiv.org/abs/1409.2752). Theirs keeps one unit of
each feature map (spatial sparsity), then a share of these winners over the mini-batch (lifetime sparsity), and
lifts the constraint in evaluation. Here the share of each map that survives is free, and holds in evaluation too:
only lifetime sparsity, which makes an image's features depend on the others in its batch, is of training alone.
"""

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.schema import setting

# Activation functions of torchvision's models for which zero, the value of a loser, does not mean off.
OTHER_ACTIVATIONS = {"GELU", "Hardswish", "SiLU"}


def spatial_winners(maps: Tensor, k: float) -> Tensor:
    """Which units of maps (B, C, H, W) are among the share `k` of their map that is largest: bool (B, C, H, W).

    Exactly round(k * H * W) of each map, and one at least, whatever the ties: `torch.topk` decides between equals,
    always in the same way.
    """
    flat = maps.detach().flatten(2)  # (B, C, H * W)
    survivors = max(1, round(k * flat.shape[2]))
    places = flat.topk(survivors, dim=2, sorted=False).indices
    winners = torch.zeros_like(flat, dtype=torch.bool).scatter_(2, places, True)
    return winners.view(maps.shape)


def lifetime_winners(maps: Tensor, per_k: float) -> Tensor:
    """For which images of a batch each channel of maps (B, C, H, W) survives: bool (B, C, 1, 1).

    The images that are among the share `per_k` of the batch in which the channel's largest unit is strongest:
    exactly round(per_k * B) of them, and one at least.
    """
    strongest = maps.detach().amax(dim=(2, 3))  # (B, C)
    survivors = max(1, round(per_k * strongest.shape[0]))
    places = strongest.topk(survivors, dim=0, sorted=False).indices
    winners = torch.zeros_like(strongest, dtype=torch.bool).scatter_(0, places, True)
    return winners[:, :, None, None]


class Winners(nn.Module):
    """Sets all but the winners of maps (B, C, H, W) to zero; gradients flow through winners alone.

    Args:
        k: share of each map that survives, above 0; 1 leaves all of it.
        per_k: share of the batch for which each channel survives, in training mode only; 1 leaves all.
    """

    def __init__(self, *, k: float, per_k: float) -> None:
        super().__init__()
        self.k = k
        self.per_k = per_k

    def extra_repr(self) -> str:
        """Both shares, for print(network)."""
        return f"k={self.k:g}, per_k={self.per_k:g}"

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) → the same, sparse; features (B, F) have no space and pass unchanged."""
        if maps.ndim != 4:
            return maps
        kept = maps
        if self.k < 1:
            kept = torch.where(spatial_winners(maps, self.k), kept, 0)
        if self.per_k < 1 and self.training:
            kept = torch.where(lifetime_winners(maps, self.per_k), kept, 0)
        return kept


def make_sparse(network: nn.Module, *, arch: str, k: float, per_k: float) -> None:
    """Put `Winners` after every ReLU of `network`, a backbone called `arch`; dense, it is left as it is.

    Names of weights stay the same.

    Raises:
        UserError: not all of its activation functions are ReLU layers.
    """
    if k == per_k == 1:
        return
    others = sorted({type(layer).__name__ for layer in network.modules()} & OTHER_ACTIVATIONS)
    places = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.ReLU | nn.ReLU6)
    ]
    if others or not places:
        found = f"{' and '.join(others)} layers" if others else "no ReLU layers"
        raise UserError(
            f"{arch} has {found}, and only a network of ReLU layers can be made sparse: "
            f"give {setting('k', '1')}, and per_k likewise."
        )
    for parent, name, layer in places:
        setattr(parent, name, nn.Sequential(layer, Winners(k=k, per_k=per_k)))
