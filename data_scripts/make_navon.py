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
from pathlib import Path

import numpy as np

from common.data.raw import Raw, RawSplit, write_raw
from common.system.errors import UserError, run_script

OUT_DIR = Path(__file__).resolve().parents[1] / "datasets" / "navon-python"
TRAIN, TEST = 12_000, 5_000  # images
SIZE = 32  # pixels, both ways
PITCH = 4  # pixels from one small letter to the next

# Difficulty. More of each makes both levels harder; missing cells hurt the large letter, noise
# and low contrast hurt the small ones more.
MISSING = 0.45  # probability that a small letter is left out
NOISE = 26.0  # standard deviation of the pixel noise, in grey levels of 0..255
CONTRAST = 80.0  # least distance between the two colours, root mean square over the channels

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


def figures(fine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one figure for each fine label (N,), as uint8 (N, 3, SIZE, SIZE)."""
    coarse, small = np.divmod(fine, PER_LARGE)
    count = len(fine)
    cells = bitmaps(LARGE)[coarse]  # (N, 7, 5)
    cells &= rng.random(cells.shape) >= MISSING
    glyphs = np.stack([bitmaps(alphabet) for alphabet in SMALL])  # (2, 5, 3, 3)
    glyphs = np.pad(glyphs, ((0, 0), (0, 0), (0, PITCH - 3), (0, PITCH - 3)))
    second = np.array([large in SECOND_ALPHABET for large in LARGE]).astype(int)
    letters = glyphs[second[coarse], small]  # (N, 4, 4)
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
    ink, paper = colours(count, rng)
    images = np.where(
        mask[:, None, :SIZE, :SIZE], ink[:, :, None, None], paper[:, :, None, None]
    )  # (N, 3, SIZE, SIZE)
    images += NOISE * rng.standard_normal(images.shape, np.float32)
    return np.clip(images, 0, 255).astype(np.uint8)


def colours(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a colour for the letters and one for the ground, both float32 (N, 3), far enough apart.

    Pairs that are too similar are drawn again.
    """
    pairs = np.zeros((count, 2, 3), np.float32)
    todo = np.arange(count)
    while len(todo):
        pairs[todo] = rng.uniform(0, 255, (len(todo), 2, 3))
        distance = np.sqrt(np.mean((pairs[todo, 0] - pairs[todo, 1]) ** 2, axis=1))
        todo = todo[distance < CONTRAST]
    return pairs[:, 0], pairs[:, 1]


def make_split(split: str, count: int, seed: int) -> RawSplit:
    """Make `count` figures with as equal numbers per fine class as possible, in random order."""
    rng = np.random.default_rng([seed, ("train", "test").index(split)])
    classes = len(LARGE) * PER_LARGE
    fine = rng.permutation(np.arange(count) % classes)
    names = fine_names()
    return RawSplit(
        images=figures(fine, rng),
        fine=fine.tolist(),
        coarse=(fine // PER_LARGE).tolist(),
        names=[
            f"{names[label].replace(' ', '_')}_{i:06d}.png" for i, label in enumerate(fine.tolist())
        ],
    )


def fine_names() -> list[str]:
    """Return the fine classes by label id: 'A of H' is a large A drawn out of small Hs."""
    return [f"{large} of {small}" for large in LARGE for small in SMALL[large in SECOND_ALPHABET]]


def make_navon(train: int = TRAIN, test: int = TEST, seed: int = 0) -> Raw:
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
        train=make_split("train", train, seed),
        test=make_split("test", test, seed),
        fine_names=fine_names(),
        coarse_names=list(LARGE),
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
    args = parser.parse_args(argv)

    def script() -> None:
        write_raw(make_navon(args.train, args.test, args.seed), args.out_dir)
        print(f"{args.out_dir}: {args.train:,} training and {args.test:,} test figures")

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
