"""Matplotlib figures as SVG that lives in a page, and as files for a manuscript or a talk.

They are drawn in the page's light colours, which are then replaced by the page's CSS variables, so that one picture
serves both themes; the files keep the light ones.
"""

import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.report.fonts import OWN, pdf_family
from analysis.report.marks import COLUMNS, marks
from common.system.atomic_files import replacing
from common.system.csv_text import csv_text
from common.system.letters import all_letters

# Each the light one of report.css.
INK, FAINT, GRID = "#1c2127", "#5d6673", "#e3e6ea"
LEFT, RIGHT, BOTH, OTHER = "#c65200", "#0067a8", "#007d5a", "#8a6478"
PAPER = "#ffffff"
VARIABLES = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    LEFT: "left",
    RIGHT: "right",
    BOTH: "both",
    OTHER: "other",
    PAPER: "paper",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: searchable, in the page's font
    "pdf.fonttype": 42,  # likewise: letters, not outlines
    "text.parse_math": False,  # a class may be called $x$
    "axes.unicode_minus": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
}
# Says of each table of each font what it does with it.
logging.getLogger("fontTools").setLevel(logging.WARNING)
# As the gid of a text: report.css lays the colour of the paper around its letters.
HALO = "halo"
P = ParamSpec("P")
WIDTH = 4.3  # inches: as wide as a phone, so that its text can be read there


class Drawing(Markup):
    """A figure as inline SVG, which its ``files`` come with."""

    files: "Files"


# Between tags of a picture: text.
TEXT = re.compile(r"(?<=>)[^<>]+(?=<)")


@dataclass
class Files:
    """What of a figure is saved: ``name`` without ending, its SVG, and the figure itself, as it was drawn.

    PDF and csv are made when they are asked for: fonts take longer to embed than the figure to draw. ``boxes`` are then
    the letters that no font has.
    """

    name: str
    svg: str
    figure: Figure
    boxes: set[str] = field(default_factory=set)

    def reword(self, words: Callable[[str], str]) -> None:
        """Put other words in place of every text."""
        self.svg = TEXT.sub(lambda found: words(found[0]), self.svg)
        for text in self.figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(words(text.get_text()))
        named: list[Any] = [
            *self.figure.findobj(),
            *(one for axes in self.figure.axes for one in axes.containers),
        ]
        for one in named:
            if isinstance(series := one.get_label(), str):
                one.set_label(words(series))
        # Those of ticks are written anew with each drawing.
        for axis in (one for axes in self.figure.axes for one in (axes.xaxis, axes.yaxis)):
            said = [one.get_text() for one in axis.get_ticklabels()]
            if any(words(one) != one for one in said):
                axis.set_ticks(axis.get_ticklocs(), [*map(words, said)])

    @property
    def pdf(self) -> bytes:
        """The figure as PDF."""
        content = io.BytesIO()
        # In the place of matplotlib's own: another font that a person has chosen stays.
        fonts = [pdf_family() if one == OWN else one for one in mpl.rcParams["font.sans-serif"]]
        with _styled(self.name) as missing, mpl.rc_context({"font.sans-serif": fonts}):
            self.figure.savefig(
                content, format="pdf", transparent=True, metadata={"CreationDate": None}
            )
        self.boxes |= missing
        return content.getvalue()

    @property
    def data(self) -> str:
        """Every number that is drawn, as csv."""
        return csv_text(COLUMNS, marks(self.figure))


_drawn: ContextVar[list[Files] | None] = ContextVar("drawn", default=None)


@contextmanager
def drawn_here() -> Iterator[list[Files]]:
    """Collect the files of every figure that is drawn within the block."""
    files: list[Files] = []
    token = _drawn.set(files)
    try:
        yield files
    finally:
        _drawn.reset(token)


def save_figures(folder: Path, figures: Sequence[Files]) -> None:
    """Write each figure as NAME.svg, NAME.pdf and NAME.csv into a folder, and delete those of an earlier analysis."""
    written = set()
    for one in figures:
        for kind, content in (
            ("svg", one.svg.encode()),
            ("pdf", one.pdf),
            ("csv", one.data.encode()),
        ):
            file = folder / f"{one.name}.{kind}"
            with replacing(file) as temporary:
                temporary.write_bytes(content)
            written.add(file)
    for file in folder.glob("*.*"):
        if file.suffix in (".svg", ".pdf", ".csv") and file not in written:
            file.unlink()


class Frame(NamedTuple):
    """What is around a drawing.

    ``name`` is unique within the page, and that of the files; ``title`` is read out by screen readers; ``height`` and
    ``width`` are in inches, but on a phone any figure is as wide as the screen.
    """

    name: str
    title: str
    height: float = 3.0
    width: float = WIDTH


def picture(
    frame: Frame,
    draw: Callable[Concatenate[Figure, P], None],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Markup:
    """A figure as inline SVG, a `Drawing`: ``draw`` is called with it, then with ``args`` and ``kwargs``.

    Raises:
        ValueError: the page has a figure of this name, whose files this one's would replace.
    """
    name = re.sub(r"[^\w.-]+", "-", frame.name)
    here = _drawn.get()
    if here is not None and any(one.name == name for one in here):
        raise ValueError(f"the page has another figure of the name {name}")
    text = io.StringIO()
    with _styled(name):
        figure = Figure(figsize=(frame.width, frame.height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure, *args, **kwargs)
        # A letter that no font has is drawn by the browser's.
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        figure.set_layout_engine("none")  # it has found its places
    drawing = Drawing(_for_page(text.getvalue(), name, frame.title))
    drawing.files = Files(name, text.getvalue(), figure)
    if here is not None:
        here.append(drawing.files)
    return drawing


@contextmanager
def _styled(name: str) -> Iterator[set[str]]:
    # The hash salt makes the file the same each time.
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}), all_letters() as missing:
        yield missing


def _for_page(svg: str, name: str, title: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Between tags stands text, such as names of classes, which may look like anything; matplotlib escapes its <, >.
    svg = re.sub(r"<[^>]*>", lambda tag: _tag_for_page(tag[0], name), svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(title)}">{rest}'


def _tag_for_page(tag: str, name: str) -> str:
    tag = tag.replace(f'id="{HALO}"', f'class="{HALO}"')
    # Each picture counts its parts from 1.
    tag = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", tag)
    tag = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{name}-\1"', tag)
    tag = tag.replace("xlink:href", "href")
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


def short(text: str, length: int = 26) -> str:
    """A name that fits beside an axis: one line of printable characters, its middle left out if it is long."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    if len(clean) <= length:
        return clean
    end = (length - 1) // 3
    return f"{clean[: length - 1 - end]}…{clean[len(clean) - end :]}"


def labels(names: Sequence[str], length: int) -> list[str]:
    """Short names that stand in one picture: up to twice as long where they could not be told apart."""
    found: list[str] = []
    for limit in (length, length * 3 // 2, length * 2):
        found = [short(name, limit) for name in names]
        if len(set(found)) == len(set(names)):
            break
    return found
