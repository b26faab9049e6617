"""The tables of an experiment as LaTeX, with the rules of the package booktabs (summary.tex)."""

from collections.abc import Sequence

from common.results.sections import Section, side_by_side

PACKAGES = (
    "% Written with the study's tables; a document that takes it in needs \\usepackage{booktabs}.\n"
)
# What LaTeX reads as something else, or has no letter for in every font.
SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "√": r"$\surd$",
}


def latex(sections: Sequence[Section]) -> str:
    """Write sections as tables of LaTeX, one below the other, with their notes."""
    return "\n".join(
        [PACKAGES, *(_table(section, number) for number, section in enumerate(sections, 1))]
    )


def escaped(text: str) -> str:
    """Write text so that LaTeX prints it as it stands."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _table(section: Section, number: int) -> str:
    header, *lines = side_by_side(section).lines
    columns = "".join("l" if column < section.labels else "r" for column in range(len(header)))
    title = f"{section.title[:1].upper()}{section.title[1:]}"
    notes = " ".join(note if note.endswith(".") else f"{note}." for note in section.notes)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{escaped(f'{title}. {notes}'.strip())}}}",
            rf"\label{{tab:{number}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _line(header),
            r"\midrule",
            *map(_line, lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(map(escaped, cells))} \\"
