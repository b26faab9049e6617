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
