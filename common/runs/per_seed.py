"""What a run takes from its own seed: the images that it holds out, or a whole data set. Imports no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from common.data.hierarchy import HIERARCHY_FILE, Hierarchy, read_hierarchy
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
        dataset = in_root(dataset, root_of(dataset.root, seed))
        dataset.root_per_seed = False
    return dataset


def in_root(dataset: DictConfig, root: str) -> DictConfig:
    """Give the keys of a data set whose root is another folder: what lay in the old one lies in that."""
    dataset, old = dataset.copy(), Path(dataset.root)
    for name in PATHS:
        if dataset[name] is not None and Path(dataset[name]).is_relative_to(old):
            dataset[name] = str(root / Path(dataset[name]).relative_to(old))
    dataset.root = root
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


def refuse_unlike_sets(dataset: DictConfig, seeds: Iterable[int]) -> None:
    """Refuse, before anything is trained, that a seed's own data set is not there or has other classes than the others.

    Raises:
        UserError: names its folder, and says how to draw Navon figures, or in what it differs.
    """
    if not dataset.root_per_seed:
        return
    places = []
    tree = Path(dataset.train_dir).relative_to(dataset.root)
    for seed in seeds:
        root = root_of(dataset.root, seed)
        if not Path(root).is_dir():
            raw = f"{root}-python"
            raise UserError(
                f"There is no data set of seed {seed} at {root}, where dataset.root_per_seed=true wants it: draw it "
                f"(Navon figures: python data_scripts/make_navon.py --seed {seed} --out-dir {raw} && python "
                f"data_scripts/prepare_cifar.py --raw-dir {raw} --out-dir {root}), or leave that seed out."
            )
        places.append((Path(root) / tree).parent.parent)
    _refuse_other_classes([place for place in places if (place / HIERARCHY_FILE).is_file()])


def _refuse_other_classes(places: Sequence[Path]) -> None:
    """Refuse sets whose classes are not those of the first one: a mean over them would be one of different tasks.

    Raises:
        UserError: names both folders and the first difference.
    """
    read: set[str] = set()
    for place in places:
        text = _without_origin(place / HIERARCHY_FILE)
        if text in read:  # a thousand files take a minute to parse
            continue
        read.add(text)
        if differs := _difference(read_hierarchy(places[0]), read_hierarchy(place)):
            raise UserError(
                f"dataset.root_per_seed=true takes the mean over sets of the same classes, and {place} has others than "
                f"{places[0]} ({differs}): make both alike, or leave a seed out."
            )


def _without_origin(file: Path) -> str:
    """Give the lines of hierarchy.yaml but for those that are each set's own."""
    lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    return "\n".join(line for line in lines if not line.startswith(("split_seed:", "digest:")))


def _difference(one: Hierarchy, other: Hierarchy) -> str:
    """Say in what the classes of two sets differ first; empty if in nothing."""
    if one.nested != other.nested:
        return "in one of them alone fine and coarse are independent labels"
    for what, ours, theirs in (
        ("fine class", one.fine, other.fine),
        ("coarse class", one.coarse, other.coarse),
        ("the coarse class of fine class", one.parent, other.parent),
    ):
        for label in sorted({*ours, *theirs}):
            here, there = ours.get(label, "not there"), theirs.get(label, "not there")
            if here != there:
                return f"{what} {label}: {there}, and {here}"
    return ""
