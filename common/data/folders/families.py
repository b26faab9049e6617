"""Find in a table to which coarse class each fine class belongs."""

from collections.abc import Collection
from pathlib import Path

from common.data.folders.table import Table, read_table
from common.system.errors import UserError
from common.system.words import some


def families(file: Path, fine: Collection[str]) -> dict[str, str]:
    """Read the coarse class of each fine class from a file that was named.

    Args:
        file: a table of two columns, one of them with fine classes.
        fine: the classes that the pictures have.

    Raises:
        UserError: no column names these classes, each with one coarse class.
    """
    table = read_table(file)
    found = families_in(table, fine)
    if found is None:
        raise UserError(
            f"{file}: none of its columns ({', '.join(table.header)}) names the classes of the pictures "
            f"({some(sorted(fine))}), each with one coarse class"
        )
    return found


def families_in(table: Table, fine: Collection[str]) -> dict[str, str] | None:
    """Find the coarse class of each fine class in a table, where it holds that.

    The fine column is the one that names most of the classes, the coarse one the other, or the one called coarse.
    None where no column does, or where a class has two coarse classes.
    """
    columns = [tuple(row[n] for row in table.rows) for n in range(len(table.header))]
    known = [len(set(column) & set(fine)) for column in columns]
    place = max(range(len(columns)), key=lambda n: known[n])
    if table.header[place] in fine and table.header[place] not in columns[place]:
        columns = list(zip(table.header, *table.rows, strict=True))  # its first line names a class
    rest = [n for n in range(len(columns)) if n != place]
    named = [n for n in rest if table.header[n].lower() == "coarse"] or rest
    if not known[place] or len(named) != 1:
        return None
    found: dict[str, str] = {}
    for name, above in zip(columns[place], columns[named[0]], strict=True):
        if name and above and found.setdefault(name, above) != above:
            return None
    return found
