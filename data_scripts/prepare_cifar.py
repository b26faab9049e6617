"""Turn CIFAR-100, or any set in its python format, into a tree of labelled folders.

    python data_scripts/prepare_cifar.py --download

Reads the files train, test and meta, and writes {train,test}/{fine,coarse}/<label id>/<image>.png
with hierarchy.yaml (classes) and index.csv (images). Safe to run again: a complete tree stays.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.data.held_out import held_out
from common.data.names import unique_names
from common.data.raw import Raw, RawSplit, read_raw
from common.data.tree import write_tree
from common.data.unpickling import refuse_packed
from common.system.errors import UserError, run_script

DATASETS = Path(__file__).resolve().parents[1] / "datasets"
RAW_DIR = DATASETS / "cifar-100-python"
OUT_DIR = DATASETS / "CIFAR100"
TENTH_DIR = DATASETS / "CIFAR100-tenth"

URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
ARCHIVE_FOLDER = "cifar-100-python"  # the folder inside the archive


def download(raw_dir: Path) -> None:
    """Fetch the published archive, check it, and unpack it beside raw_dir's name.

    Raises:
        UserError: the archive cannot be had, or raw_dir is not the folder that it unpacks to.
    """
    if raw_dir.name != ARCHIVE_FOLDER:
        raise UserError(
            f"--download unpacks a folder {ARCHIVE_FOLDER}, so --raw-dir must end in that name; "
            f"it is {raw_dir}"
        )
    # Here, because torch takes seconds to import.
    from torchvision.datasets.utils import download_and_extract_archive

    raw_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_and_extract_archive(URL, str(raw_dir.parent), md5=MD5)
    except (OSError, RuntimeError, EOFError) as error:  # no network, wrong sum, damaged archive
        raise UserError(
            f"{URL} could not be downloaded ({error}): get it elsewhere and unpack it so that "
            f"{raw_dir} holds the files train, test and meta"
        ) from None


def tenth(raw: Raw) -> Raw:
    """A tenth of each fine class of the training images, the same at each call, and all test images."""
    train = raw.train
    names = unique_names(train.names, train.fine)
    coarse = train.coarse if raw.independent else None
    rows = np.flatnonzero(held_out(train.fine, names, split_seed=0, coarse=coarse)).tolist()
    chosen = RawSplit(
        images=train.images[rows],
        fine=[train.fine[row] for row in rows],
        coarse=[train.coarse[row] for row in rows],
        names=[train.names[row] for row in rows],
    )
    return replace(raw, train=chosen)


def prepare(raw_dir: Path, out_dir: Path, split_seed: int, *, only_a_tenth: bool = False) -> None:
    """Read raw_dir, write the tree to out_dir, and say what is in it.

    Raises:
        UserError: the raw data is missing or damaged, or out_dir cannot be replaced.
    """
    refuse_packed(raw_dir)
    if not raw_dir.is_dir():
        raise UserError(
            f"{raw_dir} is missing: add --download, or get {URL} and unpack it so that this "
            "folder holds the files train, test and meta"
        )
    if raw_dir.resolve().is_relative_to(out_dir.resolve()):
        raise UserError(f"--raw-dir {raw_dir} lies inside --out-dir {out_dir}; keep them apart")
    raw = read_raw(raw_dir)
    tree = write_tree(tenth(raw) if only_a_tenth else raw, out_dir, split_seed)
    counts = tree.counts
    print(
        f"{out_dir}: {counts['train']:,} training images ({counts['held_out']:,} of them held "
        f"out for validation) and {counts['test']:,} test images in each tree, "
        f"{len(tree.fine)} fine and {len(tree.coarse)} coarse classes"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the script; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raw-dir", type=Path, default=RAW_DIR, help=f"default {RAW_DIR}")
    parser.add_argument("--out-dir", type=Path, help=f"default {OUT_DIR}, with --tenth {TENTH_DIR}")
    parser.add_argument(
        "--split-seed", type=int, default=0, help="of the held-out tenth (default 0)"
    )
    parser.add_argument("--download", action="store_true", help=f"fetch {URL} first")
    parser.add_argument(
        "--tenth",
        action="store_true",
        help="keep a tenth of the training images of each fine class, and all test images",
    )
    args = parser.parse_args(argv)
    out_dir = args.out_dir or (TENTH_DIR if args.tenth else OUT_DIR)

    def script() -> None:
        if args.download:
            download(args.raw_dir)
        prepare(args.raw_dir, out_dir, args.split_seed, only_a_tenth=args.tenth)

    return run_script(script)


if __name__ == "__main__":
    raise SystemExit(main())
