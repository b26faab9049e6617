"""predictions.csv.gz of finished stages, against answers computed in NumPy; kinds of networks; what is not retested."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import result_of

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.test
import common.runs.stage as stages
import common.training.predictions as room
import train_system
from architectures import ARCHITECTURES
from common.data.index import read_index
from common.networks.macro import Outputs
from common.results.predictions import read_predictions
from common.settings.levels import LEVELS, SIDES
from common.trained.load import load_module
from common.training.module import TrainingModule
from common.training.supervised import Supervised

FILE = "predictions.csv.gz"
FOLDERS = {
    "fine": "arch_single_head",
    "coarse": "arch_single_head",
}  # of any other arm: arch_dual_head


@pytest.fixture(scope="module")
def options(tiny) -> list[str]:
    return [*tiny, "trainer_params.precision=32-true"]


@pytest.fixture(scope="module")
def study(options, succeed, tmp_path_factory) -> Path:
    """One-head networks, networks of two hemispheres, frozen and not, unilateral ones and an ensemble."""
    save_dir = tmp_path_factory.mktemp("predictions")
    place = (f"save_dir={save_dir}", "exp_name=study", "analyse=false")
    for arms, seeds in (("bilateral,bilateral_nonspecialised", 1), ("ensemble", 2)):
        succeed(train_system.main, *options, *place, f"num_seeds={seeds}", f"arms=[{arms}]")
    return save_dir / "study"


def network_of(stage: Path):
    """The module of a stage, its data, and what it makes of the test images, without the Trainer."""
    module = load_module(stage / "checkpoints/best.ckpt", ARCHITECTURES)
    data = ARCHITECTURES[module.record.folder].data(module.cfg, seed=0)
    data.load()
    images = data.load_test()
    with torch.no_grad():
        outputs = module.network.outputs(module.transforms(images.images))
    return module, data, outputs


@pytest.mark.parametrize(
    "arm", ["fine", "coarse", "bilateral", "bilateral_nonspecialised", "unilateral", "ensemble"]
)
def test_each_image_has_its_labels_and_what_the_network_answers(arm, study, navon):
    stage = study / arm / "seed0"
    found = read_predictions(stage / FILE)
    module, _, outputs = network_of(stage)
    index = read_index(navon)
    labels = {
        name: {"fine": fine, "coarse": coarse}
        for split, name, fine, coarse in zip(
            index.split, index.image, index.fine, index.coarse, strict=True
        )
        if split == "test"
    }
    assert sorted(one.image for one in found) == sorted(labels)
    levels = [arm] if arm in LEVELS else [*LEVELS]
    test = result_of(stage)["test"]
    for level in levels:
        logits = outputs.logits[level].double().numpy()
        ids = np.array(module.record.label_ids[level])
        odds = np.exp(logits - logits.max(1, keepdims=True))
        top = odds.max(1) / odds.sum(1)
        assert [one.label[level] for one in found] == [labels[one.image][level] for one in found]
        assert [one.answer[level] for one in found] == ids[logits.argmax(1)].tolist()
        assert [one.probability[level] for one in found] == pytest.approx(top.tolist(), abs=1e-5)
        right = [one.answer[level] == one.label[level] for one in found]
        assert np.mean(right) == pytest.approx(test[level]["accuracy"], abs=1e-6)
    assert all(list(one.answer) == levels for one in found)
    two = arm.startswith("bilateral")
    assert all(list(one.alone) == (list(SIDES) if two else []) for one in found)


@pytest.mark.parametrize("arm", ["bilateral", "bilateral_nonspecialised"])
def test_alone_is_with_the_other_hemisphere_at_its_training_mean(arm, study):
    module, data, outputs = network_of(study / arm / "seed0")
    batch = data.train_set.batch(torch.arange(len(data.train_set)))  # fewer than are averaged
    with torch.no_grad():
        trained = module.network.features(module.transforms(batch["images"]))
    mean = {side: part.numpy().mean(0) for side, part in module.network.split(trained).items()}
    features = {side: part.numpy() for side, part in outputs.features.items()}
    found = read_predictions(study / arm / "seed0" / FILE)
    for side, other in (SIDES, SIDES[::-1]):
        held = features | {other: np.broadcast_to(mean[other], features[other].shape)}
        for level, head in module.network.heads.items():
            weight, bias = (p.detach().numpy() for p in head.linear.parameters())
            logits = np.concatenate([held["left"], held["right"]], axis=1) @ weight.T + bias
            answers = np.array(module.record.label_ids[level])[logits.argmax(1)]
            said = np.array([one.alone[side][level] for one in found])
            assert (
                said == answers
            ).mean() > 0.99  # of barely trained networks, some logits are equal
            assert (said != [one.answer[level] for one in found]).any()


def test_means_are_over_evenly_chosen_images(study, monkeypatch):
    module, data, _ = network_of(study / "bilateral/seed0")
    monkeypatch.setattr(room, "MEAN_IMAGES", 7)
    monkeypatch.setattr("common.data.datamodule.EVAL_BATCH", 3)
    count = len(data.train_set)
    rows = [i * count // 7 for i in range(7)]
    with torch.no_grad():
        shown = module.transforms(data.train_set.batch(torch.as_tensor(rows))["images"])
        features = module.network.features(shown)
    expected = module.network.split(features.mean(0, keepdim=True))
    found = room.training_means(module, data.train_set)
    assert list(found) == list(SIDES)
    for side in SIDES:
        torch.testing.assert_close(found[side], expected[side][0])
    # The same, from features that are kept.
    with torch.no_grad():
        images = data.train_set.batch(torch.arange(count))["images"]
        data.train_set.features = module.network.features(module.transforms(images))
    monkeypatch.setattr(module.network, "features", None)
    kept = room.training_means(module, data.train_set)
    for side in SIDES:
        torch.testing.assert_close(kept[side], found[side])


def test_classes_are_label_ids_and_answers_the_highest_logits():
    """A set whose label ids are no positions; logits so close that their probabilities are equal."""
    collected = room.Predictions(["a.png", "b.png", "c.png"], {"coarse": [40, 7]}, None)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=nullcontext))
    for logits, labels in (([[0.0, 1e-12], [50.0, 0.0]], [0, 1]), ([[1.0, 0.0]], [0])):
        outputs = Outputs({}, {"coarse": torch.tensor(logits)})
        collected.on_test_batch_end(trainer, None, outputs, {"coarse": torch.tensor(labels)}, 0)
    found = collected.collected()
    assert [one.image for one in found] == ["a.png", "b.png", "c.png"]
    assert [one.label for one in found] == [{"coarse": 40}, {"coarse": 7}, {"coarse": 40}]
    assert [one.answer for one in found] == [{"coarse": 7}, {"coarse": 40}, {"coarse": 40}]
    assert found[1].probability["coarse"] == 1


def test_the_test_images_are_seen_once(options, study, in_process, monkeypatch, tmp_path):
    seen = []
    step = TrainingModule.test_step

    def counting(self, batch, batch_idx):
        seen.append(len(batch["images"]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "test_step", counting)
    paths = [
        f"hparams.model_path_{level}={study / level}/seed0/checkpoints/best.ckpt"
        for level in LEVELS
    ]
    status, _, err = in_process(
        arch_dual_head.trainer.main, *options, *paths, f"save_dir={tmp_path}", "exp_name=one"
    )
    assert status == 0, err
    assert sum(seen) == 200
    # Equal stages leave equal bytes.
    (file,) = tmp_path.glob(f"one/*/*/{FILE}")
    again = study / "bilateral/seed0" / FILE
    assert file.read_bytes() == again.read_bytes()


def test_answers_do_not_depend_on_whether_features_are_kept(
    options, study, in_process, monkeypatch, tmp_path
):
    monkeypatch.setattr(stages, "FEATURE_BYTES", 0)
    paths = [
        f"hparams.model_path_{level}={study / level}/seed0/checkpoints/best.ckpt"
        for level in LEVELS
    ]
    status, _, err = in_process(
        arch_dual_head.trainer.main, *options, *paths, f"save_dir={tmp_path}", "exp_name=seen"
    )
    assert status == 0, err
    (file,) = tmp_path.glob(f"seen/*/*/{FILE}")
    assert read_predictions(file) == read_predictions(study / "bilateral/seed0" / FILE)


def test_a_stage_that_was_finished_before_is_not_tested_again(options, study, succeed, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    file = tmp_path / "study/fine/seed0" / FILE
    before = file.stat().st_mtime_ns
    said = succeed(
        train_system.main,
        *options,
        f"save_dir={tmp_path}",
        "exp_name=study",
        "num_seeds=1",
        "no_bilateral=true",
        "analyse=false",
    )
    assert "fine/seed0: done before" in said
    assert file.stat().st_mtime_ns == before


def test_an_objective_that_gives_no_answers_leaves_no_file(
    options, in_process, monkeypatch, tmp_path
):
    import arch_single_head.trainer

    evaluate = Supervised.evaluate

    def without_answers(self, batch, show, metrics):
        return Outputs(evaluate(self, batch, show, metrics).features, {})

    monkeypatch.setattr(Supervised, "evaluate", without_answers)
    status, _, err = in_process(
        arch_single_head.trainer.main, *options, f"save_dir={tmp_path}", "exp_name=other"
    )
    assert status == 0, err
    (result,) = tmp_path.glob("other/*/*/result.yaml")
    assert not (result.parent / FILE).exists()


# test.py


@pytest.mark.parametrize("arm", ["coarse", "bilateral", "ensemble"])
def test_test_py_writes_the_same_on_request(arm, study, in_process, tmp_path):
    command = arch_single_head.test if arm in LEVELS else arch_dual_head.test
    file = tmp_path / "mine.csv.gz"
    checkpoint = study / arm / "seed0/checkpoints/best.ckpt"
    status, out, err = in_process(command.main, f"checkpoint={checkpoint}", f"predictions={file}")
    assert status == 0, err
    assert f"Predictions: {file}" in out
    assert file.read_bytes() == (study / arm / "seed0" / FILE).read_bytes()


def test_without_its_training_images_no_hemisphere_is_asked_alone(
    study, navon, in_process, tmp_path
):
    shutil.copytree(navon, tmp_path / "MOVED", ignore=shutil.ignore_patterns(".cache"))
    shutil.rmtree(tmp_path / "MOVED/train")
    file = tmp_path / "mine.csv.gz"
    checkpoint = study / "bilateral/seed0/checkpoints/best.ckpt"
    status, out, err = in_process(
        arch_dual_head.test.main,
        f"checkpoint={checkpoint}",
        f"predictions={file}",
        f"dataset.root={tmp_path / 'MOVED'}",
    )
    assert status == 0, err
    assert "are left out" in out
    expected = read_predictions(study / "bilateral/seed0" / FILE)
    for mine, one in zip(read_predictions(file), expected, strict=True):
        assert (mine.image, mine.answer, mine.alone) == (one.image, one.answer, {})


def test_predictions_are_not_written_under_a_name_that_says_otherwise(study, in_process, tmp_path):
    checkpoint = study / "fine/seed0/checkpoints/best.ckpt"
    arguments = (f"checkpoint={checkpoint}", f"predictions={tmp_path / 'mine.csv'}")
    status, out, err = in_process(arch_single_head.test.main, *arguments)
    assert (status, out) == (1, "")
    assert (
        err
        == f"error: predictions is '{tmp_path / 'mine.csv'}'; allowed: a file whose name ends in .csv.gz.\n"
    )


def test_features_and_predictions_are_not_written_together(study, in_process, tmp_path):
    checkpoint = study / "bilateral/seed0/checkpoints/best.ckpt"
    status, _, err = in_process(
        arch_dual_head.test.main,
        f"checkpoint={checkpoint}",
        f"predictions={tmp_path / 'mine.csv.gz'}",
        "hparams.mode=feature",
    )
    assert status == 1
    assert "leave predictions out" in err
