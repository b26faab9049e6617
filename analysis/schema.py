"""The config keys of analyse.py. Imports no torch."""

from dataclasses import dataclass

from omegaconf import MISSING

from common.settings.schema import key


@dataclass
class AnalyseConfig:
    """analyse.py: everything about the study comes out of its folder."""

    run: str = key(
        MISSING,
        "folder of a finished study, where report.html and analysis/ are written",
        path=True,
        exists="folder",
    )
