"""Find a name for an experiment that is to be a new one. Imports no torch."""

from pathlib import Path

from omegaconf import DictConfig


def _taken(experiment: Path) -> bool:
    """Say whether the folder holds more than the lock of a command that was refused."""
    return experiment.is_dir() and any(child.name != ".lock" for child in experiment.iterdir())


def free_name(cfg: DictConfig) -> str:
    """Give the experiment's name, or with ``fresh`` the first of <name>, <name>-2, ... that is not taken."""
    name, number = cfg.exp_name, 1
    while cfg.fresh and _taken(Path(cfg.save_dir) / name):
        number += 1
        name = f"{cfg.exp_name}-{number}"
    if cfg.fresh:
        print(
            f"fresh=true: writing to {Path(cfg.save_dir) / name} (continue it with exp_name={name})"
        )
    return name
