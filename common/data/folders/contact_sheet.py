"""Draw four pictures of each class on one sheet, for looking."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.data.hierarchy import Hierarchy
from common.data.index import Index
from common.data.pictures import Frame, read_picture
from common.system.words import shortened

SHEET_FILE = "contact-sheet.png"
PER_CLASS = 4
SIDE, LINE, GAP = 72, 15, 6  # pixels of a picture, a line of text, and between two classes
WIDEST = 8  # classes beside each other
LONGEST = 44  # letters of a name


def contact_sheet(
    index: Index, hierarchy: Hierarchy, files: Sequence[str], frame: Frame
) -> Image.Image:
    """Draw the first pictures of each class, under its name, its label id and its coarse class's name.

    The label id tells apart names that are cut off, or of letters that no font here has.

    Args:
        index: the images of a set; the first ones are training images.
        hierarchy: its classes.
        files: of each image.
        frame: the size that they are brought to.
    """
    # Imported late: matplotlib takes a second, and what is wrong with the pictures has been said by then.
    from common.system.letters import font_file

    rows = defaultdict(list)
    for row, label in enumerate(index.fine.tolist()):
        rows[label].append(row)
    labels = [label for label in hierarchy.in_order() if label in rows]
    across = min(WIDEST, max(1, round(len(labels) ** 0.5)))
    width, height = PER_CLASS * SIDE + GAP, SIDE + 2 * LINE + GAP
    down = -(-len(labels) // across)
    sheet = Image.new("RGB", (across * width + GAP, down * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, label in enumerate(labels):
        left, top = GAP + number % across * width, GAP + number // across * height
        for line, text in enumerate(
            (hierarchy.fine[label], f"{label} · {hierarchy.above(label)}".rstrip(" ·"))
        ):
            font = ImageFont.truetype(font_file(text), LINE - 4)
            shade = "black" if line == 0 else "gray"
            # By their baseline: fonts differ in how far letters reach above it.
            at = (left, top + (line + 1) * LINE - 4)
            pen.text(at, shortened(text, LONGEST), shade, font, anchor="ls")
        for column, row in enumerate(rows[label][:PER_CLASS]):
            small = ImageOps.contain(
                read_picture(Path(files[row]), of_a_set=True, frame=frame), (SIDE - 2, SIDE - 2)
            )
            sheet.paste(small, (left + column * SIDE, top + 2 * LINE))
    return sheet
