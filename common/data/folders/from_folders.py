"""Read classes, and splits where there are some, from the names of folders."""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.data.folders.collection import Collection, Picture, Skipped, suffix_of
from common.data.folders.families import families, families_in
from common.data.folders.table import tables_beside
from common.data.folders.walk import Files, walk
from common.system.errors import UserError
from common.system.words import some

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def split_named(name: str) -> str | None:
    """Give the split that a name stands for: train, val or test; None for any other name."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def from_folders(root: Path, hierarchy: Path | None, *, group_by_folder: bool) -> Collection:
    """Read a folder of class folders.

    Args:
        root: the folder.
        hierarchy: a table of the coarse class of each fine one, for one level of folders; None: look beside them.
        group_by_folder: whether pictures in one folder below their class's belong together.

    Raises:
        UserError: there are no pictures, or no two levels of classes, or it is not clear which folders these are.
    """
    files = walk(root)
    paths = [(shown, unicodedata.normalize("NFC", shown).split("/")) for shown in files.pictures]
    if not paths:
        raise UserError(_nothing(root, files.skipped))
    split = _has_splits([parts for _, parts in paths])
    below = [parts[1:] if split and split_named(parts[0]) else parts for _, parts in paths]
    above, table = _above(root, hierarchy, below)
    found = Collection("", [], files.skipped, others=files.others)
    if table and (root / table).is_file():
        found.others.subtract([suffix_of(table)])  # it is not passed over
        found.others += Counter()
    found.named = _named(files.folders, above, split=split)
    if split:
        found.notes += _empty_splits(files)
    for (shown, parts), rest in zip(paths, below, strict=True):
        of = split_named(parts[0]) if split else None
        reason = (
            "outside of train, val and test"
            if split and of is None
            else _no_class(rest, above, table)
        )
        if reason:
            found.skipped.append(Skipped(shown, reason))
            continue
        coarse, fine = rest[:2] if above is None else (above[rest[0]], rest[0])
        deeper = rest[2:-1] if above is None else rest[1:-1]
        # Below the folder of the split: one site stays one, on whichever side its pictures are.
        group = "/".join(rest[:-1]) if deeper and group_by_folder else None
        found.pictures.append(Picture(root / shown, shown, "/".join(rest), fine, coarse, of, group))
    splits = (
        f"{some(sorted({parts[0] for _, parts in paths if split_named(parts[0])}))}, in each "
        if split
        else ""
    )
    if group_by_folder and not any(picture.group for picture in found.pictures):
        found.notes.append(
            "--group-by-folder groups nothing: no fine class has a folder of pictures below its own."
        )
    kind = "coarse/fine/picture" if above is None else f"fine/picture, coarse classes from {table}"
    found.layout = f"{root}: folders, {splits}{kind}"
    return found


def _has_splits(paths: Sequence[Sequence[str]]) -> bool:
    """Say whether the first level of folders is that of splits: train with val or test, train alone, or these two."""
    first = {parts[0] for parts in paths if len(parts) > 1}
    named = {split_named(name) for name in first}
    if named == {"val", "test"}:
        return True
    # One class of several may well be called train.
    return "train" in named and (len(named - {None}) > 1 or len(first) == 1)


def _above(
    root: Path, hierarchy: Path | None, below: Sequence[Sequence[str]]
) -> tuple[Mapping[str, str] | None, str]:
    """Find the coarse class of each fine one, for one level of folders; None where there are two levels."""
    first = {parts[0] for parts in below if len(parts) > 1}
    second = {parts[1] for parts in below if len(parts) > 2}
    if hierarchy is not None:
        return families(hierarchy, first), hierarchy.name
    for table in tables_beside(root):
        found = families_in(table, first)
        if found and len(found.keys() & first) > len(found.keys() & second):
            if second and not table.levels():
                raise UserError(
                    f"{table.file} names folders of {root} that hold further folders: if it says to which coarse class "
                    f"they belong, give --hierarchy {table.file}, and if it says something else, move it elsewhere"
                )
            return found, table.file.name
    if not second:
        levels = f"one level of folders ({some(sorted(first))})" if first else "no folders"
        raise UserError(
            f"{root} holds {levels}, and two levels of classes are needed: coarse/fine/picture, or --hierarchy FILE, a "
            "table with the columns fine,coarse"
        )
    return None, ""


def _named(
    folders: Sequence[str], above: Mapping[str, str] | None, *, split: bool
) -> set[tuple[str, str]]:
    """Give the classes, (coarse, fine), that folders stand for; a coarse one without fine ones as (coarse, "")."""
    found, coarse = set(), set()
    for folder in folders:
        parts = unicodedata.normalize("NFC", folder).split("/")
        if split:
            if split_named(parts[0]) is None:
                continue
            parts = parts[1:]
        if above is not None and len(parts) == 1:
            found.add((above.get(parts[0], ""), parts[0]))
        elif above is None and len(parts) == 2:
            found.add((parts[0], parts[1]))
        elif above is None and len(parts) == 1:
            coarse.add(parts[0])
    return found | {(name, "") for name in coarse - {above for above, _ in found}}


def _empty_splits(files: Files) -> list[str]:
    """Say which folders of splits hold no pictures."""
    named = {folder for folder in files.folders if "/" not in folder and split_named(folder)}
    there = {shown.split("/")[0] for shown in files.pictures}
    return [f"The folder {name} holds no pictures." for name in sorted(named - there)]


def _no_class(rest: Sequence[str], above: Mapping[str, str] | None, table: str) -> str | None:
    if len(rest) < 2:
        return "in no class folder"
    if above is None and len(rest) < 3:
        return f"directly in the coarse class {rest[0]}: it has no fine class"
    if above is not None and rest[0] not in above:
        return f"{table} does not say to which coarse class {rest[0]} belongs"
    return None


def _nothing(root: Path, skipped: Sequence[Skipped]) -> str:
    if skipped:
        return f"{root} holds no picture that can be read: {skipped[0].shown}: {skipped[0].reason}"
    return f"{root} holds no pictures"
