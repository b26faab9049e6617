"""The config keys of analyse.py. Imports no torch."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from common.settings.schema import key


@dataclass
class MovedDataset:
    """The one key of a data set that an analysis takes: what the networks saw stays what it was."""

    root: str | None = key(
        None,
        "folder where the study's data set lies now, if it has moved (one for each seed: without -seed<n>); null: as "
        "recorded",
        path=True,
    )


@dataclass
class AnalyseConfig:
    """analyse.py: everything about the study comes out of its folder."""

    run: str = key(
        MISSING,
        "folder of a finished study, where report.html and analysis/ are written",
        path=True,
        exists="folder",
    )
    dataset: MovedDataset = field(default_factory=MovedDataset)
