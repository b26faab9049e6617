"""The fonts of saved PDF: matplotlib's own without their layout tables, which a drawn text no longer needs.

A PDF holds the letters that it uses; cutting these out of a font takes several times as long with the tables.
"""

import atexit
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from fontTools.ttLib import TTFont
from matplotlib.font_manager import FontProperties, findfont, fontManager

OWN = "DejaVu Sans"
FAMILY = "Figures without layout tables"
# Substitution and placing of letters, and of mathematics: texts are set before they are embedded.
LAYOUT = ("GDEF", "GPOS", "GSUB", "MATH")
# In a font's table of names: its family.
FAMILY_NAMES = (1, 16)


@cache
def pdf_family() -> str:
    """Have matplotlib know the fonts by a family of its own, and name it."""
    folder = Path(mkdtemp())
    atexit.register(rmtree, folder, ignore_errors=True)
    for weight in ("normal", "bold"):
        font = TTFont(findfont(FontProperties(family=OWN, weight=weight)), recalcTimestamp=False)
        for table in LAYOUT:
            if table in font:
                del font[table]
        for record in font["name"].names:
            if record.nameID in FAMILY_NAMES:
                record.string = FAMILY.encode(record.getEncoding())
        file = folder / f"{weight}.ttf"
        font.save(file)
        fontManager.addfont(file)
    return FAMILY
