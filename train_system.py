"""The whole study: left and right hemispheres for each seed, the bilateral network on top, and its controls.

    python train_system.py dataset=navon num_seeds=2 arms=all

A study is a small graph of stages (an arm with a seed): study/arms.py holds the arms, study/plan.py plans the stages,
common/runs/experiment.py runs them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from common.results.rows import collect, finished, validation_accuracy
from common.settings.command import command, typed_overrides
from common.settings.compose import ROOT, SHARED, compose
from common.settings.explain import explain
from common.settings.overrides import override_keys, spelled
from common.settings.paths import path_of
from common.system.errors import Unfinished, UserError
from common.system.signals import signals
from study.arms import comparison, from_scratch, order, scored
from study.plan import plan
from study.schema import StudyConfig

if TYPE_CHECKING:
    from common.results.outcome import Outcome
    from common.runs.description import Stage
    from common.runs.engine import Engine


def _engine(cfg: DictConfig, stages: list[Stage]) -> Engine | None:
    """What runs the stages where it is not this process, one after another."""
    if cfg.engine == "serial":
        return None
    from architectures import ARCHITECTURES

    # Optional: what is not installed is missed by those alone who ask for it.
    from common.runs.ray_engine import RayEngine

    return RayEngine(
        stages, ARCHITECTURES, address=cfg.ray_address, stages_per_gpu=cfg.stages_per_gpu
    )


def execute(cfg: DictConfig, overrides: list[str]) -> tuple[Path, str]:
    """Plan the study, run it, print its summary, and analyse it.

    Returns:
        Its folder, and a sentence on why its analysis failed, or none.

    Raises:
        Unfinished: after all that, if a stage failed.
    """
    if cfg.engine == "serial" and (cfg.stages_per_gpu != 1 or cfg.ray_address is not None):
        raise UserError(
            "stages_per_gpu and ray_address have no meaning with engine=serial: give engine=ray, or drop them."
        )
    stages = plan(cfg, overrides)
    if any(stage.config.dataset.val_dir == stage.config.dataset.test_dir for stage in stages):
        print("The best epochs are chosen on the test images, as published: no number is held out.")
    told = [name for name in override_keys(overrides) if name.startswith("single.")]
    scratch = [arm for arm in from_scratch() if arm in {stage.arm for stage in stages}]
    if told and scratch:
        print(f"{', '.join(told)} concerns fine and coarse, not {', '.join(scratch)}.")
    # Imported late: torch takes seconds, Lightning more of them, and a wrong key needs neither.
    from common.runs.plan_line import print_plan

    print_plan(stages, engine=cfg.engine)
    from architectures import ARCHITECTURES
    from common.runs.experiment import run_experiment
    from common.system.distributed import Machines

    hole, problem = None, ""
    try:
        run_experiment(stages, ARCHITECTURES, comparison(cfg.margin), _engine(cfg, stages))
    except Unfinished as error:  # what was finished is looked at all the same
        hole = error
    first = Machines(stages[0].config.trainer_params.num_nodes).first
    if cfg.analyse and first and finished(stages[0].experiment):
        from analysis.pipeline import analyse_after_training

        problem = analyse_after_training(stages[0].experiment)
    if hole:
        raise Unfinished(f"{hole} {problem}".rstrip()) from hole
    return stages[0].experiment, problem


def run(cfg: DictConfig) -> float | None:
    """The study of a command line; gives the validation accuracy that a sweep goes by (`study.arms.scored`).

    Raises:
        Unfinished: after all that, if a stage failed, or the analysis.
    """
    place, problem = execute(cfg, typed_overrides())
    rows = collect(finished(place), order=order())
    arms = [row.arm for row in rows]
    score = validation_accuracy(rows, scored(cfg.study, arms)) if arms else None
    if problem:
        raise Unfinished(problem, score)
    return score


def outcome(place: str | os.PathLike[str], *, margin: float | None = None) -> Outcome:
    """Read the tables of a study from its folder.

    Args:
        place: the folder, such as runs/demo.
        margin: within which a difference does not matter, in percentage points; None: the study's own.

    Raises:
        UserError: nothing was finished there, or no such margin.
    """
    from common.results.outcome import read_outcome

    folder = path_of(place, "place", "the folder of a study")
    return read_outcome(folder, comparison(), margin=margin)


def study(*overrides: str, **keys: Any) -> Outcome:
    """Run a study from Python: the same as the command line, which is not read.

    Args:
        overrides: as on the command line, "hparams.lr=0.1".
        keys: the same as arguments; keys of a section in a dictionary, epochs={"fine": 2}.

    Returns:
        The tables: printed, as on the command line; ``summary``, ``results`` and ``differences`` are the rows of the
        csv files, and the outcome itself is a sequence of those of ``summary``.

    Raises:
        UserError: whatever a person can mend, in one sentence.
        Interrupted: Ctrl-C, or a notebook's stop button; the same call continues.
    """
    text = [*map(str, overrides), *spelled(keys)]
    try:
        cfg = compose(
            ROOT, schema=StudyConfig, overrides=text, config_dir=SHARED, config_name="train_system"
        )
        with signals.installed(), _as_if_typed(text):
            place, problem = execute(cfg, text)
            if problem:
                print(f"warning: {problem}", file=sys.stderr)
            return outcome(place, margin=cfg.margin)
    except Exception as error:
        sentence = explain(error, StudyConfig)
        if sentence is None or (isinstance(error, UserError) and str(error) == sentence):
            raise
        raise UserError(sentence) from error


@contextmanager
def _as_if_typed(overrides: list[str]) -> Iterator[None]:
    """Let stages record the command that does the same, rather than that of a notebook's kernel."""
    before = sys.argv
    sys.argv = [Path(__file__).name, *overrides]
    try:
        yield
    finally:
        sys.argv = before


def main() -> None:
    """The command line."""
    command(
        run,
        schema=StudyConfig,
        folder=ROOT,
        config_dir=ROOT / "common" / "config",
        config_name="train_system",
    )


if __name__ == "__main__":
    main()
