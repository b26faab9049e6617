"""predictions.csv.gz: what is written is read again; equal bytes; what is damaged."""

import csv
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.results.predictions import (
    Prediction,
    read_predictions,
    read_right,
    write_predictions,
)
from common.settings.levels import LEVELS, SIDES
from common.system.errors import UserError


def one(image="a.png", **other) -> Prediction:
    values = {
        "label": {"fine": 7, "coarse": 1},
        "answer": {"fine": 3, "coarse": 1},
        "probability": {"fine": 0.25, "coarse": 0.75},
        "alone": {"left": {"fine": 3, "coarse": 0}, "right": {"fine": 9, "coarse": 1}},
    }
    return Prediction(image=image, **(values | other))


def test_the_file_as_another_program_reads_it(tmp_path):
    file = tmp_path / "predictions.csv.gz"
    write_predictions(file, [one(), one("b, c.png", probability={"fine": 1 / 3, "coarse": 1.0})])
    with gzip.open(file, "rt", newline="") as text:
        first, second = csv.DictReader(text)
    assert first == {
        "image": "a.png",
        "fine": "7",
        "fine_answer": "3",
        "fine_probability": "0.250000",
        "coarse": "1",
        "coarse_answer": "1",
        "coarse_probability": "0.750000",
        "left_fine": "3",
        "left_coarse": "0",
        "right_fine": "9",
        "right_coarse": "1",
    }
    assert (second["image"], second["fine_probability"]) == ("b, c.png", "0.333333")


def test_equal_predictions_give_equal_bytes(tmp_path, monkeypatch):
    files = [tmp_path / "one.csv.gz", tmp_path / "other.csv.gz"]
    for file, now in zip(files, (1e9, 1.5e9), strict=True):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_predictions(file, [one(), one("b.png")])
    assert files[0].read_bytes() == files[1].read_bytes()


@st.composite
def predictions(draw) -> list[Prediction]:
    levels = draw(st.sampled_from([("fine",), ("coarse",), LEVELS]))
    sides = draw(st.sampled_from([(), SIDES]))
    classes = st.fixed_dictionaries(dict.fromkeys(levels, st.integers(0, 999)))
    shares = st.integers(0, 1_000_000).map(lambda millionths: millionths / 1_000_000)
    made = st.builds(
        Prediction,
        image=st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1),
        label=classes,
        answer=classes,
        probability=st.fixed_dictionaries(dict.fromkeys(levels, shares)),
        alone=st.fixed_dictionaries(dict.fromkeys(sides, classes)),
    )
    return draw(st.lists(made, min_size=1, max_size=5))


@given(made=predictions())
def test_what_is_written_is_read_again(made, tmp_path_factory):
    file = tmp_path_factory.mktemp("any") / "predictions.csv.gz"
    write_predictions(file, made)
    assert read_predictions(file) == made
    images, right = read_right(file)
    assert [*images] == [one.image for one in made]
    assert {level: of.tolist() for level, of in right.items()} == {
        level: [one.label[level] == one.answer[level] for one in made] for level in made[0].label
    }


def packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        packed(""),
        packed("image\n"),
        packed("image,fine\na.png,1\n"),
        packed("image,fine,fine_answer,fine_probability\na.png,1,2\n"),
        packed("image,fine,fine_answer,fine_probability\na.png,1,x,0.5\n"),
        packed("image,fine,fine_answer,fine_probability\na.png,1,2,0.5\n")[:-9],
    ],
)
def test_a_damaged_file_is_named_in_one_sentence(content, tmp_path):
    file = tmp_path / "predictions.csv.gz"
    file.write_bytes(content)
    for read in (read_predictions, read_right):
        with pytest.raises(UserError, match=rf"{file} is damaged"):
            read(file)


def test_a_missing_file_is_named_with_what_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"is missing.*predictions=FILE"):
        read_predictions(tmp_path / "predictions.csv.gz")
