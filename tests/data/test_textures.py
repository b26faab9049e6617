"""Shapes filled with textures: what is drawn, in all pairs equally often, as a set of two independent labels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from common.data.hierarchy import read_hierarchy
from common.data.index import read_index
from data_scripts import make_textures, prepare_cifar

PLAIN = make_textures.Difficulty(missing=0, worn=0, noise=0, contrast=60)
SHAPES, TEXTURES = list(make_textures.SHAPES), list(make_textures.TEXTURES)


def drawn(texture: str, shape: str, count: int) -> np.ndarray:
    """Figures uint8 (N, 3, 32, 32) without any difficulty."""
    labels = [
        np.full(count, names.index(name)) for names, name in ((TEXTURES, texture), (SHAPES, shape))
    ]
    return make_textures.draw(*labels, np.random.default_rng(0), PLAIN)


def test_all_pairs_come_equally_often_and_equal_seeds_give_equal_images() -> None:
    raw, same, other = (make_textures.make_textures(200, 100, seed) for seed in (3, 3, 4))
    assert raw.independent == ["texture", "shape"]
    assert (len(raw.fine_names), len(raw.coarse_names)) == (10, 10)
    assert not set(raw.fine_names) & set(raw.coarse_names)
    for split, count in ((raw.train, 2), (raw.test, 1)):
        pairs = Counter(zip(split.fine, split.coarse, strict=True))
        assert set(pairs.values()) == {count}
        assert len(pairs) == 100
        for name, fine, coarse in zip(split.names, split.fine, split.coarse, strict=True):
            assert name.startswith(f"{SHAPES[coarse]}_of_{TEXTURES[fine]}_")
    assert np.array_equal(raw.train.images, same.train.images)
    assert not np.array_equal(raw.train.images, other.train.images)


def test_a_square_of_rows_is_a_square_of_two_tones_in_rows() -> None:
    for image in drawn("rows", "square", 20):
        colours, inverse = np.unique(image.reshape(3, -1), axis=1, return_inverse=True)
        assert colours.shape[1] == 3
        inverse = inverse.reshape(32, 32)
        ground = inverse[0, 0]  # a square leaves a corner free, whatever its place
        inside = inverse != ground
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        square = inverse[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (square != ground).all()
        assert abs(square.shape[0] - square.shape[1]) <= 1
        assert 16 <= square.shape[0] <= 24
        assert (square == square[:, :1]).all()  # each row is of one tone
        # Two rows of one tone, two of the other, but where the shape begins and ends.
        changes = np.flatnonzero(np.diff(square[:, 0]))
        assert set(np.diff(changes)) == {2}


def test_any_two_shapes_and_any_two_textures_differ() -> None:
    u, v = np.meshgrid(np.linspace(-1, 1, 29), np.linspace(-1, 1, 29))
    outlines = np.stack([shape(u, v) for shape in make_textures.SHAPES.values()])
    x, y = np.meshgrid(np.arange(20), np.arange(20))
    # Wherever they begin: compared by how often the tone changes along six steps.
    changes = []
    for texture in make_textures.TEXTURES.values():
        tone = texture(x, y)
        steps = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
        changes.append([(tone ^ np.roll(tone, step, (0, 1)))[2:-2, 2:-2].mean() for step in steps])
    flat = outlines.reshape(10, -1)
    two = ~np.eye(10, dtype=bool)
    assert (flat[:, None] != flat[None]).mean(-1)[two].min() > 0.05
    rates = np.array(changes)
    assert np.abs(rates[:, None] - rates[None]).max(-1)[two].min() > 0.1


def test_difficulty_takes_parts_away() -> None:
    labels = np.zeros(300, int), np.full(300, SHAPES.index("square"))
    whole = make_textures.draw(*labels, np.random.default_rng(0), PLAIN)
    missing = make_textures.Difficulty(missing=0.5, worn=0, noise=0, contrast=60)
    parts = make_textures.draw(*labels, np.random.default_rng(0), missing)

    def area(images: np.ndarray) -> float:
        """The share of pixels that are not of the commonest colour of an image's border."""
        found = []
        for image in images.reshape(len(images), 3, -1):
            pixels = image.T.reshape(32, 32, 3)
            border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            colours, counts = np.unique(border, axis=0, return_counts=True)
            found.append((pixels != colours[counts.argmax()]).any(-1).mean())
        return float(np.mean(found))

    assert area(parts) / area(whole) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--worn", 0.6], "--worn 0.6: allowed are 0 to 0.5"),
        (["--train", 99], "at least 100 images"),
        (["--seed", -1], "a seed of 0 or more"),
    ],
)
def test_bad_numbers(tmp_path: Path, capsys, flags, said) -> None:
    assert make_textures.main([*map(str, flags), "--out-dir", str(tmp_path / "x")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_they_become_a_set_of_two_labels(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "TEXTURES"
    assert make_textures.main(["--train", "1000", "--test", "100", "--out-dir", str(raw)]) == 0
    assert prepare_cifar.main(["--raw-dir", str(raw), "--out-dir", str(out)]) == 0
    found = read_hierarchy(out)
    assert (found.nested, found.level_names) == (False, {"fine": "texture", "coarse": "shape"})
    index = read_index(out, nested=False)
    held = Counter(zip(index.fine[index.held_out], index.coarse[index.held_out], strict=True))
    assert set(held.values()) == {1}
    assert len(held) == 100
