"""What a reader must know before the numbers: why they may be no result, or less sure than they look."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from analysis.report.additions import ENOUGH, missing_controls, more_seeds
from analysis.study import FinishedStudy
from common.results.intervals import FEWEST

SHOWN = 6  # stages that a sentence names


class Banner(NamedTuple):
    """A warning; ``grave``: the numbers are no result of the study. ``command`` mends it, if one does."""

    text: str
    grave: bool = False
    command: str | None = None
    details: tuple[str, ...] = ()


def banners(study: FinishedStudy) -> list[Banner]:
    """All warnings that a study deserves, the gravest first."""
    found = [
        *_of_protocol(study),
        *(() if study.debug else (*_of_seeds(study), *_of_controls(study))),
        *_of_stages(study),
        *_of_code(study),
    ]
    return sorted(found, key=lambda banner: not banner.grave)


def _of_protocol(study: FinishedStudy) -> Iterator[Banner]:
    if study.debug:
        yield Banner(
            "Debug run: no result. Only some batches of an epoch were used (trainer=debug, or a "
            "trainer_params.limit_*_batches), so no number here means anything.",
            grave=True,
        )
    if study.chosen_on_test:
        yield Banner(
            "The best epochs were chosen on these very test images, as in the published protocol: no number here is "
            "held out, and all are too high.",
            grave=True,
        )
    if not study.tested:
        yield Banner(
            "Nothing was tested (evaluate=false): accuracies are of validation images.", grave=True
        )


def _of_seeds(study: FinishedStudy) -> Iterator[Banner]:
    number = len({stage.seed for stage in study.stages})
    if number < FEWEST:
        text = f"{number} seed{'s' * (number > 1)}: too few for an interval or a test, which take {FEWEST}."
    elif number < ENOUGH:
        text = f"{number} seeds: intervals are wide, and a difference is easily missed."
    else:
        return
    more = more_seeds(study)
    if more:
        text += f" This makes them {ENOUGH}; decide on it whatever the answer is:"
    yield Banner(text, command=more)


def _of_controls(study: FinishedStudy) -> Iterator[Banner]:
    if addition := missing_controls(study):
        yield Banner(addition.sentence, command=addition.command)


def _of_stages(study: FinishedStudy) -> Iterator[Banner]:
    failed = study.missing
    reasons = tuple(
        f"{name}: {reason.removeprefix(f'{name}: ')}" for name, reason in failed.items()
    )
    gone = [name for name in study.absent if name not in failed]
    reasons += tuple(f"{name}: {_without_result(study.place / name)}" for name in gone)
    if reasons:
        count = len(reasons)
        text = (
            f"{count} stage{'s' * (count > 1)} of this study {'are' if count > 1 else 'is'} missing"
        )
        more = f", and {count - SHOWN} more" if count > SHOWN else ""
        names = ", ".join([*failed, *gone][:SHOWN])
        yield Banner(f"{text}: {names}{more}. Means are over the others.", details=reasons)


def _without_result(stage: Path) -> str:
    begun = (stage / "config.yaml").is_file()
    return "begun, and in training or interrupted" if begun else "there is no result"


def _of_code(study: FinishedStudy) -> Iterator[Banner]:
    if any(stage.yaml("environment.yaml").get("uncommitted_changes") for stage in study.stages):
        yield Banner(
            "Uncommitted changes: the code that ran is not that of the recorded commit, and may be lost."
        )
