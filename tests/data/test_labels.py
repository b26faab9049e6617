"""Repeated names of images, and label ids as numbers, on their way into a network."""

import csv
import os
import shutil
from collections import defaultdict

import numpy as np
import torch
import yaml
from helpers import CLASSES, SCRATCH, by_hand, moved

import arch_single_head.test
import arch_single_head.trainer
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.schema import DualConfig
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.schema import SingleConfig
from common.checkpoints.files import read
from common.settings.compose import ROOT, compose

SINGLE = arch_single_head.trainer.main


def everything(module: type, folder: str, schema: type, *overrides: str) -> dict[str, list]:
    """All images of both splits as a DataModule gives them out: images, and labels per level."""
    cfg = compose(
        ROOT / folder,
        schema=schema,
        overrides=["dataset=navon", *overrides, "hparams.batch_size=1000"],
    )
    loaded = module(cfg, seed=0)
    loaded.setup("fit")
    loaded.setup("test")
    found = defaultdict(list)
    loaders = {
        "train": [loaded.train_dataloader(), loaded.val_dataloader()],
        "test": [loaded.test_dataloader()],
    }
    for split, parts in loaders.items():
        for loader in parts:
            for batch in loader:
                found[split].append(moved(batch))
    return {
        split: {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        for split, batches in found.items()
    }


def test_both_images_of_a_repeated_name_reach_the_network_with_their_labels(twins):
    root = f"dataset.root={twins.root}"
    single, dual = (
        (SingleHeadData, "arch_single_head", SingleConfig),
        (
            DualHeadData,
            "arch_dual_head",
            DualConfig,
        ),
    )
    roads = {
        "fine tree": everything(*single, root, "hparams.mode=fine"),
        "coarse tree": everything(*single, root, "hparams.mode=coarse"),
        "index": everything(*dual, root, *SCRATCH),
        "raw files": everything(*dual, root, f"dataset.raw_data_dir={twins.raw}", *SCRATCH),
    }
    for road, splits in roads.items():
        for split, size in twins.sizes.items():
            batch = splits[split]
            truth = batch["images"][:, 0, 0, 0].long()
            assert torch.bincount(truth).tolist() == [size // 12] * 12, (road, split)
            if "fine" in batch:
                assert batch["fine"].equal(truth), (road, split)
            if "coarse" in batch:
                assert batch["coarse"].equal(truth % 3), (road, split)
            assert len(batch["images"].flatten(1).unique(dim=0)) == size, (road, split)


def test_label_ids_are_numbers_and_not_places_among_sorted_folder_names(small_study, navon):
    assert sorted(os.listdir(navon / "train/fine"))[2] == "10"
    for level in CLASSES:
        record, _ = read(small_study.best[level])
        assert record.label_ids[level] == list(range(CLASSES[level]))
    # With the wrong order, hardly any of these would agree.
    places = (
        small_study.place / "fine/seed0/result.yaml",
        small_study.place / "coarse/seed0/result.yaml",
    )
    for level, file in zip(CLASSES, places, strict=True):
        told = yaml.safe_load(file.read_text())["test"][level]
        assert told == by_hand(small_study.best[level], navon, level)


def test_label_ids_may_have_gaps(twins, tmp_path, in_process, two_epochs):
    root = tmp_path / "GAPS"
    shutil.copytree(twins.root, root, ignore=shutil.ignore_patterns(".cache"))
    hierarchy = yaml.safe_load((root / "hierarchy.yaml").read_text())
    renumbered = {label: 10 * label + 7 for label in range(12)}
    for split in ("train", "test"):
        for label in reversed(range(12)):
            (root / split / "fine" / str(label)).rename(
                root / split / "fine" / str(renumbered[label])
            )
    with (root / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["fine"] = renumbered[int(row["fine"])]
    with (root / "index.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    for key in ("fine", "parent", "fine_to_coarse"):
        if key in hierarchy:
            hierarchy[key] = {renumbered[k]: v for k, v in hierarchy[key].items()}
    (root / "hierarchy.yaml").write_text(yaml.safe_dump(hierarchy, sort_keys=False))

    overrides = [*two_epochs, f"dataset.root={root}", f"save_dir={tmp_path}", "exp_name=gaps"]
    status, _, err = in_process(SINGLE, *overrides, "hparams.batch_size=12")
    assert status == 0, err
    best = tmp_path / "gaps/fine/seed0/checkpoints/best.ckpt"
    assert read(best)[0].label_ids == {"fine": list(renumbered.values())}
    status, _, err = in_process(
        arch_single_head.test.main, f"checkpoint={best}", "hparams.mode=feature"
    )
    assert status == 0, err
    features = np.load(tmp_path / "gaps/fine/seed0/features.npz")
    assert sorted(features["fine"].tolist()) == sorted([*renumbered.values()] * 2)
