"""Show on a terminal how far the analysis of a study is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def analysis_bar(steps: int) -> Iterator[Callable[[], None]]:
    """Draw a bar of so many steps on a terminal, elsewhere nothing; gives what is called after each. It vanishes."""
    columns = (TextColumn("analysis"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not sys.stdout.isatty()
    with Progress(*columns, console=Console(), transient=True, disable=hidden) as progress:
        task = progress.add_task("analysis", total=steps)
        yield lambda: progress.advance(task)
