"""Tables over seeds: known numbers, order, what is missing; files that are whole or absent."""

import csv
import errno
import math
import shutil

import pytest
import yaml

from common.results.comparison import Comparison
from common.results.metrics import CHANCE, FURTHER
from common.results.rows import Row, collect, finished, write_result
from common.results.sections import sections
from common.results.statistics import summarise
from common.results.tables import print_summary, write_tables
from common.system.atomic_files import (
    link_or_copy,
    read_yaml,
    replacing,
    write_text,
    write_yaml,
)
from common.system.errors import UserError
from study.arms import REFERENCE, order


def row(arm="fine", seed=0, level="fine", accuracy=0.5, **other) -> Row:
    values = {
        "loss": 1.0,
        **dict.fromkeys(FURTHER),
        "top5": 0.75,
        "val_accuracy": 0.25,
        "val_loss": 2.0,
        "best_epoch": 1,
        "epochs": 2,
        "parameters": 30,
        "trained_parameters": 20,
        "macs": 10,
        "seeds": str(seed),
        "seconds": 3.0,
        "checkpoint": "best.ckpt",
    }
    return Row(arm=arm, seed=seed, level=level, accuracy=accuracy, **(values | other))


def stage(experiment, arm, seed, *, accuracy, validation=0.25):
    """The result.yaml that a finished stage leaves; accuracy per level, None where it was not tested."""
    place = experiment / arm / f"seed{seed}"
    place.mkdir(parents=True)
    result = {
        "arm": arm,
        "seed": seed,
        "seeds": [seed],
        "checkpoint": "checkpoints/best.ckpt",
        "best_epoch": 1,
        "epochs": 2,
        "seconds": 3.5,
        "parameters": 30_000,
        "trained_parameters": 20_000,
        "macs": 100_000,
        "validation": {level: {"accuracy": validation, "loss": 2.0} for level in accuracy},
        "test": {
            level: {
                "accuracy": value,
                "loss": 1.0,
                "top5": 0.75,
                "consistency": None,
                "within_family": 0.5 if level == "fine" else None,
            }
            for level, value in accuracy.items()
            if value is not None
        }
        or None,
    }
    (place / "result.yaml").write_text(yaml.safe_dump(result))


def table(file) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


# Numbers


def test_summary_against_known_numbers():
    """Mean 0.5, sample variance 32/700; Student's t of 7 degrees of freedom at 97.5 % is 2.364624.

    The logit of 0.5 is 0, where it rises by 4 for each unit of a share.
    """
    values = [0.2, 0.4, 0.4, 0.4, 0.5, 0.5, 0.7, 0.9]
    (found,) = summarise([row(seed=i, accuracy=value) for i, value in enumerate(values)])
    half = 4 * 2.364624 * math.sqrt(32 / 700) / math.sqrt(8)
    assert (found.arm, found.level, found.seeds) == ("fine", "fine", 8)
    assert found.mean == pytest.approx(0.5)
    assert found.std == pytest.approx(math.sqrt(32 / 700))
    assert found.ci95_low == pytest.approx(1 / (1 + math.exp(half)), abs=1e-6)
    assert found.ci95_high == pytest.approx(1 / (1 + math.exp(-half)), abs=1e-6)
    assert found.approximate is False


def test_two_seeds_have_a_spread_and_no_interval():
    (found,) = summarise([row(seed=seed, accuracy=value) for seed, value in enumerate((0.4, 0.6))])
    assert found.std == pytest.approx(0.1 * 2**0.5)
    assert (found.ci95_low, found.ci95_high, found.approximate) == (None, None, None)


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.5, 1.0])
def test_equal_values_have_no_spread_and_no_interval(accuracy):
    (found,) = summarise([row(seed=seed, accuracy=accuracy) for seed in range(3)])
    assert (found.mean, found.std) == (accuracy, 0)
    assert (found.ci95_low, found.ci95_high) == (None, None)


def test_one_seed_has_a_mean_and_no_spread():
    (found,) = summarise([row(accuracy=0.5)])
    assert (found.arm, found.level, found.seeds, found.mean) == ("fine", "fine", 1, 0.5)
    assert (found.std, found.ci95_low, found.ci95_high) == (None, None, None)


def test_seeds_without_a_test_result_do_not_count():
    rows = [row(seed=0, accuracy=0.5), row(seed=1, accuracy=None), row(seed=2, accuracy=0.75)]
    (found,) = summarise(rows)
    assert (found.seeds, found.mean) == (2, 0.625)
    assert summarise([row(accuracy=None)]) == []
    assert summarise([]) == []


def test_accuracy_zero_is_a_result():
    (found,) = summarise([row(seed=seed, accuracy=0.0) for seed in range(2)])
    assert (found.seeds, found.mean) == (2, 0)


def test_levels_of_an_arm_stand_together_fine_first():
    rows = [
        row(arm=arm, level=level, seed=seed)
        for seed in range(2)
        for arm in ("bilateral", "other")
        for level in ("coarse", "fine")
    ]
    assert [(r.arm, r.level) for r in summarise(rows)] == [
        ("bilateral", "fine"),
        ("bilateral", "coarse"),
        ("other", "fine"),
        ("other", "coarse"),
    ]


# What a study left


def test_rows_are_ordered_by_arm_seed_and_level(tmp_path):
    both = {"coarse": 0.5, "fine": 0.25}
    for seed in (10, 2):
        stage(tmp_path, "zebra", seed, accuracy={"fine": 0.5})
        stage(tmp_path, "bilateral", seed, accuracy=both)
        stage(tmp_path, "coarse", seed, accuracy={"coarse": 0.5})
        stage(tmp_path, "fine", seed, accuracy={"fine": 0.5})
    rows = collect(finished(tmp_path), order=order())
    assert [(r.arm, r.seed, r.level) for r in rows] == [
        ("fine", 2, "fine"),
        ("fine", 10, "fine"),
        ("coarse", 2, "coarse"),
        ("coarse", 10, "coarse"),
        ("bilateral", 2, "fine"),
        ("bilateral", 2, "coarse"),
        ("bilateral", 10, "fine"),
        ("bilateral", 10, "coarse"),
        ("zebra", 2, "fine"),
        ("zebra", 10, "fine"),
    ]


def test_tables_hold_what_the_stages_left(tmp_path):
    stage(tmp_path, "fine", 0, accuracy={"fine": 0.25})
    stage(tmp_path, "fine", 1, accuracy={"fine": 0.75})
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    first, second = table(tmp_path / "results.csv")
    assert first == {
        "arm": "fine",
        "seed": "0",
        "level": "fine",
        "accuracy": "0.25",
        "loss": "1.0",
        **dict.fromkeys(FURTHER, ""),
        "top5": "0.75",
        "within_family": "0.5",
        "val_accuracy": "0.25",
        "val_loss": "2.0",
        "best_epoch": "1",
        "epochs": "2",
        "parameters": "30000",
        "trained_parameters": "20000",
        "macs": "100000",
        "seeds": "0",
        "seconds": "3.5",
        "checkpoint": str(tmp_path / "fine/seed0/checkpoints/best.ckpt"),
        **dict.fromkeys(("train_macs", "train_images", "updates", "val_slope", *CHANCE), ""),
        "level_name": "fine",
    }
    assert (second["seed"], second["accuracy"]) == ("1", "0.75")
    (line,) = table(tmp_path / "summary.csv")
    first_columns = ["arm", "level", "seeds", "mean", "std", "ci95_low", "ci95_high"]
    assert list(line)[: len(first_columns)] == first_columns
    assert (line["seeds"], line["mean"]) == ("2", "0.5")
    assert float(line["std"]) == pytest.approx(math.sqrt(0.125))


def test_chance_is_a_line_of_the_printed_tables_and_columns_of_the_others(tmp_path):
    for seed in (0, 1):
        stage(tmp_path, "bilateral", seed, accuracy={"fine": 0.5, "coarse": 0.75})
        file = tmp_path / f"bilateral/seed{seed}/result.yaml"
        chance = {
            "fine": {"accuracy": 0.01, "loss": 4.6, "top5": 0.05, "within_family": 0.04},
            "coarse": {"accuracy": 0.05, "loss": 3.0, "top5": 0.25, "within_family": None},
        }
        write_result(file, read_yaml(file) | {"chance": chance})
    stage(tmp_path, "older", 0, accuracy={"fine": 0.5})
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    results, summary = (table(tmp_path / f"{name}.csv") for name in ("results", "summary"))
    for lines in (results, summary):
        shown = {(line["arm"], line["level"]): line for line in lines}
        assert shown["bilateral", "fine"]["accuracy_chance"] == "0.01"
        assert shown["bilateral", "coarse"]["top5_chance"] == "0.25"
        assert shown["bilateral", "coarse"]["within_family_chance"] == ""
        assert shown["older", "fine"]["top5_chance"] == ""
    page = (tmp_path / "summary.md").read_text()
    assert "| chance | fine | 5.00 % |\n| chance | coarse | 25.00 % |\n" in page
    assert "| chance | fine | 4.00 % |\n" in page


def test_results_are_written_with_full_precision(tmp_path):
    stage(tmp_path, "fine", 0, accuracy={"fine": 1 / 3})
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    assert float(table(tmp_path / "results.csv")[0]["accuracy"]) == 1 / 3


def test_missing_test_results_are_empty_and_the_page_shows_validation(tmp_path):
    stage(tmp_path, "fine", 0, accuracy={"fine": None}, validation=0.125)
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    (line,) = table(tmp_path / "results.csv")
    assert (line["accuracy"], line["loss"], line["val_accuracy"]) == ("", "", "0.125")
    assert table(tmp_path / "summary.csv") == []
    page = (tmp_path / "summary.md").read_text()
    assert "validation accuracy" in page
    assert "| fine | fine | 0 | 12.50 % |" in page


def test_page_for_a_person(tmp_path):
    stage(tmp_path, "fine", 0, accuracy={"fine": 0.4})
    stage(tmp_path, "fine", 1, accuracy={"fine": 0.6})
    stage(tmp_path, "coarse", 0, accuracy={"coarse": 0.875})
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[:7] == [
        "Test accuracy:",
        "",
        "| arm | level | seeds | accuracy | 95 % interval |",
        "| --- | --- | ---: | ---: | ---: |",
        "| fine | fine | 2 | 50.00 ± 14.14 % | – |",
        "| coarse | coarse | 1 | 87.50 % | – |",
        "",
    ]
    start = lines.index("Beyond accuracy:") + 2
    further = lines[start : start + 4]
    titles, _, fine, coarse = ([c.strip() for c in line.split("|")[1:-1]] for line in further)
    shown = [dict(zip(titles, cells, strict=True)) for cells in (fine, coarse)]
    assert [row["top-5"] for row in shown] == ["75.00 %", "75.00 %"]
    # What is measured of fine predictions has no line for an arm without any.
    place = lines.index("Mistakes of the fine prediction:")
    assert lines[place + 2 : place + 6] == [
        "| arm | level | within family |",
        "| --- | --- | ---: |",
        "| fine | fine | 50.00 % |",
        "",
    ]
    assert lines[-6:] == [
        "Costs, of one image and of training:",
        "",
        "| arm | parameters, M (trained) | multiply-adds, M | seconds |",
        "| --- | ---: | ---: | ---: |",
        "| fine | 0.030 (0.020) | 0.1 | 3.5 |",
        "| coarse | 0.030 (0.020) | 0.1 | 3.5 |",
    ]


def test_table_on_the_terminal(capsys):
    print_summary(
        sections([row(accuracy=0.4), row(seed=1, accuracy=0.6)], Comparison(reference=REFERENCE)),
        "a study",
    )
    out = capsys.readouterr().out
    assert "a study" in out
    assert "50.00 ± 14.14 %" in out


def test_unfinished_stages_are_left_out(tmp_path):
    stage(tmp_path, "fine", 0, accuracy={"fine": 0.5})
    (tmp_path / "fine" / "seed1" / "checkpoints").mkdir(parents=True)
    assert [r.seed for r in collect(finished(tmp_path))] == [0]


# Files that are whole or absent


def test_the_same_ensemble_is_listed_once(tmp_path):
    for seed, seeds in ((0, [0, 1]), (1, [1, 0]), (2, [2, 0])):
        stage(tmp_path, "ensemble", seed, accuracy={"fine": 0.5})
        file = tmp_path / f"ensemble/seed{seed}/result.yaml"
        result = yaml.safe_load(file.read_text())
        write_yaml(file, result | {"seeds": seeds, "trained_parameters": 0})
    assert [r.seeds for r in collect(finished(tmp_path))] == ["0+1", "2+0"]


def test_networks_of_the_same_two_seeds_are_two_where_their_weights_differ(tmp_path):
    parts = (
        {"fine": "a", "coarse": "b"},
        {"fine": "c", "coarse": "d"},
        {"fine": "b", "coarse": "a"},
    )
    for seed, sources in enumerate(parts):
        stage(tmp_path, "product", seed, accuracy={"fine": 0.5})
        place = tmp_path / f"product/seed{seed}"
        result = yaml.safe_load((place / "result.yaml").read_text())
        write_yaml(place / "result.yaml", result | {"seeds": [0, 1], "trained_parameters": 0})
        write_yaml(place / "fingerprint.yaml", {"sources": sources})
    assert [r.seed for r in collect(finished(tmp_path))] == [0, 1]


def test_a_copy_of_a_stage_is_no_further_seed(tmp_path):
    for seed in (0, 1):
        stage(tmp_path, "fine", seed, accuracy={"fine": 0.5})
    shutil.copytree(tmp_path / "fine/seed0", tmp_path / "fine/seed0-backup")
    assert [r.seed for r in collect(finished(tmp_path))] == [0, 1]
    shutil.copytree(tmp_path / "fine/seed1", tmp_path / "fine/seed2")
    with pytest.raises(UserError, match=r"fine/seed2/result.yaml is the result of fine/seed1"):
        collect(finished(tmp_path))


def test_file_is_replaced_in_one_step(tmp_path):
    target = tmp_path / "new" / "file.txt"
    write_text(target, "é one")
    assert target.read_text(encoding="utf-8") == "é one"
    with replacing(target) as temporary:
        temporary.write_text("two")
        assert target.read_text(encoding="utf-8") == "é one"
        assert temporary.parent == target.parent
    assert target.read_text() == "two"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("earlier")

    def fail():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_names_the_file_that_it_is_about(tmp_path):
    """What is copied has a name of its own; a write to a full disk has none, and is the target's."""
    source, target = tmp_path / "source", tmp_path / "target"
    with pytest.raises(FileNotFoundError) as missing:
        link_or_copy(source, target)
    assert missing.value.filename == str(source)

    def write_to_a_full_disk():
        with replacing(target):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as full:
        write_to_a_full_disk()
    assert full.value.filename == str(target)


def test_failure_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(TypeError):
        write_text(tmp_path / "file.txt", 3)
    assert list(tmp_path.iterdir()) == []


def test_failure_to_write_a_table_leaves_the_earlier_one(tmp_path, monkeypatch):
    stage(tmp_path, "fine", 0, accuracy={"fine": 0.5})
    write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    before = (tmp_path / "results.csv").read_text()
    stage(tmp_path, "fine", 1, accuracy={"fine": 0.5})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.system.atomic_files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_tables(tmp_path, Comparison(order=order(), reference=REFERENCE))
    assert (tmp_path / "results.csv").read_text() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_yaml_comes_back_as_it_was(tmp_path):
    content = {"b": [1, 2.5, None, True], "a": {"é": "1e-3", "x": 1e-3}}
    write_yaml(tmp_path / "file.yaml", content)
    assert read_yaml(tmp_path / "file.yaml") == content
    assert list(read_yaml(tmp_path / "file.yaml")) == ["b", "a"]
