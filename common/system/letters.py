"""Letters of class names in figures: fonts for Chinese, Japanese and Korean behind matplotlib's usual one.

Matplotlib takes each letter from the first font of its families that has it. Its own font has the letters of most
alphabets, but not these.
"""

import logging
import re
import sys
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.font_manager import (
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)

# As Linux, macOS and Windows bring them, or let them be installed. First those that have all letters of the three
# scripts, then those of each one.
WHOLE = (
    *(f"Noto Sans CJK {place}" for place in ("JP", "SC", "TC", "HK", "KR")),
    *("Source Han Sans", "Source Han Sans JP", "Source Han Sans SC", "Source Han Sans K"),
)
JAPANESE = (
    *("Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic"),
    *("IPAexGothic", "IPAGothic", "TakaoGothic", "VL Gothic"),
)
CHINESE = (
    *("Noto Sans SC", "PingFang SC", "Hiragino Sans GB", "Heiti TC", "Microsoft YaHei", "SimHei"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
)
KOREAN = ("Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic")
MISSING = re.compile(r"Glyph (\d+) ")  # matplotlib's warning
SHOWN = 8  # letters in a sentence
FONT_LOG = logging.getLogger("matplotlib.font_manager")


@cache
def known() -> frozenset[str]:
    """Name all families that are installed, those too that came after matplotlib made its list of fonts."""
    there = {font.fname for font in fontManager.ttflist}
    for file in findSystemFonts():
        if file not in there:
            with suppress(Exception):  # no font, as matplotlib itself passes it over
                fontManager.addfont(file)
    return frozenset(font.name for font in fontManager.ttflist)


def families() -> list[str]:
    """Name the families of a figure's text: the chosen ones, then one with all letters, or else one of each script."""
    there = known()
    found = [one for one in WHOLE if one in there][:1] or [
        one
        for script in (JAPANESE, CHINESE, KOREAN)
        for one in [one for one in script if one in there][:1]
    ]
    chosen = mpl.rcParams["font.family"]
    return [*chosen, *(one for one in found if one not in chosen)]


def font_file(text: str) -> Path:
    """Find the font of `families` that has most letters of a text, for what draws a text with one font."""

    def letters_in(file: str) -> int:
        font = get_font(file)
        return sum(bool(font.get_char_index(ord(letter))) for letter in text)

    files = [findfont(FontProperties(family=[family])) for family in families()]
    return Path(max(files, key=letters_in))


@contextmanager
def all_letters() -> Iterator[set[str]]:
    """Make and draw figures with the fonts of `families` within the block.

    Gives the letters that none of them has, as figures are drawn, in place of matplotlib's warnings.
    """
    missing: set[str] = set()
    with mpl.rc_context({"font.family": families()}), warnings.catch_warnings():
        warnings.filterwarnings("always", message=MISSING.pattern)
        others = warnings.showwarning

        def note(message: Any, *rest: Any, **more: Any) -> None:
            if found := MISSING.match(str(message)):
                missing.add(chr(int(found[1])))
            else:
                others(message, *rest, **more)

        warnings.showwarning = note
        FONT_LOG.addFilter(_matters)
        try:
            yield missing
        finally:
            FONT_LOG.removeFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    """Pass over that a font has no bold letters: its plain ones do."""
    return "font weight" not in record.getMessage()


def warn_of_boxes(letters: Collection[str], where: object) -> None:
    """Say, if there are any, which letters no font has, and what helps."""
    if not letters:
        return
    shown = " ".join(sorted(letters)[:SHOWN])
    more = f" and {len(letters) - SHOWN} more" if len(letters) > SHOWN else ""
    print(
        f"warning: no font here can draw {shown}{more}, which are boxes in {where}: install one that has these "
        "letters, such as Noto Sans CJK (apt install fonts-noto-cjk), and run the command again.",
        file=sys.stderr,
    )
