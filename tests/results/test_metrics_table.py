"""The table of metrics: columns, printed values and what is measured follow from a row."""

from dataclasses import dataclass, fields

import pytest
from helpers import arm

from common.results import metrics
from common.results.comparison import Comparison
from common.results.metrics import FURTHER, METRICS, NUMBER, Metric, applicable, further_columns
from common.results.rows import Row
from common.results.sections import sections
from common.results.statistics import SummaryRow
from common.results.tables import print_summary
from common.settings.levels import LEVELS


@pytest.mark.parametrize("name", METRICS)
def test_every_row_can_be_computed_and_says_how_it_is_read(name):
    row = METRICS[name]
    assert callable(row.load())
    assert row.better in ("higher", "lower")
    assert set(row.levels) <= set(LEVELS)
    assert row.title
    assert row.help


def test_the_columns_that_programs_read_stay_as_they_are():
    assert FURTHER[:3] == ("top5", "consistency", "within_family")


def test_columns_of_both_tables_follow_from_the_table_of_metrics():
    names = [item.name for item in fields(Row)]
    place = names.index("loss") + 1
    assert names[place : place + len(FURTHER) + 1] == [*FURTHER, "val_accuracy"]
    names = [item.name for item in fields(SummaryRow)]
    place = names.index("ci95_high") + 1
    expected = [f"{name}_{end}" for name in FURTHER for end in ("mean", "std")]
    assert names[place : place + len(expected) + 1] == [*expected, "parameters"]


def test_a_further_metric_is_a_column_where_the_others_are(monkeypatch):
    monkeypatch.setattr(metrics, "FURTHER", (*FURTHER, "confidence"))

    @dataclass
    @further_columns(after="arm", ends=("_mean", "_std"))
    class Small:
        arm: str
        seconds: float

    names = [item.name for item in fields(Small)]
    assert names[-3:] == ["confidence_mean", "confidence_std", "seconds"]
    assert names[0] == "arm"


def test_shares_are_printed_as_percentages_and_other_numbers_as_they_are():
    number = Metric("", "", title="nats", better="lower", shown=NUMBER)
    accuracy = METRICS["accuracy"]
    assert accuracy.text(0.12345) == "12.35 %"
    assert accuracy.text(0.5, 0.01) == "50.00 ± 1.00 %"
    assert number.text(1.23456) == "1.2346"
    assert number.text(1.5, 0.25) == "1.5000 ± 0.2500"
    assert number.text(None) == accuracy.text(None) == "–"


@pytest.mark.parametrize("balanced", [0.5, 0.4])
def test_balanced_accuracy_is_printed_where_it_is_not_the_accuracy(balanced, capsys):
    rows = arm("fine", 0.5, 0.5, balanced_accuracy=balanced)
    print_summary(sections(rows, Comparison(reference="fine")), "study")
    said = capsys.readouterr().out
    assert ("balanced accuracy" in said) == ("40.00 %" in said) == (balanced == 0.4)


def test_a_metric_is_left_out_where_something_that_it_needs_is_missing():
    both = applicable(tuple(METRICS), LEVELS, hierarchy=True)
    assert both["within_family"] == ["fine"]
    assert both["consistency"] == ["fine", "coarse"]
    assert "consistency" not in applicable(tuple(METRICS), ("fine",), hierarchy=True)
    assert {"consistency", "within_family"}.isdisjoint(
        applicable(tuple(METRICS), LEVELS, hierarchy=False)
    )
