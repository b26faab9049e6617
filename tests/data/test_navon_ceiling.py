"""The ideal observer of Navon figures: its probabilities a second way, and figures that leave no doubt."""

import numpy as np
import pytest
from scipy.special import softmax

from benchmarks.navon_ceiling import ceiling, main, posterior
from data_scripts.make_navon import LARGE, SECOND_ALPHABET, SMALL, Difficulty, bitmaps, draw

HIDDEN = {"missing": 0.5, "worn": 0.4}


def by_counting(ink: np.ndarray) -> np.ndarray:
    """Probability of each class (20, 5), where it is certain which pixels of the figure are ink, bool (32, 32).

    For each place of each large letter: all ink must lie in its cells, and each cell be empty or like the others.
    """
    found = np.zeros((20, 5))
    for large, (name, cells) in enumerate(zip(LARGE, bitmaps(LARGE), strict=True)):
        letters = bitmaps(SMALL[name in SECOND_ALPHABET])
        for top in range(6):
            for left in range(14):
                inside = {
                    (row, column): ink[top + 4 * row :, left + 4 * column :][:3, :3]
                    for row, column in np.argwhere(cells)
                }
                full = [part for part in inside.values() if part.any()]
                if sum(part.sum() for part in full) < ink.sum():
                    continue
                if any((part != full[0]).any() for part in full):
                    continue
                place = HIDDEN["missing"] ** (len(inside) - len(full))
                place *= (1 - HIDDEN["missing"]) ** len(full)
                for small, letter in enumerate(letters):
                    if not (full[0] & ~letter).any():
                        kept, all_of_it = full[0].sum(), letter.sum()
                        shape = (1 - HIDDEN["worn"]) ** kept
                        shape *= HIDDEN["worn"] ** (all_of_it - kept)
                        found[large, small] += place * shape / (1 - HIDDEN["worn"] ** all_of_it)
    return found / found.sum()


def test_its_probabilities_are_those_of_counting_what_can_be_seen_without_noise():
    difficulty = Difficulty(**HIDDEN, noise=1, contrast=150)
    figures = draw(np.arange(0, 100, 9), np.random.default_rng(0), difficulty)
    ideal = posterior(figures, difficulty)
    uncertain = 0
    for image, colour, other, values in zip(*figures, ideal, strict=True):
        distance = [np.abs(image - c[:, None, None]).sum(0) for c in (colour, other)]
        expected = by_counting(distance[0] < distance[1])
        assert softmax(values) == pytest.approx(expected, abs=1e-6)
        uncertain += expected.max() < 0.99
    assert uncertain > 3


def test_whole_letters_leave_no_doubt_and_hidden_ones_do():
    plain = ceiling(100, seed=0, difficulty=Difficulty(missing=0, worn=0, noise=5, contrast=150))
    assert plain == {"fine": 1, "coarse": 1, "within_coarse": 1}
    worn = ceiling(100, seed=0, difficulty=Difficulty(missing=0, worn=0.6, noise=5, contrast=150))
    assert worn["coarse"] > worn["within_coarse"] < 0.9
    missing = ceiling(100, seed=0, difficulty=Difficulty(missing=0.8, worn=0, noise=5))
    assert missing["within_coarse"] > missing["coarse"] < 0.9


def test_the_command_prints_a_line_for_each_question(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["navon_ceiling.py", "--figures", "20", "--worn", "0"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fine", "coarse", "within_coarse"]
    assert all("standard error" in line for line in lines)
