"""Means, spreads and paired differences: known answers, values that are not independent, what a person sees."""

import csv
import math
import re

import pytest
import yaml
from helpers import arm, finish, row
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import logit
from scipy.stats import t as t_distribution
from scipy.stats import ttest_rel

from arch_single_head.schema import SingleConfig
from architectures import ARCHITECTURES
from common.results.comparison import Comparison
from common.results.rows import Row, collect, finished
from common.results.sections import sections
from common.results.statistics import differences, summarise
from common.results.tables import print_summary, write_tables
from common.runs.description import Stage
from common.runs.experiment import run_experiment
from common.settings.compose import ROOT, compose
from study.arms import REFERENCE, order

# Paired differences


def test_paired_difference_against_known_numbers():
    """0.10, 0.05, 0.10: mean 1/12, sd 0.05 / sqrt 3; Student's t of 2 degrees of freedom is 4.302653."""
    (found,) = differences([*arm("a", 0.5, 0.6, 0.7), *arm("b", 0.4, 0.55, 0.6)], Comparison())
    assert (found.arm, found.minus, found.level, found.seeds) == ("a", "b", "fine", 3)
    assert found.mean == pytest.approx(0.25 / 3)
    assert found.std == pytest.approx(0.05 / math.sqrt(3))
    half = 4.302653 * 0.05 / math.sqrt(3) / math.sqrt(3)
    assert found.ci95_low == pytest.approx(0.25 / 3 - half, abs=1e-7)
    assert found.ci95_high == pytest.approx(0.25 / 3 + half, abs=1e-7)


def test_pairs_are_of_the_same_seed_whatever_the_order():
    ours = arm("a", 0.5, 0.6, 0.7)
    theirs = arm("b", 0.4, 0.55, 0.6)
    assert differences([*ours[::-1], *theirs], Comparison())[0].mean == pytest.approx(0.25 / 3)
    # Seed 0 of one side only: two pairs, 0.05 and 0.10.
    (found,) = differences([*ours[1:], *theirs], Comparison())
    assert (found.seeds, found.mean) == (2, pytest.approx(0.075))


def test_one_pair_is_a_difference_without_a_spread():
    (found,) = differences([*arm("a", 0.5), *arm("b", 0.25)], Comparison())
    assert (found.seeds, found.mean) == (1, 0.25)
    assert (found.std, found.ci95_low, found.ci95_high) == (None, None, None)


def test_what_was_not_tested_or_has_no_partner_is_not_compared():
    assert differences([row("a", 0), row("b", 1)], Comparison()) == []
    assert differences([row("a", 0), row("b", 0, accuracy=None)], Comparison()) == []
    assert differences([row("a", level="fine"), row("b", level="coarse")], Comparison()) == []
    assert differences(arm("a", 0.5, 0.6), Comparison()) == differences([], Comparison()) == []


def test_a_single_network_of_all_seeds_is_compared_with_their_mean():
    five = arm("ensemble_five", 0.7, seeds=["0+1+2"])
    (found,) = differences([*arm("bilateral", 0.4, 0.5, 0.9), *five], Comparison())
    assert (found.seeds, found.std, found.ci95_low) == (1, None, None)
    assert found.mean == pytest.approx(0.6 - 0.7)
    (found,) = differences([*five, *arm("unilateral", 0.4, 0.5, 0.9, 0.1)], Comparison())
    assert found.mean == pytest.approx(0.7 - 0.6)


def test_every_pair_of_arms_and_level_in_the_order_of_the_table():
    rows = [row(name, level=level) for name in "cab" for level in ("coarse", "fine")]
    rows.append(row("fine_only"))
    found = [(d.arm, d.minus, d.level) for d in differences(rows, Comparison())]
    both = [(one, two, lv) for one, two in ("ca", "cb", "ab") for lv in ("fine", "coarse")]
    alone = [(name, "fine_only", "fine") for name in "cab"]
    assert sorted(found) == sorted(both + alone)
    assert found[:4] == [*both[:4]]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8),
)
def test_the_interval_is_that_of_the_paired_t_test(values):
    ours, theirs = zip(*values, strict=True)
    spread = [one - two for one, two in values]
    assume(max(spread) - min(spread) > 1e-3)
    (found,) = differences([*arm("a", *ours), *arm("b", *theirs)], Comparison())
    test = ttest_rel(ours, theirs)
    low, high = test.confidence_interval(0.95)
    assert found.p == pytest.approx(test.pvalue, abs=1e-9)
    # No two accuracies are further apart than 1.
    assert found.ci95_low == pytest.approx(max(low, -1), abs=1e-9)
    assert found.ci95_high == pytest.approx(min(high, 1), abs=1e-9)
    (reverse,) = differences([*arm("b", *theirs), *arm("a", *ours)], Comparison())
    assert reverse.mean == pytest.approx(-found.mean, abs=1e-12)
    assert reverse.ci95_low == pytest.approx(-found.ci95_high, abs=1e-12)


# Values that are not independent

CYCLE = ["0+1", "1+2", "2+0"]


def test_rows_that_share_seeds_have_a_wider_interval_that_is_called_approximate():
    (found,) = summarise(arm("ensemble", 0.5, 0.6, 0.7, seeds=CYCLE))
    (alone,) = summarise(arm("unilateral", 0.5, 0.6, 0.7))
    assert (found.seeds, found.mean, found.std) == (3, pytest.approx(0.6), pytest.approx(0.1))
    assert (found.approximate, alone.approximate) == (True, False)
    for end in ("ci95_low", "ci95_high"):
        wide, narrow = (logit(getattr(one, end)) - logit(0.6) for one in (found, alone))
        assert wide == pytest.approx(narrow * math.sqrt(2 / (1 - 1 / 2)))


def test_rows_of_several_seeds_that_share_none_have_an_exact_interval():
    mixed = arm("ensemble", 0.5, 0.7, 0.6, seeds=["0+1", "2+3", "4+5"])
    (found,), (alone,) = summarise(mixed), summarise(arm("ensemble", 0.5, 0.7, 0.6))
    assert found == alone
    assert found.approximate is False


def test_seeds_are_compared_as_numbers_not_as_text():
    for third, shared in (("12+21", False), ("12+2", True)):
        (found,) = summarise(arm("ensemble", 0.5, 0.7, 0.6, seeds=["1+2", "11+22", third]))
        assert found.approximate is shared


def test_rows_that_are_all_made_of_the_same_networks_have_no_interval():
    (found,) = summarise(arm("ensemble", 0.5, 0.7, 0.6, seeds=["0+1", "1+0", "0+1"]))
    assert (found.ci95_low, found.ci95_high, found.approximate) == (None, None, None)


def test_a_single_row_carries_its_one_value():
    (found,) = summarise(arm("ensemble_five", 0.5, seeds=["0+1+2+3+4"]))
    assert (found.seeds, found.mean) == (1, 0.5)
    assert (found.std, found.ci95_low, found.ci95_high) == (None, None, None)


def test_rows_that_were_not_tested_do_not_count_as_sharing():
    rows = arm("ensemble", 0.5, None, 0.7, 0.6, seeds=["0+1", "1+2", "2+3", "4+5"])
    (found,) = summarise(rows)
    assert (found.seeds, found.approximate) == (3, False)


def test_differences_with_an_arm_whose_rows_share_seeds_are_approximate():
    single, mixed = arm("a", 0.5, 0.6, 0.7), arm("b", 0.4, 0.55, 0.6, seeds=CYCLE)
    for rows, sign in (([*single, *mixed], 1), ([*mixed, *single], -1)):
        (found,) = differences(rows, Comparison())
        half = 2 * 4.302653 * 0.05 / math.sqrt(3) / math.sqrt(3)
        assert found.std == pytest.approx(0.05 / math.sqrt(3))
        assert found.ci95_low == pytest.approx(sign * 0.25 / 3 - half, abs=1e-7)
        assert found.approximate is True
        # Half as large a t as without sharing.
        assert found.p == pytest.approx(2 * t_distribution.sf(0.25 / 3 / (half / 4.302653), 2))


def test_a_network_that_shapes_two_differences_from_either_side_makes_them_approximate():
    # Neither arm shares seeds within itself, but seeds 1 and 2 are in two pairs.
    one, other = arm("a", 0.5, 0.6, 0.8), arm("b", 0.4, 0.5, 0.6, seeds=["1", "2", "3"])
    assert differences([*one, *other], Comparison())[0].approximate is True


# The other columns


def test_summary_of_the_further_metrics_and_costs():
    rows = [
        row(seed=0, top5=0.8, within_family=0.2, seconds=10.0, macs=7),
        row(seed=1, top5=0.9, within_family=None, seconds=20.0, macs=7),
    ]
    (found,) = summarise(rows)
    assert (found.top5_mean, found.top5_std) == (pytest.approx(0.85), pytest.approx(0.05 * 2**0.5))
    # Undefined for one of the seeds.
    assert (found.within_family_mean, found.within_family_std) == (0.2, None)
    assert (found.consistency_mean, found.consistency_std) == (None, None)
    assert (found.macs, found.seconds, found.parameters) == (7, 15, 12_345_678)


# Files


METRICS = {"accuracy": 0.5, "loss": 1.0, "top5": 1.0, "consistency": None, "within_family": None}
NEW = {"parameters": 3, "trained_parameters": 2, "macs": 1}


def cells(file) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_tables_have_empty_cells_and_no_nan(tmp_path):
    for seed in (0, 1):
        finish(tmp_path, "fine", seed, NEW | {"seeds": [seed]}, fine=METRICS)
        mixed = NEW | {"seeds": [seed, 1 - seed]}
        finish(tmp_path, "swapped", seed, mixed, fine=METRICS, coarse=METRICS)
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    assert [r["seeds"] for r in cells(tmp_path / "results.csv")] == ["0", "1"] + 2 * ["0+1"] + 2 * [
        "1+0"
    ]
    difference, back = cells(tmp_path / "differences.csv")
    assert (back["arm"], back["minus"]) == ("swapped", "fine")
    expected = {
        "arm": "fine",
        "minus": "swapped",
        "level": "fine",
        "seeds": "2",
        "mean": "0.0",
        "std": "0.0",
        **dict.fromkeys(("ci95_low", "ci95_high", "approximate", "p", "family", "p_holm"), ""),
        "margin": "0.005",
        **dict.fromkeys(("equivalence_p", "verdict", "seeds_needed"), ""),
        "level_name": "fine",
    }
    assert {name: difference[name] for name in expected} == expected
    for name in ("results", "summary", "differences"):
        text = (tmp_path / f"{name}.csv").read_text()
        assert not re.search(r"\b(nan|none|inf)\b", text, re.IGNORECASE), text
        lines = text.splitlines()
        assert len({line.count(",") for line in lines}) == 1


def test_results_of_an_earlier_version_are_shown_as_far_as_they_go(tmp_path):
    old = {"accuracy": 0.5, "loss": 1.0}
    for seed in (0, 1):
        finish(tmp_path, "fine", seed, {}, fine=old | {"accuracy": 0.5 - seed / 10})
    finish(tmp_path, "fine", 2, {}, fine=old | {"accuracy": 0.6})
    first = collect(finished(tmp_path))[0]
    assert (first.seeds, first.top5, first.macs) == ("0", None, None)
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    (line,) = cells(tmp_path / "summary.csv")
    assert (line["mean"], line["top5_mean"], line["macs"]) == ("0.5", "", "")
    assert line["own_minus_via_fine"] == ""
    assert 0 < float(line["ci95_low"]) < 0.5
    assert "nan" not in (tmp_path / "summary.md").read_text()


def test_arms_are_listed_in_the_order_of_the_study(tmp_path):
    names = [*order(), "aardvark", "zebra"]
    for name in sorted(names):
        finish(tmp_path, name, 0, NEW, fine=METRICS)
    assert [r.arm for r in collect(finished(tmp_path), order=order())] == names
    assert names[:3] == ["fine", "coarse", "bilateral"]


def test_a_stage_says_from_which_seeds_it_is_built(tiny, tmp_path):
    options = [*tiny, f"save_dir={tmp_path}", "exp_name=seeds", "trainer_params.max_epochs=1"]
    cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=options)
    stages = [
        Stage(arm="alone", seed=3, folder="arch_single_head", config=cfg),
        Stage(arm="mixed", seed=3, folder="arch_single_head", config=cfg, seeds=(3, 0)),
    ]
    run_experiment(stages, ARCHITECTURES, Comparison(order=order(), reference=REFERENCE))
    for name, seeds in (("alone", [3]), ("mixed", [3, 0])):
        result = yaml.safe_load((tmp_path / "seeds" / name / "seed3/result.yaml").read_text())
        assert result["seeds"] == seeds
    assert [r["seeds"] for r in cells(tmp_path / "seeds/results.csv")] == ["3", "3+0"]


# For a person


MEASURED = (
    *("top5", "consistency", "tice", "path"),
    *("within_family", "mistake_severity", "ahd1", "ahd5"),
    *("coarse_via_fine", "coarse_via_fine_sum", "within_coarse"),
)


def everything() -> list[Row]:
    """Every arm of the study with numbers as wide as they come."""
    rows = []
    for name in order():
        levels = [name] if name in ("fine", "coarse") else ["fine", "coarse"]
        for place, level in enumerate(levels):
            more = {"level": level, **dict.fromkeys(MEASURED, 1.0)}
            more |= {f"{name}_chance": 0.5 for name in MEASURED}
            if name == "ensemble_five":
                rows.append(row(name, 0, 0.8, seeds="0+1+2+3+4", **more))
            else:
                mixed = CYCLE if "swapped" in name or name == "ensemble" else None
                drop = 0.3 if name == "unilateral" else 0.01 * place
                rows += arm(name, 0.8, 0.5 - drop, 0.9, seeds=mixed, **more)
    return rows


@pytest.mark.parametrize("width", [40, 80, 100, 120, 200])
def test_no_number_is_cut_off_whatever_the_terminals_width(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = everything()
    print_summary(sections(rows, Comparison(reference=REFERENCE)), "study-NAVON")
    out = capsys.readouterr().out
    assert "…" not in out
    words = out.split()
    for section in sections(rows, Comparison(reference=REFERENCE)):
        for line in section.lines[1:]:
            for word in " ".join(line).split():
                assert word in words, word
    assert max(map(len, out.splitlines())) <= max(width, 80)


def test_a_wide_terminal_shows_intervals_beside_and_a_narrow_one_below(capsys, monkeypatch):
    rows = [*arm("fine", 0.4, 0.5, 0.6), *arm("bilateral", 0.5, 0.6, 0.8)]
    for width, pattern in (
        ("120", r"50\.00 ± 10\.00 % +27\.02 to"),
        ("60", r"50\.00 ± 10\.00 % +-13\.33\n +27\.02 to"),
    ):
        monkeypatch.setenv("COLUMNS", width)
        print_summary(sections(rows, Comparison(reference=REFERENCE)), "a study")
        assert re.search(pattern, capsys.readouterr().out)


def test_differences_to_the_bilateral_network_are_in_points_and_of_the_named_sign(tmp_path):
    rows = [
        *arm("fine", 0.50, 0.60, 0.55),
        *arm("bilateral", 0.60, 0.72, 0.66),
        *arm("unilateral", 0.55, 0.65, 0.60),
        *arm("ensemble_five", 0.9, seeds=["0+1+2"]),
    ]
    header, *lines = sections(rows, Comparison(reference=REFERENCE))[0].lines
    assert header[-1] == "minus bilateral\n95 % interval"
    shown = {line[0]: line[-1] for line in lines}
    # -10, -12 and -11: mean -11, sd 1, half the interval 4.302653 / sqrt 3. -5, -7 and -6 likewise.
    assert shown == {
        "fine": "-11.00\n-13.48 to -8.52",
        "bilateral": "–\n–",
        "unilateral": "-6.00\n-8.48 to -3.52",
        "ensemble_five": "+24.00\n–",
    }


def test_without_a_bilateral_network_there_is_no_such_column():
    for rows in (arm("fine", 0.5, 0.6), arm("bilateral", 0.5, 0.6)):
        assert "minus" not in str(sections(rows, Comparison(reference=REFERENCE)))
        assert "contrast" not in str(sections(rows, Comparison(reference=REFERENCE)))


def test_costs_stand_once_for_each_arm():
    rows = [row("bilateral", level=level) for level in ("fine", "coarse")]
    costs = sections(rows, Comparison(reference=REFERENCE))[-1]
    assert "costs" in costs.title
    assert costs.labels == 1
    assert costs.lines[1:] == [["bilateral", "12.346 (1.235)", "1,234.5", "1,234.5"]]


def test_the_page_is_markdown_with_all_three_tables(tmp_path):
    finish(tmp_path, "fine", 0, NEW, fine=METRICS)
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    page = (tmp_path / "summary.md").read_text()
    blocks = page.strip().split("\n\n")
    for table in (block for block in blocks if block.startswith("|")):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "An interval or a test takes 3 seeds or more." in blocks
    assert page.count("| --- |") == 3
