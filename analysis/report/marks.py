"""Every number of a figure as rows of a table, read off what matplotlib drew: the data that lie beside its files.

They are taken from the drawing, so that no figure can show one number and save another.
"""

from collections.abc import Iterator
from math import isclose
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator

HIDDEN = "_"  # before a label that the legend is not to show
OWN = ("_child", "_nolegend", "_container")  # labels of matplotlib's


class Mark(NamedTuple):
    """One point, bar or cell of a figure.

    ``panel`` is the title of the axes, else their number. ``mark`` says what is drawn: a point of a ``line``, a
    ``point``, a ``bar`` or a ``cell`` of a matrix. ``series`` is what the legend calls it. Where an axis bears names
    instead of numbers, ``x_name`` or ``y_name`` is the one that stands there. ``value`` is the length of a bar, from
    its foot, and what a cell holds. A reference line across has only its place on the axis that it crosses.
    """

    panel: str
    mark: str
    series: str
    x: float | None
    x_name: str
    y: float | None
    y_name: str
    value: float | None = None


COLUMNS = Mark._fields


def marks(figure: Figure) -> list[Mark]:
    """Read off a figure that was drawn what stands in each of its axes, colour bars left out."""
    found: list[Mark] = []
    for number, axes in enumerate(figure.axes):
        if axes.get_label() == "<colorbar>":
            continue
        panel = axes.get_title("left") or axes.get_title() or axes.get_xlabel() or str(number)
        panel = panel.replace("\n", " ")
        for kind in (_bars, _cells, _points, _lines):
            found += kind(panel, axes)
    return found


def _bars(panel: str, axes: Axes) -> Iterator[Mark]:
    for container in axes.containers:
        for bar in container:
            if not isinstance(bar, Rectangle):
                continue
            (x, y), width, height = bar.get_xy(), bar.get_width(), bar.get_height()
            upright = getattr(container, "orientation", "vertical") == "vertical"
            place = (x + width / 2, y + height) if upright else (x + width, y + height / 2)
            length = height if upright else width
            yield _mark(panel, "bar", _label(container), axes, place, float(length))


def _cells(panel: str, axes: Axes) -> Iterator[Mark]:
    for image in axes.images:
        table: np.ndarray = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
        for (row, column), value in np.ndenumerate(table):
            yield _mark(panel, "cell", _label(image), axes, (column, row), float(value))


def _points(panel: str, axes: Axes) -> Iterator[Mark]:
    for collection in axes.collections:
        if isinstance(collection, PathCollection):
            for x, y in np.ma.filled(np.ma.asarray(collection.get_offsets(), float), np.nan):
                yield _mark(panel, "point", _label(collection), axes, (x, y))


def _lines(panel: str, axes: Axes) -> Iterator[Mark]:
    for line in axes.lines:
        alone = line.get_linestyle() in ("None", "none", " ", "")
        # An axhline or axvline reaches from 0 to 1 of the axes, whatever these hold.
        across = line.get_transform() != axes.transData
        data = np.column_stack(
            [np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)]
        )
        for x, y in data[:1] if across else data:
            if across:
                upright = len({*data[:, 0]}) == 1
                x, y = (x, np.nan) if upright else (np.nan, y)
            yield _mark(panel, "point" if alone else "line", _label(line), axes, (x, y))


def _mark(
    panel: str,
    kind: str,
    series: str,
    axes: Axes,
    place: tuple[float, float],
    value: float | None = None,
) -> Mark:
    x, y = (None if one != one else float(one) for one in place)
    return Mark(panel, kind, series, x, _name(axes.xaxis, x), y, _name(axes.yaxis, y), value)


def _label(artist: object) -> str:
    label = str(artist.get_label())  # type: ignore[attr-defined]
    return "" if label.startswith(OWN) else label.removeprefix(HIDDEN)


def _name(axis: Axis, place: float | None) -> str:
    """The name that stands nearest to a place of an axis; nothing where it bears numbers."""
    if not isinstance(axis.get_major_locator(), FixedLocator) or place is None:
        return ""
    places = np.asarray(axis.get_majorticklocs(), dtype=np.float64)
    names = [text.get_text().replace("\n", " ") for text in axis.get_ticklabels()]
    if not len(places) or len(names) != len(places):
        return ""
    if all(_says(name, at) for name, at in zip(names, places, strict=True)):
        return ""
    nearest = int(np.abs(places - place).argmin())
    return names[nearest] if abs(places[nearest] - place) <= 0.5 else ""


def _says(name: str, place: float) -> bool:
    """Whether a tick says its place, in per cent too, or nothing; a class may be called 7 at any place."""
    number = name.replace("\N{MINUS SIGN}", "-").replace(",", "").strip()
    try:
        said = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        return not number
    return isclose(said, place, rel_tol=0.01, abs_tol=1e-9)
