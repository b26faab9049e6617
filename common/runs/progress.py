"""Show what all stages of a study are doing: a live table on a terminal, plain lines elsewhere."""

import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

# In the order in which the table shows them.
STATES = ("running", "failed", "queued", "waiting", "done")


class Progress(AbstractContextManager):
    """Show each stage's name, state, machine and last line.

    Args:
        stages: names of all stages.
        live: draw the table if standard output is a terminal.
    """

    def __init__(self, stages: Iterable[str], *, live: bool) -> None:
        self.state = dict.fromkeys(stages, "waiting")
        self.where = dict.fromkeys(self.state, "")
        self.said = dict.fromkeys(self.state, "")
        drawn = live and sys.stdout.isatty()
        self.live = Live(get_renderable=self.table, refresh_per_second=2) if drawn else None

    def __enter__(self) -> "Progress":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.live:
            self.live.stop()

    def set_state(self, stage: str, state: str) -> None:
        """Note that a stage is in another state."""
        self.state[stage] = state

    def begin(self, stage: str, where: str) -> None:
        """Note on which machine a stage runs, maybe again because its worker died."""
        again = " again, its worker died:" if self.where[stage] else ""
        self.state[stage], self.where[stage] = "running", where
        self.say(stage, f"{stage}:{again} on {where}")

    def say(self, stage: str, line: str) -> None:
        """Note a line that a stage printed, and print it where there is no live table."""
        self.said[stage] = line.removeprefix(stage).lstrip(": ")
        if not self.live:
            print(line, flush=True)

    def table(self) -> Table:
        """Draw all stages; running ones come first, because a terminal may be too low for all."""
        counts = Counter(self.state.values())
        title = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
        table = Table(title=title, title_justify="left")
        for name in ("stage", "state", "where"):
            table.add_column(name, no_wrap=True)
        table.add_column("last")  # the one that a narrow terminal cuts
        for name in sorted(self.state, key=lambda name: STATES.index(self.state[name])):
            said = Text(self.said[name], no_wrap=True, overflow="ellipsis")
            table.add_row(name, self.state[name], self.where[name], said)
        return table
