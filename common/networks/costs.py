"""What a network costs: its parameters, and the multiply-adds that an image and that training take."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from common.networks.macro import HemispheresAndHeads


def costs(network: nn.Module, image_size: Sequence[int]) -> dict[str, int]:
    """Count all parameters, those that are trained, and multiply-adds.

    Multiply-adds are those of convolutions and matrix products that one more image takes in a forward pass, as is
    usual; normalisation, activations and pooling are not counted, nor what is done once for all images of a batch.

    Args:
        network: as it is trained: frozen parameters do not require gradients.
        image_size: height and width, in pixels.

    Returns:
        ``parameters``, ``trained_parameters``, ``macs``.
    """
    parameters = [*network.parameters()]
    image = torch.zeros(1, 3, *image_size, device=parameters[0].device)
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "macs": _macs(network, image.expand(2, -1, -1, -1)) - _macs(network, image),
    }


def training_macs(
    network: HemispheresAndHeads, image_size: Sequence[int], *, images: int, distinct: int
) -> int:
    """Count the multiply-adds of training, forward and backward.

    A step through what learns takes those of three forward passes, since the backward pass takes twice a forward one.
    A frozen hemisphere computes the features of each distinct image once, whether or not they are kept. One with a
    callosum computes them at each step; where something reaches it, gradients pass through it, which takes as much
    again (all of it counts, though they do not pass through the stages before).

    Args:
        network: as it is trained.
        image_size: height and width, in pixels.
        images: images of all steps together.
        distinct: different images among these; each augmented one is another image.
    """
    total, learning = 0, costs(network, image_size)["macs"]
    for side, one in network.sides.items():
        if one.frozen:
            macs = costs(one, image_size)["macs"]
            learning -= macs
            if network.callosum is None:
                total += distinct * macs
            else:
                total += images * macs * (2 if network.callosum.receives(side) else 1)
    return total + 3 * images * learning


def _macs(network: nn.Module, images: torch.Tensor) -> int:
    training, fast = network.training, torch.backends.mha.get_fastpath_enabled()
    # Which fused kernels of attention the counter knows depends on the device and on torch's version.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            network.eval()(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        network.train(training)
    # The counter counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2
