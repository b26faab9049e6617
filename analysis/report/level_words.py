"""The names that a data set chose for its levels, in the sentences, tables and figures of the page.

Analyses say fine and coarse, as files and keys do. Where the set has names of its own (``levels`` of hierarchy.yaml),
these stand on the page instead; names of arms stay.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from markupsafe import Markup

from analysis.report.cells import Cell, Sheet
from analysis.report.part import Part, Tile
from analysis.report.svg import TEXT, Drawing
from common.settings.levels import LEVEL_NAMES

S = TypeVar("S", Sheet, Sheet | None)

# Columns whose cells name a level; those that name an arm have other heads.
COLUMNS = ("level", "head", "what", "labels", "task", "images of")
# The word alone: not the arm, nor a part of a file's or a key's name.
WORD = re.compile(r"(?<![\w./=])(fine|coarse)\b(?! arm\b)(?![/=]|\.\w)", re.IGNORECASE)
# In a picture stand names of classes and arms too: there only what is certain.
CERTAIN = re.compile(
    r"(?<![\w./=])(?:(?<=one )|(?<=two )|(?<=left, )|(?<=right, )|(?<=within )|"
    r"(?=\w+ (?:label|class|head|task|accuracy|within)))"
    r"(fine|coarse)\b",
    re.IGNORECASE,
)


class LevelWords:
    """Writes the names of levels in place of fine and coarse.

    Args:
        names: by level; where they are fine and coarse, everything stays as it is.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = {level: name for level, name in names.items() if name != level}

    def _written(self, pattern: re.Pattern[str], text: str) -> str:
        def name(found: re.Match[str]) -> str:
            word = found[1]
            called = self.names.get(word.lower(), word)
            return called[:1].upper() + called[1:] if word[0].isupper() else called

        return pattern.sub(name, text) if self.names else text

    def text(self, text: str) -> str:
        """A sentence, a heading."""
        return self._written(WORD, text)

    def sheet(self, table: S) -> S:
        """A table: its caption, its heads, and the cells of columns that name levels."""
        if table is None or not self.names:
            return table
        about = [column.title in COLUMNS for column in table.columns]

        def cell(one: Cell, level: bool) -> Cell:
            return one._replace(text=self.text(one.text)) if level and one.word else one

        return table._replace(
            caption=self.text(table.caption),
            columns=[one._replace(title=self.text(one.title)) for one in table.columns],
            rows=[
                [cell(one, level) for one, level in zip(row, about, strict=True)]
                for row in table.rows
            ],
        )

    def picture(self, svg: Markup, *, alone: bool = True) -> Markup:
        """A figure and its files; ``alone``: whether the word alone, as in a legend, is a level, and not an arm."""
        if not self.names:
            return svg

        def said(words: str) -> str:
            if alone and words.strip() in LEVEL_NAMES:
                return words.replace(words.strip(), self.text(words.strip()))
            return self._written(CERTAIN, words)

        # The label of a picture, for screen readers, is an attribute.
        head, end, rest = str(svg).partition(">")
        written = self._written(CERTAIN, head) + TEXT.sub(lambda found: said(found[0]), end + rest)
        if not isinstance(svg, Drawing):
            return Markup(written)
        drawing = Drawing(written)
        drawing.files = svg.files  # which are linked below it
        drawing.files.reword(said)
        return drawing

    def figures(self, figures: Sequence[tuple[Markup, str]]) -> list[tuple[Markup, str]]:
        """Figures of arms, with their captions."""
        return [(self.picture(svg, alone=False), self.text(caption)) for svg, caption in figures]

    def tile(self, tile: Tile) -> Tile:
        """A number at the top."""
        return replace(tile, label=self.text(tile.label), detail=self.text(tile.detail))

    def part(self, part: Part) -> Part:
        """A section."""
        if not self.names:
            return part
        return replace(
            part,
            title=self.text(part.title),
            text=[*map(self.text, part.text)],
            figures=[(self.picture(svg), self.text(caption)) for svg, caption in part.figures],
            tables=[*map(self.sheet, part.tables)],
            folded=[*map(self.sheet, part.folded)],
            notes=[*map(self.text, part.notes)],
            tiles=[*map(self.tile, part.tiles)],
            looks=[(case, [self._look(one) for one in looks]) for case, looks in part.looks],
        )

    def _look(self, look: dict) -> dict:
        """A row of images: the headings of its maps, and what a screen reader says of them."""
        cells = [
            cell | {word: self._written(CERTAIN, cell[word]) for word in ("label", "alt")}
            for cell in look["cells"]
        ]
        return look | {"cells": cells, "levels": [*map(self.text, look["levels"])]}
