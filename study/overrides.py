"""What the study's command line hands on to the configurations of the two experiment folders."""

from collections.abc import Sequence

from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.networks.parameters import PARAMETERS
from common.settings.compose import ROOT
from common.settings.levels import LEVELS
from common.settings.overrides import override_keys
from common.settings.schema import GROUPS, is_known, keys_of
from common.system.errors import UserError
from study.schema import StudyKeys

FOLDERS = {
    "single": (ROOT / "arch_single_head", SingleConfig),
    "dual": (ROOT / "arch_dual_head", DualConfig),
}
# Set by each stage for itself.
SET_BY_STAGES = (
    "arm",
    "hparams.mode",
    "hparams.macro_arch",
    "hparams.ffreeze",
    "hparams.cfreeze",
    "hparams.fine_speciality",
    "hparams.coarse_speciality",
    "hparams.model_path_fine",
    "hparams.model_path_coarse",
    "hparams.model_path",
)


def overrides_for(folder: str, overrides: Sequence[str], specialities: Sequence[str]) -> list[str]:
    """Give the study's overrides that concern one folder, spelled as that folder's trainer.py takes them.

    Args:
        folder: "single" or "dual".
        overrides: the study's own command line.
        specialities: the level of each hemisphere, whose parameters it takes (hparams.fine_width as
            hparams.width of the single, or as hparams.coarse_width of a right hemisphere that is fine too).

    Raises:
        UserError: a key that the stages set themselves.
    """
    of_hemispheres = {key for name, row in PARAMETERS.items() for key in (name, *row.keys)}
    common: list[str] = []
    sided: list[str] = []  # of one hemisphere, so stronger than what is said of both
    own: list[str] = []
    for key, value in override_keys(overrides).items():
        _refuse_set_by_stages(key)
        here = key.startswith(f"{folder}.")
        name = key.removeprefix(f"{folder}.")
        if key in keys_of(StudyKeys) or name.split(".")[0] in FOLDERS:
            continue
        _refuse(key, name, value)
        if name in GROUPS or (
            is_known(FOLDERS[folder][1], name)
            and name.removeprefix("hparams.") not in of_hemispheres
        ):
            # Of another library's key nothing is known: whether it must be added was seen where it was given.
            added = "" if name in GROUPS or name in keys_of(FOLDERS[folder][1]) else "++"
            (own if here else common).append(f"{added}{name}={value}")
        for spelling, general in _spellings(folder, name.removeprefix("hparams."), specialities):
            target = own if here else common if general else sided
            target.append(f"hparams.{spelling}={value}")
    return [*common, *sided, *own]


def _refuse_set_by_stages(key: str) -> None:
    """Refuse a key that the stages set themselves, of either folder: a stage of the other one would drop it unsaid."""
    if key.removeprefix("single.").removeprefix("dual.") in SET_BY_STAGES:
        raise UserError(
            f"{key} is set by each stage of a study; run trainer.py in the folder to choose it yourself."
        )


def _refuse(key: str, name: str, value: str) -> None:
    """Refuse a key that means nothing in a study; ``name`` is it without its folder's name."""
    parameter = name.removeprefix("hparams.")
    if name in keys_of(StudyKeys):
        raise UserError(f"{key} has no meaning in a study: give {name}=... for all of it.")
    if key == name and parameter in ("arch", "farch", "carch"):
        raise UserError(f"{key} is {parameter} in a study: give {parameter}={value}.")


def _spellings(folder: str, parameter: str, specialities: Sequence[str]) -> list[tuple[str, bool]]:
    """The folder's keys of hparams that a parameter sets, each with whether it was said of both hemispheres."""
    found = []
    for name, row in PARAMETERS.items():
        for index, level in enumerate(specialities):
            if parameter in (name, row.keys[LEVELS.index(level)]):
                spelling = name if folder == "single" else row.keys[index]
                found.append((spelling, parameter == name))
    return found
