"""Letters that matplotlib's font lacks: which fonts are asked for, and the line where none has them."""

import io
import warnings

import matplotlib as mpl
import pytest
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager

from analysis.report.svg import Frame, drawn_here, picture
from common.system import letters
from common.system.letters import all_letters, families, font_file, warn_of_boxes

BUTTERFLY = "\u8774"  # of no font that matplotlib brings
OWN = frozenset({"DejaVu Sans"})


@pytest.fixture
def installed(monkeypatch):
    """Have these families installed, by their names alone."""

    def install(*names: str) -> None:
        monkeypatch.setattr(letters, "known", lambda: OWN | {*names})

    install()
    return install


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ([], []),
        (["Some Font"], []),
        (["IPAGothic", "Noto Sans CJK SC", "Noto Sans CJK KR"], ["Noto Sans CJK SC"]),
        (
            ["Apple SD Gothic Neo", "PingFang SC", "Hiragino Sans", "Hiragino Sans GB"],
            ["Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo"],
        ),
    ],
)
def test_installed_families_stand_behind_the_chosen_one(there, asked, installed):
    installed(*there)
    assert families() == ["sans-serif", *asked]
    with mpl.rc_context({"font.family": ["serif", "IPAGothic"]}):
        assert families() == ["serif", "IPAGothic", *(one for one in asked if one != "IPAGothic")]


@pytest.fixture
def font_with_a_butterfly(tmp_path, installed):
    """Install a font that has one letter more than matplotlib's own."""
    font = TTFont(findfont("DejaVu Sans"))
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap[ord(BUTTERFLY)] = "A"
    for record in font["name"].names:
        if record.nameID in (1, 16):
            record.string = "IPAGothic".encode(record.getEncoding())
    file = tmp_path / "font.ttf"
    font.save(file)
    before = [*fontManager.ttflist]
    fontManager.addfont(file)
    installed("IPAGothic")
    yield file
    fontManager.ttflist[:] = before


def test_a_text_of_one_font_takes_that_with_most_of_its_letters(font_with_a_butterfly):
    own = findfont("DejaVu Sans")
    assert font_file(f"{BUTTERFLY} (Papilio)") == font_with_a_butterfly
    assert [str(font_file(text)) for text in ("Käfer", "", "\u9f98")] == [own] * 3


def named(figure: Figure) -> None:
    figure.subplots().set_title(BUTTERFLY)


def test_a_letter_comes_from_the_font_that_has_it(font_with_a_butterfly, caplog):
    with drawn_here() as files, warnings.catch_warnings():
        warnings.simplefilter("error")
        picture(Frame("name", "title"), named)
        assert files[0].pdf.startswith(b"%PDF")
    assert files[0].boxes == set()
    assert caplog.records == []  # such as that the font has no bold letters


def test_letters_of_no_font_are_given_in_place_of_warnings(installed):
    with drawn_here() as files, warnings.catch_warnings():
        warnings.simplefilter("error")
        picture(Frame("name", "title"), named)
        assert files[0].boxes == set()  # the page's are drawn by the browser
        assert files[0].pdf.startswith(b"%PDF")
    assert files[0].boxes == {BUTTERFLY}


def test_other_warnings_are_still_shown(installed):
    with warnings.catch_warnings(record=True) as shown, all_letters() as missing:
        warnings.warn("another", stacklevel=1)
        figure = Figure()
        figure.text(0, 0, BUTTERFLY)
        figure.savefig(io.BytesIO())
    assert [str(one.message) for one in shown] == ["another"]
    assert missing == {BUTTERFLY}


def test_the_line_names_some_letters_and_what_helps(capsys):
    warn_of_boxes(set(), "cam.png")
    assert capsys.readouterr().err == ""
    warn_of_boxes({chr(0x4E00 + i) for i in range(12)}, "cam.png")
    said = capsys.readouterr().err
    assert said.startswith("warning: no font here can draw 一 丁 丂 七 丄 丅 丆 万 and 4 more, ")
    assert "boxes in cam.png: install one" in said
    assert "Noto Sans CJK" in said
    assert said.count("\n") == 1
    assert len(said) < 400
