"""Every small data set ends in a report or in one sentence: an analysis that a set cannot give is left out with one."""

import io
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from matplotlib.figure import Figure
from small_sets import Shape, shape, shapes, write_set, write_study

import train_system
from analysis import logistic, networks
from analysis.pipeline import analyse
from analysis.report import svg
from analysis.sections import attention
from analysis.sections.calibration import Calibration
from analysis.sections.lesions import Lesions
from analysis.seed import StudyImages
from analysis.specialisation import reading
from architectures import ARCHITECTURES
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
    refused = None
    try:
        index_folders(root, 0)
        remember(write_study(place / "study", root, of.seeds))
        page = analyse(place / "study").read_text()
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused.splitlines()) == 1
        return refused
    # What no sentence was written for leaves its traceback there.
    failure = place / "study/analysis/failure.txt"
    assert not failure.exists(), failure.read_text()
    assert "What was run" in page
    return page


class Sketch(Figure):
    """A figure that is drawn but for its letters, which take most of the time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs | {"layout": "none"})

    def savefig(self, file, **kwargs):
        file.write("<svg ></svg>" if isinstance(file, io.StringIO) else b"%PDF")


# What screen readers are told of some figures, by their names.
TITLES = {
    "accuracy-fine": "Test accuracy on fine labels by arm",
    "reliability-fine": "Reliability of the fine head",
    "reliability-coarse": "Reliability of the coarse head",
    "evidence-fine": "Evidence from either half for each fine class",
    "evidence-coarse": "Evidence from either half for each coarse class",
    "lesions-fine": "Accuracy of the fine head with features silenced",
    "cosine": "Cosine similarity of images within and between classes",
    "cka-matrix": "Linear CKA of all pairs of layers",
    "disagreement": "Images on which one hemisphere or neither was correct",
    "confusion": "Confusions of coarse classes",
}


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


def left_out(page: str) -> list[str]:
    return re.findall(r"Left out: (.*?)</p>", page)


TWO, NO_TEST, ONE_TEST = (
    shape([[(5, 3), (4, 2)]]),
    shape([[(5, 3), (4, 2)], [(5, 0)], [(5, 2)]]),
    shape([[(5, 1), (4, 1)], [(5, 1), (4, 1)]]),
)


@pytest.mark.parametrize(
    ("of", "said", "shown"),
    [
        pytest.param(
            TWO,
            ["how sure the coarse head is; the set has one coarse class only.",
             "whose features the coarse head uses; the set has one coarse class only.",
             "how alike images of two coarse classes are; there are no two such test images."],
            ["reliability-fine", "evidence-fine", "cosine", "cka-matrix"],
            id="one coarse class",
        ),
        pytest.param(
            ONE_TEST,
            ["how alike images of one fine class are; there are no two such test images."],
            ["reliability-coarse", "evidence-coarse", "cosine", "cka-matrix"],
            id="one test picture a class",
        ),
        pytest.param(
            NO_TEST, [], ["reliability-coarse", "disagreement", "confusion", "cosine"],
            id="a coarse class without test pictures",
        ),
        pytest.param(
            shape([[(4, 3)]]),
            ["how sure the fine head is; the set has one fine class only.",
             "how alike the hemispheres are; this takes 4 test images.",
             "how specialised the hemispheres are; with one coarse class, and one fine class in it, there is nothing "
             "to tell apart."],
            ["accuracy-fine", "lesions-fine"],
            id="one class",
        ),
    ],
)  # fmt: skip
def test_what_a_set_cannot_give_is_left_out_and_all_else_is_there(of, said, shown, tmp_path, quick):
    page = report(tmp_path / "one", of, quick)
    assert [sentence for sentence in said if sentence not in left_out(page)] == []
    drawn = {name for name in shown if f'aria-label="{TITLES[name]}"' in page}
    assert drawn == {*shown}


def test_a_class_without_training_pictures_keeps_its_coarse_class(tmp_path):
    root = write_set(tmp_path / "SET", shape([[(5, 3)], [(4, 2), (0, 2)]]))
    assert index_folders(root, 0).parent == {0: 0, 1: 1, 2: 1}
    networks = write_study(tmp_path / "study", root)
    bilateral = next(one for one in networks.values() if one.record.arm == "bilateral")
    data = ARCHITECTURES["arch_dual_head"].data(bilateral.cfg, seed=0)
    data.load()
    assert StudyImages(data, data.load_test()).parents.tolist() == [0, 1, 1]


def test_a_section_that_fails_spares_the_report(tmp_path, quick, monkeypatch, capsys):
    def fail(self, seed, found):
        raise ZeroDivisionError("no such luck")

    place = tmp_path / "one"
    report(place, TWO, quick)
    with monkeypatch.context() as patch:
        patch.setattr(Calibration, "compute", fail)
        patch.setattr(Lesions, "render", lambda self, found: [][0])
        page = analyse(place / "study").read_text()
    assert "calibration, which failed (ZeroDivisionError: no such luck)" in page
    assert "lesions, which failed (IndexError" in page
    assert 'id="calibration"' not in page
    assert 'id="contributions"' in page
    failure = place / "study/analysis/failure.txt"
    assert failure.read_text().count("Traceback") == 2
    said = capsys.readouterr().err
    assert said == f"warning: the report has no calibration, lesions: this failed, see {failure}.\n"
    analyse(place / "study")
    assert not failure.exists()


@draws(30)
@given(of=shapes())
def test_any_small_set_ends_in_a_report_or_one_sentence(of, tmp_path, quick):
    report(tmp_path / "one", of, quick)


@pytest.mark.slow
@draws(300)
@given(of=shapes(seeds=2))
def test_any_small_set_of_many_ends_in_a_report_or_one_sentence(of, tmp_path, quick):
    report(tmp_path / "one", of, quick)


@pytest.mark.slow
@draws(30)
@given(of=shapes(seeds=2))
def test_any_small_set_ends_so_with_its_letters_and_checkpoints(of, tmp_path):
    report(tmp_path / "one", of)


@pytest.mark.slow
@pytest.mark.parametrize(
    "of",
    [
        TWO,
        ONE_TEST,
        NO_TEST,
        shape([[(5, 3)], [(4, 2), (0, 2)]]),
        shape([[(2, 1)] * 4] * 5, (40, 24)),
    ],
)
def test_a_real_study_of_a_small_set_ends_in_a_report(of, tmp_path, in_process):
    root = write_set(tmp_path / "SET", of)
    index_folders(root, 0)
    status, out, err = in_process(
        train_system.main, "dataset=navon", f"dataset.root={root}", "dataset.width=0.125",
        "trainer_params.max_epochs=2", "hparams.batch_size=4", f"save_dir={tmp_path}",
        "exp_name=study", "num_seeds=2", "arms=[bilateral,unilateral]",
    )  # fmt: skip
    assert status == 0, err
    assert [
        line for line in err.splitlines() if not re.search("has no (training|test) image", line)
    ] == []
    assert out.splitlines()[-1] == f"Report: {tmp_path}/study/report.html"
    assert not (tmp_path / "study/analysis/failure.txt").exists()
