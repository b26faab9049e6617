"""What a network answers to each test image: predictions.csv.gz beside a stage's result.yaml. Imports no torch.

Columns: ``image``, the name in index.csv; of each level the label, ``fine``, and what the network says,
``fine_answer`` and its ``fine_probability``; of two hemispheres ``left_fine``, what the head answers when the features
of the right one are at their mean over training images, and so on. Classes are label ids, as in index.csv.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.settings.levels import LEVELS, SIDES
from common.system.atomic_files import replacing
from common.system.csv_text import csv_text
from common.system.errors import UserError

PREDICTIONS = "predictions.csv.gz"


@dataclass(frozen=True)
class Prediction:
    """What a network answers to an image.

    Args:
        image: its name.
        label: the right class of each level, as its label id.
        answer: the class of highest probability of each level, likewise.
        probability: that probability, 0 to 1, of six digits.
        alone: of two hemispheres, what one of them alone makes the heads answer: class by level, by side.
    """

    image: str
    label: dict[str, int]
    answer: dict[str, int]
    probability: dict[str, float]
    alone: dict[str, dict[str, int]] = field(default_factory=dict)


def write_predictions(file: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions in one step; equal ones give equal bytes."""
    levels = [level for level in LEVELS if level in predictions[0].label]
    sides = [side for side in SIDES if side in predictions[0].alone]
    rows = []
    for one in predictions:
        cells: list[object] = [one.image]
        for level in levels:
            cells += [one.label[level], one.answer[level], f"{one.probability[level]:.6f}"]
        cells += [one.alone[side][level] for side in sides for level in levels]
        rows.append(cells)
    text = csv_text(columns(levels, sides), rows)
    with replacing(file) as temporary:
        # Without a time: it would make equal files differ.
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))


def read_predictions(file: Path | str) -> list[Prediction]:
    """Read predictions in the order of the test images.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    with _naming(file):
        levels, sides, cells = _read(file)
        return [
            _prediction(dict(zip(cells, line, strict=True)), levels, sides)
            for line in zip(*cells.values(), strict=True)
        ]


def read_right(file: Path | str) -> tuple[tuple[str, ...], dict[str, NDArray[np.bool_]]]:
    """Read the names of the test images, and for each level whether its answers are right, (images,).

    In a fraction of the time that all predictions take.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    with _naming(file):
        levels, _, cells = _read(file)

        def ids(column: str) -> NDArray[np.int64]:
            return np.array(cells[column], dtype=np.int64)

        right = {level: ids(level) == ids(f"{level}_answer") for level in levels}
        return cells["image"], right


def _read(file: Path | str) -> tuple[list[str], list[str], dict[str, tuple[str, ...]]]:
    """Read a file's levels, its sides, and the cells of each column."""
    header, *lines = csv.reader(io.StringIO(gzip.decompress(Path(file).read_bytes()).decode()))
    levels = [level for level in LEVELS if level in header]
    sides = [side for side in SIDES if f"{side}_{levels[0]}" in header]
    if header != columns(levels, sides):
        raise ValueError(f"its columns are {', '.join(header)}")
    cells = [*zip(*lines, strict=True)] or [()] * len(header)
    return levels, sides, dict(zip(header, cells, strict=True))


@contextmanager
def _naming(file: Path | str) -> Iterator[None]:
    """Say in one sentence that a file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(
            f"{file} is missing: testing a stage writes it, and so does test.py predictions=FILE."
        ) from None
    except (OSError, EOFError, ValueError, IndexError, csv.Error, zlib.error) as error:
        raise UserError(
            f"{file} is damaged ({' '.join(str(error).split())[:100]}): delete it; the command of its study then tests "
            "that stage again, and so does test.py checkpoint=.../best.ckpt predictions=FILE."
        ) from None


def columns(levels: Sequence[str], sides: Sequence[str]) -> list[str]:
    """Name the columns of a network with heads for some levels; ``sides``: of its hemispheres, if it has two."""
    of_levels = [name for level in levels for name in (level, *_said(level))]
    return ["image", *of_levels, *(f"{side}_{level}" for side in sides for level in levels)]


def _said(level: str) -> tuple[str, str]:
    return f"{level}_answer", f"{level}_probability"


def _prediction(row: dict[str, str], levels: Sequence[str], sides: Sequence[str]) -> Prediction:
    return Prediction(
        image=row["image"],
        label={level: int(row[level]) for level in levels},
        answer={level: int(row[f"{level}_answer"]) for level in levels},
        probability={level: float(row[f"{level}_probability"]) for level in levels},
        alone={side: {level: int(row[f"{side}_{level}"]) for level in levels} for side in sides},
    )
