"""analyse.py on a tiny finished study: the numbers, the page, and what is left out."""

import contextlib
import csv
import errno
import os
import re
import resource
import shutil
import signal
import threading
import zlib
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image, ImageOps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import analyse
import arch_dual_head.trainer
import train_system
from analysis import pipeline
from analysis.columns import files
from analysis.networks import FeatureCache, as_tested, halves_of, load, sides
from analysis.report import results, svg
from analysis.report.facts import facts
from analysis.report.svg import Frame, picture
from analysis.section import Findings
from analysis.sections.contributions import Contributions, evidence_tile
from analysis.study import FinishedStage, FinishedStudy, open_study
from analysis.values import Values
from common.data.datamodule import load_folder_once
from common.data.index import read_index
from common.results.rows import read_result, write_result
from common.system.signals import Interrupted
from study.arms import plain_name

SCRIPT = "<script>document.title='broken'</script>"
QUOTES = '" onmouseover="alert(1)" x=\''
FORMULA = "$\\frac{a}"


class Page(HTMLParser):
    """What a browser would make of the page: elements with attributes, tables, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.shown: dict[str, list[list[str]]] = {}
        self.heads: dict[str, list[str]] = {}
        self.text: list[str] = []
        self._table, self._cell = "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
            self._table = attributes["id"]
            self.tables[self._table], self.heads[self._table] = [], []
            self.shown[self._table] = []
        if tag == "tr" and self._table:
            self.tables[self._table].append([])
            self.shown[self._table].append([])
        if tag == "td":
            self.tables[self._table][-1].append(attributes.get("data-value") or "")
            self.shown[self._table][-1].append("")
        self._cell = tag if tag in ("th", "td") else self._cell

    def handle_endtag(self, tag):
        if tag == self._cell:
            self._cell = None

    def handle_data(self, data):
        if self._cell == "th":
            self.heads[self._table].append(data)
            self._cell = None
        if self._cell == "td":
            self.shown[self._table][-1][-1] += data
        self.text.append(data)

    def find(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


@pytest.fixture(scope="session")
def finished(navon, tiny, succeed, tmp_path_factory) -> SimpleNamespace:
    """A study of two seeds, analysed as its last step, with class names that are not meant well."""
    folder = tmp_path_factory.mktemp("report")
    root = folder / "NAVON"
    shutil.copytree(navon, root)
    hierarchy = yaml.safe_load((root / "hierarchy.yaml").read_text())
    hierarchy["coarse"] |= {0: SCRIPT, 1: FORMULA, 2: "same", 3: "same"}
    hierarchy["fine"][0]["name"] = QUOTES
    (root / "hierarchy.yaml").write_text(yaml.safe_dump(hierarchy))
    with pytest.MonkeyPatch.context() as patch:
        # Fonts that take less time to embed; those of the project are tested in test_figure_files.py.
        patch.setitem(svg.STYLE, "pdf.fonttype", 3)
        said = succeed(
            train_system.main,
            *tiny,
            f"dataset.root={root}",
            "logger.tensorboard=true",
            f"save_dir={folder}",
            "exp_name=study",
            "num_seeds=2",
            "note=with the new lamp",
        )
    place = folder / "study"
    return SimpleNamespace(
        place=place, said=said, html=(place / "report.html").read_text(), root=root
    )


@pytest.fixture(scope="session")
def page(finished) -> Page:
    return Page(finished.html)


def test_an_analysis_counts_every_network(finished):
    steps = []
    study = open_study(finished.place)
    pipeline.examine(study, [], events=False, step=lambda: steps.append(1))
    assert len(steps) == len(study.stages)


def test_columns_of_an_epoch_are_those_that_are_explained(finished):
    """Of docs/tables.md; LEVEL_METRIC stands for many names."""
    explained = next(file for file in files() if file.name.endswith("metrics.csv")).columns
    names = {name for names in explained for name in names.split(", ")}
    written = (
        (finished.place / "bilateral/seed0/metrics.csv").read_text().splitlines()[0].split(",")
    )
    starts = {f"{split}_{level}_" for split in ("train", "val") for level in ("fine", "coarse")}
    assert {name for name in names if "LEVEL" not in name} == {
        name for name in written if not name.startswith(tuple(starts))
    }


def test_a_note_of_the_command_is_shown(finished):
    assert "<dt>note</dt><dd>with the new lamp</dd>" in finished.html


def test_what_was_run_is_enough_to_run_it_again(finished):
    environment = yaml.safe_load((finished.place / "fine/seed0/environment.yaml").read_text())
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", finished.html))
    counts = read_index(finished.root).counts()
    trained = counts["train"] - counts["held_out"]
    assert facts["images"] == (
        f"{trained} for training, {counts['held_out']} for validation, {counts['test']} for test"
    )
    assert facts["date"] == environment["date"][:10]
    assert facts["data set"] == "NAVON at ../NAVON"
    changes = {False: "no", True: "yes", None: "not recorded"}[environment["uncommitted_changes"]]
    assert facts["uncommitted changes"] == changes
    assert facts["precision"] in ("bf16-mixed", "32-true")
    assert str(finished.root) not in finished.html.split("Configuration</summary>")[1]
    assert "How far your numbers may be from these is not known" in finished.html


def test_the_set_of_each_seed_is_named(finished, tmp_path):
    stages = []
    for seed in (0, 1):
        place = tmp_path / f"study/fine/seed{seed}"
        shutil.copytree(finished.place / "fine/seed0", place)
        config = yaml.safe_load((place / "config.yaml").read_text())
        config["dataset"]["root"] = str(tmp_path / f"data/NAVON-seed{seed}")
        (place / "config.yaml").write_text(yaml.safe_dump(config))
        result = read_result(place / "result.yaml")
        stages.append(FinishedStage("fine", seed, place, result))
    said = dict(facts(FinishedStudy(tmp_path / "study", stages), {}))
    assert said["data set"] == "NAVON at ../data/NAVON-seed0, ../data/NAVON-seed1"


def test_a_study_ends_by_naming_its_report(finished):
    assert finished.said.splitlines()[-1] == f"Report: {finished.place / 'report.html'}"


def test_page_and_terminal_say_first_that_a_debug_run_is_no_result(finished):
    assert finished.said.splitlines()[-2] == "Debug run: no result."
    assert "Debug run: no result." in finished.html.split("</header>", 1)[1].split("<figure")[0]


def test_reliability_is_shown_raw_and_after_the_temperature(finished):
    for level in ("fine", "coarse"):
        for behind in ("", " after temperature"):
            assert f'aria-label="Reliability of the {level} head{behind}"' in finished.html


def per_cent(number: str, digits: int = 2, sign: str = "") -> str:
    """A share as people write it, from a csv file."""
    text = f"{100 * float(number):{sign},.{digits}f}"
    return (text if text.strip("+-0.,") else text.lstrip("+-")).replace("-", "−")


# Two seeds have no interval, so its column is not shown, and instead of a deviation both values are.
RESULT = ["arm", "level", "mean", "std", "seeds", "parameters"]
ELSEWHERE = [*RESULT, "ci95_low", "ci95_high", "approximate", "level_name"]


def test_numbers_of_the_page_are_those_of_the_csv_files(finished, page):
    summary = rows_of(finished.place / "summary.csv")
    seeds = rows_of(finished.place / "results.csv")
    both = {
        (row["arm"], row["level"]): sorted(
            float(one["accuracy"])
            for one in seeds
            if (one["arm"], one["level"]) == (row["arm"], row["level"])
        )
        for row in summary
    }
    assert page.shown["table-results"][1:] == [
        [
            *(row["arm"], row["level"], per_cent(row["mean"])),
            "; ".join(map(per_cent, both[row["arm"], row["level"]])),
            *(row["seeds"], f"{float(row['parameters']):,.0f}"),
        ]
        for row in summary
    ]
    further = ["arm", "level"] + [
        name
        for name in summary[0]
        if not name.startswith("own_minus_via_fine")
        and name not in ELSEWHERE
        and any(row[name] for row in summary)
    ]
    tables = [page.tables[f"table-{name}"][1:] for name in ("further", "costs")]
    shown = [one + costs[2:] for one, costs in zip(*tables, strict=True)]
    assert [row[:2] for row in tables[1]] == [row[:2] for row in tables[0]]
    # The two tables share out the columns, whatever their order.
    assert [sorted(row) for row in shown] == [sorted(row[n] for n in further) for row in summary]
    # Hemispheres were trained with label smoothing and heads were not.
    assert "Losses are not shown" in "".join(page.text)
    names = [
        n
        for n in seeds[0]
        if n not in ("checkpoint", "loss", "val_loss", "level_name")
        and any(row[n] for row in seeds)
    ]
    assert page.tables["table-seeds"][1:] == [[row[n] for n in names] for row in seeds]
    # What the networks are said to do unhurt is what the study's own test found.
    means = {(row["arm"], row["level"]): float(row["mean"]) for row in summary}
    of = "accuracy with a share silenced"
    for row in rows_of(finished.place / "analysis" / "summary.csv"):
        if row["of"] == of and row["item"] == "0.0":
            assert float(row["mean"]) == pytest.approx(means["bilateral", row["level"]], abs=1e-6)


def test_the_tables_of_the_study_may_be_gone(finished, page, tmp_path, monkeypatch):
    """Their rows come from the stages' results."""
    place = tmp_path / "study"
    shutil.copytree(finished.place, place)
    for name in ("results", "summary", "differences"):
        (place / f"{name}.csv").unlink()
    monkeypatch.setattr(pipeline, "examine", lambda study, **_: Findings())
    found = Page(pipeline.analyse(place).read_text())
    assert {"table-results", "table-further", "table-differences", "table-seeds"} <= {*found.tables}
    for name, table in found.shown.items():
        assert table == page.shown[name]


def test_differences_are_those_of_the_csv_file_all_against_bilateral(finished, page):
    rows = [row for row in rows_of(finished.place / "differences.csv") if row["arm"] == "bilateral"]
    assert rows
    assert page.heads["table-differences"][3] == "points"
    shown = page.shown["table-differences"][1:]
    held = page.tables["table-differences"][1:]
    assert len(shown) == len(rows)
    for row, words, values in zip(rows, shown, held, strict=True):
        assert words == [
            *("bilateral", row["minus"], row["level"]),
            *(per_cent(row["mean"], sign="+"), per_cent(row["std"]), row["seeds"]),
        ]
        assert float(values[3]) == float(row["mean"])


# Of each table of the analyses: where the numbers of a row, of which the first cells are words, stand in summary.csv.
SIDES = ("left", "right")
CASES = ("both", "left only", "right only", "neither")
SILENCED = {
    "nothing": ("left", "0.0"),
    "the left hemisphere": ("left", "1.0"),
    "the right hemisphere": ("right", "1.0"),
}
PLACES = {
    "probe": lambda what, half: [("probe accuracy", what, half, "")],
    **{
        f"evidence-{level}": lambda name, level=level: [
            ("evidence", level, side, name) for side in SIDES
        ]
        for level in ("fine", "coarse")
    },
    "lesions": lambda level, label: [("accuracy with a share silenced", level, *SILENCED[label])],
    "cosine": lambda images, half: [
        (
            *("cosine", images.split()[1], half),
            "within classes" if images.startswith("one") else "between classes",
        )
    ],
    "cases": lambda case: [
        ("images in a case", "", "", case),
        ("images in a case if independent", "", "", case),
        ("bilateral accuracy in a case", "", "", case),
    ],
    "cases-by-class": lambda name: [
        ("images of a class in a case", "", case, name) for case in CASES
    ],
    "reliance": lambda level, side: [
        (of, level, side, "")
        for of in ("share of evidence", "share of margin", "accuracy lost when silenced")
    ],
    "calibration": lambda level, arm: [
        (f"calibration error{scaled}", level, arm, "") for scaled in ("", " after temperature")
    ],
    "brier": lambda level, arm: [
        (of, level, arm, "")
        for of in ("Brier score", "Brier score after temperature", "temperature")
    ],
}


def test_tables_of_the_analyses_are_those_of_their_csv_file(finished, page):
    summary = {tuple(r.values())[:4]: r for r in rows_of(finished.place / "analysis/summary.csv")}
    names = {name.removeprefix("table-") for name in page.tables}
    assert set(PLACES) <= names
    for name, place in PLACES.items():
        words = place.__code__.co_argcount - len(place.__defaults__ or ())
        means_alone = name.startswith("evidence") or name == "cases-by-class"
        plain = name in ("cosine", "brier")  # no percentages
        digits = 3 if plain else 1
        shown, held = (of[f"table-{name}"][1:] for of in (page.shown, page.tables))
        assert shown
        for texts, values in zip(shown, held, strict=True):
            rows = [summary.get(key) for key in place(*values[:words])]
            for i, row in enumerate(rows):
                at = words + i * (1 if means_alone else 2)
                assert values[at] == (row["mean"] if row else "")
                if means_alone or not row:
                    continue
                assert values[at + 1] == row["ci95_low"]
                ends = [row["ci95_low"], row["ci95_high"]]
                if plain:
                    ends = [str(float(end) / 100) for end in ends if end]
                expected = " to ".join(per_cent(end, digits) for end in ends if end)
                assert texts[at + 1] == (expected or "–")


def test_the_analyses_hang_together(finished):
    values = {
        (r["of"], r["level"], r["side"], r["item"], r["seed"]): float(r["value"])
        for r in rows_of(finished.place / "analysis" / "values.csv")
    }
    for seed in "01":
        cases = [v for k, v in values.items() if k[0] == "images in a case" and k[4] == seed]
        assert sum(cases) == pytest.approx(1)
    summary = {tuple(r.values())[:4]: r for r in rows_of(finished.place / "analysis/summary.csv")}
    for key, row in summary.items():
        numbers = [values[(*key, seed)] for seed in "01" if (*key, seed) in values]
        assert float(row["mean"]) == pytest.approx(sum(numbers) / len(numbers))
        assert int(row["seeds"]) == len(numbers)
        assert row["ci95_low"] == ""


def test_what_comes_from_files_is_escaped(finished, page):
    assert len(page.find("script")) == 1
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    text = "".join(page.text)
    assert "<script>document" in text  # shown as it stands, cut short or not
    assert SCRIPT not in finished.html
    assert FORMULA in text
    assert "same (2)" in text
    assert "same (3)" in text


@pytest.mark.slow
def test_a_hostile_folder_name_is_escaped(finished, tmp_path, in_process):
    place = tmp_path / '<img src=x onerror=alert(1)> "it\'s" &amp;'
    shutil.copytree(finished.place, place)
    override = 'run="' + str(place).replace('"', '\\"') + '"'
    status, out, err = in_process(analyse.main, override)
    assert status == 0, out + err
    page = Page((place / "report.html").read_text())
    assert not [image for image in page.find("img") if image.get("src") == "x"]
    assert place.name in page.text


def test_the_page_needs_nothing_but_itself(finished, page):
    assert len(finished.html.encode()) < 5_000_000
    assert "http:" not in finished.html
    assert "https:" not in finished.html
    links = [
        (attrs.get("src") or attrs.get("href") or "") for tag, attrs in page.elements if tag != "a"
    ]
    assert all(link[:1] in ("", "#") or link.startswith("data:") for link in links)
    for anchor in page.find("a"):
        target = anchor["href"]
        if target.startswith("#"):
            assert [1 for _, attrs in page.elements if attrs.get("id") == target[1:]]
        else:
            assert (finished.place / target).exists()


def test_parts_of_pictures_do_not_share_names(page):
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {attrs["href"] for tag, attrs in page.elements if tag == "use"}
    assert {name.removeprefix("#") for name in used} <= set(ids)


def test_pictures_wear_the_colours_of_the_page(finished, page):
    css = (Path(analyse.__file__).parent / "analysis" / "report" / "report.css").read_text()
    variables = set(re.findall(r"var\((--\w+)\)", finished.html))
    assert {"--left", "--right", "--both", "--ink"} <= variables
    assert all(f"{name}: light-dark(" in css for name in variables)
    assert "#0102" not in finished.html  # no stand-in is left


def test_what_was_run_is_told(finished, page):
    text = "".join(page.text)
    environment = yaml.safe_load((finished.place / "fine/seed0/environment.yaml").read_text())
    for words in (environment["python"], environment["platform"], environment["packages"]["torch"]):
        assert words in text
    assert "max_epochs: 2" in text
    assert "Learning" in text


def test_tensorboard_has_final_metrics_and_images_beside_the_curves(finished):
    for stage in open_study(finished.place).stages:
        (events,) = stage.place.glob("*.analysis")
        log = EventAccumulator(str(events)).Reload()
        levels = [*stage.result["test"]]
        scalars = {
            f"final/{s}_{lv}_{n}"
            for s in ("val", "test")
            for lv in levels
            for n in ("accuracy", "loss")
        }
        assert scalars <= set(log.Tags()["scalars"])
        for level in levels:
            value = log.Scalars(f"final/test_{level}_accuracy")[0].value
            assert value == pytest.approx(stage.result["test"][level]["accuracy"], abs=1e-6)
        images = {f"{kind}/{lv}" for kind in ("confusion", "examples") for lv in levels}
        assert set(log.Tags()["images"]) == images
        plugin = log.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
        assert plugin == "hparams"


def test_events_that_cannot_be_written_are_said_in_one_sentence(
    finished, tmp_path, in_process, monkeypatch
):
    place = tmp_path / "study"
    shutil.copytree(finished.place, place)
    before = sorted(place.rglob("*"))
    in_threads: list[object] = []
    monkeypatch.setattr(threading, "excepthook", in_threads.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Less than the events take, and enough to begin.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        status, _, err = in_process(analyse.main, f"run={place}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 1
    assert re.fullmatch(rf"error: File too large: {place}/\S+\.analysis\.\n", err), err
    assert in_threads == []
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_a_second_analysis_takes_the_place_of_the_first(finished, in_process):
    before = sorted(str(f) for f in finished.place.rglob("*") if ".analysis" not in f.name)
    numbers = (finished.place / "analysis" / "values.csv").read_text()
    status, out, _ = in_process(analyse.main, f"run={finished.place}")
    assert status == 0
    assert out.splitlines()[-1] == f"Report: {finished.place / 'report.html'}"
    assert sorted(str(f) for f in finished.place.rglob("*") if ".analysis" not in f.name) == before
    assert len([*finished.place.rglob("*.analysis")]) == 6
    assert (finished.place / "analysis" / "values.csv").read_text() == numbers


@pytest.mark.slow
def test_further_arms_are_compared_with(finished, tiny, succeed, tmp_path, in_process):
    """A hemisphere that learned both levels, and an ensemble of such."""
    place = tmp_path / "study"
    shutil.copytree(finished.place, place)
    more = [*tiny, f"dataset.root={finished.root}", f"save_dir={tmp_path}", "exp_name=study"]
    alone = ["hparams.ffreeze=false", "hparams.model_path_fine=null"]
    dual = arch_dual_head.trainer.main
    succeed(dual, *more, "hparams.macro_arch=unilateral", "seeds=[0,1]", *alone)
    members = ",".join(f"{place}/unilateral/seed{i}/checkpoints/best.ckpt" for i in (0, 1))
    succeed(dual, *more, "hparams.macro_arch=ensemble", f"hparams.model_path_fine=[{members}]")
    status, out, err = in_process(analyse.main, f"run={place}")
    assert status == 0, out + err
    rows = rows_of(place / "analysis" / "summary.csv")
    pairs = {row["side"]: row["seeds"] for row in rows if row["of"] == "cka"}
    assert (pairs["left-unspecialised"], pairs["right-unspecialised"]) == ("2", "2")
    text = "".join(Page((place / "report.html").read_text()).text)
    assert f"Unspecialised: {plain_name('unilateral')} (unilateral)" in text
    assert "similarity to an unspecialised hemisphere" not in text
    assert f"Learning curves of {plain_name('unilateral')}" in (place / "report.html").read_text()


@pytest.mark.slow
def test_the_published_protocol_and_holes_are_named(finished, tmp_path, in_process):
    shutil.copytree(finished.place, tmp_path / "study")
    assert "took no part in training or in the choice" in finished.html
    hole = {"arm": "fine", "seed": 7, "reason": "fine/seed7: the loss is nan <b>"}
    (tmp_path / "study/fine/seed7").mkdir()
    (tmp_path / "study/fine/seed7/failed.yaml").write_text(yaml.safe_dump(hole))
    for file in (tmp_path / "study").glob("*/seed*/config.yaml"):
        config = yaml.safe_load(file.read_text())
        config["dataset"]["val_dir"] = config["dataset"]["test_dir"]
        file.write_text(yaml.safe_dump(config))
    assert in_process(analyse.main, f"run={tmp_path / 'study'}")[0] == 0
    html = (tmp_path / "study/report.html").read_text()
    assert "chosen on these very test images" in html
    assert "took no part in training" not in html
    assert "1 stage of this study is missing: fine/seed7" in html
    assert "fine/seed7: the loss is nan &lt;b&gt;" in html


def test_any_arms_are_shown(finished, tmp_path):
    """Further arms than those of today, without an interval, and numbers that today's stages lack."""
    for file in finished.place.glob("*/seed*/result.yaml"):
        result = read_result(file)
        for arm in {result["arm"]: [result["seed"]]} | (
            {"other_six": [0, 1]} if result["arm"] == "bilateral" else {}
        ):
            more = {"arm": arm, "macs": 12345678, "seeds": [0, 1]}
            if arm == "other_six":
                more["test"] = {lv: held | {"top5": 0.98765} for lv, held in result["test"].items()}
            place = tmp_path / f"{arm}/seed{result['seed']}"
            place.mkdir(parents=True)
            write_result(place / "result.yaml", result | more)
    study = open_study(tmp_path)
    assert study.arms == ["fine", "coarse", "bilateral", "other_six"]
    summary, last = results.results(study), {}
    for table in results.further(study):
        titles = [column.title for column in table.columns]
        last |= dict(zip(titles, (one.text for one in table.rows[-1]), strict=True))
    assert (last["arm"], last["top5 mean, %"], last["macs"]) == ("other_six", "98.77", "12,345,678")
    assert [row[0].text for row in summary.rows][-2:] == ["other_six"] * 2
    assert "95 % interval" not in [column.title for column in summary.columns]
    first, others = results.differences(study)
    assert {row[0].text for row in first.rows} == {"bilateral"}
    assert {row[1].text for row in others.rows} == {"other_six"}


def test_logits_are_those_of_the_network_and_halves_those_of_its_heads(finished):
    module = load(open_study(finished.place).of("bilateral")[0].checkpoint)
    cache = FeatureCache(torch.randint(0, 255, (9, 3, 32, 32), dtype=torch.uint8))
    with as_tested(module):
        expected = module.network(module.transforms(cache.images))
    features = {side: cache.features(module, one) for side, one in sides(module.network).items()}
    weights = halves_of(module.network, torch.cat([*features.values()], dim=1))
    # The precision may be bfloat16.
    for level, logits in cache.logits(module).items():
        assert torch.allclose(logits, expected[level].float(), atol=0.05)
        parts = sum(features[side] @ half.T for side, half in weights[level].items())
        bias = module.network.heads[level].linear.bias.detach()
        assert torch.allclose(parts + bias, logits, atol=0.05)


@pytest.mark.parametrize(("classes", "place"), [(40, "shown"), (41, "folded"), (1001, "left out")])
def test_long_tables_are_folded_up_level_by_level(classes, place):
    values = Values()
    for level, count in (("fine", classes), ("coarse", 2)):
        values.add("share of evidence", 0.7, seed=0, level=level, side="left")
        for i in range(count):
            for side in ("left", "right"):
                values.add("evidence", i, seed=0, level=level, side=side, item=f"class {i}")
    part = Contributions().render(Findings(values=values))
    shown, folded = ([sheet.name for sheet in held] for held in (part.tables, part.folded))
    assert "evidence-coarse" in shown
    assert ("evidence-fine" in shown, "evidence-fine" in folded) == (
        place == "shown",
        place == "folded",
    )
    assert any("1,001 rows" in note for note in part.notes) == (place == "left out")


def test_the_share_of_evidence_has_a_meter():
    tile = evidence_tile("fine", 0.25)
    assert (tile.number, tile.meter) == ("25 % left", "25.0")
    assert tile.detail == "75 % from the right hemisphere"


def test_words_of_a_picture_stay_as_they_are():
    """Only what matplotlib wrote is brought into the page's form; names of classes may look like that."""
    hostile = '#010206 id="a" url(#b) xlink:href="#c" <b>'

    def draw(figure):
        figure.subplots().set_xlabel(hostile)

    svg = picture(Frame("name", f"Of {hostile}"), draw)
    words = Page(f"<table id=t><tr><td>{svg}</td></tr></table>").shown["t"][0][0]
    assert hostile in words
    parsed = Page(str(svg)).find("svg")[0]
    assert parsed["aria-label"] == f"Of {hostile}"


# ---------------------------------------------------------------- what is left out


def test_a_run_of_one_network_has_a_report_without_hemispheres(finished, tmp_path, in_process):
    place = tmp_path / "one"
    shutil.copytree(finished.place / "fine", place / "fine")
    status, out, err = in_process(analyse.main, f"run={place}")
    assert status == 0, out + err
    page = Page((place / "report.html").read_text())
    text = "".join(page.text)
    assert "the study has no bilateral network" in text
    assert "Whose features" not in text
    # All were trained with the same label smoothing.
    assert {"loss", "val loss"} <= {*page.heads["table-seeds"]}
    assert "Losses are not shown" not in text


def test_without_tests_the_test_images_are_not_looked_at(
    tiny, succeed, tmp_path, monkeypatch, in_process
):
    def forbidden(self):
        raise AssertionError("test images were read")

    monkeypatch.setattr("common.data.datamodule.HierarchicalData.load_test", forbidden)
    place = tmp_path / "untested"
    options = (f"save_dir={tmp_path}", "exp_name=untested", "num_seeds=1", "no_bilateral=true")
    succeed(train_system.main, *tiny, *options, "evaluate=false", "analyse=false")
    assert not (place / "report.html").exists()
    assert not (place / "analysis").exists()
    status, out, err = in_process(analyse.main, f"run={place}")
    assert status == 0, out + err
    text = "".join(Page((place / "report.html").read_text()).text)
    assert "Left out: all that needs test images" in text
    assert "Nothing was tested" in text


@pytest.mark.slow
def test_a_bilateral_network_is_analysed_without_its_hemispheres_own_heads(
    finished, tmp_path, in_process
):
    place = tmp_path / "study"
    shutil.copytree(finished.place, place)
    for level in ("fine", "coarse"):
        shutil.rmtree(place / level)
    moved = finished.place.rename(tmp_path / "elsewhere")
    try:
        status, out, err = in_process(analyse.main, f"run={place}")
    finally:
        moved.rename(finished.place)
    assert status == 0, out + err
    text = "".join(Page((place / "report.html").read_text()).text)
    assert "Left out: which hemisphere is correct when" in text
    assert "Left out: similarity to an unspecialised hemisphere" in text
    assert "add unilateral." in text
    assert "Confusions of both hemispheres together" in (place / "report.html").read_text()
    values = {row["of"] for row in rows_of(place / "analysis" / "summary.csv")}
    assert "images in a case" not in values
    assert "share of evidence" in values


def test_a_failing_analysis_harms_no_result_and_is_an_error(
    finished, tiny, tmp_path, monkeypatch, in_process
):
    place = tmp_path / "my runs" / "study"
    shutil.copytree(finished.place, place)
    summary = (place / "summary.csv").read_text()

    def broken(study, **_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(pipeline, "examine", broken)
    study = [*tiny, f"dataset.root={finished.root}", f"save_dir={place.parent}", "exp_name=study"]
    status, out, err = in_process(train_system.main, *study, "num_seeds=2")
    assert status == 1, err
    assert "Report:" not in out
    assert err.startswith("error: The results are written, but their analysis failed: ")
    assert err.endswith(f"Try: python analyse.py 'run={place}'\n")
    assert err.count("\n") == 1
    log = place / "analysis" / "failure.txt"
    assert "no such luck" in log.read_text()
    assert (place / "summary.csv").read_text() == summary

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pipeline, "write_text", full)
    sentence = pipeline.analyse_after_training(place)
    assert f"RuntimeError; {log} cannot be written (No space left on device). Try: " in sentence


def test_an_analysis_after_training_stops_on_signals(finished, monkeypatch):
    def stopped(study, **_):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(pipeline, "examine", stopped)
    with pytest.raises(Interrupted):
        pipeline.analyse_after_training(finished.place)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda place: (place / "fine/seed0/result.yaml").write_text("}"), "is damaged"),
        (lambda place: (place / "fine/seed0/checkpoints/best.ckpt").write_text(""), "best.ckpt"),
        (lambda place: shutil.rmtree(place), "is not there: correct the path"),
    ],
)
def test_what_a_person_can_mend_is_said_in_a_sentence(
    finished, tmp_path, in_process, change, sentence
):
    place = tmp_path / "study"
    shutil.copytree(finished.place, place)
    change(place)
    status, _, err = in_process(analyse.main, f"run={place}")
    assert status == 1
    assert sentence in err
    assert err.count("\n") == 1


def test_other_images_than_those_of_training_are_refused(finished, tmp_path, in_process):
    index = finished.root / "index.csv"
    text = index.read_text()
    rows = text.splitlines()
    held = next(i for i, row in enumerate(rows) if row.startswith("train") and row.endswith(",1"))
    rows[held] = rows[held][:-1] + "0"
    try:
        index.write_text("\n".join(rows) + "\n")
        status, _, err = in_process(analyse.main, f"run={finished.place}")
    finally:
        index.write_text(text)
    assert status == 1
    assert "was trained on other images" in err


@contextlib.contextmanager
def other_pixels(folder: Path):
    """Within the block an image of a folder is another one under the same name."""
    image = next(folder.glob("*/*.png"))
    content = image.read_bytes()
    load_folder_once.cache_clear()
    try:
        with Image.open(image) as shown:
            ImageOps.invert(shown).save(image)
        yield
    finally:
        image.write_bytes(content)
        load_folder_once.cache_clear()


@pytest.mark.parametrize("use", ["train", "test"])
def test_images_with_other_pixels_under_the_same_names_are_refused(use, finished, in_process):
    folder = finished.root / use / "fine"
    with other_pixels(folder):
        status, _, err = in_process(analyse.main, f"run={finished.place}")
    assert status == 1
    assert f"was {use}ed on other images than lie in {folder} now" in err


def test_a_data_set_that_has_moved_is_found_where_the_command_says(finished, in_process, tmp_path):
    moved = finished.root.rename(tmp_path / "MOVED")
    load_folder_once.cache_clear()
    try:
        assert pipeline.examine(open_study(finished.place, data_root=str(moved)), []).images
        with other_pixels(moved / "test/fine"):
            command = f"run={finished.place}", f"dataset.root={moved}"
            status, _, err = in_process(analyse.main, *command)
    finally:
        moved.rename(finished.root)
        load_folder_once.cache_clear()
    assert status == 1
    assert f"was tested on other images than lie in {moved}/test/fine now" in err


def test_help_needs_no_torch(command):
    code = (
        "import sys, runpy; sys.argv = ['analyse.py', '--help']\n"
        "try: runpy.run_path('analyse.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = command("-c", code)
    assert done.returncode == 0, done.stderr
    assert "run=" in done.stdout
    missing = command("analyse.py")
    assert missing.returncode == 1
    assert "run has no value" in missing.stderr


# ---------------------------------------------------------------- in a browser

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium without a window, by playwright; BILATERAL_BROWSER=required forbids to skip."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if os.environ.get("BILATERAL_BROWSER") != "required":
        pytest.importorskip("playwright", reason="playwright is not installed")
        if not program:
            pytest.skip("no Chromium is installed (apt-get install chromium)")
    assert program, "BILATERAL_BROWSER=required, but there is no Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, finished):
    """Open the report in a window of a width and theme; whatever goes wrong in it fails the test."""
    opened, wrong, asked = [], [], []

    def open_page(width: int = 1280, theme: str = "light"):
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme=theme, offline=True
        )
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((finished.place / "report.html").as_uri())
        opened.append(context)
        return tab

    yield open_page
    for context in opened:
        context.close()
    assert wrong == []
    report = (finished.place / "report.html").as_uri()
    assert [url for url in asked if url != report and not url.startswith("data:")] == []


def luminance(tab, selector: str, what: str) -> float:
    """How bright a colour is as painted, 0 to 1."""
    colour = tab.locator(selector).first.evaluate(f"one => getComputedStyle(one).{what}")
    numbers = [float(n) for n in re.findall(r"[\d.]+", colour)[:3]]
    scale = 1 if colour.startswith("color(") else 255
    return sum(w * n / scale for w, n in zip((0.2126, 0.7152, 0.0722), numbers, strict=True))


def test_the_page_renders(visit, finished):
    tab = visit()
    assert tab.title() == "debug: no result · study · bilateral"
    assert tab.locator("h1").inner_text() == "Do two specialised hemispheres do better than one?"
    figures = tab.locator("figure svg")
    assert figures.count() >= 12
    for i in range(figures.count()):
        box = figures.nth(i).bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100
    images = tab.locator(".look img")
    assert all(images.evaluate_all("all => all.map(one => one.naturalWidth > 0)"))


def test_tables_sort_by_click_and_by_keyboard(visit):
    tab = visit()
    heads = tab.locator("#table-results th")
    column = next(
        i for i, text in enumerate(heads.all_inner_texts()) if text.startswith("accuracy, %")
    )
    head = heads.nth(column)

    def numbers() -> list[float]:
        cells = tab.locator(f"#table-results tbody td:nth-child({column + 1})")
        return [float(text) for text in cells.all_inner_texts()]

    before = numbers()
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert numbers() == sorted(before, reverse=True)
    head.locator("button").focus()
    tab.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert numbers() == sorted(before)
    arm = tab.locator("#table-results th").first
    arm.locator("button").press("Space")
    assert arm.get_attribute("aria-sort") == "ascending"
    assert head.get_attribute("aria-sort") == "none"
    arms = tab.locator("#table-results tbody td:first-child").all_inner_texts()
    assert arms == sorted(arms)


def test_a_figure_links_to_its_files_and_they_are_there(finished, page):
    links = {a["href"] for a in page.find("a") if a["href"].startswith("analysis/figures/")}
    saved = {f"analysis/figures/{file.name}" for file in finished.place.glob("analysis/figures/*")}
    assert links == saved
    assert len(links) == 3 * len([svg for svg in page.find("svg") if svg.get("role") == "img"])
    rows = rows_of(finished.place / "analysis/figures/probe.csv")
    numbers = rows_of(finished.place / "analysis/summary.csv")
    drawn = {(r["x_name"], r["series"]): float(r["value"]) for r in rows if r["mark"] == "bar"}
    assert drawn == {
        (r["level"], r["side"]): float(r["mean"]) for r in numbers if r["of"] == "probe accuracy"
    }
    for row in numbers:
        if row["of"] == "cka":
            assert row["layer"]
        if row["of"] == "evidence":
            assert row["class_name"] == row["item"]


def test_tables_are_taken_away_in_three_formats(visit, finished, tmp_path):
    tab = visit()
    caption = tab.locator("#table-results caption")
    with tab.expect_download() as download:
        caption.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "results.csv")
    saved = rows_of(tmp_path / "results.csv")
    summary = rows_of(finished.place / "summary.csv")
    means = [100 * float(row["mean"]) for row in summary]
    assert [float(row["accuracy, %"]) for row in saved] == pytest.approx(means, abs=1e-9)
    # A cell with two numbers is two columns, and nothing of it is lost.
    results = rows_of(finished.place / "results.csv")
    for row in saved:
        keys = row["arm"], row["level"]
        values = [float(r["accuracy"]) for r in results if (r["arm"], r["level"]) == keys]
        ends = [float(row[f"each seed, %, {end}"]) / 100 for end in ("from", "to")]
        assert ends == pytest.approx([min(values), max(values)], abs=1e-9)
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown = {}
    for words in ("Markdown", "LaTeX"):
        caption.get_by_role("button", name=words).click()
        caption.get_by_role("button", name="copied").wait_for()
        shown[words] = tab.evaluate("navigator.clipboard.readText()")
        caption.get_by_role("button", name=words).wait_for()
    for row in summary:
        numbers = [row["arm"], row["level"], per_cent(row["mean"])]
        assert f"| {' | '.join(numbers)} |" in shown["Markdown"]
        assert " & ".join(numbers).replace("_", "\\_") + " & " in shown["LaTeX"]
    assert "accuracy, \\% & " in shown["LaTeX"]
    for line in ("\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}"):
        assert shown["LaTeX"].count(line) == 1


def test_on_paper_closed_parts_are_open_and_heads_have_their_words(visit, finished):
    tab = visit()
    closed = tab.locator("details:not([open])").count()
    assert closed
    heads = tab.locator("#table-results th").all_inner_texts()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert tab.locator("th button").count() == 0
    assert tab.locator("#table-results th").all_text_contents() == [h.strip() for h in heads]
    assert tab.locator("details:not([open])").count() < closed
    assert tab.locator("details[open] pre").count() == 0  # configurations are in files
    assert not tab.locator(".tools").first.is_visible()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.emulate_media(media="screen")
    assert tab.locator("details:not([open])").count() == closed
    tab.locator("#table-results th").first.locator("button").click()
    assert tab.locator("#table-results th").first.get_attribute("aria-sort") == "ascending"


def texts_by_page(pdf: bytes) -> list[int]:
    """How many pieces of text each page of Chromium's PDF draws."""
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, flags=re.DOTALL):
        with contextlib.suppress(zlib.error):
            content = zlib.decompress(stream)
            if b" re\n" in content and b"Tf" in content:
                found.append(len(re.findall(rb"T[jJ]\b", content)))
    return found


def test_no_head_of_a_table_stands_alone_at_the_end_of_a_printed_page(chromium):
    css = (Path(svg.__file__).parent / "report.css").read_text()
    # Each word is one letter, and so one piece of text.
    rows = "<tr><td>r</td></tr>" * 9
    table = f"<table><caption>c</caption><thead><tr><th>h</th></tr></thead>{rows}</table>"
    tab, broken = chromium.new_page(), 0
    for height in range(960, 1040, 4):
        tab.set_content(
            f"<style>{css}</style><main style='padding: 0'><div style='height: {height}px'></div>"
            f"<div class='scroll' style='margin: 0'>{table}</div></main>"
        )
        first, *rest = texts_by_page(tab.pdf(prefer_css_page_size=True))
        if rest:  # between rows: the head is on both pages
            broken += 1
            assert first + sum(rest) == 12
            assert first > 2
    tab.close()
    assert broken


def test_a_heading_has_a_link_to_itself(visit):
    tab = visit()
    tab.locator("#run .here").focus()
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#run")


def test_all_that_can_be_used_is_reached_by_keyboard(visit):
    tab = visit(width=390)
    reached = set()
    for _ in range(2000):
        tab.keyboard.press("Tab")
        at = tab.evaluate("document.activeElement.outerHTML.slice(0, 60)")
        if at.startswith("<body"):  # beyond the last one
            break
        reached.add(at)
    buttons = tab.locator("button:visible, summary, .bar a, .scroll:visible")
    wanted = set(buttons.evaluate_all("all => all.map(one => one.outerHTML.slice(0, 60))"))
    assert wanted <= reached


def test_dark_follows_the_system_and_the_button(visit):
    light, dark = visit(theme="light"), visit(theme="dark")
    assert luminance(light, "body", "backgroundColor") > 0.9
    assert luminance(dark, "body", "backgroundColor") < 0.1
    assert luminance(light, "figure svg text", "fill") < 0.2
    assert luminance(dark, "figure svg text", "fill") > 0.7
    dark.locator("#theme").click()
    assert luminance(dark, "body", "backgroundColor") > 0.9
    assert luminance(dark, "figure svg text", "fill") < 0.2
    assert dark.locator("#theme").inner_text() == "Dark"
    dark.reload()
    assert luminance(dark, "body", "backgroundColor") > 0.9


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_the_page_never_scrolls_sideways(visit, width):
    tab = visit(width=width)
    tab.locator("summary").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1000, 1280, 1920])
def test_the_bar_of_sections_is_whole_on_a_desktop(visit, width):
    tab = visit(width=width)
    bar = tab.locator(".bar").bounding_box()
    button = tab.locator("#theme").bounding_box()
    for link in tab.locator(".bar nav a").all():
        box = link.bounding_box()
        assert box["x"] + box["width"] <= button["x"]
        assert box["y"] + box["height"] <= bar["y"] + bar["height"]
        over = "([x, y]) => document.elementFromPoint(x, y).textContent"
        at = [box["x"] + box["width"] - 2, box["y"] + box["height"] / 2]
        assert tab.evaluate(over, at) == link.inner_text()  # is cut off by nothing
    # A section that a link leads to stands below the bar.
    tab.emulate_media(reduced_motion="reduce")
    tab.locator(".bar nav a", has_text="What was run").click()
    assert bar["height"] <= tab.locator("#run").bounding_box()["y"] < 200


def test_a_table_wider_than_the_screen_shows_where_there_is_more(visit):
    tab = visit(width=390)
    place = tab.locator(".scroll", has=tab.locator("#table-results"))
    assert place.evaluate("one => one.scrollWidth > one.clientWidth")
    tab.locator(".scroll[data-cut~=right]:not([data-cut~=left])").first.wait_for(state="attached")
    mean = tab.locator("#table-results tbody td:nth-child(3)").first
    right = place.evaluate("one => one.getBoundingClientRect().right")
    assert mean.evaluate("one => one.getBoundingClientRect().right") <= right
    arm = tab.locator("#table-results tbody td:first-child").first
    before = arm.bounding_box()["x"]
    place.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    tab.locator(".scroll[data-cut~=left]:not([data-cut~=right])").first.wait_for(state="attached")
    assert arm.bounding_box()["x"] == pytest.approx(before, abs=1)


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ([{"compile": None, "cuda_graph": False}, None], None),
        (
            [{"compile": "default", "cuda_graph": True}, {"compile": None, "cuda_graph": False}],
            "replayed as a CUDA graph and compiled (default); plain",
        ),
    ],
)
def test_what_was_run_says_how_steps_were_made_fast(tmp_path, used, said):
    stages = []
    for seed, one in enumerate(used):
        place = tmp_path / "fine" / f"seed{seed}"
        place.mkdir(parents=True)
        result = {"seconds": 1, "epochs": 1} | ({"acceleration": one} if one else {})
        stages.append(FinishedStage("fine", seed, place, result))
    assert dict(facts(FinishedStudy(tmp_path, stages), {})).get("training steps") == said
