"""Read which classes a data set has, and to which of them each image belongs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.data.hierarchy import HIERARCHY_FILE, Hierarchy, read_hierarchy
from common.data.image_folder import ImageFolder
from common.data.index import INDEX_FILE, Index, read_index
from common.settings.levels import LEVELS
from common.system.errors import UserError


@dataclass(frozen=True)
class Classes:
    """The classes of one level in the order of a head's outputs: the data set's label ids, and their names."""

    ids: list[int]
    names: list[str]

    def to_index(self, labels: np.ndarray, where: Path) -> Tensor:
        """Turn label ids (N,) into positions among a head's outputs, int64 (N,)."""
        position = {label: index for index, label in enumerate(self.ids)}
        unknown = sorted(set(labels.tolist()) - set(self.ids))
        if unknown:
            raise UserError(
                f"{where} has images of label {unknown[0]}, which hierarchy.yaml does not name."
            )
        return torch.tensor([position[label] for label in labels.tolist()])


def classes_of(directory: Path) -> dict[str, Classes]:
    """Read both levels' classes of the data set that a folder of labelled images belongs to."""
    hierarchy: Hierarchy = read_hierarchy(directory.parent.parent)
    return {
        level: Classes(ids=sorted(names), names=[names[label] for label in sorted(names)])
        for level, names in (("fine", hierarchy.fine), ("coarse", hierarchy.coarse))
    }


def coarse_of_fine(directory: Path) -> list[int]:
    """Give for each output of a fine head the output of a coarse head to whose class it belongs.

    Empty where fine and coarse are independent labels.
    """
    hierarchy = read_hierarchy(directory.parent.parent)
    if not hierarchy.nested:
        return []
    parent = hierarchy.parent
    classes = classes_of(directory)
    return [classes["coarse"].ids.index(parent[label]) for label in classes["fine"].ids]


def rows_of(directory: Path, folder: ImageFolder) -> tuple[Index, np.ndarray]:
    """Read the data set's index, and find for each image of a folder its row there, int64 (N,).

    Raises:
        UserError: an image that the index does not list, or one that it lists and the folder lacks; or classes
            that do not belong together as hierarchy.yaml says.
    """
    root = directory.parent.parent
    nested = read_hierarchy(root).nested
    index = read_index(root, nested=nested)
    if nested:
        _refuse_other_parents(index, root)
    split = directory.parent.name
    row = {
        name: i
        for i, (part, name) in enumerate(zip(index.split, index.image, strict=True))
        if part == split
    }
    here = set(folder.names)
    file = directory.parent.parent / "index.csv"
    for name in folder.names:
        if name not in row:
            raise UserError(
                f"{directory} holds {name}, which {file} does not list: run data_scripts/index_folders.py."
            )
    for name in row:
        if name not in here:
            raise UserError(
                f"{file} lists {name}, which {directory} lacks: restore it, or prepare the data set anew."
            )
    rows = np.array([row[name] for name in folder.names], dtype=np.int64)
    if directory.name in LEVELS:
        labels = getattr(index, directory.name)[rows]
        for i in np.flatnonzero(labels != folder.labels)[:1]:
            raise UserError(
                f"{directory} has {folder.names[i]} in class {folder.labels[i]}, but {file} in class {labels[i]}: "
                "after moving images run data_scripts/index_folders.py."
            )
    return index, rows


def _refuse_other_parents(index: Index, root: Path) -> None:
    """Refuse an index whose fine classes belong to other coarse classes than hierarchy.yaml says."""
    parent = read_hierarchy(root).parent
    labels, first = np.unique(index.fine, return_index=True)
    for fine, coarse in zip(labels.tolist(), index.coarse[first].tolist(), strict=True):
        if parent.get(fine, coarse) != coarse:
            raise UserError(
                f"{root / HIERARCHY_FILE} has fine class {fine} in coarse class {parent[fine]}, but "
                f"{root / INDEX_FILE} in {coarse}: correct it, or run data_scripts/index_folders.py."
            )
