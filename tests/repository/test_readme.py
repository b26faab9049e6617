"""README.md and docs/: their commands run, their links lead somewhere, and what they name exists.

A comment right before each block of commands says what becomes of it here:

    <!-- run: quick -->             takes seconds and needs nothing: run by `make test`
    <!-- run: slow -->              run by `make test-all`, README first, then the pages by name, from top to bottom
    <!-- run: compose (reason) -->  the configuration of each line is composed and not run
    <!-- run: no (reason) -->       not run

Commands are made short by the stand-in for ``python`` below. docs/extending.md has a test of its own.
"""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT, tracked

README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "extending.md"),
]
COMMANDS = ("bash", "console", "python")
OTHERS = ("diff", "text", "yaml")

# One short epoch and a small Navon set, nothing else.
PYTHON = """#!/bin/sh
case "$1" in
*train_system.py) set -- "$@" epochs.fine=1 epochs.coarse=1 epochs.bilateral=1 trainer_params.limit_train_batches=3 ;;
*trainer.py) set -- "$@" trainer_params.max_epochs=1 trainer_params.limit_train_batches=3 ;;
*make_navon.py) set -- "$@" --train 600 --test 200 ;;
esac
exec "{python}" "$@"
"""


class Block(NamedTuple):
    """A fenced block: where it stands, its language, its mark and the mark's reason (empty where there is none)."""

    place: str
    language: str
    mark: str
    reason: str
    text: str


def blocks(document: Path) -> list[Block]:
    text = document.read_text()
    pattern = re.compile(
        r"(?:^<!-- run: (\w+)(?: \(([^)\n]+)\))? -->\n)?^```(\w*)\n(.*?)^```$",
        re.MULTILINE | re.DOTALL,
    )
    found = []
    for match in pattern.finditer(text):
        mark, reason, language, body = match.groups(default="")
        line = text[: match.start()].count("\n") + 1
        found.append(Block(f"{document.name}:{line}", language, mark, reason, body))
    return found


def marked(*marks: str, documents: list[Path] = DOCUMENTS) -> list[Block]:
    return [block for page in documents for block in blocks(page) if block.mark in marks]


def code(text: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


# ---------------------------------------------------------------- marks


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: page.name)
def test_every_block_of_commands_says_whether_it_is_run(document):
    for block in blocks(document):
        if block.language in COMMANDS:
            assert block.mark in ("quick", "slow", "compose", "no"), block
            assert bool(block.reason) == (block.mark in ("compose", "no")), block
        else:
            assert block.language in OTHERS, block
            assert not block.mark, block
    fences = re.findall("^ *```", document.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(document))
    marks = re.findall("<!-- run:", document.read_text())
    assert len(marks) == len(marked("quick", "slow", "compose", "no", documents=[document]))


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what belongs to the repository, so that nothing is written into this one."""
    place = tmp_path_factory.mktemp("readme")
    root = place / "bilateral"
    for name in tracked():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for stand_in in (place / "bin" / "python", root / ".venv" / "bin" / "python"):
        stand_in.parent.mkdir(parents=True)
        stand_in.write_text(PYTHON.format(python=sys.executable))
        stand_in.chmod(0o755)
    # What the installation makes of pyproject.toml.
    command = place / "bin" / "bilateral"
    command.write_text('#!/bin/sh\nexec python -m commands "$@"\n')
    command.chmod(0o755)
    (root / ".venv" / "installed").touch()  # for make
    return root


def run(block: Block, copy: Path) -> None:
    """Run a block as it stands, from the copy's root; PYTHONPATH does what installing the copy would."""
    text = f"python - <<'END'\n{block.text}END" if block.language == "python" else block.text
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{copy.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=copy,
        env={**outside, "PATH": path, "PYTHONPATH": str(copy), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{block.place}\n{block.text}\n{done.stdout}"


@pytest.mark.parametrize("block", marked("quick"), ids=lambda block: block.place)
def test_quick_commands_run(copy, block):
    run(block, copy)


@pytest.mark.slow
def test_all_commands_run(copy):
    for block in marked("quick", "slow"):
        run(block, copy)
    for path in files_of_a_run():
        assert (copy / path).exists(), path


def files_of_a_run() -> Iterator[str]:
    """The files that README.md lists in the block marked ``files``, of one stage of the study that ran above."""
    (listed,) = re.findall(r"<!-- files -->\n```text\n(.*?)^```", README.read_text(), re.M | re.S)
    folder = ""
    for line in listed.splitlines():
        path = line.split()[0]
        for word, value in (("<exp_name>", "demo"), ("<arm>", "bilateral"), ("<n>", "1")):
            path = path.replace(word, value)
        folder = path if path.endswith("/") else folder
        yield path if path.startswith("runs/") else folder + path


LINES = [
    pytest.param(line, id=f"{block.place}+{number}")
    for block in marked("compose")
    for number, line in enumerate(block.text.replace("\\\n", " ").splitlines())
]


@pytest.mark.parametrize("line", LINES)
def test_commands_that_are_not_run_compose(in_process, monkeypatch, line):
    python, program, *overrides = shlex.split(line, comments=True)
    assert python == "python"
    monkeypatch.chdir(README.parent)
    main = importlib.import_module(program.removesuffix(".py").replace("/", ".")).main
    status, _, err = in_process(main, "--cfg", "job", *overrides)
    assert status == 0, err


# ---------------------------------------------------------------- what is named


def test_the_readme_is_short():
    lines = README.read_text().splitlines()
    assert len(lines) <= 260
    assert [line for line in lines if len(line) > 120] == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub spells them in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    for page in (ROOT / name for name in tracked("*.md")):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), (page, target)
            assert not anchor or anchor in anchors(found), (page, target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: page.name)
def test_files_that_are_named_exist(document):
    folders = {name.split("/")[0] for name in tracked() if "/" in name} - {"datasets"}
    for name in code(document.read_text()):
        if name.endswith(".csv"):  # of a run
            continue
        if re.fullmatch(r"[\w.-]+/[\w./-]*", name) and name.split("/")[0] in folders:
            assert (ROOT / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda page: page.name)
def test_targets_of_make_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make\s([a-z-]+)", document.read_text(), re.M)) <= targets


def test_messages_of_troubleshooting_are_those_of_the_code():
    source = "".join((ROOT / name).read_text() for name in tracked("*.py") if "tests/" not in name)
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    symptoms = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    messages = [message for symptom in symptoms for message in code(symptom) if " " in message]
    assert len(messages) > 5
    for message in messages:
        assert message in source or message == "no matches found", message
