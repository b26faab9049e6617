"""Read pictures with their classes from a table."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.data.folders.collection import Collection, Picture, Skipped
from common.data.folders.families import families
from common.data.folders.from_folders import split_named
from common.data.folders.table import SPLITS, Table
from common.data.folders.walk import walk, why_not
from common.system.errors import UserError


@dataclass(frozen=True)
class Columns:
    """What the columns of a table of pictures mean; ``coarse`` is None where a hierarchy says it."""

    path: str
    fine: str
    coarse: str | None
    split: str | None
    group: str | None


def columns_of(
    table: Table, given: Sequence[str] | None, group: str | None, *, one_level: bool
) -> Columns | None:
    """Find out what the columns mean; None where the table does not list pictures with their classes.

    Args:
        table: any table.
        given: the columns of path, fine class, coarse class, and maybe split and group, where they were named.
        group: the column of what belongs together, where it was named.
        one_level: whether a hierarchy says the coarse classes.
    """
    if given:
        if any(table.place(name) is None for name in given):
            return None
        path, fine, coarse, split, together = (*given, None, None, None)[:5]
        assert path is not None
        assert fine is not None
        return Columns(
            path,
            fine,
            coarse,
            split or table.first_of(SPLITS),
            together or group or table.first_of(["group"]),
        )
    path = table.path_column()
    if path is None:
        return None
    split = table.first_of(SPLITS)
    together = group if group is not None else table.first_of(["group"])
    taken = {name.lower() for name in (path, split, together) if name}
    rest = [name for name in table.header if name.lower() not in taken]
    if one_level:
        fine = table.first_of(["fine", "species", "class", "label"]) or (
            rest[0] if len(rest) == 1 else None
        )
        return Columns(path, fine, None, split, together) if fine else None
    levels = table.levels()
    if levels is None and len(rest) == 2:
        # There are more fine classes than coarse ones.
        fewer = sorted(rest, key=lambda name: -len(set(table.column(name))))
        levels = (fewer[0], fewer[1])
    return Columns(path, *levels, split, together) if levels else None


def from_table(
    table: Table, columns: Columns, root: Path, hierarchy: Path | None, *, group_by_folder: bool
) -> Collection:
    """Read the pictures that a table lists; paths are relative to its folder.

    Raises:
        UserError: a column is missing, or the table lists no picture that is there.
    """
    fine = table.column(columns.fine)
    coarse, source = _coarse(table, columns, hierarchy)
    splits = table.column(columns.split) if columns.split else [""] * len(fine)
    groups = table.column(columns.group) if columns.group else [""] * len(fine)
    found = Collection("", [])
    found.named = {pair for pair in zip(coarse, fine, strict=True) if all(pair)}
    places = _Places(root)
    listed: dict[str, int] = {}  # rows by real path: a picture may be written in several ways
    rows = zip(table.column(columns.path), fine, coarse, splits, groups, strict=True)
    for number, (given, *labels) in enumerate(rows, start=2):
        shown = given.replace("\\", "/")
        path = places.find(shown)
        split, reason = _split(labels[2]) if columns.split else (None, None)
        if path is None:
            reason = "not there"
        elif (first := listed.setdefault(os.path.realpath(path), number)) != number:
            reason = f"listed twice, in rows {first} and {number} of {table.file.name}"
        else:
            reason = reason or why_not(path)
        if not labels[0] or not labels[1]:
            reason = reason or "it has no class in both levels"
        if reason or path is None:
            found.skipped.append(Skipped(shown or f"row {number}", reason or ""))
            continue
        group = str(path.parent) if group_by_folder else labels[3] or None
        name = shown.lstrip("/")
        found.pictures.append(Picture(path, shown, name, labels[0], labels[1], split, group))
    if not found.pictures:
        raise UserError(
            f"{table.file} lists no picture that can be used: {found.skipped[0].shown}: {found.skipped[0].reason}"
            if found.skipped
            else f"{table.file} lists no picture"
        )
    unlisted = len(set(map(os.path.realpath, places.below)) - listed.keys())
    if unlisted:
        found.notes.append(
            f"Pictures below {root} that {table.file.name} does not list: {unlisted:,}."
        )
    parts = [f"{columns.path} → picture", f"{columns.fine} → fine class", source]
    parts += [f"{columns.split} → split"] if columns.split else []
    parts += [f"{columns.group} → group"] if columns.group else []
    found.layout = f"{table.file}: {', '.join(parts)}"
    return found


def _coarse(table: Table, columns: Columns, hierarchy: Path | None) -> tuple[Sequence[str], str]:
    """Give the coarse class of each row, empty where there is none, and where it comes from."""
    if columns.coarse is not None:
        return table.column(columns.coarse), f"{columns.coarse} → coarse class"
    assert hierarchy is not None
    fine = table.column(columns.fine)
    above = families(hierarchy, set(fine))
    return [above.get(name, "") for name in fine], f"coarse class from {hierarchy.name}"


def _split(text: str) -> tuple[str | None, str | None]:
    """Give the split that a cell names, and what is wrong where it names none."""
    split = split_named(text)
    return split, None if split else f"its split is {text!r}; allowed are train, val and test"


class _Places:
    """Find the pictures that a table names: below its folder, or by the end of their path, where only one has that."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.below: Mapping[str, str] = {
            str(root / shown): unicodedata.normalize("NFC", shown) for shown in walk(root).pictures
        }
        self.by_name: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for path, shown in self.below.items():
            self.by_name[PurePosixPath(shown).name].append((path, shown))

    def find(self, shown: str) -> Path | None:
        """Find a picture; None where it is not there, or where several could be meant."""
        if not shown:
            return None
        direct = self.root / shown
        if os.path.isfile(direct):  # which a name that is too long is not; Path.is_file stops
            return direct
        ends = [
            path
            for path, other in self.by_name[PurePosixPath(shown).name]
            if f"/{other}".endswith(f"/{shown.removeprefix('./')}")
        ]
        return Path(ends[0]) if len(ends) == 1 else None
