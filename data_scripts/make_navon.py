"""Make a data set of Navon figures: a large letter drawn out of small ones, 32 x 32 RGB.

    python data_scripts/make_navon.py
    python data_scripts/make_navon.py --independent

The large letter is the coarse class, the large and the small letter together are the fine class:
seeing the forest is enough for one level, the trees matter for the other. One half of the large
letters is drawn out of one small alphabet and the other half out of another, so that the trees
also say something of the forest. The figures are the classic test of global and local processing
in the two hemispheres:

    Navon, D. (1977). Forest before trees: The precedence of global features in visual perception.
    Cognitive Psychology, 9(3), 353-383.

With --independent, 10 small letters (fine, called local) and 10 large ones (coarse, called global)
of one alphabet are drawn in all 100 pairs, equally often, so that neither tells the other. In a
tenth of the figures both are the same letter (congruent), in the others they conflict.

The set is written in the python format of CIFAR-100, so `prepare_cifar.py` reads it like any other.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.data.difficulty import Amounts, add_amounts, amount, colours
from common.data.raw import Raw, RawSplit, write_raw
from common.system.errors import UserError, run_script

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
OUT_DIR = DATASETS / "navon-python"
INDEPENDENT_DIR = DATASETS / "navon-independent-python"
TRAIN, TEST = 2_700, 5_000  # images
INDEPENDENT_TEST = 2_000  # 20 of each pair
SIZE = 32  # pixels, both ways
PITCH = 4  # pixels from one small letter to the next
STROKES = 3  # rows and columns of a small letter


@dataclass(frozen=True)
class Difficulty(Amounts):
    """How much of the letters is there to see. Each level has its own: a letter loses some of its parts.

    ``missing`` is the probability that a cell of the large letter is left out, and ``worn`` that a
    pixel of the small one is, the same pixels wherever it is drawn. ``noise`` is the standard
    deviation of the pixel noise and ``contrast`` the least distance between the two colours (root
    mean square over the channels), both in grey levels of 0..255.

    Raises:
        UserError: a value that is out of range.
    """

    missing: float = amount(0.35, 0.9, "probability that a cell of the large letter is left out")
    worn: float = amount(0.12, 0.9, "probability that a pixel of the small letter is left out")
    noise: float = amount(12.0, 255, "standard deviation of the pixel noise, in grey levels")
    contrast: float = amount(110.0, 200, "least distance between the two colours, in grey levels")


DIFFICULTY = Difficulty()


@dataclass(frozen=True)
class Layout:
    """How large everything is, in pixels.

    A small letter has three strokes each way, so that its size is a multiple of 3; between two of them is ground. The
    large letter is 7 small ones high and 5 wide.

    Raises:
        UserError: a size that is out of range, or a large letter that does not fit into the image.
    """

    small: int = STROKES
    spacing: int = PITCH - STROKES
    size: int = SIZE

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.small < STROKES or self.small % STROKES:
            raise UserError(
                f"--small {self.small}: allowed are multiples of {STROKES} pixels, from {STROKES}"
            )
        if self.spacing < 0:
            raise UserError(f"--spacing {self.spacing}: allowed are whole numbers from 0")
        if self.height > self.size or self.size > LARGEST:
            raise UserError(
                f"--size {self.size}: allowed are {self.height}, the height of a large letter of 7 small ones of "
                f"{self.small} pixels with {self.spacing} between, to {LARGEST}"
            )

    @property
    def pitch(self) -> int:
        """Pixels from one small letter to the next."""
        return self.small + self.spacing

    @property
    def height(self) -> int:
        """Pixels from the top of the large letter to its foot."""
        return 7 * self.pitch - self.spacing

    @property
    def width(self) -> int:
        """Pixels from its left to its right."""
        return 5 * self.pitch - self.spacing


LARGEST = 512  # pixels of an image
LAYOUT = Layout()

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
# Of independent figures: each letter once large and once small.
LETTERS = {
    letter: (
        LARGE.get(letter, ".###. #...# #...# #...# #...# #...# .###."),
        small,
    )  # there is no large O above
    for letter, small in sorted((SMALL[0] | SMALL[1]).items())
}
LEVELS = ["local", "global"]  # what independent small and large letters are called
SECOND_ALPHABET = "DFHJKNSTXY"  # large letters drawn out of the second alphabet
PER_LARGE = 5  # small letters for each large one


def bitmaps(glyphs: dict[str, str]) -> np.ndarray:
    """Return the drawn letters as bool (letters, rows, columns)."""
    return np.array([[[c == "#" for c in row] for row in g.split()] for g in glyphs.values()])


class Figures(NamedTuple):
    """Figures uint8 (N, 3, H, W), and the colours float32 (N, 3) of their letters and of their ground."""

    images: np.ndarray
    ink: np.ndarray
    paper: np.ndarray


def draw(
    fine: np.ndarray,
    rng: np.random.Generator,
    difficulty: Difficulty = DIFFICULTY,
    layout: Layout = LAYOUT,
) -> Figures:
    """Draw one figure for each fine label (N,)."""
    coarse, small = np.divmod(fine, PER_LARGE)
    second = np.array([large in SECOND_ALPHABET for large in LARGE]).astype(int)
    glyphs = np.stack([bitmaps(alphabet) for alphabet in SMALL])  # (2, 5, 3, 3)
    return _figures(bitmaps(LARGE)[coarse], glyphs[second[coarse], small], rng, difficulty, layout)


def draw_independent(
    small: np.ndarray,
    large: np.ndarray,
    rng: np.random.Generator,
    difficulty: Difficulty = DIFFICULTY,
    layout: Layout = LAYOUT,
) -> Figures:
    """Draw one figure for each pair of letters, given by their places in `LETTERS`, (N,) each."""
    cells, glyphs = (
        bitmaps({letter: pair[place] for letter, pair in LETTERS.items()}) for place in (0, 1)
    )
    return _figures(cells[large], glyphs[small], rng, difficulty, layout)


def _figures(
    cells: np.ndarray,
    letters: np.ndarray,
    rng: np.random.Generator,
    difficulty: Difficulty,
    layout: Layout,
) -> Figures:
    """Draw large letters, bool (N, 7, 5), out of small ones, bool (N, 3, 3)."""
    count, pitch, size = len(cells), layout.pitch, layout.size
    cells &= rng.random(cells.shape) >= difficulty.missing
    # With the ground beside each small letter, over which random numbers are drawn too, as in earlier versions.
    padded = np.pad(letters, ((0, 0), (0, 1), (0, 1)))
    letters = wear(padded, difficulty.worn, rng)[:, :STROKES, :STROKES]
    for axis in (1, 2):
        letters = letters.repeat(layout.small // STROKES, axis=axis)
    letters = np.pad(letters, ((0, 0), (0, layout.spacing), (0, layout.spacing)))
    drawn = cells[:, :, None, :, None] & letters[:, None, :, None, :]  # (N, 7, pitch, 5, pitch)
    drawn = drawn.reshape(count, 7 * pitch, 5 * pitch)
    top = rng.integers(0, size - layout.height + 1, count)
    left = rng.integers(0, size - layout.width + 1, count)
    # The ground behind the last small letters may lie outside.
    mask = np.zeros((count, size + layout.spacing, size + layout.spacing), bool)
    mask[
        np.arange(count)[:, None, None],
        top[:, None, None] + np.arange(7 * pitch)[:, None],
        left[:, None, None] + np.arange(5 * pitch),
    ] = drawn
    ink, paper = colours(count, rng, difficulty.contrast, each=2)
    images = np.where(
        mask[:, None, :size, :size], ink[:, :, None, None], paper[:, :, None, None]
    )  # (N, 3, size, size)
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


def make_split(
    split: str,
    count: int,
    seed: int,
    difficulty: Difficulty = DIFFICULTY,
    layout: Layout = LAYOUT,
) -> RawSplit:
    """Make `count` figures with as equal numbers per fine class as possible, in random order."""
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    classes = len(LARGE) * PER_LARGE
    fine = rng.permutation(np.arange(count) % classes)
    names = fine_names()
    return RawSplit(
        images=draw(fine, rng, difficulty, layout).images,
        fine=fine.tolist(),
        coarse=(fine // PER_LARGE).tolist(),
        names=[
            f"{names[label].replace(' ', '_')}_{i:06d}.png" for i, label in enumerate(fine.tolist())
        ],
    )


def fine_names() -> list[str]:
    """Return the fine classes by label id: 'A of H' is a large A drawn out of small Hs."""
    return [f"{large} of {small}" for large in LARGE for small in SMALL[large in SECOND_ALPHABET]]


def make_independent_split(
    split: str,
    count: int,
    seed: int,
    difficulty: Difficulty = DIFFICULTY,
    layout: Layout = LAYOUT,
) -> RawSplit:
    """Make `count` figures with as equal numbers per pair of letters as possible, in random order."""
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    large, small = np.divmod(rng.permutation(np.arange(count) % len(LETTERS) ** 2), len(LETTERS))
    letters = list(LETTERS)
    return RawSplit(
        images=draw_independent(small, large, rng, difficulty, layout).images,
        fine=small.tolist(),
        coarse=large.tolist(),
        names=[
            f"{letters[forest]}_of_{letters[tree]}_{i:06d}.png"
            for i, (forest, tree) in enumerate(zip(large, small, strict=True))
        ],
    )


def make_navon(
    train: int = TRAIN,
    test: int = TEST,
    seed: int = 0,
    difficulty: Difficulty = DIFFICULTY,
    layout: Layout = LAYOUT,
    *,
    independent: bool = False,
) -> Raw:
    """Make the whole set; equal arguments give equal images.

    Raises:
        UserError: a negative seed, or fewer than one image; of ``independent`` letters, fewer than one of each pair.
    """
    fewest = len(LETTERS) ** 2 if independent else 1
    if train < fewest or test < fewest or seed < 0:
        raise UserError(
            f"--train {train} --test {test} --seed {seed}: allowed are at least {fewest} image"
            f"{'s' * (fewest > 1)} each and a seed of 0 or more"
        )
    make = make_independent_split if independent else make_split
    letters = list(LETTERS)
    return Raw(
        train=make("train", train, seed, difficulty, layout),
        test=make("test", test, seed, difficulty, layout),
        fine_names=letters if independent else fine_names(),
        coarse_names=letters if independent else list(LARGE),
        independent=LEVELS if independent else [],
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the whole set (default 0)")
    parser.add_argument("--train", type=int, default=TRAIN, help=f"images (default {TRAIN})")
    parser.add_argument(
        "--test",
        type=int,
        help=f"images (default {TEST}, with --independent {INDEPENDENT_TEST})",
    )
    parser.add_argument(
        "--independent",
        action="store_true",
        help="10 small letters x 10 large ones of one alphabet, in all pairs equally often",
    )
    parser.add_argument(
        "--out-dir", type=Path, help=f"default {OUT_DIR}, with --independent {INDEPENDENT_DIR}"
    )
    for name, what in (
        ("small", "pixels of a small letter, both ways, a multiple of 3"),
        ("spacing", "pixels of ground between two small letters"),
        ("size", "pixels of the image, both ways"),
    ):
        default = getattr(LAYOUT, name)
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{what} (default {default})"
        )
    difficulty = add_amounts(parser, Difficulty)
    args = parser.parse_args(argv)
    out_dir = args.out_dir or (INDEPENDENT_DIR if args.independent else OUT_DIR)
    test = args.test if args.test is not None else INDEPENDENT_TEST if args.independent else TEST

    def script() -> None:
        layout = Layout(args.small, args.spacing, args.size)
        raw = make_navon(
            args.train, test, args.seed, difficulty(args), layout, independent=args.independent
        )
        write_raw(raw, out_dir)
        print(f"{out_dir}: {args.train:,} training and {test:,} test figures")

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
