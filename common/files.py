"""What is written in one step: texts, YAML, second names; and what is read back of it."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from data_scripts.files import replacing


def second_name(source: Path, target: Path) -> None:
    """Give a file another name in one step, which replaces what has it; a copy where links are impossible."""
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_text(target: Path, text: str) -> None:
    """Write a text file in one step."""
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_yaml(target: Path, content: Any) -> None:
    """Write plain containers as YAML in one step."""
    write_text(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def read_yaml(source: Path) -> Any:
    """Plain containers from a YAML file."""
    return yaml.safe_load(source.read_text(encoding="utf-8"))


def read_mapping(source: Path) -> dict[str, Any]:
    """What a stage's YAML file says by name.

    Raises:
        UserError: names the file, which is damaged.
    """
    try:
        content = read_yaml(source)
    # A date that no calendar has is ValueError, as is what is not UTF-8; brackets may nest too deep.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        content = error
    if not isinstance(content, dict):
        raise UserError(
            f"{source} is damaged: restore it, or delete {source.parent} to train that stage anew."
        )
    return content
