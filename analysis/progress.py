"""Show on a terminal how far the analysis of a study is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def analysis_bar(steps: int) -> Iterator[Callable[[], None]]:
    """Draw a bar of so many steps, which vanishes, and give what is called after each; a line where no terminal is."""
    columns = (TextColumn("analysis"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not sys.stdout.isatty()
    if hidden:
        print("analysis started", flush=True)
    with Progress(*columns, console=Console(), transient=True, disable=hidden) as progress:
        task = progress.add_task("analysis", total=steps)
        yield lambda: progress.advance(task)
