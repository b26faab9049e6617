"""Combinations of keys that a run with two heads cannot have. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from arch_dual_head.macro_architectures import (
    FREEZE_KEYS,
    MACRO_ARCHITECTURES,
    MEMBERS,
    NOTHING,
    SPECIALISTS,
    described_sides,
    frozen_sides,
    macro_architecture,
)
from arch_dual_head.sources import NEXT, path_key, templates
from common.networks.parameters import PARAMETERS
from common.runs.per_seed import own_images
from common.settings.levels import SIDES
from common.system.errors import UserError
from common.training.loss_table import LOSSES


def check(cfg: DictConfig) -> None:
    """Refuse what cannot be combined.

    Raises:
        UserError: names the keys and what is allowed.
    """
    hparams = cfg.hparams
    if hparams.mode == "feature":
        raise UserError(
            "hparams.mode is 'feature', which needs a trained network; allowed here: both "
            "(features come from: python test.py checkpoint=PATH hparams.mode=feature)."
        )
    check_paths(hparams)
    _check_epochs(cfg)
    _check_callosum(hparams)
    _check_loss(hparams)
    _check_whole_network(hparams)
    _check_from_scratch(hparams)
    if len(cfg.seeds) == 1 and any(NEXT in path for path in templates(cfg).values()):
        raise UserError(
            f"{cfg.arm} takes networks of two seeds, and seeds is {list(cfg.seeds)}: give more, as seeds=[0,1]."
        )
    own = own_images(cfg.dataset)
    if own and any(NEXT in path for path in templates(cfg).values()):
        raise UserError(
            f"{cfg.arm} mixes seeds, and {own} gives each other images: leave that key out for it."
        )
    for side in frozen_sides(hparams) if hparams.model_path is None else ():
        pretrained = PARAMETERS["pretrained"].spelled("pretrained", side)
        if hparams[path_key(side)] is None and hparams[pretrained] is None:
            freeze, path = f"hparams.{FREEZE_KEYS[side]}", f"hparams.{path_key(side)}"
            raise UserError(
                f"{freeze}=true would freeze a {side} hemisphere that was never trained: give {path} or "
                f"hparams.{pretrained}, or {freeze}=false to train it from scratch."
            )


def _check_callosum(hparams: DictConfig) -> None:
    """Refuse a callosum where there are no two hemispheres that it could connect."""
    kind, row = hparams.callosum.kind, macro_architecture(hparams)
    if kind is not None and (row.loads == MEMBERS or described_sides(hparams) != SIDES):
        raise UserError(
            f"hparams.callosum.kind={kind} connects two hemispheres, which hparams.macro_arch={hparams.macro_arch} "
            "does not have in one network: give hparams.macro_arch=bilateral, or hparams.callosum.kind=null."
        )


def _check_loss(hparams: DictConfig) -> None:
    """Refuse a loss that compares two hemispheres where there are none, or neither they nor a callosum learn."""
    if not LOSSES[hparams.loss].of_two_hemispheres:
        return
    row = macro_architecture(hparams)
    if row.sides != SIDES or row.loads == MEMBERS:
        raise UserError(
            f"hparams.loss={hparams.loss} compares two hemispheres, which hparams.macro_arch={hparams.macro_arch} does "
            "not have in one network: give hparams.macro_arch=bilateral, or another loss."
        )
    if frozen_sides(hparams) == SIDES and hparams.callosum.kind is None:
        raise UserError(
            f"hparams.loss={hparams.loss} changes nothing in two frozen hemispheres: give hparams.ffreeze=false or "
            "hparams.cfreeze=false, a callosum, or another loss."
        )


def _check_epochs(cfg: DictConfig) -> None:
    """Refuse to make the training of heads alone as long as that of whole networks."""
    if cfg.trainer_params.max_epochs is None:
        frozen = frozen_sides(cfg.hparams)
        if frozen:
            raise UserError(
                f"trainer_params.max_epochs is null, for as much training as the bilateral network has had, but the "
                f"{' and '.join(frozen)} hemisphere is frozen: give a number of epochs."
            )


def check_paths(hparams: Mapping[str, Any]) -> None:
    """Refuse a list of checkpoints where one is loaded, and one where members are.

    Raises:
        UserError: names the key and what is allowed.
    """
    row = macro_architecture(hparams)
    first, *others = (path_key(side) for side in SIDES)
    members, value = row.loads == MEMBERS, hparams[first]
    if members != OmegaConf.is_list(value) or (members and not value):
        lists = [name for name, other in MACRO_ARCHITECTURES.items() if other.loads == MEMBERS]
        raise UserError(
            f"hparams.{first} must be a list of checkpoints with hparams.macro_arch={' or '.join(lists)}, and one "
            f"path or null with the others; it is {value}."
        )
    if row.members == SPECIALISTS and len(value) != len(SIDES):
        raise UserError(
            f"hparams.{first} lists {len(value)} checkpoints; hparams.macro_arch={hparams['macro_arch']} takes "
            f"{len(SIDES)}, of the left and of the right hemisphere."
        )
    for name in others if members else (first, *others):
        if hparams[name] is not None and not isinstance(hparams[name], str):
            raise UserError(f"hparams.{name} is {hparams[name]}; allowed: a path or null.")


def _check_whole_network(hparams: DictConfig) -> None:
    """Refuse hparams.model_path beside checkpoints of parts."""
    parts = [hparams[path_key(side)] for side in SIDES]
    members = macro_architecture(hparams).loads == MEMBERS
    if hparams.model_path is not None and (members or any(parts)):
        raise UserError(
            "hparams.model_path loads the whole network: hparams.model_path_fine and "
            "hparams.model_path_coarse must then be null, and hparams.macro_arch not one of several networks."
        )


def _check_from_scratch(hparams: DictConfig) -> None:
    """Refuse to load or freeze hemispheres that are always trained from scratch."""
    row = macro_architecture(hparams)
    for side in row.sides if row.loads == NOTHING else ():
        freeze, path = FREEZE_KEYS[side], path_key(side)
        if hparams[freeze] or hparams[path] is not None:
            raise UserError(
                f"hparams.macro_arch={hparams.macro_arch} loads no hemispheres: it is trained from scratch, with "
                f"hparams.{freeze}=false and hparams.{path}=null."
            )
        pretrained = PARAMETERS["pretrained"].spelled("pretrained", side)
        if hparams[pretrained] is not None:
            raise UserError(
                f"hparams.macro_arch={hparams.macro_arch} is of a width of its own, for which there are no pretrained "
                f"weights: give hparams.{pretrained}=null, or leave the arm out."
            )
