"""What a study gives in Python: the rows of its csv files, its table when printed, and a figure."""

import csv
import io

import pytest
from helpers import finish
from PIL import Image

from bilateral import outcome, specialisation
from common.results.tables import write_tables
from common.system.errors import UserError
from common.system.letters import families
from study.arms import comparison

COSTS = {"parameters": 100, "trained_parameters": 100, "macs": 1000, "fingerprint": "f"}


@pytest.fixture
def study(tmp_path):
    """Two arms, three seeds, both levels."""
    for seed, more in enumerate((0.0, 0.01, 0.03)):
        for arm, base in (("bilateral", 0.5), ("unspecialised_pair", 0.45)):
            metrics = {
                level: {"loss": 1.0, "accuracy": base + more * (1 + (arm == "bilateral"))}
                for level in ("fine", "coarse")
            }
            finish(tmp_path / "study", arm, seed, COSTS | {"seeds": [seed]}, **metrics)
    return tmp_path / "study"


def test_rows_are_those_of_the_csv_files(study):
    write_tables(study, comparison())
    found = outcome(study)
    for name in ("results", "summary", "differences"):
        with (study / f"{name}.csv").open(newline="") as text:
            written = list(csv.DictReader(text))
        rows = getattr(found, name)
        assert len(rows) == len(written) > 0
        for row, line in zip(rows, written, strict=True):
            assert {key: "" if (v := getattr(row, key)) is None else str(v) for key in line} == line
    assert [*found] == found.summary
    assert found[0].arm == "bilateral"
    # Both ways round.
    pairs = {(row.arm, row.minus) for row in found.differences}
    assert pairs == {("bilateral", "unspecialised_pair"), ("unspecialised_pair", "bilateral")}
    assert sum(row.mean for row in found.differences) == pytest.approx(0)


def test_printed_it_is_the_table(study):
    found = outcome(study)
    text = repr(found)
    assert text.startswith("study: primary contrast, bilateral minus unspecialised_pair")
    for row in found.summary:
        assert f"{100 * row.mean:.2f} ± {100 * row.std:.2f} %" in text
    assert "| bilateral | fine | 3 |" in found._repr_markdown_()


def test_the_figure_shows_means_intervals_and_seeds(study):
    found = outcome(study)
    left, right = found.plot().axes
    assert (left.get_title(), right.get_title()) == ("fine labels", "coarse labels")
    assert left.title.get_fontfamily() == families()
    assert [tick.get_text() for tick in left.get_yticklabels()] == [
        "bilateral",
        "unspecialised_pair",
    ]
    row = found[0]
    seeds, mean, interval = left.lines[:3]
    expected = [
        100 * one.accuracy for one in found.results if (one.arm, one.level) == ("bilateral", "fine")
    ]
    assert list(seeds.get_xdata()) == expected
    assert list(mean.get_xdata()) == [100 * row.mean]
    assert list(interval.get_xdata()) == [100 * row.ci95_low, 100 * row.ci95_high]
    bottom, top = left.get_ylim()
    assert bottom > top  # the first arm on top


@pytest.mark.parametrize("reader", [outcome, specialisation])
def test_nothing_finished_is_a_sentence(tmp_path, reader):
    with pytest.raises(UserError, match="holds no finished stage"):
        reader(tmp_path)
    with pytest.raises(UserError, match=rf"no folder at {tmp_path}/none:"):
        reader(tmp_path / "none")
    stage = tmp_path / "demo/fine/seed0"
    stage.mkdir(parents=True)
    (stage / "result.yaml").touch()
    with pytest.raises(UserError, match=rf"one stage: give its study's, {tmp_path}/demo\."):
        reader(stage)
    with pytest.raises(UserError, match=rf"one arm: give its study's, {tmp_path}/demo\."):
        reader(stage.parent)
    with pytest.raises(UserError, match=rf"{tmp_path} holds studies: give one of them, demo\."):
        reader(tmp_path)
    with pytest.raises(UserError, match=r"result\.yaml is a file: give the folder"):
        reader(stage / "result.yaml")


def test_the_margin_is_that_of_the_study(study):
    write_tables(study, comparison(margin=9))
    with (study / "differences.csv").open(newline="") as text:
        written = [line["verdict"] for line in csv.DictReader(text)]
    assert [row.verdict for row in outcome(study).differences] == written
    assert "differs by less than 9" in written
    assert "differs by less than 9" not in [
        row.verdict for row in outcome(study, margin=1).differences
    ]


@pytest.mark.parametrize("margin", ["2", -3, 0, 101, float("nan"), True])
def test_a_margin_that_is_none_is_refused(study, margin):
    with pytest.raises(
        UserError, match=rf"^margin is {margin!r}; allowed: .* above 0 and at most 100"
    ):
        outcome(study, margin=margin)


def test_the_text_is_the_same_in_a_notebook_and_where_colours_are_forced(study, monkeypatch):
    expected = repr(outcome(study))
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert repr(outcome(study)) == expected


def test_a_notebook_shows_the_figure_as_a_picture(study):
    shown = Image.open(io.BytesIO(outcome(study).plot()._repr_png_()))
    assert (shown.format, shown.width > shown.height) == ("PNG", True)


def test_a_study_without_tests_is_not_drawn(tmp_path):
    finish(
        tmp_path / "study",
        "fine",
        0,
        COSTS | {"seeds": [0], "test": None},
        fine={"loss": 1.0, "accuracy": 0.5},
    )
    found = outcome(tmp_path / "study")
    assert len(found) == 0
    with pytest.raises(UserError, match=r"evaluate=false.*again with evaluate=true"):
        found.plot()
