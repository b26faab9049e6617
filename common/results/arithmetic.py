"""Whether stages of an experiment were computed otherwise than this version does, because an earlier one trained them.

A version that computes networks otherwise, with equal configuration, counts `ARITHMETIC` up and says how; fingerprints
stay what they are, so that a study that was begun before is still continued.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.results.rows import Results
from common.system.atomic_files import read_mapping

# As result.yaml of a stage records it when the stage is trained. 2: heads and softmax compute in float32 under bfloat16
# and float16. 3: no difference to 2 on the CPU.
ARITHMETIC = 3


def arithmetic_of(result: Mapping[str, Any]) -> int:
    """Give the version in which a stage was computed; what was tested since version 2 has ``chance`` at least."""
    return result.get("arithmetic", 2 if "chance" in result else 1)


def computed_otherwise(results: Results) -> str:
    """Name the stages that earlier versions computed otherwise than this one, in a sentence.

    Empty, if there are none, or if all of them in half precision are of one version.
    """
    half_precision = {
        f"{result['arm']}/seed{result['seed']}": arithmetic_of(result)
        for file, result in results
        if _in_half_precision(file.with_name("fingerprint.yaml"))
    }
    rounded = sorted(name for name, version in half_precision.items() if version < 2)
    if not 0 < len(rounded) < len(half_precision):
        return ""
    return (
        f"Computed by an earlier version, unlike the other stages: {', '.join(rounded)} (since then: heads and softmax "
        "compute in float32 under bfloat16). The difference is small, but to compare seeds or arms without it, train "
        "all of them again with fresh=true."
    )


def _in_half_precision(file: Path) -> bool:
    trainer = read_mapping(file).get("trainer_params") if file.is_file() else None
    return isinstance(trainer, dict) and trainer.get("precision") not in (None, "32-true")
