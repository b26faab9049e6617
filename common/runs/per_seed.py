"""What a run takes from its own seed: the images that it holds out, or a whole data set. Imports no torch."""

from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from common.system.errors import UserError

# As dataset.split_seed: each run draws the held-out tenth with its own seed.
PER_SEED = "per_seed"
# The keys of a data set that are paths, and may lie in the root's folder.
PATHS = ("train_dir", "val_dir", "test_dir", "raw_data_dir")


def own_images(dataset: DictConfig) -> str:
    """Name the setting that gives each seed other images, as a command line spells it; empty if all share theirs."""
    if dataset.root_per_seed:
        return "dataset.root_per_seed=true"
    return f"dataset.split_seed={PER_SEED}" if dataset.split_seed == PER_SEED else ""


def kinds(dataset: DictConfig) -> tuple[str, ...]:
    """Name what each seed has for itself: ``set``, all images; ``split``, which of them are held out."""
    found = {"set": dataset.root_per_seed, "split": dataset.split_seed == PER_SEED}
    return tuple(kind for kind, has in found.items() if has)


def root_of(root: str, seed: int) -> str:
    """Name the folder of a seed's own data set: datasets/NAVON-seed0 beside datasets/NAVON."""
    return f"{root}-seed{seed}"


def for_seed(dataset: DictConfig, seed: int) -> DictConfig:
    """Give the keys of a data set as the run of a seed takes them: its folders, and the seed of its split."""
    dataset = dataset.copy()
    if dataset.split_seed == PER_SEED:
        dataset.split_seed = seed
    if dataset.root_per_seed:
        old, new = Path(dataset.root), root_of(dataset.root, seed)
        for name in PATHS:
            if dataset[name] is not None and Path(dataset[name]).is_relative_to(old):
                dataset[name] = str(new / Path(dataset[name]).relative_to(old))
        dataset.root, dataset.root_per_seed = new, False
    return dataset


def check_own_sets(dataset: DictConfig) -> None:
    """Refuse ``root_per_seed`` where images do not lie in the root's folder, so that seeds would share them.

    Raises:
        UserError: names the key.
    """
    for name in ("train_dir", "test_dir") if dataset.root_per_seed else ():
        if not Path(dataset[name]).is_relative_to(dataset.root):
            raise UserError(
                f"dataset.root_per_seed=true gives each seed its own folder of dataset.root, {dataset.root}, but "
                f"dataset.{name} is {dataset[name]}; allowed: a folder in it."
            )


def refuse_missing_sets(dataset: DictConfig, seeds: Iterable[int]) -> None:
    """Refuse, before anything is trained, that a seed's own data set is not there.

    Raises:
        UserError: names its folder, and says how to draw Navon figures.
    """
    for seed in seeds if dataset.root_per_seed else ():
        root = root_of(dataset.root, seed)
        if not Path(root).is_dir():
            raw = f"{root}-python"
            raise UserError(
                f"There is no data set of seed {seed} at {root}, where dataset.root_per_seed=true wants it: draw it "
                f"(Navon figures: python data_scripts/make_navon.py --seed {seed} --out-dir {raw} && python "
                f"data_scripts/prepare_cifar.py --raw-dir {raw} --out-dir {root}), or leave that seed out."
            )
