"""Draw four pictures of each class on one sheet, for looking."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.data.index import Hierarchy, Index
from common.data.pictures import Frame, read_picture

SHEET_FILE = "contact-sheet.png"
PER_CLASS = 4
SIDE, LINE, GAP = 72, 15, 6  # pixels of a picture, a line of text, and between two classes
WIDEST = 8  # classes beside each other


def contact_sheet(
    index: Index, hierarchy: Hierarchy, files: Sequence[str], frame: Frame
) -> Image.Image:
    """Draw the first pictures of each class, under its name, its label id and its coarse class's name.

    The label id tells apart names that are cut off, or of letters that the font lacks.

    Args:
        index: the images of a set; the first ones are training images.
        hierarchy: its classes.
        files: of each image.
        frame: the size that they are brought to.
    """
    rows = defaultdict(list)
    for row, label in enumerate(index.fine.tolist()):
        rows[label].append(row)
    labels = [label for label in hierarchy.in_order() if label in rows]
    across = min(WIDEST, max(1, round(len(labels) ** 0.5)))
    width, height = PER_CLASS * SIDE + GAP, SIDE + 2 * LINE + GAP
    down = -(-len(labels) // across)
    sheet = Image.new("RGB", (across * width + GAP, down * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(_font_file(), LINE - 4)
    for number, label in enumerate(labels):
        left, top = GAP + number % across * width, GAP + number // across * height
        for line, text in enumerate(
            (hierarchy.fine[label], f"{label} · {hierarchy.above(label)}".rstrip(" ·"))
        ):
            pen.text(
                (left, top + line * LINE), _shortened(text), "black" if line == 0 else "gray", font
            )
        for column, row in enumerate(rows[label][:PER_CLASS]):
            small = ImageOps.contain(
                read_picture(Path(files[row]), of_a_set=True, frame=frame), (SIDE - 2, SIDE - 2)
            )
            sheet.paste(small, (left + column * SIDE, top + 2 * LINE))
    return sheet


def _font_file() -> Path:
    """Find the font that matplotlib brings, which has the letters of most alphabets; Pillow's has no umlauts."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def _shortened(text: str, most: int = 44) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
