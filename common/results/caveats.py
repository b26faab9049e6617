"""What a reader of an experiment's tables must know beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.results.arithmetic import computed_otherwise
from common.results.rows import Results, holes, independent
from common.system.atomic_files import read_mapping

DEBUG = (
    "Stages saw only some batches of an epoch (trainer=debug, or a trainer_params.limit_*_batches): nothing here is a "
    "result."
)
ON_TEST = (
    "The best epochs were chosen on the test images, as published: no number here is held out."
)
INDEPENDENT = (
    "The two labels are independent (nested: false): metrics of the tree of classes (consistency, TICE, via fine, "
    "mistakes by distance) are left out, and so are arms and analyses that need it; path is the share of images whose "
    "two labels are both right."
)


def caveats(experiment: Path, results: Results) -> list[str]:
    """Give what the tables of an experiment lack and what limits them, in sentences; empty if there is nothing.

    ``results`` are those that are `finished` in its folder.

    Raises:
        UserError: names a file that is damaged.
    """
    files = (file.with_name("config.yaml") for file, _ in results)
    configs = [read_mapping(file) for file in files if file.is_file()]
    found = [DEBUG] if any(map(sees_a_part, configs)) else []
    found += [ON_TEST] if any(map(chose_on_test, configs)) else []
    found += [f"Missing: {reason}" for reason in holes(experiment).values()]
    if otherwise := computed_otherwise(results):
        found.append(otherwise)
    if independent(result for _, result in results):
        found.append(INDEPENDENT)
    return found


def titled(name: str, caveats: Sequence[str]) -> str:
    """Give the title of an experiment's tables, which says where they are no result."""
    return f"{name} (debug: no result)" if DEBUG in caveats else name


def chose_on_test(config: Mapping[str, Any]) -> bool:
    """Say whether a stage with this config.yaml chose its best epoch on the test images (study=paper)."""
    dataset = _section(config, "dataset")
    return bool(dataset.get("val_dir")) and dataset["val_dir"] == dataset.get("test_dir")


def sees_a_part(config: Mapping[str, Any]) -> bool:
    """Say whether a stage with this config.yaml saw only some batches of an epoch (trainer=debug)."""
    params = _section(config, "trainer_params")
    limits = (params.get(f"limit_{part}_batches", 1.0) for part in ("train", "val", "test"))
    # An int counts batches, a float is a share of them: 1.0 is all, 1 is one batch.
    return any(not isinstance(limit, float) or limit < 1 for limit in limits)


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}
