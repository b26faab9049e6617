"""Studies in which each seed has images of its own: a data set (dataset.root_per_seed), or a split (split_seed)."""

import csv
import shutil
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

import arch_dual_head.test
import arch_dual_head.trainer
import arch_single_head.trainer
import train_system
from arch_dual_head.schema import DualConfig
from architectures import ARCHITECTURES
from common.data.tree import write_tree
from common.results.predictions import read_predictions
from common.runs.per_seed import for_seed, refuse_unlike_sets
from common.settings.compose import ROOT, compose
from common.system.errors import UserError
from common.trained.load import load_module
from data_scripts.make_navon import make_navon

SEEDS = (3, 4)
OWN_SET = "dataset.root_per_seed=true"


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    """The root of one small set for each seed, NAVON-seed3 and NAVON-seed4; there is none at the root itself."""
    root = tmp_path_factory.mktemp("own") / "NAVON"
    for seed in SEEDS:
        write_tree(make_navon(300, 200, seed), root.with_name(f"NAVON-seed{seed}"), split_seed=0)
    return root


@pytest.fixture(scope="module")
def options(tiny, sets) -> list[str]:
    return [*tiny, f"dataset.root={sets}", OWN_SET]


# Which folders


def test_folders_within_the_root_are_those_of_the_seed_and_others_stay():
    given = {
        "root": "/data/SET",
        "root_per_seed": True,
        "train_dir": "/data/SET/train/fine",
        "val_dir": "/elsewhere/val",
        "test_dir": "/data/SET/test/fine",
        "raw_data_dir": "/data/SETS",
        "split_seed": "per_seed",
    }
    assert for_seed(OmegaConf.create(given), 7) == {
        "root": "/data/SET-seed7",
        # Filled in once: what a run records is not filled in again.
        "root_per_seed": False,
        "train_dir": "/data/SET-seed7/train/fine",
        "val_dir": "/elsewhere/val",
        "test_dir": "/data/SET-seed7/test/fine",
        "raw_data_dir": "/data/SETS",
        "split_seed": 7,
    }
    shared = given | {"root_per_seed": False, "split_seed": 1}
    assert for_seed(OmegaConf.create(shared), 7) == shared


COMMANDS = {
    "single": (arch_single_head.trainer.main, []),
    "dual": (arch_dual_head.trainer.main, []),
    "study": (train_system.main, ["arms=[fine]"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_missing_set_is_refused_before_training_with_the_commands_that_draw_it(
    name, options, sets, in_process, tmp_path
):
    main, more = COMMANDS[name]
    status, _, err = in_process(main, *options, *more, f"save_dir={tmp_path}", "seeds=[3,4,5]")
    assert status == 1
    assert err.count("\n") == 1
    assert f"no data set of seed 5 at {sets}-seed5" in err
    assert "make_navon.py --seed 5" in err
    assert f"--out-dir {sets}-seed5)" in err
    assert not [*tmp_path.rglob("*.ckpt")]


@pytest.fixture
def described(tmp_path, sets) -> Path:
    """The root of two sets, seed 3 and 4, of which there is nothing but their classes."""
    for seed in SEEDS:
        place = tmp_path / "data" / f"NAVON-seed{seed}"
        place.mkdir(parents=True)
        shutil.copy(sets.with_name(f"NAVON-seed{seed}") / "hierarchy.yaml", place)
    return tmp_path / "data" / "NAVON"


def changed(described: Path, written: str, other: str) -> None:
    """Change what is said of the classes of the set of seed 4."""
    file = described.with_name("NAVON-seed4") / "hierarchy.yaml"
    text = file.read_text(encoding="utf-8")
    assert written in text
    file.write_text(text.replace(written, other), encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_sets_of_other_classes_are_refused_before_training(
    name, tiny, described, in_process, tmp_path
):
    changed(described, "name: A of X", "name: A of Z")
    main, more = COMMANDS[name]
    given = [f"dataset.root={described}", OWN_SET, "seeds=[3,4]", f"save_dir={tmp_path}"]
    status, _, err = in_process(main, *tiny, *given, *more)
    assert status == 1
    assert err.count("\n") == 1
    assert f"{described}-seed4 has others than {described}-seed3 (" in err


@pytest.mark.parametrize(
    ("written", "other", "differs"),
    [
        ("  4: {name: A of X, coarse: 0}\n", "", "fine class 4: not there, and A of X"),
        ("name: A of X", "name: A of Z", "fine class 4: A of Z, and A of X"),
        ("  19: Z\n", "  19: Z\n  20: Ø\n", "coarse class 20: Ø, and not there"),
        ("A of X, coarse: 0", "A of X, coarse: 1", "coarse class of fine class 4: 1, and 0"),
        (", coarse: ", ", in: ", "independent labels"),
        ("train: 300", "train: 301", None),
        ("digest: ", "digest: x", None),
    ],
)
def test_sets_may_differ_in_all_but_their_classes(written, other, differs, described):
    changed(described, written, other)
    if differs == "independent labels":
        changed(described, "split_seed:", "nested: false\nsplit_seed:")
    options = [f"dataset.root={described}", OWN_SET]
    dataset = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=options).dataset
    with pytest.raises(UserError, match=differs) if differs else nullcontext():
        refuse_unlike_sets(dataset, SEEDS)


def test_images_outside_the_root_are_refused(options, navon, in_process):
    given = f"dataset.test_dir={navon / 'test/fine'}"
    status, _, err = in_process(arch_single_head.trainer.main, *options, given, "seeds=[3]")
    assert status == 1
    assert "dataset.test_dir is" in err


def test_an_arm_is_not_trained_on_other_images_than_those_beside_it(
    tiny, sets, succeed, in_process, tmp_path
):
    roots = {seed: f"dataset.root={sets}-seed{seed}" for seed in SEEDS}
    options = [*tiny, "trainer_params.max_epochs=1", f"save_dir={tmp_path}", "exp_name=e"]
    coarse = [*options, "hparams.mode=coarse", "seeds=[0]"]
    succeed(arch_single_head.trainer.main, *coarse, roots[3])
    alone = ["hparams.macro_arch=unilateral", "hparams.ffreeze=false"]
    dual = [*options, *alone, "hparams.model_path_fine=null", "seeds=[1]"]
    # Of the other level's folder, whose digests say nothing of this one's.
    succeed(arch_dual_head.trainer.main, *dual, roots[3])
    status, _, err = in_process(
        arch_single_head.trainer.main, *options, "hparams.mode=fine", "seeds=[0]", roots[4]
    )
    assert status == 1
    assert f"{tmp_path}/e/unilateral/seed1 holds a run of another configuration (the test" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "e/fine/seed0/fingerprint.yaml").exists()


@pytest.mark.parametrize("own", [OWN_SET, "dataset.split_seed=per_seed"])
def test_an_arm_that_mixes_seeds_is_refused_alone(own, tiny, sets, in_process):
    arguments = [*tiny, f"dataset.root={sets}", own, "seeds=[3,4]"]
    status, _, err = in_process(
        arch_dual_head.trainer.main, "--config-name", "bilateral_swapped_fine", *arguments
    )
    assert status == 1
    assert f"bilateral_swapped_fine mixes seeds, and {own} gives each other images" in err


# A whole study


@pytest.fixture(scope="module", params=["set", "split"])
def study(request, sets, tiny, navon, succeed, tmp_path_factory):
    """A study of two seeds with its analysis: its folder, the data set's root of each seed, and what was printed."""
    place = tmp_path_factory.mktemp(request.param)
    own = {"set": f"dataset.root={sets}", "split": "dataset.split_seed=per_seed"}[request.param]
    roots = {
        seed: sets.with_name(f"NAVON-seed{seed}") if request.param == "set" else navon
        for seed in SEEDS
    }
    options = [*tiny, own, f"save_dir={place}", "exp_name=e", f"seeds={[*SEEDS]}".replace(" ", "")]
    options += [OWN_SET] if request.param == "set" else []
    options += ["trainer_params.precision=32-true", "arms=[bilateral,unilateral,ensemble]"]
    said = succeed(train_system.main, *options)
    return request.param, place / "e", roots, options, said


def values(place: Path) -> dict[str, dict[tuple, float]]:
    found: dict[str, dict[tuple, float]] = defaultdict(dict)
    with (place / "analysis/values.csv").open(newline="") as text:
        for row in csv.DictReader(text):
            at = int(row["seed"]), row["side"], row["item"]
            found[row["of"]][at] = float(row["value"])
    return found


def cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of features (N, F) without bias, by the formula of Song et al. (2012)."""

    def hsic(k, m):
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        middle = k.sum() * m.sum() / ((n - 1) * (n - 2))
        return ((k * m).sum() + middle - 2 / (n - 2) * (k.sum(0) @ m.sum(1))) / (n * (n - 3))

    k, m = one @ one.T, other @ other.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def features(place: Path, seed: int, root: Path) -> dict[str, np.ndarray]:
    """Features (N, F) by side of a seed's bilateral network, of the test images of a data set."""
    module = load_module(place / f"bilateral/seed{seed}/checkpoints/best.ckpt", ARCHITECTURES)
    module.cfg.dataset.test_dir = str(root / "test/fine")
    test = ARCHITECTURES[module.record.folder].data(module.cfg, seed=0).load_test()
    with torch.no_grad():
        both = module.network.features(module.transforms(test.images))
    return {side: one.double().numpy() for side, one in module.network.split(both).items()}


@pytest.mark.slow
def test_all_arms_of_a_seed_share_its_images_and_seeds_do_not(study, in_process):
    kind, place, roots, options, said = study
    assert "ensemble is left out: it mixes seeds" in said
    for seed in SEEDS:
        names = {}
        for arm in ("fine", "coarse", "bilateral", "unilateral"):
            stage = place / arm / f"seed{seed}"
            dataset = yaml.safe_load((stage / "config.yaml").read_text())["dataset"]
            assert dataset["root"] == str(roots[seed])
            names[arm] = [one.image for one in read_predictions(stage / "predictions.csv.gz")]
        assert all(one == names["bilateral"] for one in names.values())
    identities = [
        yaml.safe_load((place / f"bilateral/seed{seed}/fingerprint.yaml").read_text())["data"]
        for seed in SEEDS
    ]
    assert identities[0]["train"] != identities[1]["train"]
    assert (identities[0]["test"] != identities[1]["test"]) == (kind == "set")
    status, out, _ = in_process(train_system.main, *options, "analyse=false")
    assert (status, out.count("done before")) == (0, 8)
    # Other seeds of it may be added, but not of a set that is shared.
    shared = [f"dataset.root={roots[3]}", "dataset.root_per_seed=false", "dataset.split_seed=null"]
    status, _, err = in_process(train_system.main, *options, *shared, "analyse=false")
    assert status == 1
    assert "holds a run of another configuration" in err


@pytest.mark.slow
def test_images_are_compared_within_a_seed(study):
    kind, place, *_ = study
    with (place / "images.csv").open(newline="") as text:
        rows = [*csv.DictReader(text)]
    assert len(rows) == 4
    expected = {"set": 2 * 200, "split": 200}[kind]  # different images, of both seeds or shared
    assert {int(row["images"]) for row in rows} == {expected}


@pytest.mark.slow
def test_networks_of_two_seeds_are_compared_on_the_same_images(study):
    """Layers on the images of the later seed, dissimilarity on those of the first."""
    _, place, roots, _, said = study
    assert "warning" not in said
    found = values(place)
    layer = str(max(int(item) for _, side, item in found["cka"] if side == "left-other seed"))
    one, other = (features(place, seed, roots[4]) for seed in SEEDS)
    for side in ("left", "right"):
        assert found["cka"][4, f"{side}-other seed", layer] == pytest.approx(
            cka(one[side], other[side]), abs=1e-4
        )
    pair = {seed: features(place, seed, roots[3]) for seed in SEEDS}
    two_of_a_kind = np.prod([cka(pair[3][side], pair[4][side]) for side in ("left", "right")])
    for seed in SEEDS:
        if two_of_a_kind > 0:
            rho = 1 - cka(pair[seed]["left"], pair[seed]["right"]) / np.sqrt(two_of_a_kind)
            assert found["dissimilarity"][seed, "", "bilateral"] == pytest.approx(rho, abs=1e-3)
        else:
            assert (seed, "", "bilateral") not in found["dissimilarity"]


@pytest.mark.slow
def test_a_network_is_tested_on_the_set_of_its_seed(study, in_process, sets, tmp_path):
    kind, place, *_ = study
    checkpoint = place / "bilateral/seed4/checkpoints/best.ckpt"
    given = {"set": [f"dataset.root={sets}", OWN_SET], "split": ["dataset.split_seed=per_seed"]}
    for more in ([], given[kind]):
        file = tmp_path / f"{len(more)}.csv.gz"
        arguments = [f"checkpoint={checkpoint}", f"predictions={file}", *more]
        assert in_process(arch_dual_head.test.main, *arguments)[::2] == (0, "")
        recorded = place / "bilateral/seed4/predictions.csv.gz"
        assert file.read_bytes() == recorded.read_bytes()
