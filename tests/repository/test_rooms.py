"""The rooms: nothing imports upward, no modules import each other, and no function is a room of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

from helpers import ROOT, tracked

# From the roof down. A room imports only from itself and from the rooms further down, not from another one of its line.
ROOMS = (
    ("commands",),
    ("predict", "export"),
    ("bilateral",),
    (
        "train_system",
        "analyse",
        "arch_single_head.trainer",
        "arch_single_head.test",
        "arch_dual_head.trainer",
        "arch_dual_head.test",
        "data_scripts",
        "docs",
    ),
    ("analysis",),
    ("study",),
    ("architectures",),
    ("arch_single_head", "arch_dual_head"),
    ("common.trained",),
    ("common.runs",),
    ("common.training",),
    ("common.checkpoints",),
    ("common.data",),
    ("common.networks",),
    ("common.results",),
    ("common.settings", "common.config"),
    ("common.system",),
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
LONGEST = 80  # lines of a function


def python_files() -> list[Path]:
    return [ROOT / name for name in tracked("*.py") if not name.startswith("tests/")]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_of(file): file for file in python_files() if not file.is_relative_to(ROOT / "benchmarks")
}


def room_of(module: str) -> str | None:
    """The longest name in ROOMS that a module is or lies in; None for the empty package ``common``."""
    parts = module.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in RANK), None)


def imported(node: ast.AST, importer: str) -> Iterator[str]:
    """The modules of this project that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = importer.split(".")
            is_package = FILES[importer].name == "__init__.py"
            package = package[: len(package) - node.level + is_package]
            base = ".".join([*package, *filter(None, [node.module])])
        # ``from package import module`` names the module; the package alone where that is none.
        names = [f"{base}.{alias.name}" for alias in node.names]
        names = [name if name in FILES else base for name in names]
    else:
        return
    yield from (name for name in names if name in FILES)


def imports(module: str, *, when_loaded: bool) -> set[str]:
    """What a module imports: anywhere in it, or only while it is loaded (not in functions or for type checking)."""
    found = set()
    todo: list[ast.AST] = [ast.parse(FILES[module].read_text())]
    while todo:
        node = todo.pop()
        if when_loaded and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if when_loaded and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        found.update(imported(node, module))
        todo += ast.iter_child_nodes(node)
    return found - {module}


def may_import(importer: str, target: str) -> bool:
    """Whether the rooms allow it."""
    here, there = room_of(importer), room_of(target)
    if there is None or here == there:
        return True
    if there == "data_scripts":
        return False
    if here == "data_scripts":
        return there.startswith("common.")
    return RANK[here] < RANK[there]


def test_every_module_has_a_room():
    assert [name for name in FILES if name != "common" and room_of(name) is None] == []


def test_rooms_import_only_from_rooms_below():
    upward = [
        f"{importer} imports {target}"
        for importer in sorted(FILES)
        for target in sorted(imports(importer, when_loaded=False))
        if not may_import(importer, target)
    ]
    assert not upward, "\n" + "\n".join(upward)


def test_no_modules_import_each_other():
    """Remove, again and again, modules that import none that is left, or that none imports: circles remain."""
    left = {name: imports(name, when_loaded=True) for name in FILES}
    while True:
        used = set().union(*left.values())
        free = [name for name, needs in left.items() if not needs & left.keys() or name not in used]
        if not free:
            break
        for name in free:
            del left[name]
    circles = [f"{name} imports {sorted(needs & left.keys())}" for name, needs in left.items()]
    assert not circles, "\n" + "\n".join(circles)


def test_no_file_lies_between_the_rooms_of_common():
    assert [file.name for file in (ROOT / "common").glob("*.*")] == ["__init__.py"]


def test_functions_are_short():
    long = []
    for file in python_files():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST:
                    long.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}: {lines}")
    assert not long, "\n" + "\n".join(long)
