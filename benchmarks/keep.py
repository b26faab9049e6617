"""What was measured stands in a file as soon as it was: who breaks off loses what was not done. Imports no torch."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common.system.atomic_files import write_text

# Is given all that a part of the measurements has so far, each time that there is more.
Keep = Callable[[Any], None]


def keep_in(file: Path | None) -> Keep:
    """Give what replaces the file by what it is given, as JSON; without a file, nothing happens."""
    return partial(_write, file) if file else nowhere


def nowhere(found: Any) -> None:
    """Keep nothing."""


def _write(file: Path, found: Any) -> None:
    write_text(file, json.dumps(found, indent=2, default=str) + "\n")
