"""Try the parts of a network on two blank images before it is trained: what each gives must be what it says.

Two, so that features which lack the dimension of the batch, or have one too many, are seen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.networks.backbones import Backbone
from common.networks.join import Join
from common.networks.macro import EnsembleNet, HemispheresAndHeads, Network
from common.system.errors import UserError, blaming, place_of

IMAGES = 2
LARGE = 256  # pixels; a backbone that fails at its size is tried on images up to this one


@torch.no_grad()
def try_network(network: Network, image_size: Sequence[int]) -> None:
    """Try each backbone of a network by itself, then its join and its callosum, in evaluation mode.

    Args:
        network: on the CPU; it goes back to the mode that it was in.
        image_size: height and width of its images, in pixels.

    Raises:
        UserError: names the part that fails, or gives anything else than it says.
    """
    training = network.training
    network.eval()
    members = network.members.values() if isinstance(network, EnsembleNet) else [network]
    for member in members:
        _try_member(member, image_size)
    network.train(training)


def _try_member(member: HemispheresAndHeads, image_size: Sequence[int]) -> None:
    features = {
        side: try_backbone(one.backbone, image_size, one.seen) for side, one in member.sides.items()
    }
    try_join(member.join, features)
    with blaming(member.join):
        member.classify(torch.cat([*features.values()], dim=1))
    if member.callosum is not None:
        with blaming(member.callosum):
            member(torch.zeros(IMAGES, 3, *image_size))


@torch.no_grad()
def try_backbone(
    backbone: Backbone,
    image_size: Sequence[int],
    seen: Callable[[Tensor], Tensor] = lambda images: images,
) -> Tensor:
    """Give a backbone's features (2, num_features) of blank images.

    Args:
        backbone: in evaluation mode.
        image_size: height and width of its images, in pixels.
        seen: gives what it sees of images (B, 3, H, W).

    Raises:
        UserError: it fails, because images are too small or at any size, or gives anything else.
    """

    def run(height: int, width: int) -> Any:
        images = seen(torch.zeros(IMAGES, 3, height, width))
        with blaming(backbone):
            return backbone(images)

    height, width = image_size
    try:
        features = run(height, width)
    except UserError as error:
        # One that says itself what it cannot take is believed.
        if error.__cause__ and _works_larger(run, height, width):
            raise UserError(
                f"Images of {width} x {height} pixels are too small for {backbone.arch}."
            ) from error
        raise
    _refuse_other(
        features, backbone.num_features, f"Backbone {backbone.arch}, {place_of(backbone)},"
    )
    return features


def try_join(join: Join, features: Mapping[str, Tensor]) -> None:
    """Try a join on features by side, each (B, F_side).

    Raises:
        UserError: it fails, or gives anything else than (B, num_features).
    """
    with blaming(join), torch.no_grad():
        joined = join(dict(features))
    _refuse_other(joined, join.num_features, f"Join {place_of(join)}")


def _works_larger(run: Callable[[int, int], Any], height: int, width: int) -> bool:
    """Say whether anything comes of images that are larger, by doubling their sides."""
    while 0 < max(height, width) < LARGE:
        height, width = 2 * height, 2 * width
        try:
            run(height, width)
        except UserError:
            continue
        return True
    return False


def _refuse_other(found: Any, number: int, what: str) -> None:
    """Refuse what is not a tensor (2, number)."""
    wanted = (IMAGES, number)
    if not isinstance(found, Tensor):
        raise UserError(
            f"{what} gives {type(found).__name__}; allowed: a Tensor {wanted} of {IMAGES} images, as its num_features "
            "says."
        )
    if tuple(found.shape) != wanted:
        raise UserError(
            f"{what} gives {tuple(found.shape)} of {IMAGES} images; allowed: {wanted}, as its num_features says."
        )
