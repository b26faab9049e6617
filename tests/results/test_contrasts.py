"""Tests of differences: each p a second way, which contrasts are one family, and what a person is told."""

import re
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from helpers import arm, row
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import nct, ttest_1samp
from scipy.stats import t as student_t

from common.results.comparison import Comparison
from common.results.contrasts import equivalence, holm, paired_t
from common.results.intervals import estimate
from common.results.power import power, seeds_needed
from common.results.rows import Row
from common.results.sections import sections
from common.results.statistics import differences, own_minus_via_fine, summarise
from common.results.tables import markdown, print_summary

NAMES = Comparison(reference="bilateral", primary="pair")


def closed(family: list[float]) -> list[float]:
    """Holm's p by its definition: the worst Bonferroni p of every set of the family that a test belongs to."""
    places = range(len(family))
    sets = [s for size in range(1, len(family) + 1) for s in combinations(places, size)]
    return [
        max(min(1, len(s) * min(family[i] for i in s)) for s in sets if place in s)
        for place in places
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(family):
    assert holm(family) == pytest.approx(closed(family))


def test_holm_against_known_numbers():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@pytest.mark.parametrize("margin", [0.1, 0.5, 3.0])
def test_equivalence_is_two_one_sided_tests(margin):
    values = np.random.default_rng(0).normal(0.2, 0.3, 6)
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue
    assert equivalence(estimate([*values]), margin) == pytest.approx(max(above, below))
    assert equivalence(estimate([*-values]), margin) == pytest.approx(max(above, below))


@pytest.mark.parametrize(
    "values", [[0.5], [0.5, 0.25], [0.5, 0.5, 0.5], [0.6 - 0.5, 0.3 - 0.2, 0.1]]
)
def test_too_few_or_equal_differences_are_not_tested(values):
    """The last three are 0.1 but for rounding."""
    assert paired_t(estimate(values)) is None
    assert equivalence(estimate(values), 1) is None


@given(
    images=st.integers(10, 2000),
    right=st.lists(st.floats(0, 1), min_size=3, max_size=40),
    ahead=st.integers(1, 5),
)
@example(images=60, right=[19 / 60, 21 / 60, 23 / 60], ahead=1)
def test_differences_of_as_many_images_in_each_seed_are_equal(images, right, ahead):
    """Accuracies are recorded with six digits, which leaves a millionth in their differences."""
    theirs = [round(share * (images - ahead)) for share in right]
    mine = [round((number + ahead) / images, 6) for number in theirs]
    rows = arm("one", *mine) + arm("other", *(round(number / images, 6) for number in theirs))
    (found,) = differences(rows, Comparison(reference="other"))
    assert found.mean == pytest.approx(ahead / images, abs=1e-6)
    assert (found.p, found.p_holm, found.ci95_low, found.seeds_needed) == (None,) * 4
    assert not found.verdict


def test_one_image_of_a_hundred_thousand_in_one_of_forty_seeds_is_a_difference():
    rows = arm("one", 0.50001, *[0.5] * 39) + arm("other", *[0.5] * 40)
    (found,) = differences(rows, Comparison(reference="other"))
    assert found.p == pytest.approx(ttest_1samp([1e-5, *[0] * 39], 0).pvalue)


# How many seeds


@pytest.mark.parametrize(("ratio", "seeds"), [(0.5, 34), (0.8, 15), (1.0, 10), (0.2, 199)])
def test_seeds_needed_against_published_tables(ratio, seeds):
    """Cohen's d of a paired t-test, 80 % power, two-sided 5 %."""
    assert seeds_needed(effect=ratio, deviation=1) == seeds
    assert seeds_needed(effect=-10 * ratio, deviation=10) == seeds


@given(st.floats(0.02, 3), st.floats(0.02, 3))
def test_one_seed_less_has_too_little_power(effect, deviation):
    seeds = seeds_needed(effect=effect, deviation=deviation)
    assert seeds >= 3
    for number in {seeds, max(3, seeds - 1)}:
        found = power(number, effect=effect, deviation=deviation)
        assert 0 < found <= 1
        assert (found >= 0.8) == (number == seeds)
        bound, shift = student_t.ppf(0.975, number - 1), effect / deviation * number**0.5
        assert shift > 20 or found == pytest.approx(nct.sf(bound, number - 1, shift), abs=1e-6)


def test_power_is_that_of_simulated_tests():
    values = np.random.default_rng(0).normal(0.8, 1, (20_000, 8))
    found = (ttest_1samp(values, 0, axis=1).pvalue < 0.05).mean()
    assert power(8, effect=0.8, deviation=1) == pytest.approx(found, abs=0.01)
    assert power(3, effect=1, deviation=1e-9) == 1


def test_a_hopeless_number_of_seeds_is_none():
    assert seeds_needed(effect=1e-6, deviation=1) is None


# Families


def study() -> list[Row]:
    """Fine: 'same' as bilateral, 'worse' by two points, 'noisy', and the primary 'pair'; coarse: two arms."""
    base = [0.90, 0.91, 0.92, 0.90, 0.93]
    shifts = {
        "same": [0.0005, -0.0005, 0.0, 0.0004, -0.0003],
        "worse": [-0.02, -0.021, -0.019, -0.0205, -0.0195],
        "noisy": [-0.06, 0.06, 0.04, -0.02, 0.0],
        "pair": [-0.006, -0.009, -0.004, -0.007, -0.005],
    }
    rows = arm("bilateral", *base) + arm("bilateral", *base, level="coarse")
    for name, shift in shifts.items():
        rows += arm(name, *(one + other for one, other in zip(base, shift, strict=True)))
    for name in ("noisy", "pair"):
        values = (one + other for one, other in zip(base, shifts[name], strict=True))
        rows += arm(name, *values, level="coarse")
    return rows


def test_contrasts_with_the_reference_are_one_family_and_the_primary_stands_apart():
    found = {(d.arm, d.minus, d.level): d for d in differences(study(), NAMES)}
    families = {key: d.family for key, d in found.items()}
    assert {key for key, family in families.items() if family == "primary"} == {
        ("bilateral", "pair", "fine"),
        ("bilateral", "pair", "coarse"),
    }
    reference = [key for key, family in families.items() if family == "reference"]
    assert len(reference) == 4
    assert {key[1] for key in reference} == {"same", "worse", "noisy"}
    for family in (reference, [key for key in families if families[key] == "primary"]):
        expected = closed([found[key].p for key in family])
        assert [found[key].p_holm for key in family] == pytest.approx(expected)
    others = [d for d in found.values() if d.family is None]
    assert others
    assert all(d.p is not None and (d.p_holm, d.verdict) == (None, None) for d in others)


def test_an_arm_with_the_numbers_of_another_is_not_tested_twice():
    def holm_of(rows):
        found = differences(rows, NAMES)
        return {(d.minus, d.level): d.p_holm for d in found if d.family == "reference"}

    once = holm_of(study())
    accuracies = [row.accuracy for row in study() if (row.arm, row.level) == ("worse", "fine")]
    twice = holm_of([*study(), *arm("again", *accuracies)])
    assert twice.pop(("again", "fine")) == twice["worse", "fine"] == once["worse", "fine"]
    assert twice == once


def test_without_names_nothing_is_a_family():
    assert {d.family for d in differences(study(), Comparison())} == {None}
    named = differences(study(), Comparison(reference="bilateral"))
    assert [d.family for d in named if "bilateral" in (d.arm, d.minus)] == ["reference"] * 6


def test_a_contrast_that_cannot_be_tested_is_not_counted():
    rows = study()
    more = [*rows, *arm("young", 0.5, 0.6), *arm("alone", 0.7, seeds=["0+1+2+3+4"])]
    before = {(d.arm, d.minus, d.level): d for d in differences(rows, NAMES)}
    after = {(d.arm, d.minus, d.level): d for d in differences(more, NAMES)}
    assert all(after[key] == before[key] for key in before)
    for name in ("young", "alone"):
        d = after["bilateral", name, "fine"]
        assert (d.p, d.p_holm, d.equivalence_p, d.verdict, d.seeds_needed) == (None,) * 5


@pytest.mark.parametrize(("margin", "shown"), [(0.5, "differs"), (4, "differs by less than 4")])
def test_the_word_says_what_the_tests_show(margin, shown):
    found = differences(study(), replace(NAMES, margin=margin))
    words = {(d.minus, d.level): d.verdict for d in found if d.arm == "bilateral"}
    assert words["same", "fine"] == f"the same within {margin}"
    assert words["worse", "fine"] == words["pair", "fine"] == shown
    assert words["noisy", "fine"] == "undecided"
    assert {d.margin for d in found} == {margin / 100}


# What a person is told


def test_the_primary_contrast_stands_first_and_is_the_reference_minus_that_arm():
    first, second, third = sections(study(), NAMES)[:3]
    assert "primary contrast, bilateral minus pair" in first.title
    assert [line[0] for line in first.lines[1:]] == ["fine", "coarse"]
    assert first.lines[1][2].startswith("+0.62\n+0.")
    assert "test accuracy" in second.title
    assert "contrasts" in third.title
    assert {line[0] for line in third.lines[1:]} == {"same", "worse", "noisy"}
    assert "primary" not in sections(study(), Comparison(reference="bilateral"))[0].title


def test_survivors_have_a_star_and_the_line_below_says_how_many_seeds_it_takes():
    text = markdown(sections(study(), NAMES))
    assert re.search(
        r"\| worse \| fine \| -2\.00 \| <0\.0001 \| <0\.0001 \* \| differs \| 3 \|", text
    )
    assert re.search(
        r"\| noisy \| fine \| \+0\.40 \| 0\.\d+ \| 1\.0000 \| undecided \| \d+ \|", text
    )
    needed = [d.seeds_needed for d in differences(study(), NAMES) if d.family == "reference"]
    assert f"{min(needed)} to {max(needed)} seeds would show a difference of 0.5 points" in text
    assert "corrected for the 4 tests of this table" in text
    assert "the same within 0.5: two one-sided tests" in text


def test_a_study_of_two_seeds_is_told_why_nothing_was_tested(capsys):
    rows = [*arm("bilateral", 0.5, 0.6), *arm("pair", 0.4, 0.45), *arm("other", 0.4, 0.45)]
    print_summary(sections(rows, NAMES), "a study")
    out = capsys.readouterr().out
    assert "An interval or a test takes 3 seeds or more." in out
    assert "Holm:" not in out
    assert "undecided" not in out


def test_a_difference_of_fewer_seeds_than_the_arm_has_says_of_how_many():
    four = [0.5, 0.62, 0.7, 0.65]
    rows = [*arm("fine", *four), *arm("bilateral", 0.6, 0.6, 0.76), *arm("few", *four)[:3]]
    read = sections(rows, Comparison(reference="bilateral"))
    accuracies, contrasts = (one for one in read if one.title.startswith(("test acc", "contrasts")))
    assert [line[4].split("\n")[0] for line in accuracies.lines[1:]] == ["-4.67 (3)", "–", "-4.67"]
    assert [line[2] for line in contrasts.lines[1:]] == ["-4.67 (3)", "-4.67"]
    for one in (accuracies, contrasts):
        assert any("the difference is of n seeds" in note for note in one.notes)
    whole = [*arm("fine", *four), *arm("bilateral", *four)]
    assert "of n seeds" not in markdown(sections(whole, Comparison(reference="bilateral")))


def test_an_approximate_interval_is_marked():
    ring = ["0+1", "1+2", "2+0"]
    rows = [*arm("bilateral", 0.5, 0.6, 0.7), *arm("mixed", 0.4, 0.45, 0.6, seeds=ring)]
    text = markdown(sections(rows, Comparison(reference="bilateral")))
    line = next(line for line in text.splitlines() if line.startswith("| mixed"))
    assert line.count("≈ ") == 2
    assert "≈: approximate" in text


@pytest.mark.parametrize("width", [80, 100])
def test_tables_of_contrasts_fit_the_terminal(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [
        one
        for name in ("bilateral", "bilateral_swapped_coarse")
        for one in arm(name, 0.9, 0.8, 0.7)
    ]
    rows += arm("bilateral_nonspecialised", 0.90001, 0.8, 0.70001)
    print_summary(
        sections(rows, Comparison(reference="bilateral", primary="bilateral_swapped_coarse")),
        "study-NAVON",
    )
    out = capsys.readouterr().out
    assert "the same within 0.5" in out
    assert max(map(len, out.splitlines())) <= width


# The coarse head and the coarse class of the fine head


@dataclass(frozen=True, kw_only=True)
class Later(Row):
    """A row that has the metric, whatever the table of metrics holds."""

    coarse_via_fine_sum: float | None = None


def with_via(rows, *values):
    return [
        Later(**asdict(one) | {"coarse_via_fine_sum": value})
        for one, value in zip(rows, values, strict=True)
    ]


def test_own_coarse_head_minus_via_fine():
    rows = [
        *with_via(arm("bilateral", 0.5, 0.6, 0.7), 0.9, 0.92, 0.94),
        *arm("bilateral", 0.88, 0.91, 0.91, level="coarse"),
        # A fine head alone has nothing to be compared with.
        *with_via(arm("fine", 0.5, 0.6, 0.7), 0.9, 0.92, 0.94),
    ]
    (found,) = own_minus_via_fine(rows)
    assert (found.arm, found.level, found.seeds) == ("bilateral", "coarse", 3)
    low, high = ttest_1samp([-0.02, -0.01, -0.03], 0).confidence_interval()
    assert (found.mean, found.ci95_low, found.ci95_high) == pytest.approx((-0.02, low, high))
    summary = {(r.arm, r.level): r for r in summarise(rows)}
    coarse = summary["bilateral", "coarse"]
    assert coarse.own_minus_via_fine == found.mean
    assert coarse.own_minus_via_fine_ci95_low == found.ci95_low
    assert summary["bilateral", "fine"].own_minus_via_fine is None
    (shown,) = [one for one in sections(rows, Comparison()) if "via fine" in one.title]
    assert shown.lines[1:] == [["bilateral", "3", "-2.00\n-4.48 to +0.48"]]


def test_arms_are_compared_by_the_coarse_class_that_their_fine_heads_give_too():
    via = {"bilateral": (0.6, 0.62, 0.7), "pair": (0.61, 0.65, 0.72)}
    rows = [
        one
        for name, values in via.items()
        for one in (
            *with_via(arm(name, 0.5, 0.5, 0.5), *values),
            *arm(name, 0.5, 0.6, 0.7 + 0.01 * len(name), level="coarse"),
        )
    ]
    # Has no fine head, so that its coarse one is compared alone.
    rows += arm("coarse", 0.5, 0.6, 0.71, level="coarse")
    found = {(d.arm, d.minus, d.level): d for d in differences(rows, NAMES)}
    both = found["bilateral", "pair", "coarse"]
    low, high = ttest_1samp([-0.01, -0.03, -0.02], 0).confidence_interval()
    said = (both.via_fine, both.via_fine_ci95_low, both.via_fine_ci95_high)
    assert said == pytest.approx((-0.02, low, high))
    other = both.swapped()
    turned = (other.via_fine, other.via_fine_ci95_low, other.via_fine_ci95_high)
    assert turned == pytest.approx((0.02, -high, -low))
    assert found["bilateral", "pair", "fine"].via_fine is None
    assert found["bilateral", "coarse", "coarse"].via_fine is None
    (shown,) = [one for one in sections(rows, NAMES) if "labels via fine" in one.title]
    assert shown.lines == [
        ["arm", "seeds", "minus bilateral\n95 % interval"],
        ["pair", "3", "+2.00\n-0.48 to +4.48"],
    ]


def test_studies_of_before_that_metric_have_no_such_table():
    rows = [row("bilateral"), row("bilateral", level="coarse")]
    assert own_minus_via_fine(rows) == []
    assert not any("via fine" in one.title for one in sections(rows, Comparison()))


def test_a_small_p_without_survival_has_no_star():
    base = [0.90, 0.91, 0.92, 0.90, 0.93]
    rows = arm("bilateral", *base)
    for number in range(4):
        shift = (0.02, 0.004, 0.016, 0.006, 0.01)
        # Not the same numbers, which would be one test.
        values = (one + other + number / 1e4 for one, other in zip(base, shift, strict=True))
        rows += arm(f"arm{number}", *values)
    found = [d for d in differences(rows, Comparison(reference="bilateral")) if d.family]
    assert all(d.p < 0.05 < d.p_holm for d in found)
    assert " * |" not in markdown(sections(rows, Comparison(reference="bilateral")))


def test_equal_differences_in_another_order_of_seeds_are_another_test():
    rows = arm("bilateral", 0.5, 0.5, 0.5)
    rows += arm("one", 0.55, 0.6, 0.6) + arm("other", 0.6, 0.55, 0.6) + arm("copy", 0.6, 0.55, 0.6)
    found = {
        d.minus: d
        for d in differences(rows, Comparison(reference="bilateral"))
        if d.arm == "bilateral"
    }
    assert [found[name].tests for name in ("one", "other", "copy")] == [2, 2, 2]
    assert found["one"].p_holm == pytest.approx(2 * found["one"].p)
    assert {d.verdict for d in found.values()} == {"undecided"}
    assert "corrected for the 2 tests" in markdown(
        sections(rows, Comparison(reference="bilateral"))
    )


def test_seeds_needed_of_shared_networks_count_the_widening():
    ring = ["0+1", "1+2", "2+3", "3+0"]
    alone, mixed = (
        differences(
            [*arm("a", 0.5, 0.62, 0.7, 0.6), *arm("b", 0.4, 0.55, 0.6, 0.55, seeds=seeds)],
            Comparison(),
        )[0]
        for seeds in (None, ring)
    )
    wide = (2 / (1 - 1 / 3)) ** 0.5
    assert alone.seeds_needed == seeds_needed(effect=0.005, deviation=alone.std)
    assert mixed.seeds_needed == seeds_needed(effect=0.005, deviation=wide * alone.std)
