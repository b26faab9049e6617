"""Every small data set ends in a report or in one sentence: an analysis that a set cannot give is left out with one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.figure import Figure
from small_sets import Shape, shape, shapes, write_set, write_study

from analysis import logistic, networks
from analysis.pipeline import analyse
from analysis.report import svg
from analysis.sections import attention
from analysis.specialisation import reading
from common.data.datamodule import load_folder_once
from common.system.errors import UserError
from common.training.metrics import LevelMetrics
from common.training.supervised import Supervised
from data_scripts.index_folders import index_folders


def report(place: Path, of: Shape, remember: Callable[[dict], None] = lambda _: None) -> str:
    """The page of untrained networks on a set; or the one sentence that says why there is none."""
    shutil.rmtree(place, ignore_errors=True)
    load_folder_once.cache_clear()
    root = write_set(place / "SET", of)
    try:
        index_folders(root, 0)
        remember(write_study(place / "study", root, of.seeds))
        page = analyse(place / "study").read_text()
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return str(error)
    # What no sentence was written for leaves its traceback there.
    failure = place / "study/analysis/failure.txt"
    assert not failure.exists(), failure.read_text()
    assert "What was run" in page
    return page


class Sketch(Figure):
    """A figure that is drawn but for its letters, which takes most of the time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs | {"layout": "none"})

    def savefig(self, file, **kwargs):
        file.write("<svg ></svg>")


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes time and depends on no set: letters, and networks written to a file and read again."""
    held: dict = {}
    monkeypatch.setattr(networks, "load_module", lambda path, _: held[path])
    monkeypatch.setattr(svg, "Figure", Sketch)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(attention, "CAM_IMAGES", 4)
    monkeypatch.setattr(attention, "PER_CASE", 1)
    made = Supervised.make_metrics
    monkeypatch.setattr(
        Supervised, "make_metrics", lambda m, s: made(m, s) if s == "test" else LevelMetrics({})
    )
    monkeypatch.setattr(reading, "STRENGTHS", logistic.STRENGTHS[3:5])
    monkeypatch.setattr(logistic.Fits.fit, "__defaults__", (logistic.STRENGTHS[3:5],))

    def remember(modules: dict) -> None:
        held.clear()
        held.update(modules)

    return remember


def draws(count: int):
    return settings(
        max_examples=count,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@draws(30)
@given(of=shapes())
def test_any_small_set_ends_in_a_report_or_one_sentence(of, tmp_path, quick):
    report(tmp_path / "one", of, quick)


@pytest.mark.slow
@draws(300)
@given(of=shapes(seeds=2))
def test_any_small_set_of_many_ends_in_a_report_or_one_sentence(of, tmp_path):
    report(tmp_path / "one", of)
