"""The throughput benchmark on a small set: every phase has a row, and a missing set is one sentence."""

import json
import math

import pytest

PROGRAM = "benchmarks/throughput.py"


def test_a_row_for_each_phase(command, navon, tmp_path):
    file = tmp_path / "rows.json"
    done = command(
        PROGRAM,
        *("--data-dir", str(navon), "--backbones", "resnet9", "--width", "0.125"),
        *("--batch-size", "32", "--rounds", "1", "--steps", "1"),
        *("--accelerator", "cpu", "--json", str(file)),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())
    assert [(row["phase"], row["backbone"], row["device"]) for row in rows] == [
        ("single", "resnet9", "cpu"),
        ("dual", "resnet9", "cpu"),
        ("eval", "resnet9", "cpu"),
    ]
    for row in rows:
        assert row["ours"] > 0
        assert row["ordinary"] > 0
        assert row["ratio"] == pytest.approx(row["ours"] / row["ordinary"], rel=0.01)
        for side in ("ours", "ordinary"):
            low, high = row[f"{side}_range"]
            assert low <= row[side] <= high
            assert row[f"{side}_peak_mib"] > 0
        # A bare loop runs beside single-head training; a matrix rate is a GPU's.
        assert (row["loop_cost"] is None) == (row["phase"] != "single")
        assert row["matrix_share"] is None
    assert math.isfinite(rows[0]["loop_cost"])
    for text in ("images/s", "one head", "two heads, frozen", "evaluation", "a bare loop's"):
        assert text in done.stdout


def test_a_missing_set_is_one_sentence(command, tmp_path):
    done = command(PROGRAM, "--data-dir", str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no prepared data set at")
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_the_pipeline_counts_all_of_a_study(command, navon, tmp_path):
    file = tmp_path / "seconds.json"
    done = command(
        "benchmarks/pipeline.py",
        *("--dataset", "navon", "--data-dir", str(navon), "--seeds", "2", "--json", str(file)),
        *("dataset.width=0.125", "trainer_params.max_epochs=1", "logger=csv"),
        OMP_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    seconds = {(row["phase"], row["part"]): row["seconds"] for row in result["rows"]}
    assert len(seconds) == len(result["rows"])
    assert {phase for phase, _ in seconds} == {
        "start-up",
        "fine",
        "coarse",
        "bilateral",
        "the rest",
    }
    for arm in ("fine", "coarse", "bilateral"):
        for part in ("images", "training", "evaluation"):
            assert seconds[arm, part] > 0
    assert seconds["start-up", "imports"] > 1
    assert {phase for phase, part in seconds if part == "features"} == {"bilateral"}
    # Nothing is counted twice, nothing is lost.
    assert sum(seconds.values()) == pytest.approx(result["seconds"], abs=0.2)
    assert (result["dataset"], result["seeds"]) == ("navon", 2)
    assert "bilateral/seed1: started" in done.stdout
    assert "start-up" in done.stdout
