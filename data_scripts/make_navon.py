"""Make a data set of Navon figures: a large letter drawn out of small ones, 32 x 32 RGB.

The large letter is the coarse class, the large and the small letter together are the fine class:
seeing the forest is enough for one level, the trees matter for the other. One half of the large
letters is drawn out of one small alphabet and the other half out of another, so that the trees
also say something of the forest. The figures are the classic test of global and local processing
in the two hemispheres:

    Navon, D. (1977). Forest before trees: The precedence of global features in visual perception.
    Cognitive Psychology, 9(3), 353-383.

The set is written in the python format of CIFAR-100, so `prepare_cifar.py` reads it like any other.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.raw import Raw, RawSplit, write_raw
from common.system.errors import UserError, run_script

OUT_DIR = Path(__file__).resolve().parents[1] / "datasets" / "navon-python"
TRAIN, TEST = 2_700, 5_000  # images
SIZE = 32  # pixels, both ways
PITCH = 4  # pixels from one small letter to the next


@dataclass(frozen=True)
class Difficulty:
    """How much of the letters is there to see. Each level has its own: a letter loses some of its parts.

    ``missing`` is the probability that a cell of the large letter is left out, and ``worn`` that a
    pixel of the small one is, the same pixels wherever it is drawn. ``noise`` is the standard
    deviation of the pixel noise and ``contrast`` the least distance between the two colours (root
    mean square over the channels), both in grey levels of 0..255.

    Raises:
        UserError: a value that is out of range.
    """

    missing: float = 0.35
    worn: float = 0.12
    noise: float = 12.0
    contrast: float = 110.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, highest in (("missing", 0.9), ("worn", 0.9), ("noise", 255), ("contrast", 200)):
            value = getattr(self, name)
            if not 0 <= value <= highest:
                raise UserError(f"--{name} {value:g}: allowed are 0 to {highest:g}")


DIFFICULTY = Difficulty()

# Large letters, 7 rows of 5 cells; the position in the table is the coarse label.
LARGE = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "C": ".###. #...# #.... #.... #.... #...# .###.",
    "D": "####. #...# #...# #...# #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "H": "#...# #...# #...# ##### #...# #...# #...#",
    "I": ".###. ..#.. ..#.. ..#.. ..#.. ..#.. .###.",
    "J": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "K": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #.#.# #...# #...# #...#",
    "N": "#...# ##..# ##..# #.#.# #..## #..## #...#",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "S": ".#### #.... #.... .###. ....# ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# #...# #...# .###.",
    "V": "#...# #...# #...# #...# .#.#. .#.#. ..#..",
    "X": "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
    "Y": "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
    "Z": "##### ....# ...#. ..#.. .#... #.... #####",
}
# Small letters, 3 x 3 pixels, in two alphabets of five; letters that look alike from afar (E and F,
# I and T, V and Y) are drawn out of different ones. The fine label is 5 * coarse + the position in
# the alphabet.
SMALL = (
    {
        "H": "#.# ### #.#",
        "L": "#.. #.. ###",
        "O": "### #.# ###",
        "T": "### .#. .#.",
        "X": "#.# .#. #.#",
    },
    {
        "C": "### #.. ###",
        "F": "### ##. #..",
        "I": ".#. .#. .#.",
        "U": "#.# #.# ###",
        "Z": "##. .#. .##",
    },
)
SECOND_ALPHABET = "DFHJKNSTXY"  # large letters drawn out of the second alphabet
PER_LARGE = 5  # small letters for each large one


def bitmaps(glyphs: dict[str, str]) -> np.ndarray:
    """Return the drawn letters as bool (letters, rows, columns)."""
    return np.array([[[c == "#" for c in row] for row in g.split()] for g in glyphs.values()])


class Figures(NamedTuple):
    """Figures uint8 (N, 3, SIZE, SIZE), and the colours float32 (N, 3) of their letters and of their ground."""

    images: np.ndarray
    ink: np.ndarray
    paper: np.ndarray


def draw(
    fine: np.ndarray, rng: np.random.Generator, difficulty: Difficulty = DIFFICULTY
) -> Figures:
    """Draw one figure for each fine label (N,)."""
    coarse, small = np.divmod(fine, PER_LARGE)
    count = len(fine)
    cells = bitmaps(LARGE)[coarse]  # (N, 7, 5)
    cells &= rng.random(cells.shape) >= difficulty.missing
    glyphs = np.stack([bitmaps(alphabet) for alphabet in SMALL])  # (2, 5, 3, 3)
    glyphs = np.pad(glyphs, ((0, 0), (0, 0), (0, PITCH - 3), (0, PITCH - 3)))
    second = np.array([large in SECOND_ALPHABET for large in LARGE]).astype(int)
    letters = glyphs[second[coarse], small]  # (N, 4, 4)
    letters = wear(letters, difficulty.worn, rng)
    drawn = cells[:, :, None, :, None] & letters[:, None, :, None, :]  # (N, 7, 4, 5, 4)
    height, width = 7 * PITCH, 5 * PITCH
    drawn = drawn.reshape(count, height, width)
    top = rng.integers(0, SIZE - height + 2, count)  # the last row and column of a cell are empty
    left = rng.integers(0, SIZE - width + 2, count)
    mask = np.zeros((count, SIZE + 1, SIZE + 1), bool)
    mask[
        np.arange(count)[:, None, None],
        top[:, None, None] + np.arange(height)[:, None],
        left[:, None, None] + np.arange(width),
    ] = drawn
    ink, paper = colours(count, rng, difficulty.contrast)
    images = np.where(
        mask[:, None, :SIZE, :SIZE], ink[:, :, None, None], paper[:, :, None, None]
    )  # (N, 3, SIZE, SIZE)
    images += difficulty.noise * rng.standard_normal(images.shape, np.float32)
    return Figures(np.clip(images, 0, 255).astype(np.uint8), ink, paper)


def wear(letters: np.ndarray, worn: float, rng: np.random.Generator) -> np.ndarray:
    """Leave out each pixel of small letters, bool (N, rows, columns), with a probability; never all pixels of one."""
    if not worn:
        return letters
    kept = np.zeros_like(letters)
    todo = np.arange(len(letters))
    while len(todo):
        kept[todo] = letters[todo] & (rng.random(letters[todo].shape) >= worn)
        todo = todo[~kept[todo].any((1, 2))]
    return kept


def colours(count: int, rng: np.random.Generator, contrast: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw a colour for the letters and one for the ground, both float32 (N, 3), far enough apart.

    Pairs that are too similar are drawn again.
    """
    pairs = np.zeros((count, 2, 3), np.float32)
    todo = np.arange(count)
    while len(todo):
        pairs[todo] = rng.uniform(0, 255, (len(todo), 2, 3))
        distance = np.sqrt(np.mean((pairs[todo, 0] - pairs[todo, 1]) ** 2, axis=1))
        todo = todo[distance < contrast]
    return pairs[:, 0], pairs[:, 1]


def make_split(split: str, count: int, seed: int, difficulty: Difficulty = DIFFICULTY) -> RawSplit:
    """Make `count` figures with as equal numbers per fine class as possible, in random order."""
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    classes = len(LARGE) * PER_LARGE
    fine = rng.permutation(np.arange(count) % classes)
    names = fine_names()
    return RawSplit(
        images=draw(fine, rng, difficulty).images,
        fine=fine.tolist(),
        coarse=(fine // PER_LARGE).tolist(),
        names=[
            f"{names[label].replace(' ', '_')}_{i:06d}.png" for i, label in enumerate(fine.tolist())
        ],
    )


def fine_names() -> list[str]:
    """Return the fine classes by label id: 'A of H' is a large A drawn out of small Hs."""
    return [f"{large} of {small}" for large in LARGE for small in SMALL[large in SECOND_ALPHABET]]


def make_navon(
    train: int = TRAIN, test: int = TEST, seed: int = 0, difficulty: Difficulty = DIFFICULTY
) -> Raw:
    """Make the whole set; equal arguments give equal images.

    Raises:
        UserError: a negative seed, or fewer than one image.
    """
    if train < 1 or test < 1 or seed < 0:
        raise UserError(
            f"--train {train} --test {test} --seed {seed}: allowed are at least 1 image each and "
            "a seed of 0 or more"
        )
    return Raw(
        train=make_split("train", train, seed, difficulty),
        test=make_split("test", test, seed, difficulty),
        fine_names=fine_names(),
        coarse_names=list(LARGE),
    )


def add_difficulty(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], Difficulty]:
    """Add an option for each kind of difficulty to a parser; gives what reads them, which may raise a UserError."""
    for name, what in (
        ("missing", "probability that a cell of the large letter is left out"),
        ("worn", "probability that a pixel of the small letter is left out"),
        ("noise", "standard deviation of the pixel noise, in grey levels"),
        ("contrast", "least distance between the two colours, in grey levels"),
    ):
        default = getattr(DIFFICULTY, name)
        parser.add_argument(
            f"--{name}", type=float, default=default, help=f"{what} (default {default:g})"
        )
    return lambda args: Difficulty(args.missing, args.worn, args.noise, args.contrast)


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole set (default 0)")
    parser.add_argument("--train", type=int, default=TRAIN, help=f"images (default {TRAIN})")
    parser.add_argument("--test", type=int, default=TEST, help=f"images (default {TEST})")
    parser.add_argument("--out-dir", type=Path, default=OUT_DIR, help=f"default {OUT_DIR}")
    difficulty = add_difficulty(parser)
    args = parser.parse_args(argv)

    def script() -> None:
        write_raw(make_navon(args.train, args.test, args.seed, difficulty(args)), args.out_dir)
        print(f"{args.out_dir}: {args.train:,} training and {args.test:,} test figures")

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
