"""The notebooks run from their first cell to the last, and draw what they say."""

import csv
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


def run(notebook) -> None:
    """Run the cells as a kernel would."""
    plt.switch_backend("agg")
    names: dict[str, object] = {}
    for text in cells(notebook):
        exec(compile(text, notebook.name, "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_it_runs(notebook, place, capsys):
    run(notebook)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    drawn = [axes for figure in figures for axes in figure.axes if axes.has_data()]
    plt.close("all")
    assert drawn
    assert capsys.readouterr().out


@pytest.mark.parametrize("kept", [[], ["coarse"]])
def test_a_study_with_few_intervals_or_none_is_plotted_too(kept, tmp_path, monkeypatch, capsys):
    study = tmp_path / "results/demo"
    shutil.copytree(ROOT / "results/demo", study)
    with (study / "differences.csv").open(newline="") as text:
        found = list(csv.DictReader(text))
    with (study / "differences.csv").open("w", newline="") as text:
        table = csv.DictWriter(text, found[0])
        table.writeheader()
        table.writerows(row if row["level"] in kept else row | {"ci95_low": ""} for row in found)
    monkeypatch.chdir(tmp_path)
    run(ROOT / "notebooks/plot_a_study.ipynb")
    assert len(plt.get_fignums()) == (2 if kept else 1)
    plt.close("all")
    assert ("three seeds" in capsys.readouterr().out) == (not kept)


def test_there_are_two():
    assert [notebook.stem for notebook in NOTEBOOKS] == ["ask_a_network", "plot_a_study"]
