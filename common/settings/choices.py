"""A row of a table from which a config key chooses by name. Imports no torch."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from common.system.errors import UserError


@dataclass(frozen=True)
class Choice:
    """What a name stands for: a sentence of help, and 'module:name' of what is used, in plain text.

    So a wrong name is refused without importing what the right ones stand for.
    """

    help: str
    where: str

    def load(self) -> Any:
        """Import the function or class.

        Raises:
            UserError: it cannot be imported.
        """
        module, _, name = self.where.partition(":")
        missing = f"A table of names has a row with {self.where!r}, which cannot be imported"
        try:
            found = import_module(module)
        except ImportError as error:
            raise UserError(f"{missing}: {error}.") from error
        if not hasattr(found, name):
            raise UserError(f"{missing}: {module} has no '{name}'.")
        return getattr(found, name)
