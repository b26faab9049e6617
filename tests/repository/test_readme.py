"""What README.md and docs/ say: their commands run, and what they name is there."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hydra
import pytest
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from packaging.requirements import Requirement

import common.settings.schema as schema
from common.settings.compose import GROUPS, SHARED, register
from common.settings.schema import keys_of

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
EXTENDING = ROOT / "docs" / "extending.md"
KEYS = ROOT / "docs" / "keys.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]

# Blocks marked `console` are the only commands that are not run here: they install, download, need CIFAR-100, or
# run all of this.
NOT_RUN = [
    "make demo",
    "make test",
    "make install",
    "source .venv/bin/activate",
    "python data_scripts/prepare_cifar.py --download",
    "python train_system.py dataset=navon num_seeds=3 arms=all",
    "python train_system.py dataset=navon 'arms=[bilateral,unilateral_wide]'",
    "python arch_dual_head/trainer.py --config-name bilateral_swapped_fine dataset=navon 'seeds=[0,1]'",
    "python train_system.py",
    "python train_system.py recipe=paper arch=vgg11 exp_name=vgg11-paper",
    "python arch_dual_head/trainer.py --multirun --config-name asymmetry_frequency dataset=navon "
    "hparams.coarse_low_pass=2,4,8",
    "git checkout COMMIT",
    "python3 -m venv .venv",
    ".venv/bin/python -m pip install -r requirements.txt -c constraints.txt",
    "make demo",
]
# Named, but not made by any command that is run here.
NOT_THERE = {"datasets/cifar-100-python/", "datasets/CIFAR100-tenth/"}

# Stands for `python` in the blocks that are run: one short epoch, a small Navon set, nothing else.
PYTHON = """#!/bin/sh
case "$1" in
*train_system.py) set -- "$@" epochs.fine=1 epochs.coarse=1 epochs.bilateral=1 {short} ;;
*trainer.py) set -- "$@" trainer_params.max_epochs=1 {short} ;;
*make_navon.py) set -- "$@" --train 600 --test 200 ;;
esac
exec "{python}" "$@"
"""
SHORT = "trainer_params.limit_train_batches=3"


class Block(NamedTuple):
    """A fenced block of a document."""

    kind: str
    text: str


def blocks(document: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(*block) for block in found]


def section(title: str, document: Path = README) -> str:
    """A document from a heading to the next one."""
    text = document.read_text().split(f"# {title}\n")[1]
    return re.split(r"^##+ ", text, flags=re.MULTILINE)[0]


def table(title: str, document: Path = README) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    lines = [line for line in section(title, document).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def code(text: str) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of what belongs to the repository, so that nothing is written into this one."""
    place = tmp_path_factory.mktemp("readme")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = place / "bilateral" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, target)
    shim = place / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(PYTHON.format(python=sys.executable, short=SHORT))
    shim.chmod(0o755)
    return place / "bilateral"


def run(block: Block, copy: Path) -> str:
    """Run a block as it stands, from the copy's root; PYTHONPATH does what installing the copy would."""
    text = f"python - <<'END'\n{block.text}END" if block.kind == "python" else block.text
    path = f"{copy.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=copy,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(copy), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}"
    return done.stdout


def apply(diff: str, copy: Path) -> None:
    """Change files as a diff says; each of its parts must be found exactly once."""
    for part in diff.split("--- a/")[1:]:
        name, _, *lines = part.splitlines()
        old = "\n".join(line[1:] for line in lines if line[0] in " -")
        new = "\n".join(line[1:] for line in lines if line[0] in " +")
        text = (copy / name).read_text()
        assert text.count(old) == 1, f"{name} does not hold this once:\n{old}"
        (copy / name).write_text(text.replace(old, new))


@pytest.mark.slow
def test_the_commands_of_the_readme(copy):
    for block in blocks(README):
        if block.kind in ("bash", "python"):
            run(block, copy)

    shown = re.findall(r"^\| (\w+) \| (\w+) \|", README.read_text().split("results:demo")[1], re.M)
    summary = (copy / "runs" / "demo" / "summary.csv").read_text().splitlines()[1:]
    assert shown[1:] == [tuple(line.split(",")[:2]) for line in summary]
    for path in run_files():
        assert (copy / path).exists(), path
    for document in (README, EXTENDING, KEYS):
        for path in named_paths(document.read_text()):
            assert path in NOT_THERE or (copy / path).exists() or [*copy.rglob(path)], path


def run_files() -> Iterator[str]:
    """The files of "Where results go", for one stage of the study."""
    folder = ""
    for line in section("Where results go").split("```")[1].splitlines()[1:]:
        path = line.split()[0]
        for word, value in (("<exp_name>", "demo"), ("<arm>", "bilateral"), ("<n>", "1")):
            path = path.replace(word, value)
        folder = path if path.endswith("/") else folder
        yield path if path.startswith("runs/") else folder + path


def named_paths(text: str) -> Iterator[str]:
    """Paths and file names in backticks; keys and patterns such as datasets/NAME are not meant."""
    keys = {key for known in SCHEMAS.values() for key in keys_of(known)}
    for name in filter(lambda name: name not in keys, code(text)):
        pattern = re.search(r"[^\w./-]|NAME|PATH|KEY|^/", name)
        if not pattern and ("/" in name or re.search(r"\.(py|yaml|md|csv|npz|txt|cff)$", name)):
            yield name


@pytest.mark.slow
def test_the_examples_of_extending(copy, navon):
    if not (copy / "datasets" / "NAVON").exists():
        (copy / "datasets" / "NAVON").symlink_to(navon)
    ran_before = (copy / "runs" / "demo").exists()
    output = ""
    for block in blocks(EXTENDING):
        if block.kind == "bash":
            output = run(block, copy)
        elif block.kind == "diff":
            apply(block.text, copy)
        else:
            target = copy / block.text.splitlines()[0].removeprefix("# ")
            assert not target.exists()
            target.write_text(block.text)

    assert (copy / "runs" / "plain" / "fine" / "seed0" / "result.yaml").is_file()
    noise = [
        yaml.safe_load((copy / "runs" / "noise" / arm / "seed0" / "config.yaml").read_text())
        for arm in ("fine", "coarse", "bilateral")
    ]
    assert [cfg["hparams"].get("noise") for cfg in noise] == [0.0, 0.5, None]
    assert [cfg["hparams"].get("coarse_noise") for cfg in noise] == [None, None, 0.5]
    assert (copy / "runs" / "study-SHAPES" / "bilateral" / "seed0" / "result.yaml").is_file()
    arms = (copy / "runs" / "demo" / "summary.csv").read_text()
    assert "right_plastic,fine,2," in arms
    assert not ran_before or "bilateral/seed1: done before" in output
    assert "right_plastic/seed1: started" in output
    ruff = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--quiet",
            "common",
            "data_scripts",
            "train_system.py",
        ],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert ruff.returncode == 0, ruff.stdout


def test_nothing_else_is_left_out():
    kinds = {document.name: [b.kind for b in blocks(document)] for document in (README, EXTENDING)}
    assert set(kinds["README.md"]) == {"bash", "console", "python", "text", "yaml"}
    assert set(kinds["extending.md"]) == {"bash", "python", "diff", "yaml"}
    fences = sum(len(re.findall("^ *```", doc.read_text(), re.M)) for doc in (README, EXTENDING))
    assert fences == 2 * sum(map(len, kinds.values()))
    console = "".join(block.text for block in blocks(README) if block.kind == "console")
    assert console.splitlines() == NOT_RUN


@pytest.mark.parametrize("line", [line for line in NOT_RUN if "train_system.py" in line])
def test_commands_for_cifar100_compose(command, line):
    _, program, *overrides = shlex.split(line)
    done = command(program, "--cfg", "job", *overrides)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- keys and names

SCHEMAS = {
    "single": schema.SingleConfig,
    "dual": schema.DualConfig,
    "test": schema.TestConfig,
    "study": schema.StudyKeys,
    "predict": schema.PredictConfig,
    "export": schema.ExportConfig,
    "analyse": schema.AnalyseConfig,
}


@pytest.fixture(scope="module")
def documented() -> dict[tuple[str, str], str]:
    """(command, key) to the default that the table of keys gives."""
    found = {}
    for keys, commands, default, _ in table("Every key", KEYS):
        for name in code(keys):
            for command in commands.split(", "):
                known = keys_of(SCHEMAS[command])
                prefix = name.removesuffix("*")
                matching = [
                    k for k in known if k == name or (prefix != name and k.startswith(prefix))
                ]
                assert matching, f"{command} has no key {name}"
                for key in matching:
                    assert (command, key) not in found, f"{key} stands there twice"
                    found[command, key] = default
    return found


def test_every_key_is_documented_where_it_is_known(documented):
    assert set(documented) == {(c, key) for c, keys in SCHEMAS.items() for key in keys_of(keys)}
    handed_on = {re.sub(r"^(single|dual)\.", "", key) for key in keys_of(schema.StudyConfig)}
    assert handed_on <= {key for _, key in documented}


def test_documented_choices_are_complete():
    text = section("Every key", KEYS)
    for keys in SCHEMAS.values():
        for key, item in keys_of(keys).items():
            for choice in filter(None, item.metadata.get("choices") or ()):
                assert f"`{choice}`" in text, f"{key}={choice}"


def test_documented_defaults_are_those_of_the_configuration(documented):
    for command, folder, name in (
        ("single", ROOT / "arch_single_head" / "config", "config"),
        ("dual", ROOT / "arch_dual_head" / "config", "config"),
        ("study", SHARED, "train_system"),
        ("predict", SHARED, "predict"),
        ("export", SHARED, "export"),
    ):
        register(SCHEMAS[command] if command != "study" else schema.StudyConfig)
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = OmegaConf.to_container(hydra.compose(name), resolve=False)
        for key in keys_of(SCHEMAS[command]):
            default, value = documented[command, key], composed
            for part in key.split("."):
                value = value[part]
            if default in GROUPS:
                owner = str(value) if not key.startswith(f"{default}.") else f"${{{key}"
                assert owner.startswith(f"${{{default}."), (command, key, value)
            elif re.fullmatch("`[^`]+`", default):
                assert yaml.safe_load(default.strip("`")) == value, (command, key)


def test_documented_groups_have_these_options():
    found = {name: code(options) for name, options, _ in table("Configuration")}
    expected = {
        f"`{group}`": sorted(file.stem for file in (SHARED / group).glob("*.yaml"))
        for group in GROUPS
    }
    assert {name: sorted(options) for name, options in found.items()} == expected


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = README.read_text() + EXTENDING.read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)(?:`|$)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_messages_of_troubleshooting_are_those_of_the_code():
    source = "".join(file.read_text() for file in (ROOT / "common").rglob("*.py"))
    messages = [m for symptom, _ in table("Troubleshooting") for m in code(symptom) if " " in m]
    assert len(messages) > 5
    for message in messages:
        assert message in source or message == "no matches found", message


def test_rooms_import_only_from_rooms_below():
    rank = {
        name: place
        for place, (first, second) in enumerate(table("The code"))
        for name in code(f"{first} {second}")
        if (ROOT / name).exists()
    }

    def room(path: str) -> int:
        (place,) = {
            place for name, place in rank.items() if f"{path}/".startswith(f"{name.rstrip('/')}/")
        }
        return place

    packages = ("common", "analysis", "arch_single_head", "arch_dual_head", "data_scripts")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    for file in [*(ROOT / name for name in rank if "/" not in name), *files]:
        path = str(file.relative_to(ROOT))
        if path == "common/__init__.py" or path.endswith("config/__init__.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in (
                *packages,
                "architectures",
            ):
                target = node.module.replace(".", "/")
                target += "" if (ROOT / target).is_dir() else ".py"
                assert room(target) >= room(path), f"{path} imports {node.module}"


# ---------------------------------------------------------------- the files beside


def test_constraints_lie_within_the_requirements():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line.startswith(("#", "-")):
            requirement = Requirement(line)
            assert pinned[requirement.name.lower()] in requirement.specifier, line


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert citation["cff-version"] == "1.2.0"
    assert f'version = "{citation["version"]}"' in project
    assert f'license = {{ text = "{citation["license"]}" }}' in project
    assert f'authors = [{{ name = "{citation["authors"][0]["name"]}" }}]' in project
    assert "2209.06862" in citation["references"][0]["url"]
