"""Critical-band masking: noise of one octave of spatial frequencies, and how much of a competence it costs.

What noise of a band costs tells how much the band is used (Solomon & Pelli 1994, *Nature* 369, 395-397; on networks:
Subramanian, Sizikova, Majaj & Pelli 2023, arXiv:2309.13190). Each octave gets noise of the same variance, because
natural images have about the same in each.
"""

import math
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from analysis.networks import as_tested
from analysis.seed import FeatureSet, Seed
from common.data.samplers import drawn

IMAGES = 500  # test images that are masked: each is seen sixteen times where it has 32 pixels
# Standard deviations of noise, in standard deviations of the training pixels. Several, so that what is lost can be
# told apart both where little noise costs all, and where only much noise costs anything.
STRENGTHS = (0.25, 0.5, 1.0)
BATCH = 250  # images that are computed together: always as many, so that each gets the same noise on every device


class Mask(NamedTuple):
    """Noise: the centre of its octave, in cycles per image, and its standard deviation, as in `STRENGTHS`."""

    centre: int
    strength: float


def octaves(height: int, width: int) -> list[int]:
    """Give the centres of octaves in cycles per image: 1, 2, 4 ... up to half the pixels of the shorter side."""
    return [2**step for step in range((min(height, width) // 2).bit_length())]


def octave_noise(
    images: int, height: int, width: int, centre: int, generator: torch.Generator
) -> Tensor:
    """Draw noise of the octave around ``centre``: of frequencies from centre / √2, included, to centre · √2.

    A grating of u cycles over the width and v over the height has the frequency sqrt(u² + v²), as in
    `common.networks.spatial_frequency`. Each image has a mean of 0 and a variance of 1.

    Args:
        images: how many.
        height: of each, in pixels.
        width: of each, in pixels.
        centre: of the octave, in cycles per image.
        generator: of random numbers, on the CPU.

    Returns:
        float32 (images, 1, height, width), the same in all channels of a picture.
    """
    white = torch.fft.rfft2(torch.randn(images, height, width, generator=generator))
    down, across = (
        torch.fft.fftfreq(height, d=1 / height)[:, None],
        torch.fft.rfftfreq(width, d=1 / width),
    )
    # Squares are whole numbers: a frequency that is the end of two octaves is in one of them.
    squared = (down**2 + across**2).round()
    passes = (2 * squared >= centre**2) & (squared < 2 * centre**2)
    noise = torch.fft.irfft2(white * passes, s=(height, width))
    return (noise / noise.square().mean((1, 2), keepdim=True).sqrt())[:, None]


def seen(seed: Seed) -> Iterator[tuple[Mask | None, FeatureSet]]:
    """Give the features of some test images as they are (None), and under each mask.

    Args:
        seed: whose network sees them, on all images of a batch the same masks one after the other.
    """
    test, module = seed.images.test, seed.module
    rows = test.subset[drawn(len(test), IMAGES, "masking")]
    labels = {level: every[rows] for level, every in test.labels.items()}
    height, width = test.images.shape[-2:]
    generators = {
        centre: torch.Generator().manual_seed(centre) for centre in octaves(height, width)
    }
    found: dict[Mask | None, list[Tensor]] = {}
    for batch in rows.split(BATCH):
        with as_tested(module):
            inputs = module.transforms(test.images[batch].to(module.device))
            found.setdefault(None, []).append(seed.network.features(inputs).float().cpu())
            for centre, generator in generators.items():
                noise = octave_noise(len(batch), height, width, centre, generator)
                noise = noise.to(module.device)
                for strength in STRENGTHS:
                    features = seed.network.features(inputs + strength * noise)
                    found.setdefault(Mask(centre, strength), []).append(features.float().cpu())
    for mask, batches in found.items():
        yield mask, FeatureSet(seed.network.split(torch.cat(batches)), labels)


def sensitivities(known: Mapping[Mask | None, float]) -> dict[int, float]:
    """Give by octave the share of a competence that noise costs, the mean over strengths; 1: all of it.

    It is above 1 where noise leaves less than guessing knows, as it may where classes are uneven.

    Args:
        known: the competence under each mask, and without noise (None), which is above 0.
    """
    lost: dict[int, list[float]] = {}
    for mask, competence in known.items():
        if mask is not None:
            lost.setdefault(mask.centre, []).append(1 - competence / known[None])
    return {centre: fmean(shares) for centre, shares in lost.items()}


def centre_frequency(sensitivity: Mapping[int, float]) -> float:
    """Give the mean octave, each counted by its sensitivity: in octaves above 1 cycle per image.

    An octave whose noise helped, as by chance it may, counts nothing; NaN where none costs anything.
    """
    weights = {centre: max(share, 0.0) for centre, share in sensitivity.items()}
    total = sum(weights.values())
    if not total:
        return math.nan
    return sum(math.log2(centre) * weight for centre, weight in weights.items()) / total
