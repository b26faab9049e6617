"""How well Navon figures can be read at all:  python benchmarks/navon_ceiling.py --missing 0.4.

An ideal observer (Geisler 1989; Pelli et al. 2006) knows how `data_scripts/make_navon.py` draws: the letters, how
often cells and pixels are left out, the places, the noise. It computes the probability of every class exactly and
answers the likeliest. It is told the two colours of each figure, so on average nobody who must find these out can be
better: what it reaches is a ceiling for every network.

    Geisler, W. S. (1989). Sequential ideal-observer analysis of visual discriminations. Psychological Review, 96(2),
    267-314.
    Pelli, D. G., Burns, C. W., Farell, B., & Moore-Page, D. C. (2006). Feature detection and letter identification.
    Vision Research, 46(28), 4646-4674.
"""

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import logsumexp, ndtr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.data.difficulty import add_amounts
from data_scripts.make_navon import (
    LARGE,
    PER_LARGE,
    PITCH,
    SECOND_ALPHABET,
    SIZE,
    SMALL,
    Difficulty,
    Figures,
    bitmaps,
    draw,
)

BATCH = 50  # figures at a time; it changes memory and nothing else
ROWS, COLUMNS = 7, 5  # cells of a large letter
EDGE = 3  # pixels of a small letter, both ways


def evidence(figures: Figures, noise: float) -> np.ndarray:
    """Compute for each pixel how much likelier it is as a letter's than as the ground's, in nats: (N, SIZE, SIZE)."""
    seen = figures.images.astype(float)
    # A pixel of value k was k to k + 1 before it was cut to whole numbers, or beyond the ends of the range.
    low = np.where(seen == 0, -np.inf, seen)
    high = np.where(seen == 255, np.inf, seen + 1)

    def log_likelihood(colour: np.ndarray) -> np.ndarray:
        mean = colour[:, :, None, None]
        below, above = (low - mean) / noise, (high - mean) / noise
        # In the lower tail, where the difference of two probabilities keeps its digits.
        below, above = np.where(below > 0, (-above, -below), (below, above))
        return np.log(np.maximum(ndtr(above) - ndtr(below), 1e-300))

    return (log_likelihood(figures.ink) - log_likelihood(figures.paper)).sum(1)


def worn_patterns(worn: float) -> tuple[np.ndarray, np.ndarray]:
    """List what can be left of small letters (P, 9), and the log probability of each, given the letter (2, 5, P)."""
    patterns = np.array(list(product([False, True], repeat=EDGE**2)))[1:]  # never nothing
    letters = np.array([bitmaps(alphabet) for alphabet in SMALL]).reshape(2, PER_LARGE, 1, EDGE**2)
    kept = (patterns & letters).sum(-1)
    lost = letters.sum(-1) - kept
    chance = np.where((patterns & ~letters).any(-1), 0, (1 - worn) ** kept * worn**lost)
    chance = chance / chance.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return patterns[chance.any((0, 1))], np.log(chance[:, :, chance.any((0, 1))])


def posterior(figures: Figures, difficulty: Difficulty) -> np.ndarray:
    """Compute the log probability of each class but for a constant of the figure: (N, large letters, small letters)."""
    patterns, prior = worn_patterns(difficulty.worn)
    windows = sliding_window_view(evidence(figures, difficulty.noise), (EDGE, EDGE), axis=(1, 2))
    drawn = windows.reshape(*windows.shape[:3], -1) @ patterns.T.astype(float)  # (N, y, x, P)
    # A cell of the large letter holds the small one, unless that is left out.
    with np.errstate(divide="ignore"):
        cells = np.logaddexp(np.log(difficulty.missing), np.log1p(-difficulty.missing) + drawn)
    large = bitmaps(LARGE).reshape(len(LARGE), -1).astype(float)
    height, width = PITCH * (ROWS - 1) + 1, PITCH * (COLUMNS - 1) + 1
    total = np.full((len(cells), len(LARGE), len(patterns)), -np.inf)
    for top in range(SIZE - PITCH * ROWS + 2):
        for left in range(SIZE - PITCH * COLUMNS + 2):
            here = cells[:, top : top + height : PITCH, left : left + width : PITCH]
            here = here.reshape(len(cells), ROWS * COLUMNS, -1)
            total = np.logaddexp(total, large @ here)
    alphabet = np.array([letter in SECOND_ALPHABET for letter in LARGE]).astype(int)
    return logsumexp(total[:, :, None] + prior[alphabet], axis=-1)


def ceiling(count: int, seed: int, difficulty: Difficulty) -> dict[str, float]:
    """Give the ideal observer's share of right answers on newly drawn figures, by what is asked."""
    rng = np.random.default_rng(seed)
    fine = rng.permutation(np.arange(count) % (len(LARGE) * PER_LARGE))
    figures = draw(fine, rng, difficulty)
    batches = [Figures(*(part[i : i + BATCH] for part in figures)) for i in range(0, count, BATCH)]
    found = np.concatenate([posterior(batch, difficulty) for batch in batches])
    large, small = np.divmod(fine, PER_LARGE)
    answers = {
        "fine": found.reshape(count, -1).argmax(1) == fine,
        "coarse": logsumexp(found, axis=2).argmax(1) == large,
        "within_coarse": found[np.arange(count), large].argmax(1) == small,
    }
    return {name: float(right.mean()) for name, right in answers.items()}


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--figures", type=int, default=5000, help="how many (default 5000)")
    parser.add_argument("--seed", type=int, default=1000, help="of these figures (default 1000)")
    difficulty = add_amounts(parser, Difficulty)
    args = parser.parse_args()
    for name, share in ceiling(args.figures, args.seed, difficulty(args)).items():
        error = (share * (1 - share) / args.figures) ** 0.5
        print(f"{name:14} {100 * share:.1f} % (standard error {100 * error:.1f})")


if __name__ == "__main__":
    main()
