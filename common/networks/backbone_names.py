"""The names of all backbones, read from their files without importing torch."""

import ast
import re
from functools import cache
from pathlib import Path

# Before the name of any classification model of torchvision, which is known only where torch is imported.
TORCHVISION = "torchvision:"
# A function under ``@register`` in a file that is no Python, where the decorator takes one line.
DECORATED = re.compile(r"^@.*\bregister\b.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)


@cache
def backbone_names() -> tuple[str, ...]:
    """List the functions under ``@register`` in the files of backbones/, sorted: a backbone is known by its file.

    A file that is no Python is refused where torch imports it, with its line.
    """
    found: list[str] = []
    for file in (Path(__file__).parent / "backbones").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        try:
            body = ast.parse(text).body
        except SyntaxError:
            found += DECORATED.findall(text)
            continue
        for node in body:
            if isinstance(node, ast.FunctionDef) and any(map(_registers, node.decorator_list)):
                found.append(node.name)
    return tuple(sorted(found))


def _registers(decorator: ast.expr) -> bool:
    """Say whether a decorator is ``register``, as it is or with options."""
    return any(isinstance(node, ast.Name) and node.id == "register" for node in ast.walk(decorator))
