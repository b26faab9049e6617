"""Find out how a collection of pictures is laid out, and read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.folders.collection import Collection
from common.data.folders.from_folders import from_folders
from common.data.folders.from_labelled import from_labelled, is_labelled
from common.data.folders.from_table import columns_of, from_table
from common.data.folders.table import TABLES, Table, read_table, tables_beside
from common.system.errors import UserError

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Reading:
    """What a person says about a collection: nothing is needed where it can be found out.

    ``hierarchy`` is a table of fine and coarse classes; ``columns`` are names of columns: path, fine and coarse class,
    and maybe split and group; ``group`` is the column of what belongs together.
    """

    hierarchy: Path | None = None
    columns: Sequence[str] | None = None
    group: str | None = None
    group_by_folder: bool = False


def collect(source: Path, reading: Reading) -> Collection:
    """Find the pictures of a collection with their classes.

    Args:
        source: a folder of folders, a folder with a table of its pictures, that table, or labelled folders.
        reading: what was said about it.

    Raises:
        UserError: nothing is there, or it cannot be found out what the classes are.
    """
    least = 2 if reading.hierarchy else 3
    if reading.columns is not None and not least <= len(reading.columns) <= 5:
        raise UserError(
            f"--columns {','.join(reading.columns)}: allowed are the columns of path, fine class and coarse class, "
            "such as path,species,family, then maybe those of split and group"
        )
    if reading == Reading() and source.is_dir() and is_labelled(source):
        return from_labelled(source)
    table = _table(source, reading)
    if table is None:
        remedies = {"--columns": "", "--group": ", or give --group-by-folder"}
        for option, value in (("--columns", reading.columns), ("--group", reading.group)):
            if value:
                names = value if isinstance(value, str) else ",".join(value)
                there = [
                    f"{one.file.name} has {', '.join(one.header)}" for one in tables_beside(source)
                ]
                raise UserError(
                    f"{option} {names}: {source} holds no table of pictures with such columns"
                    f"{' (' + '; '.join(there) + ')' if there else ''}; add a .csv of paths, "
                    f"classes and these{remedies[option]}"
                )
        return from_folders(source, reading.hierarchy, group_by_folder=reading.group_by_folder)
    columns = columns_of(table, reading.columns, reading.group, one_level=bool(reading.hierarchy))
    if columns is None:
        for name in reading.columns or ():
            table.column(name)  # says which one is missing
        raise UserError(
            f"{table.file}: it is not clear which columns of {', '.join(table.header)} hold path, fine and coarse "
            "class: say so with --columns path,species,family, or give a table of coarse classes with --hierarchy"
        )
    return from_table(
        table,
        columns,
        table.file.parent,
        reading.hierarchy,
        group_by_folder=reading.group_by_folder,
    )


def _table(source: Path, reading: Reading) -> Table | None:
    """Find the table of pictures; None for a folder of folders.

    Raises:
        UserError: the source is neither, or there are several tables.
    """
    if not source.exists():
        raise UserError(
            f"{source} is not there: give the folder of your pictures, or a table of them"
        )
    if source.is_file():
        if source.suffix.lower() in ARCHIVES:
            raise UserError(f"{source} is an archive: unpack it, and give the folder")
        if source.suffix.lower() not in TABLES:
            raise UserError(
                f"{source} is neither a folder nor a table; allowed are {', '.join(TABLES)}"
            )
        return read_table(source)
    found = []
    for table in tables_beside(source):
        if reading.hierarchy is None or table.file.resolve() != reading.hierarchy.resolve():
            named = columns_of(
                table, reading.columns, reading.group, one_level=bool(reading.hierarchy)
            )
            # A table of pictures whose classes are not clear is one all the same: the command then asks.
            if named or (reading.columns is None and table.path_column()):
                found.append(table)
    if len(found) > 1:
        names = ", ".join(table.file.name for table in found)
        raise UserError(
            f"{source} holds several tables of pictures ({names}): give one of them in place of the folder"
        )
    return found[0] if found else None
