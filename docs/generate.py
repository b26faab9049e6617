"""Write what follows from the project's own tables, into docs/*.md and two arms:  ``python docs/generate.py``.

A page holds text and marks, ``<!-- table: NAME -->`` and ``<!-- end -->``: what stands between them is written anew. To
add a table, add a line to TABLES and its marks to a page. The YAML files of the arms whose hemispheres are of one kind
end with the keys by which one hemisphere is as the other.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from analysis.columns import files
from analysis.schema import AnalyseConfig
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.networks.parameters import PARAMETERS
from common.results.metrics import METRICS
from common.settings.checks import allowed
from common.settings.compose import ROOT, SHARED, compose_unchecked
from common.settings.levels import SPELLING
from common.settings.schema import GROUPS, keys_of
from common.settings.suggestions import groups_of
from common.trained.schema import ExportConfig, PredictConfig, TestConfig
from study.arms import ARMS
from study.schema import StudyConfig, StudyKeys

DOCS = Path(__file__).resolve().parent
START, END = "<!-- table: {} -->", "<!-- end -->"
# In an arm's YAML file: what stands below it is written anew.
ALIKE = "  # In every parameter as the {} hemisphere; python docs/generate.py writes these lines.\n"
# Each command's name in the table of keys: its schema, the keys that it documents, and where its YAML file lies.
COMMANDS = {
    "study": (StudyConfig, StudyKeys, SHARED, "train_system"),
    "single": (SingleConfig, SingleConfig, ROOT / "arch_single_head/config", "config"),
    "dual": (DualConfig, DualConfig, ROOT / "arch_dual_head/config", "config"),
    "test": (TestConfig, TestConfig, ROOT / "arch_dual_head/config", "test"),
    "predict": (PredictConfig, PredictConfig, SHARED, "predict"),
    "export": (ExportConfig, ExportConfig, SHARED, "export"),
    "analyse": (AnalyseConfig, AnalyseConfig, SHARED, "analyse"),
}


def keys() -> str:
    """Every key of every command: where it is known, its default, what it may be, and what it means."""
    commands: dict[tuple[str, ...], list[str]] = {}
    for command, (schema, documented, directory, name) in COMMANDS.items():
        cfg = compose_unchecked(
            ROOT, schema=schema, overrides=[], config_dir=directory, config_name=name
        )
        composed = OmegaConf.to_container(cfg, resolve=False)
        for key, item in keys_of(documented).items():
            facts = (
                key,
                _default(key, composed, groups_of(schema)),
                allowed(item),
                item.metadata["help"],
            )
            commands.setdefault(facts, []).append(command)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (key, *facts), known in commands.items():
        alike.setdefault((", ".join(known), *facts), []).append(f"`{key}`")
    rows = [[", ".join(same), *facts] for facts, same in alike.items()]
    # Keys of one section side by side, in the order of the sections.
    sections = list(dict.fromkeys(_section(row[0]) for row in rows))
    rows.sort(key=lambda row: sections.index(_section(row[0])))
    return table(["key", "in", "default", "allowed", "meaning"], rows)


def _section(keys: str) -> str:
    """The section of the first of some keys."""
    return keys.split("`")[1].rpartition(".")[0].split(".")[0]


def _default(key: str, composed: Any, known: Sequence[str]) -> str:
    """A key's value where nobody gives one, or the group that it comes from."""
    value = composed
    for part in key.split("."):
        value = value.get(part, "???") if isinstance(value, dict) else "???"
    for group in (one for one in ("dataset", "recipe") if one in known):
        if key.startswith(f"{group}.") or str(value).startswith(f"${{{group}."):
            return group
    if value == "???":
        return "to be given"
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{OmegaConf.to_yaml(OmegaConf.create([value])).removeprefix('- ').strip()}`"


def arms() -> str:
    """The arms of the study, in the order of its tables."""
    rows = []
    for name, row in ARMS.items():
        loads = [arm for taken in row.loads.values() for arm, _ in taken]
        under = ", ".join(f"`{arm}`" for arm in dict.fromkeys(loads)) or "–"
        given = f"`{row.alias or name}`"
        rows.append(
            [
                f"`{name}`",
                given,
                row.help,
                under,
                str(row.mixes),
                row.trained_like or "–",
                "yes" if row.equal_size else "no",
            ]
        )
    header = [
        *("arm", "in `arms` as", "what it is", "builds on", "seeds in one network"),
        *("trained like", "of equal size"),
    ]
    return table(header, rows)


def groups() -> str:
    """The groups of YAML files that a command line chooses from."""
    rows = [
        [
            f"`{group}=`",
            ", ".join(f"`{file.stem}`" for file in sorted((SHARED / group).glob("*.yaml"))),
        ]
        for group in GROUPS
    ]
    return table(["group", "options"], rows)


def metrics() -> str:
    """The metrics, in the order of columns: their names there, their headings in printed tables, and what they are."""
    rows = [[f"`{name}`", row.title, row.help] for name, row in METRICS.items()]
    return table(["column", "printed as", "meaning"], rows)


def columns() -> str:
    """Every column of every csv file."""
    parts = []
    for file in files():
        rows = [[f"`{name}`", *facts] for name, facts in file.columns.items()]
        parts.append(f"**`{file.name}`**\n\n{table(['column', 'type', 'meaning'], rows)}\n")
    return "\n" + "\n".join(parts)


TABLES: dict[str, Callable[[], str]] = {
    "keys": keys,
    "groups": groups,
    "arms": arms,
    "metrics": metrics,
    "columns": columns,
}


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Rows of cells as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """A cell, in which < and | would be read as something else."""
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text


def filled(page: str) -> str:
    """A page with each of its tables written anew.

    Raises:
        KeyError: a mark names a table that is not in TABLES.
    """
    parts = page.split("<!-- table: ")
    for index, part in enumerate(parts[1:], start=1):
        name, _, rest = part.partition(" -->")
        parts[index] = f"{name} -->\n{TABLES[name]()}\n{END}{rest.partition(END)[2]}"
    return "<!-- table: ".join(parts)


def alike() -> dict[Path, str]:
    """The arms whose hemispheres are both of one kind: each key of one of them takes the value of the other's."""
    found = {}
    for name, row in ARMS.items():
        sides = [side for side, level in SPELLING.items() if set(row.specialities) == {level}]
        if row.folder == "single" or not sides:
            continue
        (side,) = sides
        file = ROOT / f"arch_dual_head/config/{row.config or name}.yaml"
        mark = ALIKE.format(side)
        head, _, _ = file.read_text(encoding="utf-8").partition(mark)
        keys = [row.keys if side == "left" else row.keys[::-1] for row in PARAMETERS.values()]
        lines = [f"  {other}: ${{hparams.{own}}}\n" for own, other in keys]
        found[file] = head + mark + "".join(lines)
    return found


def pages() -> dict[Path, str]:
    """Every file of which something is written here, with what should stand in it."""
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(DOCS.glob("*.md"))}
    return {file: filled(text) for file, text in texts.items() if "<!-- table: " in text} | alike()


if __name__ == "__main__":
    for file, text in pages().items():
        if file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"Written: {file}")
