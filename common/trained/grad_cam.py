"""Where a hemisphere looks: HiResCAM and Grad-CAM of any head with respect to one hemisphere's last spatial maps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from captum.attr import LayerAttribution, LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn

from common.networks.hemisphere import thawed
from common.networks.macro import HemispheresAndHeads
from common.system.errors import UserError
from common.trained.representation import watched


def hires_cam(
    network: HemispheresAndHeads, images: Tensor, *, level: str, side: str, classes: Tensor
) -> Tensor:
    """Map where one hemisphere finds what speaks for a class (Draelos & Carin 2020, arxiv.org/abs/2011.08891).

    Arguments, result and errors are those of `grad_cam`. Each cell counts with its own gradient. So a map is exact
    where the logit is a sum over cells, which it is if only a global pooling, mean or maximum, a linear join and a
    linear head follow: before negative parts are cut off, the cells of `evidence` then add up to what the hemisphere
    adds to the logit, weight times feature.
    """
    return _scaled_up(evidence(network, images, level=level, side=side, classes=classes), images)


def grad_cam(
    network: HemispheresAndHeads, images: Tensor, *, level: str, side: str, classes: Tensor
) -> Tensor:
    """Map where one hemisphere finds what speaks for a class (Selvaraju et al. 2017, arxiv.org/abs/1610.02391).

    The layer is the last one of the hemisphere's backbone that has maps. The network is used in evaluation mode,
    frozen hemispheres like others, and is left as it was; no weight gets a gradient. The gradient of each feature is
    averaged over cells, which after a global maximum credits cells that the maximum never saw (see `hires_cam`).

    Args:
        network: unilateral or bilateral; of an ensemble, one of its ``networks``.
        images: normalised float (B, 3, H, W), as the network takes them.
        level: the head, "fine" or "coarse".
        side: the hemisphere, "left" or "right".
        classes: position among the head's outputs of the class to explain in each image, int64 (B,).

    Returns:
        float (B, H, W), the maps scaled up to the image's size: 0 is no evidence, 1 the most in this image. All 0
        where the hemisphere holds nothing in favour of the class.

    Raises:
        UserError: the backbone has no maps of more than one pixel at this image size.
    """
    cells = evidence(network, images, level=level, side=side, classes=classes, averaged=True)
    return _scaled_up(cells, images)


def evidence(
    network: HemispheresAndHeads,
    images: Tensor,
    *,
    level: str,
    side: str,
    classes: Tensor,
    averaged: bool = False,
) -> Tensor:
    """Compute gradient times activation in each cell of a hemisphere's last maps, summed over features.

    Args:
        network: as in `grad_cam`, and so are the arguments up to ``classes``.
        images: (B, 3, H, W).
        level: the head.
        side: the hemisphere.
        classes: int64 (B,).
        averaged: use the gradient's mean over cells, as Grad-CAM does; otherwise each cell's own, as HiResCAM does.

    Returns:
        float (B, h, w), of either sign.

    Raises:
        UserError: the backbone has no maps of more than one pixel at this image size.
    """
    with _differentiable(network):
        layer = last_maps(network.sides[side].backbone, images[:1], network)

        def logits(images: Tensor) -> Tensor:
            return network(images)[level]

        method = LayerGradCam if averaged else LayerGradientXActivation
        found = method(logits, layer).attribute(images, target=classes)
    return found.sum(dim=1).detach().float()


def _scaled_up(cells: Tensor, images: Tensor) -> Tensor:
    """Turn evidence in cells (B, h, w) into maps (B, H, W) from 0 to 1, of the size of images (B, 3, H, W)."""
    # (B, h, w) -> (B, 1, h, w) -> (B, H, W)
    maps = LayerAttribution.interpolate(cells.relu()[:, None], tuple(images.shape[2:]), "bilinear")[
        :, 0
    ]
    most = maps.amax(dim=(1, 2), keepdim=True)
    return maps / most.where(most > 0, 1)


@torch.no_grad()
def last_maps(backbone: nn.Module, images: Tensor, network: nn.Module | None = None) -> nn.Module:
    """Find the module of a backbone that is the last to give maps (B, C, h, w) of more than one pixel, in a trial run.

    Of modules within each other the outermost one, whose output is complete: a residual block, not its convolution.

    Args:
        backbone: is searched.
        images: float (B, 3, H, W), for the trial run.
        network: what is run, if not the backbone itself but a network that it is part of.

    Raises:
        UserError: there is none.
    """
    layers = {name: layer for name, layer in backbone.named_modules() if name}
    found: list[str] = []

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1:
            found.append(name)

    with watched(layers, keep):
        (network or backbone)(images)
    # A module that is used again and again, such as one ReLU for a whole block, is no place of its own.
    places = [name for name in found if found.count(name) == 1]
    if not places:
        raise UserError(
            f"{type(backbone).__name__} has no layer with maps of more than one pixel for images of "
            f"{images.shape[3]} x {images.shape[2]} pixels, so there is nothing to show where it looks."
        )
    return layers[places[-1]]


@contextmanager
def _differentiable(network: nn.Module) -> Iterator[None]:
    """Give activations gradients, in evaluation mode, through frozen hemispheres too; then leave all as it was."""
    training = network.training
    network.eval()
    try:
        with thawed(network), torch.enable_grad():
            yield
    finally:
        network.train(training)
