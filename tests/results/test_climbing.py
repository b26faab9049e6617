"""Which arms had not done learning: the slope at the end of their curves, in the tables and as a sentence."""

import csv

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.results.comparison import Comparison
from common.results.rows import collect, finished
from common.results.sections import sections
from common.results.slope import slope
from common.results.tables import print_summary, write_tables


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60))
def test_the_slope_is_that_of_least_squares_over_the_last_fifth(curve):
    epochs = next(n for n in range(2, 61) if 5 * n >= len(curve))
    expected = np.polyfit(np.arange(epochs), curve[-epochs:], 1)[0]
    assert slope(curve) == pytest.approx(expected, abs=1e-9)


def test_what_comes_before_the_last_fifth_changes_nothing():
    assert slope([0.9] * 16 + [0.50, 0.51, 0.52, 0.53]) == pytest.approx(0.01)
    assert slope([0.9] * 15 + [0.50, 0.51, 0.52, 0.53]) == pytest.approx(0.01)
    assert slope([0.0, 1.0, 0.25, 0.5]) == pytest.approx(0.25)


def test_a_single_epoch_has_no_slope():
    assert slope([]) is None
    assert slope([0.5]) is None


def stage(experiment, arm, seed, **curves):
    """The result.yaml of a finished stage; the curve of each level, None for a stage of before there were any."""
    place = experiment / arm / f"seed{seed}"
    place.mkdir(parents=True)
    result = {"arm": arm, "seed": seed, "checkpoint": "checkpoints/best.ckpt", "best_epoch": 1}
    result |= {"epochs": 3, "seconds": 1.0}
    result |= {part: {level: {"accuracy": 0.5, "loss": 1.0} for level in curves} for part in VALUES}
    if None not in curves.values():
        result["validation_curve"] = curves
    (place / "result.yaml").write_text(yaml.safe_dump(result))


VALUES = ("validation", "test")


def written(experiment) -> tuple[dict, str]:
    """The slopes of results.csv by arm, seed and level, and the page for a person."""
    write_tables(experiment, Comparison(order=("fine", "coarse")))
    with (experiment / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    slopes = {(r["arm"], r["seed"], r["level"]): r["val_slope"] for r in rows}
    return slopes, (experiment / "summary.md").read_text()


def test_the_tables_show_the_mean_over_seeds_and_name_the_arms_that_climb(tmp_path, capsys):
    stage(tmp_path, "fine", 0, fine=[0.1, 0.500, 0.504])
    stage(tmp_path, "fine", 1, fine=[0.1, 0.500, 0.502])
    stage(tmp_path, "coarse", 0, coarse=[0.1, 0.700, 0.7015])
    stage(tmp_path, "old", 0, fine=None)
    slopes, page = written(tmp_path)
    assert float(slopes["fine", "0", "fine"]) == pytest.approx(0.004)
    assert slopes["old", "0", "fine"] == ""
    with (tmp_path / "summary.csv").open(newline="") as file:
        mean = {row["arm"]: row["val_slope"] for row in csv.DictReader(file)}
    assert float(mean["fine"]) == pytest.approx(0.003)
    for line in ("| fine | fine | +0.30 |", "| coarse | coarse | +0.15 |", "| old | fine | – |"):
        assert line in page
    print_summary(
        sections(collect(finished(tmp_path), order=("fine", "coarse")), Comparison()), "a study"
    )
    for text in (page, capsys.readouterr().out):
        # On a terminal the sentence may run over several lines.
        sentence = " ".join(text[text.index("Still climbing") :].partition("otherwise.")[0].split())
        assert "fine (fine, +0.30)" in sentence
        assert "coarse" not in sentence


def test_the_slopes_of_three_seeds_have_students_interval(tmp_path):
    slopes = [0.004, 0.001, 0.002]
    for seed, one in enumerate(slopes):
        stage(tmp_path, "fine", seed, fine=[0.1, 0.5, 0.5 + one])
    stage(tmp_path, "coarse", 0, coarse=[0.1, 0.700, 0.7015])
    _, page = written(tmp_path)
    low, high = stats.t.interval(0.95, 2, np.mean(slopes), stats.sem(slopes))
    with (tmp_path / "summary.csv").open(newline="") as file:
        fine, coarse = csv.DictReader(file)
    ends = [float(fine[f"val_slope_ci95_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx([low, high], abs=1e-6)
    assert coarse["val_slope_ci95_low"] == coarse["val_slope_ci95_high"] == ""
    assert f"| fine | fine | +0.23 | {100 * low:+.2f} to {100 * high:+.2f} |" in page
    assert "| coarse | coarse | +0.15 | – |" in page
    # Above 0.2 points in the mean, but it may be nothing.
    assert low < 0
    assert "climbing" not in page


def test_three_seeds_that_climb_alike_are_named(tmp_path):
    for seed, gain in enumerate([0.004, 0.005, 0.006]):
        stage(tmp_path, "fine", seed, fine=[0.1, 0.5, 0.5 + gain])
    _, page = written(tmp_path)
    assert "Still climbing by more than 0.2 points an epoch" in page
    assert "fine (fine, +0.50)" in page


def test_where_no_arm_climbs_nothing_is_said(tmp_path):
    stage(tmp_path, "fine", 0, fine=[0.1, 0.500, 0.4])
    _, page = written(tmp_path)
    assert "| fine | fine | -10.00 |" in page
    assert "climbing" not in page


def test_without_curves_there_is_no_table_of_slopes(tmp_path):
    stage(tmp_path, "fine", 0, fine=None)
    _, page = written(tmp_path)
    assert "slope" not in page.lower()
    assert "climbing" not in page
