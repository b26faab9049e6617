"""The names of all backbones, read from their files without importing torch."""

import ast
from functools import cache
from pathlib import Path

# Before the name of any classification model of torchvision, which is known only where torch is imported.
TORCHVISION = "torchvision:"


@cache
def backbone_names() -> tuple[str, ...]:
    """List the functions under ``@register`` in the files of backbones/, sorted: a backbone is known by its file."""
    found = []
    for file in (Path(__file__).parent / "backbones").glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
                found.append(node.name)
    return tuple(sorted(found))


def _registers(decorator: ast.expr) -> bool:
    """Say whether a decorator is ``register``, as it is or with options."""
    return any(isinstance(node, ast.Name) and node.id == "register" for node in ast.walk(decorator))
