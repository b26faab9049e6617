"""On a terminal a bar says how far an analysis is, and vanishes; elsewhere a line says that it began."""

import io
import sys

import pytest

from analysis.progress import analysis_bar


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_alone(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    drawn = io.StringIO()
    monkeypatch.setattr(drawn, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", drawn)
    with analysis_bar(3) as step:
        step()
        step()
    text = drawn.getvalue()
    assert ("analysis" in text and "2/3" in text) == terminal
    if terminal:
        assert text.rstrip().endswith("\x1b[2K")  # the line is erased
    else:
        assert text.strip() == "analysis started"
