"""What a network costs: its parameters, and the multiply-adds that one image takes."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


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


def _macs(network: nn.Module, images: torch.Tensor) -> int:
    training, fast = network.training, torch.backends.mha.get_fastpath_enabled()
    # The fused kernel of attention in evaluation is one that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        network.train(training)
    # The counter counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2
