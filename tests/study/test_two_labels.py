"""A study of two independent labels: arms, losses and metrics that need a tree are left out, all else is there."""

import contextlib
import csv
import io
import re

import pytest
from small_sets import two_labels

import arch_dual_head.trainer
import predict
from bilateral import load
from common.data.tree import write_tree
from common.results.metrics import METRICS
from common.settings.compose import ROOT, SHARED, compose
from common.system.errors import UserError
from common.trained.export import metadata
from study.arms import ARMS
from study.plan import plan
from study.schema import StudyConfig
from train_system import study

TREE = [name for name, metric in METRICS.items() if "hierarchy" in metric.needs]


def arms_of(*overrides: str) -> set[str]:
    cfg = compose(
        ROOT, schema=StudyConfig, overrides=overrides, config_dir=SHARED, config_name="train_system"
    )
    return {stage.arm for stage in plan(cfg, overrides)}


def test_arms_that_need_a_tree_are_left_out_with_a_sentence(independent, navon, capsys):
    tree = [name for name, row in ARMS.items() if row.tree]
    asked = ["dataset=navon", f"arms=[bilateral,{','.join(tree)}]", "num_seeds=1"]
    nested = arms_of(*asked, f"dataset.root={navon}")
    assert set(tree) <= nested
    assert "left out" not in capsys.readouterr().out
    assert arms_of(*asked, f"dataset.root={independent}") == nested - set(tree)
    said = capsys.readouterr().out
    for name in tree:
        assert f"{name} is left out: it needs the coarse class of each fine class" in said


def test_a_study_of_which_no_arm_is_left_is_refused_in_a_sentence(independent):
    asked = ["dataset=navon", f"dataset.root={independent}", "num_seeds=1"]
    with pytest.raises(UserError, match="unilateral_hierarchy cannot be run on this data set"):
        arms_of(*asked, "arms=[unilateral_hierarchy]")


def test_a_loss_that_needs_a_tree_is_refused_in_a_sentence(independent, tiny, tmp_path, in_process):
    status, _, said = in_process(
        arch_dual_head.trainer.main,
        *tiny,
        f"dataset.root={independent}",
        f"save_dir={tmp_path}",
        "--config-name=unilateral",
        "hparams.loss=soft_hierarchy",
    )
    assert status == 1
    assert "hparams.loss=soft_hierarchy needs the coarse class of each fine class" in said
    assert "nested: false" in said
    assert "Traceback" not in said


def test_each_epoch_is_printed_with_the_names_of_levels(independent, tiny, tmp_path, in_process):
    status, out, _ = in_process(
        arch_dual_head.trainer.main,
        *tiny,
        f"dataset.root={independent}",
        f"save_dir={tmp_path}",
        "--config-name=unilateral",
    )
    assert status == 0
    (line, *_) = [line for line in out.splitlines() if "epoch 1/" in line]
    assert re.search(r"val local accuracy \d+\.\d %  val global accuracy \d+\.\d %", line)
    assert "fine" not in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    """A study of one seed on two labels, with its report; what it printed."""
    place = tmp_path_factory.mktemp("two")
    write_tree(two_labels(), place / "LABELS", split_seed=0)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        study(
            *tiny,
            f"dataset.root={place / 'LABELS'}",
            f"save_dir={place}",
            num_seeds=1,
            arms=["bilateral"],
            exp_name="two",
        )
    return place / "two", text.getvalue()


@pytest.mark.slow
def test_the_tables_have_names_of_levels_and_no_metric_of_a_tree(finished):
    place, printed = finished
    for name in ("results", "summary", "differences"):
        with (place / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {(row["level"], row["level_name"]) for row in rows} <= {
            ("fine", "local"),
            ("coarse", "global"),
        }
    with (place / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["fine", "coarse", "bilateral", "bilateral"]
    for row in rows:
        assert row["accuracy"]
        assert not any(row[name] or row[f"{name}_chance"] for name in TREE)
    for said in (printed, (place / "summary.md").read_text()):
        assert "independent (nested: false)" in said
        assert re.search(r"bilateral[ |]+local", said)
        assert not re.search(r"bilateral[ |]+fine", said)


@pytest.mark.slow
def test_the_report_says_local_and_global(finished):
    place, _ = finished
    page = re.sub(r'data-value="[^"]*"', "", (place / "report.html").read_text())
    shown = re.sub(r"(?s)<style.*?</style>|<script.*?</script>|<pre.*?</pre>", "", page)
    shown = shown.split('id="run"')[0]
    assert not (place / "analysis" / "failure.txt").exists()
    assert "metrics and arms that need a tree of classes" in shown
    assert "local labels" in shown
    assert "the global class" in shown
    for word in ("fine labels", "coarse labels", "fine head", "coarse head", "fine class"):
        assert word not in shown
    assert re.search(r"<td[^>]*>fine</td>", shown)  # arms keep their names
    assert 'id="attention"' in shown
    assert 'id="specialisation"' in shown
    with (place / "analysis/values.csv").open(newline="") as file:
        names = {(row["level"], row["level_name"]) for row in csv.DictReader(file)}
    assert {("fine", "local"), ("coarse", "global")} <= names
    with (place / "analysis/specialisation.csv").open(newline="") as file:
        assert {row["task"] for row in csv.DictReader(file)} == {"fine", "coarse"}


@pytest.mark.slow
def test_a_network_answers_by_the_names_of_levels(finished, in_process):
    place, _ = finished
    picture = next((place.parent / "LABELS/test/fine").rglob("*.png"))
    checkpoint = place / "bilateral/seed0/checkpoints/best.ckpt"
    status, said, _ = in_process(predict.main, f"checkpoint={checkpoint}", f"image={picture}")
    assert status == 0
    assert "local" in said
    assert "fine" not in said.replace(str(picture), "")
    trained = load(checkpoint)
    assert "local: 3 classes" in repr(trained)
    assert metadata(trained)["level_names"] == {"fine": "local", "coarse": "global"}
