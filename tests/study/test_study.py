"""train_system.py from end to end on a small Navon set: what it trains, writes, skips, extends and refuses."""

import csv
import fcntl
import shutil
from collections import Counter
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import arch_single_head.trainer
import train_system
from common.checkpoints.files import read
from common.data.index import read_index
from common.networks.backbones import build_backbone
from common.results.metrics import CHANCE, FURTHER
from common.training.module import TrainingModule

RESULTS = [
    *("arm", "seed", "level", "accuracy", "loss", *FURTHER),
    *("val_accuracy", "val_loss", "best_epoch", "epochs"),
    *("parameters", "trained_parameters", "macs", "seeds", "seconds", "checkpoint"),
    *("train_macs", "train_images", "updates", "val_slope", "level_name"),
    *CHANCE,
]
SUMMARY = [
    *("arm", "level", "seeds", "mean", "std", "ci95_low", "ci95_high"),
    *(f"{name}_{end}" for name in FURTHER for end in ("mean", "std")),
    *("parameters", "trained_parameters", "macs", "seconds", "approximate"),
    *("own_minus_via_fine", "own_minus_via_fine_ci95_low", "own_minus_via_fine_ci95_high"),
    *("train_macs", "val_slope", "val_slope_ci95_low", "val_slope_ci95_high", "level_name"),
    *CHANCE,
]
ARMS = {"fine": ["fine"], "coarse": ["coarse"], "bilateral": ["fine", "coarse"]}
TWO_STEPS = "trainer_params.limit_train_batches=2"


@pytest.fixture(scope="module")
def options(tiny) -> list[str]:
    return [*tiny, "trainer_params.precision=32-true"]


@pytest.fixture(scope="module")
def study(options, succeed, tmp_path_factory) -> SimpleNamespace:
    """A study of two seeds; tests must not change it."""
    save_dir = tmp_path_factory.mktemp("runs")
    said = succeed(
        train_system.main,
        *options,
        "analyse=false",
        f"save_dir={save_dir}",
        "exp_name=two",
        "num_seeds=2",
    )
    return SimpleNamespace(place=save_dir / "two", said=said)


@pytest.fixture
def again(study, options, in_process, tmp_path, monkeypatch):
    """Run train_system.py in a place that holds a copy of the study; counts the steps of each stage."""
    place = tmp_path / "two"
    shutil.copytree(study.place, place)
    steps: Counter[str] = Counter()
    for split in ("training", "test"):
        step = getattr(TrainingModule, f"{split}_step")

        def counting(self, batch, batch_idx, split=split, step=step):
            steps[f"{split} {self.record.arm} {self.record.seed}"] += 1
            return step(self, batch, batch_idx)

        monkeypatch.setattr(TrainingModule, f"{split}_step", counting)

    def command(*more: str, exp_name: str = "two") -> SimpleNamespace:
        steps.clear()
        status, out, err = in_process(
            train_system.main,
            *options,
            "analyse=false",
            f"save_dir={tmp_path}",
            f"exp_name={exp_name}",
            *more,
        )
        return SimpleNamespace(
            status=status, out=out, err=err, steps=dict(steps), place=tmp_path / exp_name
        )

    return command


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def equal_rows(place: Path, **wanted: str) -> list[dict[str, str]]:
    """Rows of results.csv without what may differ between equal results."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "checkpoint")}
        for row in table(place / "results.csv")
        if wanted.items() <= row.items()
    ]


def snapshot(place: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(place)): p.read_bytes()
        for p in place.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def best(place: Path, arm: str, seed: int = 0) -> Path:
    return place / arm / f"seed{seed}" / "checkpoints" / "best.ckpt"


def weights(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)["state_dict"]


def same_weights(one: Path, other: Path, prefix: str = "") -> bool:
    mine, theirs = (
        {k: v for k, v in weights(file).items() if k.startswith(prefix)} for file in (one, other)
    )
    return mine.keys() == theirs.keys() and all(mine[k].equal(theirs[k]) for k in mine)


# What it leaves behind


def test_a_study_leaves_its_files(study):
    found = {str(p.relative_to(study.place)) for p in study.place.rglob("*") if p.is_file()}
    stage = ["config.yaml", "environment.yaml", "fingerprint.yaml", "metrics.csv", "result.yaml"]
    stage += ["checkpoints/best.ckpt", "checkpoints/last.ckpt", "predictions.csv.gz"]
    expected = {f"{arm}/seed{seed}/{name}" for arm in ARMS for seed in (0, 1) for name in stage}
    assert found - {".lock"} == expected | {
        *("results.csv", "summary.csv", "differences.csv", "images.csv"),
        *("summary.md", "summary.tex", "plan.yaml"),
    }


def test_results_csv_has_one_row_per_arm_seed_and_level(study):
    rows = table(study.place / "results.csv")
    assert list(rows[0]) == RESULTS
    assert [(row["arm"], row["seed"], row["level"]) for row in rows] == [
        (arm, seed, level) for arm, levels in ARMS.items() for seed in "01" for level in levels
    ]


def test_results_csv_says_what_each_stage_found(study):
    for row in table(study.place / "results.csv"):
        place = study.place / row["arm"] / f"seed{row['seed']}"
        result = yaml.safe_load((place / "result.yaml").read_text())
        test, validation = (result[part][row["level"]] for part in ("test", "validation"))
        assert [float(row[name]) for name in ("accuracy", "loss", "val_accuracy", "val_loss")] == [
            test["accuracy"],
            test["loss"],
            validation["accuracy"],
            validation["loss"],
        ]
        assert [row[name] for name in ("best_epoch", "epochs", "seconds")] == [
            str(result[name]) for name in ("best_epoch", "epochs", "seconds")
        ]
        assert Path(row["checkpoint"]) == best(study.place, row["arm"], int(row["seed"]))
        # The fraction of 200 images.
        assert 0 <= float(row["accuracy"]) <= 1
        assert float(row["accuracy"]) * 200 == pytest.approx(round(float(row["accuracy"]) * 200))


def test_the_best_epoch_is_the_one_of_the_highest_mean_validation_accuracy(study):
    for arm, levels in ARMS.items():
        for seed in (0, 1):
            place = study.place / arm / f"seed{seed}"
            epochs = table(place / "metrics.csv")
            assert [row["epoch"] for row in epochs] == ["0", "1"]
            accuracies = [
                mean(float(row[f"val_{level}_accuracy"]) for level in levels) for row in epochs
            ]
            result = yaml.safe_load((place / "result.yaml").read_text())
            assert result["best_epoch"] == accuracies.index(max(accuracies)) + 1
            for level in levels:
                curve = [float(row[f"val_{level}_accuracy"]) for row in epochs]
                assert result["validation_curve"][level] == pytest.approx(curve, abs=1e-6)


def test_the_summary_is_mean_and_standard_deviation_over_seeds(study):
    """Two seeds have no interval."""
    rows, summary = table(study.place / "results.csv"), table(study.place / "summary.csv")
    assert list(summary[0]) == SUMMARY
    assert [(row["arm"], row["level"]) for row in summary] == [
        (arm, level) for arm, levels in ARMS.items() for level in levels
    ]
    for line in summary:
        values = [
            float(row["accuracy"])
            for row in rows
            if (row["arm"], row["level"]) == (line["arm"], line["level"])
        ]
        assert len(values) == int(line["seeds"]) == 2
        assert float(line["mean"]) == pytest.approx(mean(values))
        assert float(line["std"]) == pytest.approx(stdev(values))
        assert line["ci95_low"] == line["ci95_high"] == ""
        shown = f"{100 * mean(values):.2f} ± {100 * stdev(values):.2f} %"
        assert shown in study.said
        assert shown in (study.place / "summary.md").read_text()


def test_config_yaml_is_what_the_stage_ran_with(study, navon):
    for arm in ARMS:
        cfg = OmegaConf.load(study.place / arm / "seed1/config.yaml")
        assert not OmegaConf.missing_keys(cfg)
        assert "${" not in (study.place / arm / "seed1/config.yaml").read_text()
        assert cfg.trainer_params.max_epochs == 2
        tree = "coarse" if arm == "coarse" else "fine"
        assert cfg.dataset.train_dir == str(navon / "train" / tree)


def test_each_seeds_bilateral_network_is_made_of_that_seeds_hemispheres(study):
    for seed in (0, 1):
        for level in ("fine", "coarse"):
            bilateral, prefix = best(study.place, "bilateral", seed), f"network.hemispheres.{level}"
            assert same_weights(bilateral, best(study.place, level, seed), prefix)
            assert not same_weights(bilateral, best(study.place, level, 1 - seed), prefix)


def test_the_same_seed_gives_equal_results_and_another_seed_others(study, again):
    other = again("seeds=[1]", exp_name="other")
    assert other.status == 0, other.err
    assert equal_rows(other.place) == equal_rows(study.place, seed="1")
    assert same_weights(best(other.place, "bilateral", 1), best(study.place, "bilateral", 1))
    first, second = (equal_rows(study.place, seed=seed, arm="fine")[0] for seed in "01")
    assert first["val_loss"] != second["val_loss"]


# The same command again


def test_the_same_command_again_trains_and_tests_nothing(study, again):
    before = snapshot(study.place)
    second = again("num_seeds=2")
    assert second.status == 0, second.err
    assert second.steps == {}
    assert second.out.count("done before") == 6
    after = snapshot(second.place)
    changed = {name for name in before if before[name] != after[name]}
    # It names where the checkpoints lie now.
    assert changed == {"results.csv"}
    assert equal_rows(second.place) == equal_rows(study.place)


def test_more_seeds_extend_a_study(study, again):
    longer = again("num_seeds=3")
    assert longer.status == 0, longer.err
    assert longer.steps == {
        **{f"training {arm} 2": 8 for arm in ARMS},
        **{f"test {arm} 2": 1 for arm in ARMS},
    }
    for seed in "01":
        assert equal_rows(longer.place, seed=seed) == equal_rows(study.place, seed=seed)
    assert {row["seeds"] for row in table(longer.place / "summary.csv")} == {"3"}


def test_a_stage_whose_checkpoint_is_lost_is_trained_again_and_no_other(study, again, tmp_path):
    shutil.rmtree(tmp_path / "two/coarse/seed1")
    second = again("num_seeds=2")
    assert second.status == 0, second.err
    assert second.steps == {"training coarse 1": 8, "test coarse 1": 1}
    assert equal_rows(second.place) == equal_rows(study.place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("hparams.lr=0.001", "hparams.lr was 0.005 and is now 0.001"),
        ("dual.hparams.dropout=0.5", "hparams.dropout was 0.2 and is now 0.5"),
        pytest.param(
            "epochs.coarse=3",
            "trainer_params.max_epochs was 2 and is now 3",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "dataset.flip=true", "dataset.flip was false and is now true", marks=pytest.mark.slow
        ),
        ("trainer_params.precision=bf16-mixed", "trainer_params.precision was '32-true'"),
        pytest.param(
            "trainer_params.limit_val_batches=1.0",
            "trainer_params.limit_val_batches was 1",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "arch=resnet18",
            "hparams.arch was 'resnet9' and is now 'resnet18'",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_another_configuration_in_the_same_place_is_refused_by_what_differs(
    change, said, again, tmp_path
):
    before = snapshot(tmp_path / "two")
    refused = again("num_seeds=2", change)
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert said in refused.err
    assert "fresh=true" in refused.err
    assert refused.steps == {}
    assert snapshot(tmp_path / "two") == before


def test_an_arms_seeds_are_all_of_one_configuration(again, tmp_path):
    before = snapshot(tmp_path / "two")
    refused = again("seeds=[7]", "hparams.lr=0.001")
    assert refused.status == 1
    assert "hparams.lr was 0.005 and is now 0.001" in refused.err
    assert refused.steps == {}
    assert snapshot(tmp_path / "two") == before


def test_what_does_not_shape_results_may_change(again):
    same = again(
        "num_seeds=2",
        "hparams.num_workers=1",
        "trainer_params.enable_progress_bar=false",
        "trainer_params.log_every_n_steps=1",
        "logger=default",
    )
    assert same.status == 0, same.err
    assert same.steps == {}


@pytest.mark.slow
def test_fresh_writes_beside_earlier_studies_and_says_so(study, again, tmp_path):
    before = snapshot(tmp_path / "two")
    for name in ("two-2", "two-3"):
        fresh = again("num_seeds=1", "fresh=true", "no_bilateral=true", TWO_STEPS)
        assert fresh.status == 0, fresh.err
        assert f"writing to {tmp_path / name} (continue it with exp_name={name})" in fresh.out
        assert (tmp_path / name / "results.csv").is_file()
    assert snapshot(tmp_path / "two") == before
    first = again("num_seeds=1", "fresh=true", "no_bilateral=true", TWO_STEPS, exp_name="new")
    assert first.status == 0
    assert (tmp_path / "new/results.csv").is_file()


def test_a_second_command_in_the_same_place_stops_and_says_so(again, tmp_path):
    with (tmp_path / "two/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = snapshot(tmp_path / "two")
        refused = again("num_seeds=3")
        assert refused.status == 1
        assert refused.steps == {}
        assert f"Another command is running in {tmp_path / 'two'}" in refused.err
        assert snapshot(tmp_path / "two") == before
    assert again("num_seeds=2").status == 0


@pytest.mark.slow
def test_what_was_not_evaluated_is_only_tested_later(study, again):
    untested = again("num_seeds=1", "evaluate=false", exp_name="later")
    assert untested.status == 0, untested.err
    assert untested.steps == {f"training {arm} 0": 8 for arm in ARMS}
    rows = table(untested.place / "results.csv")
    assert {row["accuracy"] for row in rows} == {""}
    assert "validation accuracy" in (untested.place / "summary.md").read_text()
    tested = again("num_seeds=1", exp_name="later")
    assert tested.steps == {f"test {arm} 0": 1 for arm in ARMS}
    assert equal_rows(tested.place) == equal_rows(study.place, seed="0")


# What the study is made of


def test_no_bilateral_trains_the_hemispheres_only(study, again):
    halves = again("num_seeds=1", "no_bilateral=true", exp_name="halves")
    assert halves.status == 0, halves.err
    assert halves.steps.keys() == {
        f"{split} {arm} 0" for split in ("training", "test") for arm in ("fine", "coarse")
    }
    expected = [row for row in equal_rows(study.place, seed="0") if row["arm"] != "bilateral"]
    assert equal_rows(halves.place) == expected


def test_trained_models_are_used_instead_of_training(study, again, tmp_path):
    models = tmp_path / "models.yaml"
    lists = {level: [str(best(study.place, level, 1))] for level in ("fine", "coarse")}
    models.write_text(yaml.safe_dump(lists))
    reused = again("seeds=[1]", f"trained_models={models}", exp_name="reused")
    assert reused.status == 0, reused.err
    assert reused.steps == {"training bilateral 1": 8, "test bilateral 1": 1}
    assert equal_rows(reused.place) == equal_rows(study.place, seed="1", arm="bilateral")


def test_other_trained_models_are_not_taken_for_the_same(study, again, tmp_path):
    """Hemispheres of other seeds are of one configuration, but they are other hemispheres."""
    models = tmp_path / "models.yaml"
    for seed in (0, 1):
        lists = {level: [str(best(study.place, level, seed))] for level in ("fine", "coarse")}
        models.write_text(yaml.safe_dump(lists))
        reused = again("seeds=[5]", f"trained_models={models}", exp_name="reused")
        if reused.status == 0:
            prefix = "network.hemispheres.fine"
            bilateral = best(reused.place, "bilateral", 5)
            assert same_weights(bilateral, best(study.place, "fine", seed), prefix)
        else:
            assert "model_path_fine" in reused.err or "trained_models" in reused.err


@pytest.mark.slow
def test_farch_and_carch_choose_each_hemispheres_backbone(again):
    mixed = again("num_seeds=1", "farch=resnet18", "hparams.coarse_width=0.0625", exp_name="mixed")
    assert mixed.status == 0, mixed.err
    for level, arch, width in (("fine", "resnet18", 0.125), ("coarse", "resnet9", 0.0625)):
        names = build_backbone(arch, width=width).state_dict()
        prefix = f"network.hemispheres.{level}.backbone."
        for arm in (level, "bilateral"):
            held = weights(best(mixed.place, arm))
            shapes = {
                k.removeprefix(prefix): v.shape for k, v in held.items() if k.startswith(prefix)
            }
            assert shapes == {k: v.shape for k, v in names.items()}, arm


@pytest.mark.slow
def test_epochs_are_those_of_each_arm(again):
    epochs = again(
        "num_seeds=1",
        "epochs.fine=1",
        "epochs.coarse=2",
        "epochs.bilateral=3",
        TWO_STEPS,
        exp_name="epochs",
    )
    assert epochs.status == 0, epochs.err
    assert {k: v for k, v in epochs.steps.items() if k.startswith("training")} == {
        "training fine 0": 2,
        "training coarse 0": 4,
        "training bilateral 0": 6,
    }


@pytest.mark.slow
def test_a_sweep_writes_each_of_its_studies_to_a_place_of_its_own(again, tmp_path):
    swept = again(
        "num_seeds=1",
        "no_bilateral=true",
        TWO_STEPS,
        "hparams.lr=0.01,0.02",
        "--multirun",
        exp_name="sweep",
    )
    assert swept.status == 0, swept.err
    places = sorted(tmp_path.glob("sweep_lr-*"))
    assert len(places) == 2
    assert (tmp_path / "sweep_sweep/sweep.csv").is_file()
    rates = {OmegaConf.load(place / "fine/seed0/config.yaml").hparams.lr for place in places}
    assert rates == {0.01, 0.02}
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_more_checkpoints_than_the_best_one_may_be_kept(study, again):
    kept = again("num_seeds=1", "ckpt_callback.save_top_k=2", exp_name="kept")
    assert kept.status == 0, kept.err
    assert equal_rows(kept.place) == equal_rows(study.place, seed="0")
    for arm in ARMS:
        assert same_weights(best(kept.place, arm), best(study.place, arm))
        files = list(best(kept.place, arm).parent.glob("*.ckpt"))
        assert sorted(f.name for f in files) == [
            "best.ckpt",
            "last.ckpt",
            "top-v1.ckpt",
            "top.ckpt",
        ]
        epochs = {torch.load(file, weights_only=True)["epoch"] for file in files}
        assert epochs == {0, 1}


# Each folder's own commands on what the study left


@pytest.mark.parametrize("arm", ARMS)
def test_test_py_finds_the_accuracy_that_results_csv_says(arm, study, in_process):
    folder = arch_dual_head if arm == "bilateral" else arch_single_head
    before = snapshot(study.place)
    status, out, err = in_process(folder.test.main, f"checkpoint={best(study.place, arm, 1)}")
    assert status == 0, err
    for row in equal_rows(study.place, arm=arm, seed="1"):
        lines = {line.split()[1]: line for line in out.splitlines() if len(line.split()) > 2}
        assert f"{100 * float(row['accuracy']):.2f} %" in lines["accuracy"]
        assert f"{float(row['loss']):.4f}" in lines["loss"]
    assert snapshot(study.place) == before


@pytest.mark.parametrize("arm", ARMS)
def test_features_are_those_of_the_hemispheres_with_the_labels_of_the_level(
    arm, study, navon, in_process, tmp_path
):
    folder = arch_dual_head if arm == "bilateral" else arch_single_head
    file = tmp_path / "any.ckpt"
    shutil.copy(best(study.place, arm), file)
    status, out, err = in_process(folder.test.main, f"checkpoint={file}", "hparams.mode=feature")
    assert status == 0, err
    assert str(tmp_path / "features.npz") in out
    held = np.load(tmp_path / "features.npz")
    assert set(held) == {"features", "image", *ARMS[arm]}
    assert held["features"].shape == (200, 128 if arm == "bilateral" else 64)
    assert held["features"].dtype == np.float32
    index = read_index(navon)
    test = [i for i, split in enumerate(index.split) if split == "test"]
    by_name = sorted(test, key=lambda i: index.image[i])
    assert held["image"].tolist() == [index.image[i] for i in by_name]
    for level in ARMS[arm]:
        assert held[level].tolist() == getattr(index, level)[by_name].tolist()
    # The heads on these features give the accuracy of the study.
    state = weights(file)
    for row in equal_rows(study.place, arm=arm, seed="0"):
        head = f"network.heads.{row['level']}.linear."
        logits = held["features"] @ state[f"{head}weight"].numpy().T + state[f"{head}bias"].numpy()
        right = logits.argmax(1) == held[row["level"]]
        assert right.mean() == pytest.approx(float(row["accuracy"]))


@pytest.mark.slow
def test_an_ensemble_averages_the_probabilities_of_its_members(
    options, navon, in_process, tmp_path, monkeypatch
):
    save = [*options, f"save_dir={tmp_path}", "exp_name=ensemble"]
    alone = ["hparams.macro_arch=unilateral", "hparams.ffreeze=false"]
    alone += ["hparams.model_path_fine=null", "seeds=[0,1]"]
    status, _, err = in_process(arch_dual_head.trainer.main, *save, *alone)
    assert status == 0, err
    place = tmp_path / "ensemble"
    members = [best(place, "unilateral", seed) for seed in (0, 1)]

    def no_training(self, batch, batch_idx):
        raise AssertionError("an ensemble does not learn")

    monkeypatch.setattr(TrainingModule, "training_step", no_training)
    together = [
        "hparams.macro_arch=ensemble",
        f"hparams.model_path_fine=[{members[0]},{members[1]}]",
    ]
    status, out, err = in_process(arch_dual_head.trainer.main, *save, *together)
    assert status == 0, err
    assert "ensemble" in out

    probabilities = {"fine": [], "coarse": []}
    for file in members:
        status, _, err = in_process(
            arch_dual_head.test.main, f"checkpoint={file}", "hparams.mode=feature"
        )
        assert status == 0, err
        held, state = np.load(file.parent.parent / "features.npz"), weights(file)
        for level, found in probabilities.items():
            head = f"network.heads.{level}.linear."
            logits = torch.from_numpy(held["features"]) @ state[f"{head}weight"].T
            found.append((logits + state[f"{head}bias"]).double().softmax(1))
    rows = equal_rows(place, arm="ensemble")
    assert [row["level"] for row in rows] == ["fine", "coarse"]
    for row in rows:
        average = torch.stack(probabilities[row["level"]]).mean(0)
        labels = torch.from_numpy(held[row["level"]])
        accuracy = (average.argmax(1) == labels).double().mean().item()
        assert float(row["accuracy"]) == pytest.approx(accuracy)
        loss = -average[torch.arange(len(labels)), labels].log().mean().item()
        assert float(row["loss"]) == pytest.approx(loss, rel=1e-4)
    # And again from its own checkpoint.
    status, out, err = in_process(arch_dual_head.test.main, f"checkpoint={best(place, 'ensemble')}")
    assert status == 0, err
    for row in rows:
        assert f"{100 * float(row['accuracy']):.2f} %" in out


@pytest.mark.slow
def test_the_folders_own_commands_lead_to_the_same_study(study, options, in_process, tmp_path):
    """Left on fine, right on coarse, then bilateral, step by step."""
    save = [*options, f"save_dir={tmp_path}", "exp_name=steps"]
    for level in ("fine", "coarse"):
        status, _, err = in_process(arch_single_head.trainer.main, *save, f"hparams.mode={level}")
        assert status == 0, err
    paths = [
        f"hparams.model_path_{level}='{tmp_path}/steps/{level}/seed{{seed}}/checkpoints/best.ckpt'"
        for level in ("fine", "coarse")
    ]
    status, _, err = in_process(arch_dual_head.trainer.main, *save, *paths)
    assert status == 0, err
    assert equal_rows(tmp_path / "steps") == equal_rows(study.place, seed="0")
    read(best(tmp_path / "steps", "bilateral"))
