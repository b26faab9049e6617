"""Say of each stage that ends what it found, and about how long the others will take."""

import time
from collections.abc import Sequence
from statistics import mean
from typing import Any

from common.results.metrics import percent
from common.results.rows import read_result
from common.runs.description import Stage
from common.runs.engine import Engine
from common.system.errors import StageFailed


class StageEnds:
    """Run stages as another engine does, and print a line at the end of each that did something.

    ``[3/8] bilateral/seed0: 82.0 % fine, 92.7 % coarse on test images; about 4 min left``

    Args:
        engine: that runs the stages.
        stages: all stages that it will be given.
    """

    def __init__(self, engine: Engine, stages: Sequence[Stage]) -> None:
        self.engine = engine
        self.room, self.began = engine.room, engine.began
        self.left = {stage.name: stage for stage in stages}
        self.total = len(stages)
        self.results = {stage.name: _result(stage) for stage in stages}
        # Seconds of training by arm, of all stages that have a result; and of those that this command trained.
        self.seconds: dict[str, list[float]] = {}
        self.trained = 0.0
        for stage in stages:
            self._count(stage, self.results[stage.name])

    def __enter__(self) -> "StageEnds":
        self.engine.__enter__()
        # After what an engine itself takes to begin.
        self.begun = time.monotonic()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self.engine.__exit__(*error)

    def start(self, stage: Stage) -> None:
        """Start a stage; all stages that it needs are done."""
        self.engine.start(stage)

    def next_end(self) -> tuple[Stage, StageFailed | None]:
        """Wait until one of the stages ends; give it, and why it could not be finished."""
        stage, failure = self.engine.next_end()
        del self.left[stage.name]
        result = _result(stage)
        if failure is None and result is not None and result != self.results[stage.name]:
            if self.results[stage.name] is None:
                self._count(stage, result)
                self.trained += result["seconds"]
            self.results[stage.name] = result
            print(self._line(stage, result), flush=True)
        return stage, failure

    def _count(self, stage: Stage, result: dict[str, Any] | None) -> None:
        if result is not None:
            self.seconds.setdefault(stage.arm, []).append(result["seconds"])

    def _line(self, stage: Stage, result: dict[str, Any]) -> str:
        measured, images = result["test"] or result["validation"], "test"
        if not result["test"]:
            images = "validation"
        names = result.get("level_names", {})
        found = ", ".join(
            f"{percent(values['accuracy'])} {names.get(level, level)}"
            for level, values in measured.items()
        )
        place = f"[{self.total - len(self.left)}/{self.total}]"
        left = self._left()
        rest = f"; about {left} left" if left else ""
        return f"{place} {stage.name}: {found} on {images} images{rest}"

    def _left(self) -> str:
        """Words for the time that the other stages will take, as fast as those so far; empty if nobody can tell."""
        waiting = [stage for stage in self.left.values() if self.results[stage.name] is None]
        if not waiting or not self.trained:
            return ""
        now = time.monotonic()
        usual = mean(mean(seconds) for seconds in self.seconds.values())
        whole = {stage.name: mean(self.seconds.get(stage.arm, [usual])) for stage in waiting}
        # Of stages that run beside the one that ended, a part is done.
        done = {
            name: min(now - began, whole[name])
            for name, began in self.began.items()
            if name in whole
        }
        pace = (now - self.begun) / (self.trained + sum(done.values()))
        rest = {name: seconds - done.get(name, 0) for name, seconds in whole.items()}
        # However many run at once, one takes its time.
        return duration(max(pace * sum(rest.values()), *rest.values()))


def duration(seconds: float) -> str:
    """Write a duration as a person says it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _result(stage: Stage) -> dict[str, Any] | None:
    file = stage.place / "result.yaml"
    return read_result(file) if file.is_file() else None
