"""The notebooks run from their first cell to the last, and draw what they say."""

import json
import shutil

import matplotlib.pyplot as plt
import pytest

from common.settings.compose import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(notebook) -> list[str]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def place(tmp_path, checkpoints, navon, monkeypatch):
    """A folder that holds what notebooks read: a bilateral network, its images, a recorded study."""
    run = tmp_path / "runs/demo/bilateral/seed0"
    shutil.copytree(checkpoints["bilateral"].parent.parent, run)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/NAVON").symlink_to(navon)
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_it_runs(notebook, place, capsys):
    plt.switch_backend("agg")
    names: dict[str, object] = {}
    for text in cells(notebook):
        exec(compile(text, notebook.name, "exec"), names)  # as a kernel would
    figures = [plt.figure(number) for number in plt.get_fignums()]
    drawn = [axes for figure in figures for axes in figure.axes if axes.has_data()]
    plt.close("all")
    assert drawn
    assert capsys.readouterr().out


def test_there_are_two():
    assert [notebook.stem for notebook in NOTEBOOKS] == ["ask_a_network", "plot_a_study"]
