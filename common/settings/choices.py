"""A row of a table from which a config key chooses by name. Imports no torch."""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class Choice:
    """What a name stands for: a sentence of help, and 'module:name' of what is used, in plain text.

    So a wrong name is refused without importing what the right ones stand for.
    """

    help: str
    where: str

    def load(self) -> Any:
        """Import the function or class."""
        return resolve_name(self.where)
