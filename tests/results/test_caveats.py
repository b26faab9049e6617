"""What limits the numbers of an experiment stands below its tables, wherever they are shown."""

import pytest
import yaml
from helpers import finish

from common.results.caveats import caveats
from common.results.comparison import Comparison
from common.results.outcome import read_outcome
from common.results.rows import finished
from common.results.tables import write_tables

METRICS = {"fine": {"accuracy": 0.5, "loss": 1.0}}


@pytest.mark.parametrize("part", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("limit", "debug"), [(1.0, False), (0.5, True), (1, True), (3, True)], ids=str
)
def test_numbers_of_only_some_batches_are_no_result(tmp_path, part, limit, debug):
    for seed in (0, 1):
        finish(tmp_path / "trial", "fine", seed, {}, **METRICS)
    params = {"max_epochs": 2, f"limit_{part}_batches": limit}
    config = tmp_path / "trial/fine/seed1/config.yaml"
    config.write_text(yaml.safe_dump({"trainer_params": params}))
    write_tables(tmp_path / "trial", Comparison(reference="fine"))
    outcome = read_outcome(tmp_path / "trial", Comparison(reference="fine"))
    for shown in (repr(outcome), outcome._repr_markdown_()):
        assert ("nothing here is a result" in shown) == debug
    assert ("(debug: no result): " in repr(outcome)) == debug
    for name in ("summary.md", "summary.tex"):
        assert ("nothing here is a result" in (tmp_path / "trial" / name).read_text()) == debug


def test_an_experiment_of_which_nothing_is_known_has_no_caveats(tmp_path):
    finish(tmp_path / "trial", "fine", 0, {}, **METRICS)
    assert caveats(tmp_path / "trial", finished(tmp_path / "trial")) == []
    assert repr(read_outcome(tmp_path / "trial", Comparison(reference="fine"))).startswith(
        "trial: "
    )


@pytest.mark.parametrize("val_dir", [None, "images/val/fine", "images/test/fine"])
def test_epochs_chosen_on_the_test_images_are_said(tmp_path, val_dir):
    finish(tmp_path, "fine", 0, {}, **METRICS)
    dataset = {"val_dir": val_dir, "test_dir": "images/test/fine"}
    (tmp_path / "fine/seed0/config.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
    found = caveats(tmp_path, finished(tmp_path))
    assert len(found) == (val_dir == "images/test/fine")
    assert all("no number here is held out" in sentence for sentence in found)


def test_what_is_missing_stands_below_the_tables_in_python_too(tmp_path):
    finish(tmp_path, "fine", 0, {}, **METRICS)
    hole = tmp_path / "fine/seed1/failed.yaml"
    hole.parent.mkdir()
    hole.write_text("reason: 'fine/seed1: no number'\n")
    outcome = read_outcome(tmp_path, Comparison(reference="fine"))
    assert repr(outcome).endswith("\nMissing: fine/seed1: no number")
    assert outcome._repr_markdown_().endswith("\n- Missing: fine/seed1: no number\n")


def test_a_copy_of_a_stage_misses_nothing(tmp_path):
    finish(tmp_path, "fine", 0, {}, **METRICS)
    hole = tmp_path / "fine/seed0-old/failed.yaml"
    hole.parent.mkdir()
    hole.write_text("reason: 'fine/seed0: no number'\n")
    assert caveats(tmp_path, finished(tmp_path)) == []
