"""What spatial frequencies of an image a hemisphere sees.

The spatial-frequency account of hemispheric asymmetry: the right hemisphere is better with low spatial frequencies,
and so with global form, the left one with high ones and with detail (Sergent 1982, *Journal of Experimental
Psychology: Human Perception and Performance* 8, 253-272; Ivry & Robertson 1998, *The Two Sides of Perception*).
"""

import math

import torch
from torch import Tensor, nn

from common.system.errors import UserError


class SpatialFilter(nn.Module):
    """Keeps the frequencies from `high_pass` to `low_pass`, both included, of images (B, 3, H, W).

    Frequencies are in cycles per image, along whatever direction: a grating of u cycles over the width and v over
    the height has sqrt(u^2 + v^2). The cut is sharp, so that nothing is left of what is cut, and the image counts
    as periodic, as Fourier's series does: low-passed, opposite edges blend. The mean of an image has frequency 0,
    so that any `high_pass` removes it: what is left varies around 0, the mean of the training pixels.

    Args:
        low_pass: highest frequency that passes, in cycles per image; None: no limit.
        high_pass: lowest frequency that passes, in cycles per image; None: no limit.
    """

    def __init__(self, *, low_pass: float | None, high_pass: float | None) -> None:
        super().__init__()
        self.low_pass = low_pass
        self.high_pass = high_pass

    def extra_repr(self) -> str:
        """Give both cutoffs, for print(network)."""
        return f"low_pass={self.low_pass}, high_pass={self.high_pass}"

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) → float32 (B, 3, H, W), channels-last.

        Raises:
            UserError: `high_pass` lies above every frequency that images of this size have.
        """
        height, width = images.shape[2:]
        highest = math.hypot(height // 2, width // 2)
        if self.high_pass is not None and self.high_pass > highest:
            raise UserError(
                f"high_pass={self.high_pass:g} leaves nothing of images of {width} x {height} pixels, whose highest "
                f"frequency is {highest:.1f} cycles per image."
            )
        across = torch.fft.rfftfreq(width, d=1 / width, device=images.device)  # (W // 2 + 1,)
        down = torch.fft.fftfreq(height, d=1 / height, device=images.device)  # (H,)
        frequency = torch.hypot(down[:, None], across)  # (H, W // 2 + 1)
        passes = torch.ones_like(frequency, dtype=torch.bool)
        if self.low_pass is not None:
            passes &= frequency <= self.low_pass
        if self.high_pass is not None:
            passes &= frequency >= self.high_pass
        spectrum = torch.fft.rfft2(images.float()) * passes
        filtered = torch.fft.irfft2(spectrum, s=(height, width))
        return filtered.contiguous(memory_format=torch.channels_last)
