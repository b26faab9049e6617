"""The commands that would add to a study what its answer lacks, made from the command that it was run by."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from analysis.report.questions import ask
from analysis.study import FinishedStudy
from common.networks.backbone_names import TORCHVISION
from common.results.intervals import FEWEST
from common.settings.checks import plain_value
from common.settings.overrides import override_keys, spelled
from study.arms import ARMS, ONE_NETWORK, PRIMARY, REFERENCE, names, plain_name

STUDY = "train_system.py"
BY_WORD = "bilateral study"  # the same, by the installed command
ENOUGH = 5  # seeds
NO_REPORT = "analyse="  # what would keep a command from writing one
SWEEPS = {"--multirun", "-m"}
# What says where a study lies: it may since have been gathered, copied or renamed, and fresh=true begins another.
PLACE = ("exp_name=", "save_dir=", "fresh=")


class Addition(NamedTuple):
    """What is missing, in a sentence that ends before the command which adds it, if one does."""

    sentence: str
    command: str | None


def missing_controls(study: FinishedStudy) -> Addition | None:
    """Name the comparisons that answer the question and that a study lacks, with the command; None if it has them.

    What it has planned is not finished yet, and no other command adds it. A run of trainer.py has no command: stages
    trained otherwise than its own would be another configuration.
    """
    tested = {row.arm for row in study.summary}
    if not tested:
        return None
    known = tested | study.planned_arms
    if REFERENCE not in known:
        sentence = f"No comparison with {REFERENCE}: it and its controls are not in this study"
        return _addition(study, sentence, "them", (REFERENCE, PRIMARY, ONE_NETWORK))
    usual = (PRIMARY, ONE_NETWORK)
    possible = usual if _takes_any_width(study) else (PRIMARY,)
    own = [arm for arm in (ask(study).other,) if arm not in usual]
    lacking = [arm for arm in (*own, *possible) if arm not in known]
    if not lacking:
        return None
    others = " and ".join(plain_name(arm) for arm in lacking)
    them = "them" if len(lacking) > 1 else "it"
    sentence = f"Not yet compared with {others}"
    sized = [arm for arm in known - {REFERENCE} if arm in ARMS and ARMS[arm].equal_size]
    if not sized:
        sentence = f"No control of equal size: what is better here may be so for its number of parameters. {sentence}"
    return _addition(study, sentence, them, (REFERENCE, *lacking))


def _takes_any_width(study: FinishedStudy) -> bool:
    """Say whether the backbones of a study can be made wider: not torchvision's, nor with weights from a file."""
    stages = [*study.of(REFERENCE).values()]
    # One of its seeds is enough, for fingerprints hold them together.
    hparams = plain_value(stages[0].yaml("config.yaml"), "hparams") if stages else None
    hparams = hparams or {}
    weights = [value for key, value in hparams.items() if key.endswith("pretrained")]
    return not any(weights) and not str(hparams.get("farch")).startswith(TORCHVISION)


def more_seeds(study: FinishedStudy) -> str | None:
    """The command that adds seeds up to `ENOUGH`; None where it is no study, or its seeds cannot be counted on.

    They are not the first ones, or each has its checkpoints in the file that trained_models names.
    """
    words = _with_more_seeds(study)
    return shlex.join(["python", STUDY, *words]) if words else None


def _with_more_seeds(study: FinishedStudy) -> list[str] | None:
    words = _recorded(study)
    seeds = sorted({stage.seed for stage in study.stages})
    if words is None or seeds != list(range(len(seeds))):
        return None
    if any(word.startswith("trained_models=") for word in words):
        return None
    return [*_without(words, "num_seeds=", "seeds=", NO_REPORT), f"num_seeds={ENOUGH}"]


def _addition(study: FinishedStudy, lacks: str, them: str, arms: Sequence[str]) -> Addition:
    """Say what a study lacks, and its command with these arms as well; of runs of trainer.py, where to compare them."""
    words = _recorded(study)
    if words is None:
        return Addition(f"{lacks}; {STUDY} compares {them} in a study of its own.", None)
    # With fewer, another command would have to add seeds before anything is compared.
    if len({stage.seed for stage in study.stages}) < FEWEST:
        words = _with_more_seeds(study) or words
    # Epochs and other keys may concern arms that the command names: those stay in it.
    named = [name for name in _named(words) if name not in arms]
    # The reference is no hemisphere, and no_bilateral=true refuses it.
    kept = _without(words, "arms=", "no_bilateral=", NO_REPORT)
    command = shlex.join(
        ["python", STUDY, *kept, f"arms=[{','.join([arms[0], *named, *arms[1:]])}]"]
    )
    return Addition(f"{lacks}. This adds {them}:", command)


def _named(words: Sequence[str]) -> list[str]:
    """The arms that a command names one by one."""
    given = override_keys(words).get("arms", "")
    found = [name.strip("'\" ") for name in given.strip("[]").split(",")]
    return [name for name in found if name in names()]


def _without(words: Sequence[str], *beginnings: str) -> list[str]:
    return [word for word in words if not word.startswith(beginnings)]


def _recorded(study: FinishedStudy) -> list[str] | None:
    """The words behind the script's name in the command of a study's stage, for the study where it lies now.

    That of the reference's last seed first. None of a sweep, which would run all its jobs anew.
    """
    # The last seed's is the one that asked for most of them, where a study was extended.
    reference = sorted(study.of(REFERENCE).values(), key=lambda stage: -stage.seed)
    stages = [*reference, *study.stages]
    for words in (stage.yaml("environment.yaml").get("command") for stage in stages):
        if isinstance(words, list) and words and Path(str(words[0])).name in (STUDY, BY_WORD):
            given = [str(word) for word in words[1:]]
            return (
                None if SWEEPS.intersection(given) else [*_without(given, *PLACE), *_place(study)]
            )
    return None


def _place(study: FinishedStudy) -> list[str]:
    place = study.place.resolve()
    return spelled({"exp_name": place.name, "save_dir": str(place.parent)})
