"""Turn raw data into a tree of labelled folders, complete or absent.

NAME/{train,test}/{fine,coarse}/<label id>/<image>.png
NAME/hierarchy.yaml    classes of both levels
NAME/index.csv         one row per image: split, image, fine, coarse, held_out
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np

from common.data.held_out import held_out
from common.data.hierarchy import (
    HIERARCHY_FILE,
    Hierarchy,
    names_of_levels,
    read_hierarchy,
    write_hierarchy,
)
from common.data.index import INDEX_FILE, Index, parents, write_index
from common.data.names import unique_names
from common.data.processes import in_processes
from common.data.raw import Raw
from common.settings.levels import LEVELS
from common.system.atomic_files import only_one, sync_folder
from common.system.errors import UserError

RAW_DIGEST = "raw-sha256:"  # how the digest of a tree made here begins
CHUNK = 256  # images that a process writes at a time
FEW = 2_000  # images for which the start of further processes takes longer than they save
PNG_COMPRESSION = 1  # of 9: a third larger than the default, several times as fast


def write_tree(raw: Raw, out_dir: Path, split_seed: int) -> Hierarchy:
    """Write the labelled tree of a raw data set, unless it is there already.

    The tree is built beside out_dir and renamed to it, after one sync of the file system. A tree
    made from other data or with another seed is replaced once the new one is complete.

    Raises:
        UserError: out_dir holds something that was not made here, the seed is negative, or the
            raw labels give a fine class two coarse ones, or another process is writing there.
        OSError: the disk is full, or out_dir cannot be written.
    """
    if split_seed < 0:
        raise UserError(f"--split-seed {split_seed}: allowed are whole numbers from 0")
    with replacing_tree(out_dir) as building:
        return _write_tree(raw, building, Path(out_dir).resolve(), split_seed)


def _write_tree(raw: Raw, building: Path, out_dir: Path, split_seed: int) -> Hierarchy:
    index, order = _index(raw, split_seed)
    hierarchy = Hierarchy(
        fine={label: raw.fine_names[label] for label in np.unique(index.fine).tolist()},
        coarse={label: raw.coarse_names[label] for label in np.unique(index.coarse).tolist()},
        parent={} if raw.independent else parents(index.fine, index.coarse, "raw data"),
        split_seed=split_seed,
        digest=_digest(raw, index, order),
        counts=index.counts(),
        nested=not raw.independent,
        level_names=names_of_levels(raw.independent or [*LEVELS], "raw data, level_names"),
    )
    if _is_done(out_dir, hierarchy):
        print(f"{out_dir} is complete and made from the same data: nothing to do")
        return hierarchy
    _write_images(raw, index, order, building)
    write_index(index, building)
    write_hierarchy(hierarchy, building)
    return hierarchy


@contextmanager
def replacing_tree(out_dir: Path) -> Iterator[Path]:
    """Give a folder in which to build a tree, which then takes the place of ``out_dir``, after one sync.

    It is not there yet; where nobody makes it, ``out_dir`` stays as it is, and so it does after a failure.

    Raises:
        UserError: another process is writing there.
    """
    out_dir = Path(out_dir).resolve()  # a linked folder is replaced where it really is
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with only_one(out_dir):
        building = out_dir.with_name(f".{out_dir.name}.building")
        previous = out_dir.with_name(f".{out_dir.name}.previous")
        _clean_up(out_dir, building, previous)
        try:
            yield building
            if building.exists():
                os.sync()  # names must not reach the disk before the images do
                _swap(building, out_dir, previous)
        except OSError as error:
            if error.errno is None or error.filename is not None:
                raise
            # A write to a full disk does not know its file's name.
            raise OSError(error.errno, error.strerror, str(out_dir)) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)  # there only after a failure


# ---------------------------------------------------------------- what goes in


def _index(raw: Raw, split_seed: int) -> tuple[Index, list[np.ndarray]]:
    """Return the index and, for each split, the raw row of each of its index rows.

    Rows are sorted, so that raw data in another order gives the same tree.
    """
    index = Index([], [], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, bool))
    orders = []
    for name, split in raw.splits():
        images = unique_names(split.names, split.fine)
        order = sorted(range(len(images)), key=lambda row: (split.fine[row], images[row]))
        fine = np.array(split.fine, np.int64)[order]
        images = [images[row] for row in order]
        coarse = np.array(split.coarse, np.int64)[order]
        second = coarse.tolist() if raw.independent else None
        chosen = (
            held_out(fine.tolist(), images, split_seed, coarse=second)
            if name == "train"
            else np.zeros(len(images), bool)
        )
        index.split += [name] * len(images)
        index.image += images
        index.fine = np.concatenate([index.fine, fine])
        index.coarse = np.concatenate([index.coarse, coarse])
        index.held_out = np.concatenate([index.held_out, chosen])
        orders.append(np.array(order, np.int64))
    return index, orders


def _digest(raw: Raw, index: Index, orders: list[np.ndarray]) -> str:
    """Return a digest of all that the tree holds: class names, labels, image names, pixels."""
    sha = hashlib.sha256()
    sha.update(repr((raw.fine_names, raw.coarse_names, index.split, index.image)).encode())
    sha.update(np.stack([index.fine, index.coarse]).astype("<i8").tobytes())
    for (_, split), order in zip(raw.splits(), orders, strict=True):
        sha.update(repr(split.images.shape).encode())
        for row in order:
            sha.update(split.images[row])
    return RAW_DIGEST + sha.hexdigest()


def _is_done(out_dir: Path, wanted: Hierarchy) -> bool:
    """Say whether out_dir already is the wanted tree, with all of its files.

    Raises:
        UserError: out_dir holds something else than a tree made here, which is left alone.
    """
    found = tree_in(out_dir, RAW_DIGEST, "raw data")
    if found is None:
        return False
    if found != wanted:
        print(f"{out_dir} was made from other data or with another split seed: replacing it")
        return False
    for split in ("train", "test"):
        for level in ("fine", "coarse"):
            files = sum(1 for _ in (out_dir / split / level).glob("*/*.png"))
            if files != wanted.counts[split]:
                print(f"{out_dir}/{split}/{level} has lost images: making it again")
                return False
    return (out_dir / INDEX_FILE).is_file()


@contextmanager
def in_the_way(out_dir: Path) -> Iterator[None]:
    """Say what helps where a file that describes an earlier tree is damaged.

    Raises:
        UserError: in place of that of the file.
    """
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}; once {out_dir} is moved away, the set is made anew, without what was edited "
            "there."
        ) from error


def tree_in(out_dir: Path, digest: str, made_from: str) -> Hierarchy | None:
    """Give the classes of the tree that stands in ``out_dir``; None where nothing is there.

    Args:
        out_dir: where a tree is to stand.
        digest: how the digest of trees that may be replaced begins.
        made_from: what such trees are made from, in words.

    Raises:
        UserError: it holds something else than such a tree, which is left alone.
    """
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return None
    if not (out_dir / HIERARCHY_FILE).is_file():
        raise UserError(
            f"{out_dir} exists and has no {HIERARCHY_FILE}, so it was not made by this script: "
            "move it away or choose another folder"
        )
    with in_the_way(out_dir):
        found = read_hierarchy(out_dir)
    if not found.digest.startswith(digest):
        raise UserError(
            f"{out_dir} holds labelled folders that were not made from {made_from}, and is left "
            "alone: choose another folder"
        )
    return found


# ---------------------------------------------------------------- what comes out


def make_class_folders(index: Index, building: Path) -> None:
    """Make the folders of all classes of both trees and splits."""
    for split, fine, coarse in set(
        zip(index.split, index.fine.tolist(), index.coarse.tolist(), strict=True)
    ):
        (building / split / "fine" / str(fine)).mkdir(parents=True, exist_ok=True)
        (building / split / "coarse" / str(coarse)).mkdir(parents=True, exist_ok=True)


def image_paths(index: Index, building: Path) -> Iterator[tuple[str, str]]:
    """Give for each row of an index its path in the fine and in the coarse tree."""
    rows = zip(index.split, index.image, index.fine.tolist(), index.coarse.tolist(), strict=True)
    for split, name, fine, coarse in rows:
        yield (
            f"{building}/{split}/fine/{fine}/{name}",
            f"{building}/{split}/coarse/{coarse}/{name}",
        )


def _write_images(raw: Raw, index: Index, orders: list[np.ndarray], out_dir: Path) -> None:
    """Write each image once, into the fine tree, and link it into the coarse tree."""
    from rich.progress import Progress  # here, because reading an index must start quickly

    make_class_folders(index, out_dir)
    paths = image_paths(index, out_dir)
    jobs = (
        (split.images[rows], [*islice(paths, len(rows))])
        for (_, split), order in zip(raw.splits(), orders, strict=True)
        for rows in np.split(order, range(CHUNK, len(order), CHUNK))
    )
    done = map(_write_some, jobs) if len(index) <= FEW else in_processes(_write_some, jobs)
    with Progress() as progress:
        task = progress.add_task("writing images", total=len(index))
        for written in done:
            progress.advance(task, written)


def _write_some(job: tuple[np.ndarray, list[tuple[str, str]]]) -> int:
    """Write images uint8 (N, 3, H, W), each to its first path, and link it to its second; returns N."""
    from PIL import Image

    images, paths = job
    for image, (path, second) in zip(images.transpose(0, 2, 3, 1), paths, strict=True):
        Image.fromarray(np.ascontiguousarray(image)).save(path, compress_level=PNG_COMPRESSION)
        _link(path, second)
    return len(paths)


def take_image(source: Path, target: str, *, move: bool) -> None:
    """Bring an image to its place in the fine tree: move it there, or give it a second name."""
    if move:
        os.rename(source, target)
    else:
        _link(os.path.realpath(source), target)  # not a link to a link


def link_coarse_tree(index: Index, building: Path) -> None:
    """Link each image of the fine tree into the coarse one."""
    for path, second in image_paths(index, building):
        _link(path, second)


def _link(path: str, second: str) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(path, second)
    except OSError:
        shutil.copyfile(path, second)


def _swap(building: Path, out_dir: Path, previous: Path) -> None:
    """Rename the new tree to out_dir; the old one is deleted only once the new one is there."""
    if out_dir.exists():
        out_dir.rename(previous)
    try:
        building.rename(out_dir)
    except OSError:
        if previous.exists():
            previous.rename(out_dir)
        raise
    sync_folder(out_dir.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _clean_up(out_dir: Path, building: Path, previous: Path) -> None:
    """Clean up after an interrupted run: put the old tree back if the new one never came."""
    if previous.exists() and not out_dir.exists():
        previous.rename(out_dir)
    for leftover in (building, previous):
        if leftover.exists():
            shutil.rmtree(leftover)
