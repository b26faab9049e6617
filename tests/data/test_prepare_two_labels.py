"""prepare_folders.py on a table whose two columns of labels say nothing about each other."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.hierarchy import read_hierarchy
from common.data.index import read_index
from data_scripts import index_folders, prepare_folders

COLOURS, SHAPES = ("red", "green", "blue"), ("ball", "cube")


def toys(root: Path, count: int, colours=COLOURS) -> Path:
    """So many different pictures of each colour and shape, with a table of them."""
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    with (root / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "main_colour", "shape"])
        for colour in colours:
            for shape in SHAPES:
                for i in range(count):
                    name = f"{colour}-{shape}-{i}.png"
                    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                    Image.fromarray(pixels).save(root / name)
                    table.writerow([name, colour, shape])
    return root


def run(source: Path, *options: str, name: str = "SET") -> int:
    out = ["--out-dir", str(source.parent / name), "--size", "8"]
    return prepare_folders.main([str(source), *out, *options])


INDEPENDENT = ("--columns", "path,main_colour,shape", "--independent")


def test_two_columns_of_a_table_become_two_independent_labels(tmp_path, capsys) -> None:
    root = tmp_path / "SET"
    assert run(toys(tmp_path / "toys", 20), *INDEPENDENT) == 0
    assert "kept apart" not in capsys.readouterr().out
    found = read_hierarchy(root)
    assert (found.nested, found.level_names) == (False, {"fine": "main colour", "coarse": "shape"})
    assert sorted(found.fine.values()) == sorted(COLOURS)
    assert sorted(found.coarse.values()) == sorted(SHAPES)
    index = read_index(root, nested=False)
    assert len(index) == 120
    for place, image in enumerate(index.image):
        colour, shape, _ = image.split("-")
        assert found.fine[index.fine[place]] == colour
        assert found.coarse[index.coarse[place]] == shape
    # A fifth of each pair is for testing, and a tenth of the rest held out.
    pairs = list(zip(index.fine.tolist(), index.coarse.tolist(), strict=True))
    test = np.array(index.split) == "test"
    for chosen, count in ((test, 4), (index.held_out, 2)):
        drawn = Counter(pair for pair, one in zip(pairs, chosen, strict=True) if one)
        assert drawn == dict.fromkeys(set(pairs), count)
    page = (root / "prepared.md").read_text()
    assert "|  | ball | cube |" in page
    assert "| blue | 20 | 20 |" in page


def test_classes_keep_their_numbers_when_others_are_added(tmp_path) -> None:
    root = tmp_path / "SET"
    assert run(toys(tmp_path / "toys", 12), *INDEPENDENT) == 0
    before = read_hierarchy(root)
    assert run(tmp_path / "toys", *INDEPENDENT) == 0
    assert read_hierarchy(root) == before
    toys(tmp_path / "toys", 12, (*COLOURS, "amber"))
    assert run(tmp_path / "toys", *INDEPENDENT, "--levels", "hue", "form") == 0
    after = read_hierarchy(root)
    assert after.fine == before.fine | {3: "amber"}
    assert after.coarse == before.coarse
    assert after.level_names == {"fine": "hue", "coarse": "form"}


def test_without_the_option_a_colour_of_two_shapes_is_two_classes_as_before(
    tmp_path, capsys
) -> None:
    assert run(toys(tmp_path / "toys", 3), *INDEPENDENT[:2]) == 0
    assert "kept apart" in capsys.readouterr().out
    assert read_hierarchy(tmp_path / "SET").nested
    # And from there to two labels.
    assert run(tmp_path / "toys", *INDEPENDENT) == 0
    assert sorted(read_hierarchy(tmp_path / "SET").fine.values()) == sorted(COLOURS)


@pytest.mark.parametrize(
    "options", [("--independent",), ("--independent", "--columns", "path,shape")]
)
def test_independent_labels_take_the_names_of_their_columns(tmp_path, capsys, options) -> None:
    assert run(toys(tmp_path / "toys", 1), *options) == 1
    assert "or the columns of a table that hold the two labels" in capsys.readouterr().err
    assert not (tmp_path / "SET").exists()


@pytest.mark.parametrize(
    "options", [(), ("--independent",), ("--keep", "--fit", "pad", "--strict")]
)
def test_a_set_of_two_labels_prepared_again_is_the_same_set(tmp_path, options) -> None:
    assert run(toys(tmp_path / "toys", 12), *INDEPENDENT) == 0
    assert run(tmp_path / "SET", *options, name="AGAIN") == 0
    one, other = tmp_path / "SET", tmp_path / "AGAIN"
    assert read_hierarchy(other) == read_hierarchy(one)
    assert (other / "index.csv").read_text() == (one / "index.csv").read_text()
    pictures = [sorted(p.relative_to(root) for p in root.rglob("*.png")) for root in (one, other)]
    assert pictures[0] == pictures[1]


def test_what_is_said_goes_before_what_a_set_of_two_labels_says(tmp_path) -> None:
    assert run(toys(tmp_path / "toys", 3), *INDEPENDENT) == 0
    assert run(tmp_path / "SET", "--levels", "hue", "form", "--size", "12x8", name="AGAIN") == 0
    before, after = read_hierarchy(tmp_path / "SET"), read_hierarchy(tmp_path / "AGAIN")
    assert (after.nested, after.fine, after.coarse) == (False, before.fine, before.coarse)
    assert after.level_names == {"fine": "hue", "coarse": "form"}


def test_nested_classes_prepared_again_keep_the_names_of_their_levels(tmp_path) -> None:
    beetles = tmp_path / "beetles"
    rng = np.random.default_rng(0)
    for species in ("stag/lucanus", "stag/dorcus", "ground/carabus"):
        (beetles / species).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(beetles / species / f"{number}.png")
    names = ("--levels", "species", "family")
    assert run(beetles, *names) == 0
    assert run(tmp_path / "SET", name="AGAIN") == 0
    found = read_hierarchy(tmp_path / "AGAIN")
    assert (found.nested, found.level_names) == (True, {"fine": "species", "coarse": "family"})


def test_labelled_folders_that_nobody_described_may_have_two_labels(tmp_path) -> None:
    assert run(toys(tmp_path / "toys", 3), *INDEPENDENT) == 0
    for file in ("hierarchy.yaml", "index.csv"):
        (tmp_path / "SET" / file).unlink()
    assert run(tmp_path / "SET", "--independent", name="AGAIN") == 0
    found = read_hierarchy(tmp_path / "AGAIN")
    assert (found.nested, found.level_names) == (False, {"fine": "fine", "coarse": "coarse"})
    assert (found.fine, found.coarse) == ({0: "0", 1: "1", 2: "2"}, {0: "0", 1: "1"})


def test_folders_that_index_folders_called_independent_are_prepared_as_such(tmp_path) -> None:
    assert run(toys(tmp_path / "toys", 12), *INDEPENDENT) == 0
    root = tmp_path / "SET"
    assert index_folders.main([str(root), "--levels", "hue", "form", "--split-seed", "5"]) == 0
    assert run(root, name="AGAIN") == 0
    found, index = read_hierarchy(tmp_path / "AGAIN"), read_index(tmp_path / "AGAIN", nested=False)
    assert (found.nested, found.level_names) == (False, {"fine": "hue", "coarse": "form"})
    assert index.held_out.tolist() == read_index(root, nested=False).held_out.tolist()
