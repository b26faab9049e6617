"""summary.tex: the numbers of summary.csv, with booktabs, and nothing that LaTeX would read as something else."""

import csv
import re
import shutil
import subprocess

import pytest
from helpers import row
from hypothesis import given
from hypothesis import strategies as st

from common.results.comparison import Comparison
from common.results.latex import SPECIAL, escaped, latex
from common.results.sections import Section, sections
from common.results.statistics import summarise
from common.results.tables import write_tables


@pytest.fixture
def rows():
    return [
        row(arm, seed, 0.5 + place / 10 + seed / 100, level=level)
        for place, arm in enumerate(("bilateral", "unspecialised_pair"))
        for seed in range(4)
        for level in ("fine", "coarse")
    ]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each tabular, the header first."""
    found = re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.S)
    return [
        [
            line.removesuffix(r" \\").split(" & ")
            for line in body.splitlines()
            if line != r"\midrule"
        ]
        for body in found
    ]


def test_numbers_are_those_of_the_summary(rows):
    read = sections(rows, Comparison(reference="bilateral", primary="unspecialised_pair"))
    found = tables(latex(read))
    assert len(found) == len(read)
    accuracy = next(one for one in found if "accuracy" in one[0])
    place = accuracy[0].index("accuracy")
    for line, one in zip(accuracy[1:], summarise(rows), strict=True):
        assert line[:2] == [one.arm.replace("_", r"\_"), one.level]
        assert line[place] == rf"{100 * one.mean:.2f} $\pm$ {100 * one.std:.2f} \%"
        assert line[place + 1] == f"{100 * one.ci95_low:.2f} to {100 * one.ci95_high:.2f}"


def test_each_table_has_its_rules_and_as_many_cells_in_each_line(rows):
    text = latex(sections(rows, Comparison(reference="bilateral")))
    assert text.startswith("% ")
    assert r"\usepackage{booktabs}" in text.splitlines()[0]
    for columns, body in zip(
        re.findall(r"\\begin{tabular}{(\w+)}", text), tables(text), strict=True
    ):
        assert {len(line) for line in body} == {len(columns)}
        words = columns.index("r")  # names are set left, numbers right
        assert 1 <= words <= 3
        assert set(columns[words:]) == {"r"}
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}")
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == len(tables(text))


@given(st.text(st.sampled_from("a1_%&$#{}~^\\<>±≈–− "), max_size=20))
def test_no_letter_means_anything_to_latex(text):
    said = escaped(text)
    for letter, written in SPECIAL.items():
        assert said.count(written) >= text.count(letter)
    plain = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}|\$\\\w+\$|\$-\$", "", said)
    assert not set(plain) & set("&%$#_{}~^\\<>±≈–−")


def test_it_lies_beside_the_other_tables_and_says_what_is_missing(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("common.results.tables.collect", lambda *_, **__: rows)
    hole = tmp_path / "fine/seed9/failed.yaml"
    hole.parent.mkdir(parents=True)
    hole.write_text("reason: 'fine/seed9: nan 5 %'\n")
    write_tables(tmp_path, Comparison(reference="bilateral", primary="unspecialised_pair"))
    text = (tmp_path / "summary.tex").read_text()
    with (tmp_path / "summary.csv").open() as file:
        means = [f"{100 * float(one['mean']):.2f}" for one in csv.DictReader(file)]
    for mean in means:
        assert f"{mean} $\\pm$" in text
    assert text.endswith("% - Missing: fine/seed9: nan 5 %\n")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX is installed")
def test_latex_reads_it(tmp_path, rows):
    odd = Section("a & b_c 100 %", 1, [["x_y", "#"], ["~^\\", "5 ± 1 ≈"]], ("note $",))
    text = latex([odd, *sections(rows, Comparison(reference="bilateral"))])
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"
    (tmp_path / "a.tex").write_text(f"{head}{text}\n\\end{{document}}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
