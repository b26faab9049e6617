"""What is measured. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """One phase (single, dual or eval) of one backbone.

    ``steps`` are measured after ``warmup`` ones; ``data_dir`` holds a prepared data set; ``compile`` is as
    hparams.compile.
    """

    phase: str
    backbone: str
    data_dir: Path
    width: float
    batch_size: int
    warmup: int
    steps: int
    accelerator: str
    compile: str = "auto"
