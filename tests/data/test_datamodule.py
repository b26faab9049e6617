"""From labelled folders to batches: the one held-out split, labels of both levels, order of an epoch."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import moved

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.schema import SingleConfig
from common.data.datamodule import evaluation_batch, load_folder_once
from common.data.image_folder import load_folder
from common.data.image_set import ImageSet
from common.data.images import pixel_statistics, value_counts
from common.data.pictures import Frame
from common.data.prepared import Made, write_prepared
from common.data.raw import Raw, RawSplit, write_raw
from common.data.samplers import EpochSampler
from common.data.tree import write_tree
from common.settings.compose import ROOT, compose
from common.system.errors import UserError

# Fine classes 0 to 5 in coarse classes 0 to 2; the first two names occur in two fine classes of one coarse class, as
# baby_s_000333.png does in CIFAR-100.
PARENT = [0, 0, 1, 1, 2, 2]
PER_CLASS = {"train": 20, "test": 4}


def raw_data() -> Raw:
    rng = np.random.default_rng(0)
    splits = []
    for count in PER_CLASS.values():
        fine = [label for label in range(len(PARENT)) for _ in range(count)]
        names = [f"thing_s_{i:06d}.png" for i in range(len(fine))]
        names[count] = names[0]
        order = rng.permutation(len(fine)).tolist()
        splits.append(
            RawSplit(
                names=[names[i] for i in order],
                fine=[fine[i] for i in order],
                coarse=[PARENT[fine[i]] for i in order],
                images=rng.integers(0, 256, (len(fine), 3, 4, 4), dtype=np.uint8),
            )
        )
    return Raw(
        train=splits[0],
        test=splits[1],
        fine_names=[f"f{i}" for i in range(len(PARENT))],
        coarse_names=[f"c{i}" for i in range(3)],
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A prepared set of 120 training and 24 test images in NAME, its raw files in raw."""
    parent = tmp_path_factory.mktemp("data")
    write_raw(raw_data(), parent / "raw")
    write_tree(raw_data(), parent / "NAME", split_seed=0)
    return parent / "NAME"


@pytest.fixture
def own(prepared, tmp_path) -> Path:
    """A copy of the prepared set that a test may change."""
    return Path(shutil.copytree(prepared, tmp_path / "NAME"))


@pytest.fixture(autouse=True)
def forget():
    """Images are remembered within a process by their folder, which tests change."""
    load_folder_once.cache_clear()


def single(root: Path, mode: str, *overrides: str, seed: int = 0) -> SingleHeadData:
    overrides = [f"dataset.root={root}", f"hparams.mode={mode}", *overrides]
    cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=overrides)
    return SingleHeadData(cfg, seed=seed)


def dual(root: Path, *overrides: str, seed: int = 0) -> DualHeadData:
    overrides = [f"dataset.root={root}", *overrides]
    cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=overrides)
    return DualHeadData(cfg, seed=seed)


def modules(root: Path, *overrides: str) -> list:
    """The data of the three stages of a study, read."""
    found = [
        single(root, "fine", *overrides),
        single(root, "coarse", *overrides),
        dual(root, *overrides),
    ]
    for data in found:
        data.load()
    return found


def names(data, part: ImageSet) -> set[str]:
    everything = load_folder_once(Path(data.cfg.dataset.train_dir)).names
    return {everything[row] for row in part.subset.tolist()}


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def refusal(data) -> str:
    with pytest.raises(UserError) as caught:
        data.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The split


def test_split_is_the_one_of_the_index_for_every_stage(prepared):
    held = {row["image"] for row in rows(prepared) if row["held_out"] == "1"}
    assert len(held) == 12
    for data in modules(prepared):
        assert names(data, data.val_set) == held
        assert not names(data, data.train_set) & held
        assert len(data.train_set) + len(data.val_set) == 120


def test_same_images_in_the_same_order_for_every_stage(prepared):
    first, *others = modules(prepared)
    for data in others:
        for part in ("train_set", "val_set"):
            mine, theirs = getattr(first, part), getattr(data, part)
            every = range(len(mine))
            assert torch.equal(
                mine.batch(torch.as_tensor(every))["images"],
                theirs.batch(torch.as_tensor(every))["images"],
            )
        assert data.train_images == first.train_images
        assert (data.mean, data.std) == (first.mean, first.std)


@pytest.mark.parametrize("overrides", [[], ["dataset.split_seed=5"]])
def test_no_stage_trains_on_another_stage_s_validation_image(prepared, overrides):
    found = modules(prepared, *overrides)
    held = set.union(*(names(data, data.val_set) for data in found))
    trained = set.union(*(names(data, data.train_set) for data in found))
    assert not held & trained
    assert len(held) == 12
    assert len(held | trained) == 120


def test_split_is_stratified_by_fine_label(prepared):
    (data, *_) = modules(prepared)
    assert torch.bincount(data.val_set.labels["fine"][data.val_set.subset]).tolist() == [2] * 6


def test_split_seed_draws_another_split_and_zero_is_a_seed(prepared):
    held = {}
    for seed in ("null", 0, 1):
        data = single(prepared, "fine", f"dataset.split_seed={seed}")
        data.load()
        held[seed] = names(data, data.val_set)
        assert len(held[seed]) == 12
    # The set was prepared with split seed 0.
    assert held["null"] == held[0] != held[1]


def test_split_seed_changes_what_identifies_the_training_images(prepared):
    plain, other = single(prepared, "fine"), single(prepared, "fine", "dataset.split_seed=1")
    plain.load()
    other.load()
    assert plain.train_images != other.train_images
    assert plain.digest != other.digest


def test_split_seed_does_not_divide_groups(own):
    made = Made(Frame(4, 4), keep=False, grouped=True, held_out="")
    write_prepared(own, {"name": "OWN"}, made)
    single(own, "fine").load()
    assert "--split-seed" in refusal(single(own, "fine", "dataset.split_seed=1"))


def test_split_does_not_depend_on_the_run_s_seed(prepared):
    first, second = single(prepared, "fine", seed=0), single(prepared, "fine", seed=1)
    first.load()
    second.load()
    assert first.digest == second.digest
    assert torch.equal(first.val_set.subset, second.val_set.subset)


def test_validation_folder_of_ones_own(prepared):
    val_dir = prepared / "test" / "fine"
    for data in (
        single(prepared, "fine", f"dataset.val_dir={val_dir}"),
        dual(prepared, f"dataset.val_dir={val_dir}"),
    ):
        data.load()
        assert len(data.train_set) == 120
        assert len(data.val_set) == 24
        assert torch.equal(
            data.val_set.batch(torch.arange(24))["images"], load_folder(val_dir).images
        )


def test_training_images_alone_give_mean_and_deviation(prepared):
    (data, *_) = modules(prepared)
    pixels = data.train_set.batch(torch.arange(len(data.train_set)))["images"].numpy() / 255
    assert np.allclose(data.mean, pixels.mean((0, 2, 3)))
    assert np.allclose(data.std, pixels.std((0, 2, 3)))


# Labels


def test_labels_are_those_of_the_index(prepared):
    index = {(row["split"], row["image"]): row for row in rows(prepared)}
    for data in modules(prepared):
        everything = load_folder_once(Path(data.cfg.dataset.train_dir)).names
        assert set(data.train_set.labels) == set(data.levels)
        for level in data.levels:
            ids = [data.classes[level].ids[i] for i in data.train_set.labels[level].tolist()]
            assert ids == [int(index["train", name][level]) for name in everything]


def test_coarse_labels_from_raw_files_equal_those_of_the_index(prepared):
    from_index = dual(prepared)
    from_raw = dual(prepared, f"dataset.raw_data_dir={prepared.parent / 'raw'}")
    for data in (from_index, from_raw):
        data.load()
        data.test_set = data.load_test()
    for part in ("train_set", "test_set"):
        for level in ("fine", "coarse"):
            ours, theirs = (getattr(data, part).labels[level] for data in (from_index, from_raw))
            assert torch.equal(ours, theirs)
    assert from_index.digest == from_raw.digest


def test_images_of_one_name_in_two_classes_keep_their_labels(prepared):
    data = dual(prepared, f"dataset.raw_data_dir={prepared.parent / 'raw'}")
    data.load()
    everything = load_folder_once(prepared / "train" / "fine")
    assert len(everything.names) == 120
    double = [i for i, name in enumerate(everything.names) if name.startswith("thing_s_000000")]
    assert len(double) == 2
    assert sorted(data.train_set.labels["fine"][double].tolist()) == [0, 1]
    assert data.train_set.labels["coarse"][double].tolist() == [0, 0]


def test_label_ids_are_numbers_not_places_in_a_sorted_list_of_texts(prepared, own):
    """Class 1 renamed to 10 sorts before 2 as text, and leaves a gap."""
    for split in ("train", "test"):
        (own / split / "fine" / "1").rename(own / split / "fine" / "10")
    index = own / "index.csv"
    lines = [line.split(",") for line in index.read_text().splitlines()]
    index.write_text(
        "".join(",".join([a, b, "10" if c == "1" else c, d, e]) + "\n" for a, b, c, d, e in lines)
    )
    hierarchy = own / "hierarchy.yaml"
    text = hierarchy.read_text()
    assert text.count("\n  1: {name: f1") == 1
    hierarchy.write_text(text.replace("\n  1: {name: f1", "\n  10: {name: f1"))

    before, after = single(prepared, "fine"), single(own, "fine")
    before.load()
    after.load()
    assert after.classes["fine"].ids == [0, 2, 3, 4, 5, 10]
    assert after.classes["fine"].names == ["f0", "f2", "f3", "f4", "f5", "f1"]
    was = [before.classes["fine"].names[i] for i in before.train_set.labels["fine"].tolist()]
    now = [after.classes["fine"].names[i] for i in after.train_set.labels["fine"].tolist()]
    assert now == was


# What is refused


def test_labels_of_the_wrong_level_are_refused(prepared):
    for mode, other in (("fine", "coarse"), ("coarse", "fine")):
        for key, split in (("train_dir", "train"), ("val_dir", "test")):
            folder = prepared / split / other
            with pytest.raises(UserError, match=f"hparams.mode is {mode}") as caught:
                single(prepared, mode, f"dataset.{key}={folder}")
            assert str(folder) in str(caught.value)
    with pytest.raises(UserError, match="train/coarse holds coarse labels"):
        dual(prepared, f"dataset.train_dir={prepared}/train/coarse")


def test_missing_data_set_is_refused(tmp_path):
    sentence = refusal(single(tmp_path / "NOWHERE", "fine"))
    assert str(tmp_path / "NOWHERE/train/fine") in sentence
    assert "prepare" in sentence


def test_missing_index_is_refused(own):
    (own / "index.csv").unlink()
    for data in (single(own, "fine"), dual(own)):
        assert str(own / "index.csv") in refusal(data)


def test_missing_hierarchy_is_refused(own):
    (own / "hierarchy.yaml").unlink()
    assert str(own / "hierarchy.yaml") in refusal(single(own, "fine"))


def test_image_that_the_index_does_not_list_is_refused(own):
    shutil.copy(next((own / "train/fine/0").iterdir()), own / "train/fine/0/extra.png")
    sentence = refusal(single(own, "fine"))
    assert "extra.png" in sentence
    assert "index.csv" in sentence


def test_image_that_is_lost_is_refused(own):
    lost = next((own / "train/fine/0").iterdir())
    lost.unlink()
    assert lost.name in refusal(single(own, "fine"))


def test_image_in_another_class_than_the_index_says_is_refused(own):
    """Moved by hand after preparing: the folders and the index contradict each other."""
    image = next((own / "train/fine/0").iterdir())
    image.rename(own / "train/fine/5" / image.name)
    assert image.name in refusal(single(own, "fine"))


def test_class_that_the_hierarchy_does_not_name_is_refused(own):
    (own / "train/fine/5").rename(own / "train/fine/7")
    assert "7" in refusal(single(own, "fine"))


@pytest.mark.parametrize("kind", ["fine", "coarse", "dual"])
def test_hierarchy_that_contradicts_the_index_is_refused(own, kind):
    hierarchy = own / "hierarchy.yaml"
    text = hierarchy.read_text()
    assert "{name: f1, coarse: 0}" in text
    hierarchy.write_text(text.replace("{name: f1, coarse: 0}", "{name: f1, coarse: 2}"))
    sentence = refusal(dual(own) if kind == "dual" else single(own, kind))
    assert f"{hierarchy} has fine class 1 in coarse class 2" in sentence
    assert f"{own / 'index.csv'} in 0" in sentence


def test_raw_files_of_another_data_set_are_refused(prepared, tmp_path):
    raw = raw_data()
    raw.train.names[:] = [f"x{name}" for name in raw.train.names]
    write_raw(raw, tmp_path / "raw")
    sentence = refusal(dual(prepared, f"dataset.raw_data_dir={tmp_path / 'raw'}"))
    assert "dataset.raw_data_dir" in sentence


def test_missing_raw_files_are_refused(prepared, tmp_path):
    sentence = refusal(dual(prepared, f"dataset.raw_data_dir={tmp_path / 'raw'}"))
    assert str(tmp_path / "raw") in sentence


# Batches


def test_a_list_of_indices_gives_what_single_indices_give(prepared):
    data = dual(prepared)
    data.load()
    chosen = [5, 0, 5, 17]
    batch = moved(data.train_set.__getitems__(chosen))
    singles = [data.train_set[i] for i in chosen]
    assert set(batch) == {"images", "fine", "coarse"}
    for name, values in batch.items():
        assert torch.equal(values, torch.stack([one[name] for one in singles]))
    assert batch["images"].dtype == torch.uint8
    assert batch["fine"].dtype == torch.int64


def test_item_is_the_image_of_its_row():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 2, 2)
    part = ImageSet(images, {"fine": torch.arange(5) * 10}, torch.tensor([4, 2]))
    assert len(part) == 2
    assert (part[1]["images"].unique().item(), part[1]["fine"].item()) == (2, 20)


@pytest.mark.parametrize("batch_size", [7, 32, 1000])
def test_an_epoch_gives_each_image_at_most_once_in_full_batches(prepared, batch_size):
    data = single(prepared, "fine", f"hparams.batch_size={batch_size}")
    data.load()
    size = min(batch_size, 108)
    batches = [moved(batch)["images"] for batch in data.train_dataloader()]
    assert [len(batch) for batch in batches] == [size] * (108 // size)
    seen = torch.cat(batches).flatten(1).tolist()
    assert len({tuple(image) for image in seen}) == len(seen)


def test_evaluation_gives_every_image_once_in_order(prepared):
    data = dual(prepared)
    data.load()
    data.setup("test")
    for loader, part in (
        (data.val_dataloader(), data.val_set),
        (data.test_dataloader(), data.test_set),
    ):
        seen = torch.cat([moved(batch)["images"] for batch in loader])
        assert torch.equal(seen, part.images[part.subset])


def test_a_gpu_evaluates_more_small_images_at_once_and_as_many_large_ones(monkeypatch):
    small, large = ((32, 32), (224, 224))
    one = evaluation_batch(small, gpu=False)
    assert evaluation_batch(large, gpu=False) == one
    assert evaluation_batch(large, gpu=True) == one
    whole = evaluation_batch(small, gpu=True, limits=(1.0, 1.0))
    assert whole > one
    # A number or a share of batches must mean the same images everywhere.
    for limits in ((2, 1.0), (1.0, 1), (0.5, 1.0)):
        assert evaluation_batch(small, gpu=True, limits=limits) == one
    monkeypatch.setattr("common.data.datamodule.world_size", lambda: 4)
    assert evaluation_batch(small, gpu=True) == whole // 4


# The order of an epoch


def order(seed: int, epoch: int, length: int = 50) -> list[int]:
    sampler = EpochSampler(length, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_is_a_permutation_of_seed_and_epoch_alone():
    assert sorted(order(0, 0)) == list(range(50))
    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    different = {tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(different) == 9


def test_order_leaves_the_common_generator_alone():
    before = torch.get_rng_state()
    order(0, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("batches", [0, 1, 3, 5])
def test_order_entered_in_the_middle_continues_exactly(batches):
    sampler = EpochSampler(50, seed=0)
    sampler.enter(epoch=2, batches=batches, batch_size=10)
    # As Lightning does before each epoch, the first one included.
    sampler.set_epoch(2)
    assert list(sampler) == order(0, 2)[10 * batches :]
    sampler.set_epoch(3)
    assert list(sampler) == order(0, 3)


def test_loader_entered_in_the_middle_continues_exactly(prepared):
    def batches(position):
        data = single(prepared, "fine", "hparams.batch_size=20")
        data.load()
        if position:
            data.load_state_dict(position)
        return [moved(batch)["images"] for batch in data.train_dataloader()]

    whole, rest = batches(None), batches({"epoch": 0, "batches": 2})
    assert len(whole) == 5
    assert len(rest) == 3
    assert torch.equal(torch.cat(rest), torch.cat(whole[2:]))


# Mean and deviation


def test_pixel_statistics_equal_those_of_numpy():
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 5, 7), dtype=np.uint8)
    images[:, 1] //= 4
    mean, std = pixel_statistics(value_counts(torch.from_numpy(images)))
    assert np.allclose(mean, (images / 255).mean((0, 2, 3)), atol=1e-12)
    assert np.allclose(std, (images / 255).std((0, 2, 3)), atol=1e-12)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_channel_of_one_value_has_deviation_one(value):
    images = torch.full((4, 3, 2, 2), value, dtype=torch.uint8)
    mean, std = pixel_statistics(value_counts(images))
    assert mean == pytest.approx([value / 255] * 3)
    assert std == [1, 1, 1]
