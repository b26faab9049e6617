"""Figures that compare arms: what lies within their axes, what is named there, and what the captions explain."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.report import result_figures
from analysis.report.forest import ARROWS, against_cost, costs, forests
from analysis.report.verdicts import FEW, OPEN, SAME, Line, Verdict
from common.results.contrasts import same_within
from common.results.statistics import DifferenceRow
from study.arms import ONE_NETWORK, PRIMARY, REFERENCE, plain_name

HEMISPHERE = "fine"


def verdict(minus: str, mean: float, reach: float | None = None, seeds: int = 4) -> Verdict:
    ends = (None, None) if reach is None else (mean - reach, mean + reach)
    row = DifferenceRow(REFERENCE, minus, "fine", seeds, mean, None, *ends, margin=0.005)
    return Verdict(row, (0.5,), (0.5,))


def limits_and_arrows(monkeypatch, *verdicts: Verdict) -> tuple[tuple[float, float], int, str]:
    """Of the forest of one level: its limits, how many arrows it has, and the caption."""
    lines = [Line(one.row.minus, one.row.minus, (), {"fine": one}) for one in verdicts]
    group = SimpleNamespace(lines=lines)
    monkeypatch.setattr("analysis.report.forest.groups", lambda study: [group])
    ((svg, caption),) = forests(SimpleNamespace())
    (axes,) = svg.files.figure.axes
    return axes.get_xlim(), sum(text.get_text() in ARROWS for text in axes.texts), caption


@pytest.mark.parametrize("reach", [None, 0.3])
@pytest.mark.parametrize("first", [0.133, -0.58, 0.0])
def test_the_main_comparison_lies_within_the_scale_with_its_interval(monkeypatch, first, reach):
    others = [verdict(f"a{i}", 0.002 * i, 0.001) for i in range(5)]
    (low, high), _, _ = limits_and_arrows(monkeypatch, verdict(PRIMARY, first, reach), *others)
    assert low < 100 * (first - (reach or 0))
    assert high > 100 * (first + (reach or 0))


def test_only_an_outlier_is_an_arrow_and_no_half_of_the_scale_is_empty(monkeypatch):
    most = [verdict(f"a{i}", mean) for i, mean in enumerate((0.58, -0.077, -0.075, 0.568, 0.636))]
    (low, high), arrows, caption = limits_and_arrows(monkeypatch, *most)
    assert arrows == 0
    assert "arrow" not in caption
    assert -20 < low < -7.7
    assert 63.6 < high < 80
    near = [verdict(f"a{i}", 0.01 + 0.001 * i, 0.01) for i in range(4)]
    (low, high), arrows, caption = limits_and_arrows(monkeypatch, *near, verdict("far", 0.6, 0.01))
    assert arrows == 1
    assert "arrow: " in caption
    assert high < 5


def test_a_forest_of_nothing_has_a_scale(monkeypatch):
    (low, high), _, _ = limits_and_arrows(monkeypatch, verdict(PRIMARY, 0.0))
    assert low < 0 < high


def test_the_caption_of_a_forest_explains_what_is_in_it(monkeypatch):
    few, some = verdict(PRIMARY, 0.1, seeds=1), verdict(PRIMARY, 0.1, 0.2)
    assert (few.form, some.form) == (FEW, OPEN)
    caption = limits_and_arrows(monkeypatch, few)[2]
    assert "hollow" in caption
    assert "too few seeds" in caption
    assert not any(word in caption for word in ("95 %", "reen", "urple", "correction"))
    caption = limits_and_arrows(monkeypatch, some)[2]
    assert "95 % interval" in caption
    assert not any(word in caption for word in ("dashed", "hollow", "too few", "reen"))


def test_equivalence_which_is_not_corrected_is_not_called_so_in_the_caption(monkeypatch):
    open_, shown = verdict(PRIMARY, 0.1, 0.2), verdict(ONE_NETWORK, 0.0, 0.001)
    same = replace(shown, row=replace(shown.row, verdict=same_within(0.5)))
    assert same.form == SAME
    assert "correction" not in limits_and_arrows(monkeypatch, same)[2]
    said = limits_and_arrows(monkeypatch, open_, same)[2].lower()
    assert "not shown to differ after correction" in said
    assert "the same within the margin, after" not in said


def arms_of(**means: float) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(arm=arm, level="fine", mean=mean, parameters=1e6 * (2 + i % 2))
        for i, (arm, mean) in enumerate(means.items())
    ]


POOR = arms_of(
    **{HEMISPHERE: 0.009, REFERENCE: 0.1325, "unilateral": 0.022},
    **{"unilateral_second": 0.008, PRIMARY: 0.0225, ONE_NETWORK: 0.212},
)
# Most near each other, one far below and one far above.
APART = arms_of(
    **{REFERENCE: 0.5, PRIMARY: 0.51, ONE_NETWORK: 0.49, "unilateral": 0.505},
    **{HEMISPHERE: 0.1, "unilateral_second": 0.97},
)
HIGH = arms_of(
    **{REFERENCE: 0.9, PRIMARY: 0.901, ONE_NETWORK: 0.902, "unilateral": 0.903},
    **{HEMISPHERE: 0.1, "unilateral_second": 0.1, "product": 0.1, "mean": 0.1},
)


def drawn(rows: list[SimpleNamespace]) -> Figure:
    figure = Figure(figsize=(4.3, 3.1), layout="constrained")
    FigureCanvasSVG(figure)
    against_cost(figure, "", [(row, row.parameters / 1e6) for row in rows], "parameters")
    figure.canvas.draw()
    return figure


@pytest.mark.parametrize("rows", [POOR, APART, HIGH])
def test_every_arm_is_named_where_no_name_covers_a_point_or_another_name(rows):
    figure = drawn(rows)
    (axes,) = figure.axes
    names = [text for text in axes.texts if len(text.get_text()) > 1]
    said = " | ".join(text.get_text() for text in names)
    assert len(names) == len(rows)
    for row in rows:
        assert plain_name(row.arm)[:10] in said
    boxes = sorted((Text.get_window_extent(one) for one in names), key=lambda b: b.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    assert min(box.x0 for box in boxes) > axes.get_window_extent().x1
    assert max(box.x1 for box in boxes) <= figure.bbox.x1 + 1
    middles = [(box.y0 + box.y1) / 2 for box in boxes]
    assert axes.bbox.y0 - 1 <= min(middles) <= max(middles) <= axes.bbox.y1 + 1


@pytest.mark.parametrize("rows", [POOR, APART])
def test_the_reference_lies_within_the_axes_and_what_does_not_has_its_value_beside_an_arrow(rows):
    (axes,) = drawn(rows).axes
    low, high = axes.get_ylim()
    said = [text.get_text() for text in axes.texts]
    for row in rows:
        inside = low < row.mean < high
        assert inside or row.arm != REFERENCE
        mark = "↓" if row.mean < low else "↑"
        beyond = [one for one in said if one.startswith(f"{mark} {100 * row.mean:.2f} % ")]
        assert len(beyond) == (not inside)


def test_the_caption_of_costs_explains_what_is_there():
    (_, whole), *_ = costs(SimpleNamespace(summary=[with_costs(row) for row in POOR]))
    assert "arrow" not in whole
    assert "Dashed" in whole
    (_, cut), *_ = costs(SimpleNamespace(summary=[with_costs(row) for row in APART]))
    assert "arrow" in cut
    assert "Dashed" not in cut
    pair = [with_costs(row) for row in POOR if row.arm in (REFERENCE, HEMISPHERE)]
    (_, few), *_ = costs(SimpleNamespace(summary=pair))
    assert "black" not in few


def with_costs(row: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(**vars(row), train_macs=None)


@pytest.mark.parametrize(("reach", "explained"), [(None, False), (0.01, True)])
def test_the_caption_of_bars_explains_intervals_where_there_are_any(reach, explained):
    rows = [
        SimpleNamespace(
            arm=arm,
            level="fine",
            mean=mean,
            ci95_low=None if reach is None else mean - reach,
            ci95_high=None if reach is None else mean + reach,
            approximate=None,
            accuracy_chance=None,
        )
        for arm, mean in ((REFERENCE, 0.5), (PRIMARY, 0.51))
    ]
    study = SimpleNamespace(summary=rows, accuracies=lambda arm, level: {0: 0.5, 1: 0.51})
    ((_, caption),) = result_figures.bars(study)
    assert ("95 % interval" in caption) == explained
    assert not any(words in caption for words in ("arrow", "approximate", "chance"))
