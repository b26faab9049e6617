"""Prepare a collection of pictures: find them, decode them, divide them, and write the tree with its report."""

import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.data.folders.assemble import DIGEST, Assembled, Options, assemble
from common.data.folders.changes import changes
from common.data.folders.classes import same_name_notes
from common.data.folders.collection import Collection, Picture, Skipped, counted
from common.data.folders.contact_sheet import SHEET_FILE, contact_sheet
from common.data.folders.decoding import Decoded, decode_all, highest, is_kept, written_to
from common.data.folders.earlier import Earlier, earlier
from common.data.folders.problems import classes_without_pictures, divided_groups, problems
from common.data.folders.report import Report, passed_over
from common.data.folders.sources import Reading, collect
from common.data.hierarchy import write_hierarchy
from common.data.index import INDEX_FILE, write_index
from common.data.prepared import settings_for, write_prepared
from common.data.tree import (
    image_paths,
    link_coarse_tree,
    make_class_folders,
    replacing_tree,
    take_image,
    tree_in,
)
from common.system.errors import UserError


def prepare_folders(
    source: Path, out_dir: Path, options: Options, reading: Reading, *, strict: bool = False
) -> list[str]:
    """Prepare a collection of pictures, and give a report of a few lines.

    Args:
        source: a folder of pictures, or a table of them; it is not changed.
        out_dir: the folder of the data set. One that was made here is replaced: classes keep their label ids, and
            what was edited is kept.
        options: how the set is made.
        reading: what was said about the collection.
        strict: whether to stop where a picture would be skipped.

    Raises:
        UserError: what cannot be prepared; with ``strict``, pictures that would be skipped.
    """
    if options.split_seed < 0:
        raise UserError(f"--split-seed {options.split_seed}: allowed are whole numbers from 0")
    if options.test is not None and not 0 < options.test < 1:
        raise UserError(
            f"--test {options.test:g}: allowed is a share above 0 and below 1, such as 0.2"
        )
    collection = collect(source, reading)
    options = options.of(collection)
    _refuse_one_in_the_other(source, out_dir)
    print(collection.layout)
    with replacing_tree(out_dir) as building:
        before = earlier(out_dir, tree_in(out_dir, DIGEST, "pictures"))
        staged = building / "decoded"
        found = decode_all(
            [one.path for one in collection.pictures], staged, options.frame, keep=options.keep
        )
        for picture, one in zip(collection.pictures, found, strict=True):
            if one.problem:
                collection.skipped.append(Skipped(picture.shown, one.problem))
        if strict:
            _refuse_skipped(collection)
        usable = [index for index, one in enumerate(found) if not one.problem]
        if not usable:
            raise UserError(f"{source}: no picture can be used: {collection.skipped[0].reason}")
        pictures = [collection.pictures[index] for index in usable]
        decoded = [found[index] for index in usable]
        tree = assemble(pictures, decoded, before, options)
        settings, edited = _settings(out_dir, tree, before)
        report = _report(collection, pictures, decoded, tree, before, edited)
        files = _files(tree, pictures, decoded, [written_to(staged, index) for index in usable])
        if _is_done(out_dir, tree, before, files):
            shutil.rmtree(building)
            report.write(out_dir, out_dir.name)
            return [
                *report.lines(),
                f"{out_dir} is complete and made from the same pictures: nothing to do.",
            ]
        _write(building, tree, files)
        shutil.rmtree(staged)
        write_prepared(building, settings, tree.made)
        report.write(building, out_dir.name)
        written = [fine for fine, _ in image_paths(tree.index, building)]
        contact_sheet(tree.index, tree.hierarchy, written, options.frame).save(
            building / SHEET_FILE
        )
    return report.lines()


def _refuse_one_in_the_other(source: Path, out_dir: Path) -> None:
    pictures, out = (source.parent if source.is_file() else source).resolve(), out_dir.resolve()
    if pictures.is_relative_to(out) or out.is_relative_to(pictures):
        raise UserError(f"{source} and --out-dir {out_dir} lie one in the other: keep them apart")


def _refuse_skipped(collection: Collection) -> None:
    """Print all pictures that would be skipped, and stop."""
    for one in collection.skipped:
        print(f"{one.shown}: {one.reason}")
    if collection.skipped:
        number = counted(len(collection.skipped), "picture")
        raise UserError(
            f"--strict: {number} cannot be used (see above): mend or remove what is named"
        )


def _settings(out_dir: Path, tree: Assembled, before: Earlier | None) -> tuple[dict, list[str]]:
    """Choose what dataset=folders takes, with what was edited; and name the latter."""
    name = "".join(c if c.isprintable() and c not in "=/" else "-" for c in out_dir.resolve().name)
    chosen = {"name": name[:100]} | settings_for(tree.hierarchy.counts["train"])
    return before.kept_settings(chosen) if before else (chosen, [])


def _report(
    collection: Collection,
    pictures: list[Picture],
    decoded: list[Decoded],
    tree: Assembled,
    before: Earlier | None,
    edited: list[str],
) -> Report:
    facts = [f"Split: {tree.how}.", *passed_over(collection)]
    if peak := highest(decoded):
        wide = sum(one.peak > 0 for one in decoded)
        facts.append(
            f"Pictures of more than 8 bits: {wide:,}; all were scaled alike, from 0 to {peak:,} to 0 to 255."
        )
    facts += changes(before, tree) if before else []
    if edited:
        facts.append(f"Edited values of prepared.yaml were kept: {', '.join(edited)}.")
    ordered = [pictures[row] for row in tree.rows]
    wrong = [*collection.notes, *classes_without_pictures(collection, pictures)]
    wrong += same_name_notes(pictures) if tree.hierarchy.nested else []
    wrong += problems(tree.index, tree.hierarchy, [decoded[row].digest for row in tree.rows])
    wrong += divided_groups(tree.index, [picture.group for picture in ordered])
    return Report(collection.layout, tree.index, tree.hierarchy, facts, wrong, collection.skipped)


class _File(NamedTuple):
    """The file that an image of a set is made of; ``kept``: the picture itself, which only gets a second name."""

    path: Path
    kept: bool


def _files(
    tree: Assembled, pictures: list[Picture], decoded: list[Decoded], staged: list[Path]
) -> list[_File]:
    """Give the file of each image, in the order of the index."""
    found = []
    for row in tree.rows:
        kept = tree.made.keep and is_kept(pictures[row].path, decoded[row])
        found.append(_File(pictures[row].path if kept else staged[row], kept))
    return found


def _is_done(
    out_dir: Path, tree: Assembled, before: Earlier | None, files: Sequence[_File]
) -> bool:
    """Say whether a folder is the wanted set already, with all of its files as they would be written."""
    if before is None or (before.hierarchy, before.made) != (tree.hierarchy, tree.made):
        return False
    if before.index.held_out.tolist() != tree.index.held_out.tolist():
        return False
    return (out_dir / INDEX_FILE).is_file() and all(
        Path(path).is_file() and filecmp.cmp(path, file.path, shallow=False)
        for file, pair in zip(files, image_paths(tree.index, out_dir), strict=True)
        for path in pair
    )


def _write(building: Path, tree: Assembled, files: Sequence[_File]) -> None:
    """Bring each picture to its place in both trees, and describe them."""
    make_class_folders(tree.index, building)
    for file, (target, _) in zip(files, image_paths(tree.index, building), strict=True):
        take_image(file.path, target, move=not file.kept)
    link_coarse_tree(tree.index, building)
    write_index(tree.index, building)
    write_hierarchy(tree.hierarchy, building)
