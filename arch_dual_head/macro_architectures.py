"""The table of macro-architectures: how hemispheres make up a network, and what may be loaded. Imports no torch.

A new one is a function in `arch_dual_head/networks.py` (or elsewhere) and a row here; all else follows from the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.settings.choices import Choice
from common.settings.levels import SIDES

# What the checkpoints of hparams.model_path_fine and model_path_coarse are.
HEMISPHERES = "hemispheres"  # one for each side; a loaded hemisphere may be frozen
MEMBERS = "members"  # hparams.model_path_fine lists whole networks, which are tested together and not trained
SPECIALISTS = "specialists"  # as members: a hemisphere with its own head for each side, as arch_single_head trains it
NOTHING = "nothing"  # there are none: such networks are trained from scratch
FREEZE_KEYS = {"left": "ffreeze", "right": "cfreeze"}


@dataclass(frozen=True)
class MacroArchitecture(Choice):
    """A row: how hemispheres make up a network.

    Args:
        help: one sentence for a person.
        where: 'module:function', imported when a network is built: `arch_dual_head.networks.Parts` → network.
        sides: its hemispheres.
        loads: what the checkpoints of its sides are: HEMISPHERES, MEMBERS or NOTHING.
        members: the macro-architecture of its members, if it loads those, or SPECIALISTS.
        sized_like: the macro-architecture whose number of parameters it takes, if it does.
    """

    sides: tuple[str, ...]
    loads: str = HEMISPHERES
    members: str = ""
    sized_like: str = ""


MACRO_ARCHITECTURES = {
    "bilateral": MacroArchitecture(
        "left and right hemisphere, both of which every head sees",
        "arch_dual_head.networks:bilateral",
        sides=SIDES,
    ),
    "unilateral": MacroArchitecture(
        "one hemisphere, described by the fine keys",
        "arch_dual_head.networks:unilateral",
        sides=("left",),
    ),
    "unilateral_wide": MacroArchitecture(
        "one hemisphere, as wide as gives it the bilateral network's number of parameters",
        "arch_dual_head.networks:unilateral_wide",
        sides=("left",),
        loads=NOTHING,
        sized_like="bilateral",
    ),
    "ensemble": MacroArchitecture(
        "averaged predictions of unilateral networks",
        "arch_dual_head.networks:ensemble",
        sides=("left",),
        loads=MEMBERS,
        members="unilateral",
    ),
    "product": MacroArchitecture(
        "a fine and a coarse specialist with their own heads, whose probabilities are multiplied",
        "arch_dual_head.networks:product",
        sides=SIDES,
        loads=MEMBERS,
        members=SPECIALISTS,
    ),
    "mean_of_specialists": MacroArchitecture(
        "a fine and a coarse specialist with their own heads, whose coarse probabilities are averaged",
        "arch_dual_head.networks:mean_of_specialists",
        sides=SIDES,
        loads=MEMBERS,
        members=SPECIALISTS,
    ),
}


def macro_architecture(hparams: Mapping[str, Any]) -> MacroArchitecture:
    """Look up the row that hparams.macro_arch names."""
    return MACRO_ARCHITECTURES[hparams["macro_arch"]]


def described_sides(hparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the hemispheres whose keys shape the network: its own, and those of the one whose size it takes."""
    row = macro_architecture(hparams)
    return MACRO_ARCHITECTURES[row.sized_like].sides if row.sized_like else row.sides


def frozen_sides(hparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the hemispheres that are frozen, so that trained weights must be loaded into each."""
    row = macro_architecture(hparams)
    return tuple(
        side for side in row.sides if row.loads == HEMISPHERES and hparams[FREEZE_KEYS[side]]
    )
