"""How long a study takes on several GPUs: its own graph of stages, run on a clock that is only counted.

    python benchmarks/schedule.py --results runs/demo/results.csv --at-once 1,8,64 dataset=navon num_seeds=5

Stages start as `engine=ray` starts them: in the order of the plan, once what they build on is done and there is room.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import mean
from typing import Any

from common.runs.description import Stage
from common.runs.experiment import run_ready
from common.settings.compose import ROOT, SHARED, compose
from common.system.errors import StageFailed, UserError
from study.plan import plan
from study.schema import StudyConfig


class CountedTime(AbstractContextManager):
    """An engine that runs nothing: a stage ends after the seconds that its arm takes.

    Args:
        seconds: of each arm.
        room: how many stages run at once.
    """

    began: Mapping[str, float] = {}  # nobody asks how much time is left

    def __init__(self, seconds: Mapping[str, float], room: int) -> None:
        self.seconds = seconds
        self.room = room
        self.now = 0.0
        self.ends: list[tuple[float, Stage]] = []

    def __exit__(self, *error: Any) -> None:
        """Nothing is left running."""

    def start(self, stage: Stage) -> None:
        """Note when the stage will end."""
        self.ends.append((self.now + self.seconds[stage.arm], stage))

    def next_end(self) -> tuple[Stage, StageFailed | None]:
        """Turn the clock to the next end; of several at a time, the stage that started first."""
        first = min(self.ends, key=lambda end: end[0])
        self.ends.remove(first)
        self.now = first[0]
        return first[1], None


def duration(stages: Sequence[Stage], seconds: Mapping[str, float], room: int) -> float:
    """Seconds until the last stage ends, with ``room`` stages at once."""
    clock = CountedTime(seconds, room)
    run_ready(stages, clock)
    return clock.now


def seconds_of_arms(file: Path) -> dict[str, float]:
    """Mean training time of each arm in a results.csv; an arm has one time for all its levels."""
    times: dict[str, dict[str, float]] = {}
    with file.open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            times.setdefault(row["arm"], {})[row["seed"]] = float(row["seconds"])
    return {arm: mean(of_seed.values()) for arm, of_seed in times.items()}


def study(overrides: Sequence[str]) -> list[Stage]:
    """The stages that train_system.py would run with these overrides."""
    cfg = compose(
        ROOT,
        schema=StudyConfig,
        overrides=overrides,
        config_dir=SHARED,
        config_name="train_system",
    )
    return plan(cfg, list(overrides))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, help="results.csv to take each arm's seconds from")
    parser.add_argument(
        "--seconds", default="", metavar="ARM=N,...", help="of arms, in place of those in --results"
    )
    parser.add_argument("--at-once", default="1,8,64", metavar="N,...", help="how many stages")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for train_system.py")
    arguments = parser.parse_intermixed_args()
    try:
        rooms = [_positive(int, text) for text in arguments.at_once.split(",")]
        stages = study(arguments.overrides)
        seconds = _seconds(stages, arguments.results, arguments.seconds)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")

    total = sum(seconds[stage.arm] for stage in stages)
    longest = duration(stages, seconds, len(stages))
    arms = ", ".join(f"{arm} {seconds[arm]:g}" for arm in dict.fromkeys(s.arm for s in stages))
    print(f"{len(stages)} stages; seconds of each arm: {arms}")
    print(f"one after another {total:g} s; the longest chain {longest:g} s\n")
    print("| stages at once | seconds | times faster | busy |")
    print("| ---: | ---: | ---: | ---: |")
    for room in rooms:
        took = duration(stages, seconds, room)
        print(f"| {room} | {took:g} | {total / took:.1f} | {100 * total / took / room:.0f} % |")


def _positive(kind: type, text: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise UserError(f"{text!r} is not a number above 0.")
    return value


def _seconds(stages: Sequence[Stage], results: Path | None, given: str) -> dict[str, float]:
    seconds = seconds_of_arms(results) if results else {}
    for item in filter(None, given.split(",")):
        arm, _, value = item.partition("=")
        seconds[arm] = _positive(float, value)
    arms = dict.fromkeys(stage.arm for stage in stages)
    missing = [arm for arm in arms if arm not in seconds]
    if missing and seconds:
        raise UserError(
            f"No seconds for {', '.join(missing)}: give --seconds {missing[0]}=SECONDS."
        )
    # Without any, in units of a stage.
    return seconds or dict.fromkeys(arms, 1.0)


if __name__ == "__main__":
    main()
