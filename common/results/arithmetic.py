"""Whether stages of one experiment were computed in different ways, because an earlier version trained some of them.

A version that computes networks otherwise, with equal configuration, counts `ARITHMETIC` up and says how in `CHANGES`;
fingerprints stay what they are, so that a study that was begun before is still continued.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.results.rows import finished
from common.system.atomic_files import read_mapping

# As result.yaml of a stage records it when the stage is trained.
ARITHMETIC = 2
# What each version changed. All of it concerns half precision alone.
CHANGES = {2: "heads and softmax compute in float32 under bfloat16"}


def arithmetic_of(result: Mapping[str, Any]) -> int:
    """Give the version in which a stage was computed; what was tested since version 2 has ``chance`` at least."""
    return result.get("arithmetic", 2 if "chance" in result else 1)


def mixture(experiment: Path) -> str:
    """Name the stages in half precision that were computed otherwise than the latest ones, in one sentence.

    Empty, if there are none.
    """
    found = {
        f"{result['arm']}/seed{result['seed']}": arithmetic_of(result)
        for file, result in finished(experiment)
        if _in_half_precision(file.with_name("fingerprint.yaml"))
    }
    latest = max(found.values(), default=0)
    earlier = sorted(name for name, version in found.items() if version < latest)
    if not earlier:
        return ""
    first = min(found.values()) + 1
    changed = "; ".join(CHANGES[version] for version in range(first, latest + 1))
    return (
        f"Computed by an earlier version, unlike the other stages: {', '.join(earlier)} (since then: {changed}). The "
        "difference is small, but to compare seeds or arms without it, train all of them again with fresh=true."
    )


def _in_half_precision(file: Path) -> bool:
    trainer = read_mapping(file).get("trainer_params") if file.is_file() else None
    return isinstance(trainer, dict) and trainer.get("precision") not in (None, "32-true")
