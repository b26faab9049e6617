"""What runs the stages of an experiment: one after another in this process, or an engine of the same form."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Protocol

from common.runs.description import Architecture, Stage
from common.runs.stage import run_stage
from common.system.distributed import Machines
from common.system.errors import StageFailed


class Engine(Protocol):
    """Run stages that are ready; entered before the first and left after the last.

    ``room`` is how many stages it takes at once.
    """

    room: int

    @property
    def began(self) -> Mapping[str, float]:
        """When each stage that is at work now began, by name, in the seconds of ``time.monotonic()``."""

    def __enter__(self) -> "Engine": ...
    def __exit__(self, *error: Any) -> Any: ...

    def start(self, stage: Stage) -> None:
        """Start a stage; all stages that it needs are done."""

    def next_end(self) -> tuple[Stage, StageFailed | None]:
        """Wait until one of the stages ends; give it, and why it could not be finished."""


class Serial(AbstractContextManager):
    """Run one stage after another, in this process."""

    room = 1
    began: Mapping[str, float] = MappingProxyType({})  # none runs when one has ended

    def __init__(self, architectures: Mapping[str, Architecture], machines: Machines) -> None:
        self.architectures = architectures
        self.machines = machines
        self.stage: Stage

    def __exit__(self, *error: Any) -> None:
        """Do nothing: no stage is left running."""

    def start(self, stage: Stage) -> None:
        """Keep the stage for `next_end`."""
        self.stage = stage

    def next_end(self) -> tuple[Stage, StageFailed | None]:
        """Run the stage; give it, and why it could not be finished."""
        try:
            run_stage(self.stage, self.architectures[self.stage.folder], self.machines)
        except StageFailed as failure:
            return self.stage, failure
        return self.stage, None
