"""The jobs of a --multirun, and its end: a table of what was swept and the validation accuracy of each, best first.

Jobs may run in other processes. Each adds a line to a file whose name they inherit as a variable of the environment;
where they do not (a cluster whose machines share no temporary folder), there is no table.
"""

import csv
import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.table import Table

from common.settings.checks import plain_value
from common.settings.schema import GROUPS
from common.system.atomic_files import write_text
from common.system.csv_text import csv_text
from common.system.errors import Unfinished, UserError
from common.system.words import some

JOBS = "BILATERAL_SWEEP"
# Sweeps whose values stand on the command line; those of glob(...) are names of files, an interval has none.
LISTED = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP)
VARIANT = "--config-name"  # the column of a job that is a variant of config.yaml
PLACES = ("save_dir", "exp_name")  # which the table itself lies in, unless they are swept
SHOWN = 2  # jobs that the last sentence names; the folder of each may have a long name


def jobs_of(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Give the overrides of each job, as Hydra's own sweeper does; a key whose values it does not list is left out.

    None if another sweeper is chosen: it finds its jobs as it goes.

    Raises:
        UserError: a pattern for the values of a key, which matches nothing.
    """
    if any(word.startswith(("hydra/sweeper=", "hydra.sweeper.")) for word in overrides):
        return
    parser, values = OverridesParser.create(), {}
    for override in parser.parse_overrides(list(overrides)):
        key = override.get_key_element()
        if override.value_type == ValueType.GLOB_CHOICE_SWEEP and not _is_group(key):
            raise UserError(
                f"{override.input_line}: glob() lists the names of a group, such as {'=, '.join(GROUPS)}=; allowed "
                f"here: values with commas between, {key}=A,B."
            )
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.value_type in LISTED:
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
    yield from map(list, product(*values.values()))


def _is_group(key: str) -> bool:
    return key.split("@")[0] in GROUPS or key.startswith("hydra/")


def study_of(cfg: DictConfig) -> str:
    """What a sweep of studies is called that were given no name: by their data set, where the command chose it."""
    name = plain_value(OmegaConf.to_container(cfg, resolve=False), "dataset.name")
    return "study" if name in (None, "???") else f"study-{name}"


def add_job(
    cfg: DictConfig, base: str, given: Mapping[str, str], fixed: Sequence[str], score: float | None
) -> None:
    """Note a job that ended.

    Args:
        cfg: its configuration.
        base: the name of its experiment without what tells the jobs apart.
        given: value by key, of its command line.
        fixed: the keys that have one value in all jobs.
        score: mean validation accuracy, 0 to 1; None: it has none, and is left out.
    """
    if score is None:
        return
    place = str(Path(cfg.save_dir) / f"{base}_sweep")
    swept = [key for key in given if key not in fixed and key != VARIANT]
    keys = {key: value for key, value in given.items() if key in swept or key not in PLACES}
    _note(
        {"place": place, "score": score, "folder": str(cfg.exp_name), "swept": swept, "keys": keys}
    )


def add_unfinished(cfg: DictConfig) -> bool:
    """Note a job that could not be finished, which the sweep's end will say; False where it cannot be noted."""
    return _note({"unfinished": str(cfg.exp_name)})


def _note(job: Mapping[str, object]) -> bool:
    file = os.environ.get(JOBS)
    if not file or not Path(file).is_file():
        return False
    # One short write in append mode: jobs that end together do not mix their lines.
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(job) + "\n")
    return True


@contextmanager
def table_at_the_end() -> Iterator[None]:
    """Collect the jobs of a sweep that runs in this block, then print their table and write sweep.csv.

    Also where a job stops the sweep, of those that ended before it.

    Raises:
        Unfinished: after all that, if jobs could not be finished.
    """
    unfinished: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bilateral-") as folder:
        file = Path(folder) / "jobs"
        file.touch()
        os.environ[JOBS] = str(file)
        try:
            yield
        finally:
            del os.environ[JOBS]
            noted = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            unfinished += [job["unfinished"] for job in noted if "unfinished" in job]
            jobs = [job for job in noted if "unfinished" not in job]
            # More than one where jobs differ in exp_name, which may hold the name of the data set, or in save_dir.
            for place in dict.fromkeys(job["place"] for job in jobs):
                _show(Path(place), [job for job in jobs if job["place"] == place])
    if unfinished:
        raise Unfinished(
            f"{len(unfinished)} of the sweep's jobs could not be finished: {some(unfinished, SHOWN)}."
        )


def _show(place: Path, jobs: list[dict]) -> None:
    """Write and print the table of one sweep's jobs, into its folder, with those of earlier sweeps of its name.

    The file has a column for each key that was given. Printed are those that are swept, or differ between rows, and
    the folder where these do not tell all rows apart.
    """
    file = place / "sweep.csv"
    # Two values of a sweep may be the same job, as 0.1 and 1e-1; a folder holds a job of each variant.
    own = {_identity(job["folder"], job["keys"]): job for job in jobs}
    jobs = [*own.values(), *_earlier(file, own)]
    jobs.sort(key=lambda job: -job["score"])
    swept = list(dict.fromkeys(key for job in own.values() for key in job["swept"]))
    keys = list(dict.fromkeys([*swept, *(key for job in jobs for key in job["keys"])]))
    rows = (
        [*(job["keys"].get(key, "") for key in keys), job["score"], job["folder"]] for job in jobs
    )
    write_text(file, csv_text([*keys, "val_accuracy", "folder"], rows))
    shown = [key for key in keys if key in swept or len({job["keys"].get(key) for job in jobs}) > 1]
    lines = [[job["keys"].get(key, "") for key in shown] for job in jobs]
    if len({*map(tuple, lines)}) < len(lines):
        shown.append("folder")
        lines = [[*line, job["folder"]] for line, job in zip(lines, jobs, strict=True)]
    table = Table(title="sweep, best first", title_justify="left", box=box.SIMPLE_HEAD)
    for key in shown:
        table.add_column(key)
    table.add_column("validation accuracy", justify="right")
    for line, job in zip(lines, jobs, strict=True):
        table.add_row(*line, f"{100 * job['score']:.2f} %")
    Console().print(table)
    print(f"Sweep: {file}")


def _identity(folder: str, keys: Mapping[str, str]) -> tuple[str, str]:
    return folder, keys.get(VARIANT, "")


def _earlier(file: Path, again: Collection[tuple[str, str]]) -> list[dict]:
    """The jobs that a sweep's file holds already, but for those that ran ``again`` or whose folder is gone."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        rows = [{key: cell for key, cell in row.items() if cell} for row in csv.DictReader(text)]
    found = []
    for row in rows:
        # A row that a person has changed may hold no job any more.
        with suppress(KeyError, ValueError, TypeError):
            score, folder = float(row.pop("val_accuracy")), row.pop("folder")
            if _identity(folder, row) not in again and (file.parents[1] / folder).is_dir():
                found.append({"score": score, "folder": folder, "keys": row})
    return found
