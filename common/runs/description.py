"""Describe what is to be run: stages, and what an experiment folder brings. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from omegaconf import DictConfig

if TYPE_CHECKING:
    from common.data.datamodule import HierarchicalData
    from common.training.module import TrainingModule


@dataclass(frozen=True)
class Stage:
    """One arm with one seed: a plain description of work, apart from how it is executed.

    ``config`` is the resolved configuration of ``folder``'s trainer.py; ``needs`` names the stages whose
    checkpoints it builds on; ``seeds`` are those of all networks it is made of, its own if empty; ``alike`` counts the
    command's stages that differ from it by their seed alone, itself included.
    """

    arm: str
    seed: int
    folder: str
    config: DictConfig
    needs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    alike: int = 1

    @property
    def name(self) -> str:
        """Name the stage by arm and seed, unique within an experiment."""
        return f"{self.arm}/seed{self.seed}"

    @property
    def experiment(self) -> Path:
        """Give the experiment's folder."""
        return Path(self.config.save_dir) / self.config.exp_name

    @property
    def place(self) -> Path:
        """Give the folder of the stage's files."""
        return self.experiment / self.arm / f"seed{self.seed}"

    @property
    def best(self) -> Path:
        """Give the path of the best checkpoint, which is there once the stage is done."""
        return self.place / "checkpoints" / "best.ckpt"


class Architecture(NamedTuple):
    """What an experiment folder brings: its images, its LightningModule and the schema of its keys."""

    data: type[HierarchicalData]
    module: type[TrainingModule]
    schema: type
