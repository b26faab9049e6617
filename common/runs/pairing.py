"""Keep the results of an arm that is built on two seeds apart, by which two they are."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from common.runs.description import Stage
from common.system.atomic_files import read_mapping


def set_other_pairing_aside(stage: Stage) -> None:
    """Rename the stage's folder if it holds another pairing of seeds, and take back the wanted one if it was kept.

    In a longer list of seeds the last seed of the shorter list has another next one.
    """
    file = stage.place / "environment.yaml"
    if len(stage.seeds) < 2:
        return

    def kept(seeds: Sequence[int]) -> Path:
        return stage.place.with_name(f"earlier-{stage.place.name}-of-{'+'.join(map(str, seeds))}")

    wanted = list(stage.seeds)
    earlier = read_mapping(file).get("seeds", [stage.seed]) if file.is_file() else wanted
    # Further ones are of checkpoints that it was given; whether those are the same tells its fingerprint.
    if earlier[: len(wanted)] != wanted:
        aside = kept(earlier)
        if (aside / "result.yaml").is_file():
            shutil.rmtree(stage.place)  # nothing that is not there already, finished
        else:
            shutil.rmtree(aside, ignore_errors=True)
            stage.place.rename(aside)
        print(f"{stage.name}: made of seeds {earlier} before, of {wanted} now; kept as {aside}")
    if kept(wanted).is_dir() and not stage.place.exists():
        kept(wanted).rename(stage.place)
