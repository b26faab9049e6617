"""hierarchy.yaml of a labelled tree: its classes, and which coarse class each fine class belongs to."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from common.data.set_files import read_text
from common.settings.levels import LEVEL_NAMES, LEVELS
from common.system.atomic_files import write_text
from common.system.errors import UserError, shown

HIERARCHY_FILE = "hierarchy.yaml"
LONGEST_NAME = 24  # characters of a level's name


@dataclass(frozen=True)
class Hierarchy:
    """The classes of both levels by label id, the coarse parent of each fine class, the origin.

    Where not ``nested``, fine and coarse are two independent labels of an image, and no class has a parent.
    """

    fine: dict[int, str]
    coarse: dict[int, str]
    parent: dict[int, int]  # fine label id -> coarse label id; empty if not nested
    split_seed: int
    digest: str  # "<kind>-sha256:<hex>" of what the tree was made from
    counts: dict[str, int] = field(default_factory=dict)  # see Index.counts
    nested: bool = True
    level_names: dict[str, str] = field(default_factory=LEVEL_NAMES.copy)  # where people read

    def above(self, fine: int) -> str:
        """Name the coarse class of a fine class; nothing where the two labels are independent."""
        return self.coarse[self.parent[fine]] if self.nested else ""

    def in_order(self) -> list[int]:
        """List the fine classes, those of one coarse class side by side."""
        return sorted(self.fine, key=lambda label: (self.parent.get(label, 0), label))


def write_hierarchy(hierarchy: Hierarchy, dataset_dir: Path) -> None:
    """Write hierarchy.yaml into the data set's folder."""
    fine = {
        label: {"name": name} | ({"coarse": hierarchy.parent[label]} if hierarchy.nested else {})
        for label, name in sorted(hierarchy.fine.items())
    }
    head: dict[str, Any] = {"split_seed": hierarchy.split_seed, "digest": hierarchy.digest}
    if not hierarchy.nested:
        head["nested"] = False
    if hierarchy.level_names != LEVEL_NAMES:
        head["levels"] = [hierarchy.level_names[level] for level in LEVELS]
    if hierarchy.counts:
        head["images"] = hierarchy.counts
    head["coarse"] = dict(sorted(hierarchy.coarse.items()))
    how = (
        "each fine class belongs to one coarse class"
        if hierarchy.nested
        else "two independent labels"
    )
    text = f"# Classes by label id; {how}.\n"
    for part, flow in ((head, False), ({"fine": fine}, None)):  # None: innermost on one line
        text += yaml.safe_dump(
            part, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=1000
        )
    write_text(dataset_dir / HIERARCHY_FILE, text)


def read_hierarchy(dataset_dir: Path) -> Hierarchy:
    """Read and check hierarchy.yaml.

    Raises:
        UserError: it is missing, malformed, names a coarse class that it does not list, or one where nested is false.
    """
    path = dataset_dir / HIERARCHY_FILE
    return _hierarchy(read_text(path), path)


def has_independent_labels(directory: Path) -> bool:
    """Say whether the data set of a folder of labelled images says nested: false; no if it is not there."""
    root = directory.parent.parent
    return (root / HIERARCHY_FILE).is_file() and not read_hierarchy(root).nested


@lru_cache(maxsize=8)
def _hierarchy(text: str, path: Path) -> Hierarchy:
    """Parse the text once: each stage of a study asks again, and YAML is slow to read."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates, say, raise ValueError
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {reason}") from None
    content = _mapping(content, f"{path}")
    coarse = {
        _whole(label, f"{path}, coarse"): _name(name, f"{path}, coarse.{shown(label)}")
        for label, name in _mapping(content.get("coarse"), f"{path}, coarse").items()
    }
    nested = content.get("nested", True)
    if type(nested) is not bool:
        raise UserError(f"{path}: nested is {shown(nested)}; allowed are true and false")
    fine: dict[int, str] = {}
    parent: dict[int, int] = {}
    for label, entry in _mapping(content.get("fine"), f"{path}, fine").items():
        where = f"{path}, fine.{shown(label)}"
        entry = _mapping(entry, where)
        fine[_whole(label, f"{path}, fine")] = _name(entry.get("name"), where)
        above = entry.get("coarse")
        if not nested:
            if above is not None:
                raise UserError(
                    f"{where}: its coarse class is {shown(above)}, but nested is false, so that no class belongs to "
                    "another one: leave out either"
                )
            continue
        if type(above) is not int or above not in coarse:
            raise UserError(
                f"{where}: its coarse class is {shown(above)}; it must be one label id that is "
                "listed under coarse"
            )
        parent[label] = above
    counts = _mapping(content.get("images", {}), f"{path}, images")
    return Hierarchy(
        fine=fine,
        coarse=coarse,
        parent=parent,
        split_seed=_whole(content.get("split_seed"), f"{path}, split_seed"),
        digest=_name(content.get("digest"), f"{path}, digest"),
        counts={
            _name(key, f"{path}, images"): _whole(count, f"{path}, images")
            for key, count in counts.items()
        },
        nested=nested,
        level_names=names_of_levels(content.get("levels", [*LEVELS]), f"{path}, levels"),
    )


def names_of_levels(value: Any, where: str) -> dict[str, str]:
    """Check the names of the fine and the coarse level that a data set chooses; give them by level.

    Raises:
        UserError: anything but two different short names; or the word of one level for the other.
    """
    names = value if isinstance(value, list) else []
    good = [
        isinstance(name, str)
        and name.replace(" ", "").replace("-", "").isalnum()
        and name == name.strip()
        and len(name) <= LONGEST_NAME
        for name in names
    ]
    if not all(good) or len({*names}) != len(LEVELS) or len(names) != len(LEVELS):
        raise UserError(
            f"{where}: {shown(value)} are no names of levels; allowed is a list of two different ones, fine and "
            f"coarse, of letters, digits, blanks and hyphens, at most {LONGEST_NAME} characters each"
        )
    found = dict(zip(LEVELS, names, strict=True))
    for level, name in found.items():
        if name in LEVELS and name != level:
            raise UserError(f"{where}: the {level} level cannot be called {name}")
    return found


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected keys with values, found {shown(value)}")
    return value


def _whole(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise UserError(f"{where}: expected a whole number >= 0, found {shown(value)}")
    return value


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: expected a text, found {shown(value)} (quote it if it is one)")
    return value
