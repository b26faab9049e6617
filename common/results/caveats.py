"""What a reader of an experiment's tables must know beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.results.arithmetic import computed_otherwise
from common.results.rows import finished, holes, independent
from common.system.atomic_files import read_mapping

DEBUG = "Stages saw only some batches of an epoch (trainer=debug): nothing here is a result."
INDEPENDENT = (
    "The two labels are independent (nested: false): metrics of the tree of classes (consistency, TICE, via fine, "
    "mistakes by distance) are left out, and so are arms and analyses that need it; path is the share of images whose "
    "two labels are both right."
)


def caveats(experiment: Path) -> list[str]:
    """Give what the tables of an experiment lack and what limits them, in sentences; empty if there is nothing.

    Raises:
        UserError: names a file that is damaged.
    """
    found = [DEBUG] if in_debug(experiment) else []
    found += [f"Missing: {reason}" for reason in holes(experiment).values()]
    if otherwise := computed_otherwise(experiment):
        found.append(otherwise)
    if independent(experiment):
        found.append(INDEPENDENT)
    return found


def titled(experiment: Path) -> str:
    """Give the title of an experiment's tables."""
    return experiment.name + (" (debug: no result)" if in_debug(experiment) else "")


def in_debug(experiment: Path) -> bool:
    """Say whether any finished stage saw only some batches of an epoch (trainer=debug)."""
    configs = (file.with_name("config.yaml") for file, _ in finished(experiment))
    return any(
        _sees_a_part(read_mapping(config).get("trainer_params") or {})
        for config in configs
        if config.is_file()
    )


def _sees_a_part(trainer_params: Mapping[Any, Any]) -> bool:
    """Say whether ``trainer_params`` limit an epoch to some of its batches."""
    limits = (trainer_params.get(f"limit_{part}_batches", 1.0) for part in ("train", "val", "test"))
    # An int counts batches, a float is a share of them: 1.0 is all, 1 is one batch.
    return any(not isinstance(limit, float) or limit < 1 for limit in limits)
