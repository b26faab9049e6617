"""Sparsity: winner-take-all over the space of each feature map, and over the images of a batch.

Source: Makhzani & Frey 2015, "Winner-take-all autoencoders" (arxiv.org/abs/1409.2752), in which the hidden code keeps
one unit of each feature map (spatial sparsity) and a share of these winners over the mini-batch (lifetime sparsity),
and is rid of the constraint in evaluation. Here the share of each map is free, holds in every layer, and in evaluation
too. Lifetime sparsity makes what becomes of an image depend on the others in its batch, and so is of training alone;
it acts on the backbone's features, its code. In every layer it would let few images through: those that win in
one layer win in the next.
"""

from functools import partial

import torch
from torch import Tensor, nn

from common.networks.backbones.backbone import Backbone
from common.networks.parameters import setting
from common.system.errors import UserError

# Activation functions of torchvision's models for which zero, the value of a loser, does not mean off.
OTHER_ACTIVATIONS = {"GELU", "Hardswish", "SiLU"}


def spatial_winners(maps: Tensor, k: float) -> Tensor:
    """Find which units of maps (B, C, H, W) are among the share `k` of their map that is largest: bool (B, C, H, W).

    Exactly round(k * H * W) of each map, and one at least: of equals, as in black or white areas, the first ones in
    reading order, where `torch.topk` would choose others on another machine. What is no number survives.
    """
    flat = maps.detach().flatten(2)  # (B, C, H * W)
    survivors = max(1, round(k * flat.shape[2]))
    least = flat.topk(survivors, dim=2, sorted=False).values.amin(2, keepdim=True)
    above = ~(flat <= least)
    equal = flat == least
    room = survivors - above.sum(2, keepdim=True)
    winners = above | (equal & (equal.cumsum(2, dtype=torch.int32) <= room))
    return winners.view(maps.shape)


def lifetime_winners(features: Tensor, per_k: float) -> Tensor:
    """Find which features (B, F) are among the share `per_k` of the batch for which they are largest: bool (B, F).

    Exactly round(per_k * B) images for each feature, and one at least.
    """
    survivors = max(1, round(per_k * features.shape[0]))
    places = features.detach().topk(survivors, dim=0, sorted=False).indices
    return torch.zeros_like(features, dtype=torch.bool).scatter_(0, places, True)


class Winners(nn.Module):
    """Sets all but the share `k` of each map to zero; gradients flow through winners alone.

    On a CPU this doubles the time of a training step of ResNet-9 (k 0.25, batches of 64 at a quarter of the width,
    one thread, float32: 374 ms instead of 190).
    """

    def __init__(self, *, k: float) -> None:
        super().__init__()
        self.k = k

    def extra_repr(self) -> str:
        """Give the share, for print(network)."""
        return f"k={self.k:g}"

    def forward(self, maps: Tensor) -> Tensor:
        """Make maps (B, C, H, W) sparse; features (B, F) have no space and pass unchanged."""
        return torch.where(spatial_winners(maps, self.k), maps, 0) if maps.ndim == 4 else maps


def keep_lifetime_winners(
    per_k: float, backbone: nn.Module, _: object, features: Tensor
) -> Tensor | None:
    """Set, as a forward hook in training mode, all but the lifetime winners among the features (B, F) to zero."""
    if not backbone.training:
        return None
    return torch.where(lifetime_winners(features, per_k), features, 0)


def make_sparse(backbone: Backbone, *, arch: str, k: float, per_k: float) -> None:
    """Put `Winners` after every ReLU of a backbone called `arch`, and lifetime sparsity on its features.

    Names of weights stay the same; with shares of 1, so does the backbone.

    Raises:
        UserError: `k` for a backbone whose activation functions are not all ReLU layers.
    """
    if per_k < 1:
        backbone.per_k = per_k
        backbone.register_forward_hook(partial(keep_lifetime_winners, per_k))
    if k == 1:
        return
    others = sorted({type(layer).__name__ for layer in backbone.modules()} & OTHER_ACTIVATIONS)
    places = [
        (parent, name, layer)
        for parent in backbone.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.ReLU | nn.ReLU6)
    ]
    if others or not places:
        found = f"{' and '.join(others)} layers" if others else "no ReLU layers"
        raise UserError(
            f"{arch} has {found}, and only maps that come out of ReLU layers can be made sparse: "
            f"give {setting('k', '1')}."
        )
    for parent, name, layer in places:
        setattr(parent, name, nn.Sequential(layer, Winners(k=k)))
