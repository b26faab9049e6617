"""The tables in docs/ are those that docs/generate.py writes, and every key and arm explains itself."""

import runpy

import pytest

from analysis.schema import AnalyseConfig
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.settings.compose import ROOT
from common.settings.schema import GROUPS, keys_of
from common.trained.schema import ExportConfig, PredictConfig, TestConfig
from study.arms import ARMS
from study.schema import StudyConfig

TestConfig.__test__ = False  # a configuration, not a class of tests

SCHEMAS = [
    StudyConfig,
    SingleConfig,
    DualConfig,
    TestConfig,
    PredictConfig,
    ExportConfig,
    AnalyseConfig,
]


@pytest.fixture(scope="module")
def generate():
    return runpy.run_path(str(ROOT / "docs/generate.py"))


def test_the_tables_in_the_documents_are_up_to_date(generate):
    pages = generate["pages"]()
    assert {"keys.md", "tables.md"} <= {file.name for file in pages}
    stale = [file.name for file, text in pages.items() if file.read_text() != text]
    assert not stale, f"{stale} differ from the schemas and tables: run python docs/generate.py"


def test_every_table_stands_in_a_document(generate):
    texts = "".join(file.read_text() for file in (ROOT / "docs").glob("*.md"))
    for name in generate["TABLES"]:
        assert f"<!-- table: {name} -->" in texts


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_key_explains_itself_and_stands_in_the_table(schema, generate):
    page = (ROOT / "docs/keys.md").read_text()
    for name, item in keys_of(schema).items():
        assert len(item.metadata["help"]) > 8, name
        assert f"`{name.removeprefix('single.').removeprefix('dual.')}`" in page, name


def test_every_arm_and_group_stands_in_a_table():
    tables, keys = ((ROOT / f"docs/{name}.md").read_text() for name in ("tables", "keys"))
    for name, row in ARMS.items():
        assert f"| `{name}` | `{row.alias or name}` | {row.help} |" in tables
    for group in GROUPS:
        assert f"| `{group}=` |" in keys
