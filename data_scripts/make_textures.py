"""Make a data set of shapes filled with textures, 32 x 32 RGB: two independent labels that are not letters.

    python data_scripts/make_textures.py

10 textures (fine) fill 10 shapes (coarse), in all 100 pairs equally often, so that neither tells the other: a texture
is told from a few pixels anywhere in the shape, the shape from its outline as a whole. Networks and people weigh the
two differently:

    Geirhos, R., Rubisch, P., Michaelis, C., Bethge, M., Wichmann, F. A. & Brendel, W. (2019). ImageNet-trained CNNs are
    biased towards texture; increasing shape bias improves accuracy and robustness. ICLR.

The set is written in the python format of CIFAR-100, so `prepare_cifar.py` reads it like any other.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.data.difficulty import Amounts, add_amounts, amount, colours
from common.data.raw import Raw, RawSplit, write_raw
from common.system.errors import UserError, run_script

OUT_DIR = Path(__file__).resolve().parents[1] / "datasets" / "textures-python"
LEVELS = ["texture", "shape"]  # what fine and coarse are called
TRAIN, TEST = 2_700, 2_000  # images
SIZE = 32  # pixels, both ways
RADII = (10.0, 14.0)  # of shapes, in pixels: drawn evenly between these
BLOCK = 4  # pixels of a part of a shape that may be missing, both ways
HALF = 2  # pixels of one tone of a texture; its period is twice that

Array = np.ndarray
# Where a shape is, from coordinates in which its radius is 1: u to the right, v downwards.
SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "arrow": lambda u, v: (
        ((np.abs(u) <= 0.9 * (v + 1)) & (v <= 0)) | ((np.abs(u) <= 0.3) & (np.abs(v - 0.5) <= 0.5))
    ),
    "circle": lambda u, v: np.hypot(u, v) <= 0.95,
    "crescent": lambda u, v: (np.hypot(u, v) <= 1) & (np.hypot(u - 0.5, v) > 0.75),
    "diamond": lambda u, v: np.abs(u) + np.abs(v) <= 1.1,
    "hourglass": lambda u, v: (np.abs(u) <= 0.1 + 0.85 * np.abs(v)) & (np.abs(v) <= 0.95),
    "plus": lambda u, v: (
        (np.minimum(np.abs(u), np.abs(v)) <= 0.34) & (np.maximum(np.abs(u), np.abs(v)) <= 1)
    ),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.75) <= 0.25,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.85,
    "star": lambda u, v: np.hypot(u, v) <= 0.68 + 0.36 * np.cos(5 * np.arctan2(u, -v)),
    "triangle": lambda u, v: (np.abs(u) <= 0.58 * (v + 1)) & (v <= 0.8),
}


def _tone(position: Array) -> Array:
    """Say whether pixels at a position along an axis have the second of two tones."""
    return position // HALF % 2 == 1


# Where the second of two tones is, from coordinates in whole pixels, x to the right and y downwards.
TEXTURES: dict[str, Callable[[Array, Array], Array]] = {
    "checks": lambda x, y: _tone(x) ^ _tone(y),
    "columns": lambda x, y: _tone(x),
    "crosses": lambda x, y: (x % 5 == 2) ^ (y % 5 == 2),
    "dots": lambda x, y: _tone(x) & _tone(y),
    "falling": lambda x, y: _tone(x - y),
    "mesh": lambda x, y: ((x + y) % 5 == 0) | ((x - y) % 5 == 0),
    "rising": lambda x, y: _tone(x + y),
    "rows": lambda x, y: _tone(y),
    "steps": lambda x, y: _tone(y + 2 * (x // 4 % 2)),
    "zigzag": lambda x, y: _tone(y + np.abs(x % 8 - 4)),
}


@dataclass(frozen=True)
class Difficulty(Amounts):
    """How much of each label is there to see.

    ``missing`` is the probability that a block of the shape is left out, and ``worn`` that a pixel of the texture has
    the other tone. ``noise`` is the standard deviation of the pixel noise and ``contrast`` the least distance between
    any two of the three colours (root mean square over the channels), both in grey levels of 0..255.

    Raises:
        UserError: a value that is out of range.
    """

    missing: float = amount(0.45, 0.9, "probability that a block of the shape is left out")
    worn: float = amount(0.15, 0.5, "probability that a pixel of the texture has the other tone")
    noise: float = amount(12.0, 255, "standard deviation of the pixel noise, in grey levels")
    contrast: float = amount(
        60.0, 100, "least distance between any two of the three colours, in grey levels"
    )


DIFFICULTY = Difficulty()


def draw(
    texture: Array, shape: Array, rng: np.random.Generator, difficulty: Difficulty = DIFFICULTY
) -> Array:
    """Draw one image uint8 (3, SIZE, SIZE) for each pair of labels (N,): uint8 (N, 3, SIZE, SIZE)."""
    count = len(texture)
    radius = rng.uniform(*RADII, count)
    # The whole shape lies within the image.
    centre = rng.uniform(radius, SIZE - 1 - radius, (2, count))
    phase = rng.integers(0, SIZE, (2, count))
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    shapes, textures = [*SHAPES.values()], [*TEXTURES.values()]
    inside = np.stack(
        [
            shapes[which]((across - x) / r, (down - y) / r)
            for which, r, (x, y) in zip(shape, radius, centre.T, strict=True)
        ]
    )  # (N, SIZE, SIZE)
    second = np.stack(
        [
            textures[which](across + x, down + y)
            for which, (x, y) in zip(texture, phase.T, strict=True)
        ]
    )
    blocks = rng.random((count, SIZE // BLOCK, SIZE // BLOCK)) >= difficulty.missing
    inside &= blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2)
    second ^= rng.random(second.shape) < difficulty.worn
    ground, one, other = (
        tone[:, :, None, None] for tone in colours(count, rng, difficulty.contrast, each=3)
    )
    images = np.where(inside[:, None], np.where(second[:, None], other, one), ground)
    images = images + difficulty.noise * rng.standard_normal(images.shape, np.float32)
    return np.clip(images, 0, 255).astype(np.uint8)


def make_split(split: str, count: int, seed: int, difficulty: Difficulty = DIFFICULTY) -> RawSplit:
    """Make `count` images with as equal numbers per pair of labels as possible, in random order."""
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    pairs = rng.permutation(np.arange(count) % (len(SHAPES) * len(TEXTURES)))
    shape, texture = np.divmod(pairs, len(TEXTURES))
    outlines, fillings = list(SHAPES), list(TEXTURES)
    return RawSplit(
        images=draw(texture, shape, rng, difficulty),
        fine=texture.tolist(),
        coarse=shape.tolist(),
        names=[
            f"{outlines[outline]}_of_{fillings[filling]}_{i:06d}.png"
            for i, (outline, filling) in enumerate(zip(shape, texture, strict=True))
        ],
    )


def make_textures(
    train: int = TRAIN, test: int = TEST, seed: int = 0, difficulty: Difficulty = DIFFICULTY
) -> Raw:
    """Make the whole set; equal arguments give equal images.

    Raises:
        UserError: a negative seed, or fewer than one image of each pair.
    """
    fewest = len(SHAPES) * len(TEXTURES)
    if train < fewest or test < fewest or seed < 0:
        raise UserError(
            f"--train {train} --test {test} --seed {seed}: allowed are at least {fewest} images each and "
            "a seed of 0 or more"
        )
    return Raw(
        train=make_split("train", train, seed, difficulty),
        test=make_split("test", test, seed, difficulty),
        fine_names=list(TEXTURES),
        coarse_names=list(SHAPES),
        independent=LEVELS,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole set (default 0)")
    parser.add_argument("--train", type=int, default=TRAIN, help=f"images (default {TRAIN})")
    parser.add_argument("--test", type=int, default=TEST, help=f"images (default {TEST})")
    parser.add_argument("--out-dir", type=Path, default=OUT_DIR, help=f"default {OUT_DIR}")
    difficulty = add_amounts(parser, Difficulty)
    args = parser.parse_args(argv)

    def script() -> None:
        write_raw(make_textures(args.train, args.test, args.seed, difficulty(args)), args.out_dir)
        print(f"{args.out_dir}: {args.train:,} training and {args.test:,} test images")

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
