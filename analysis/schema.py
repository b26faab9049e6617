"""The config keys of analyse.py. Imports no torch."""

from dataclasses import dataclass

from omegaconf import MISSING

from common.settings.schema import key


@dataclass
class AnalyseConfig:
    """analyse.py: everything about the study comes out of its folder."""

    run: str = key(
        MISSING,
        "folder of a finished study; gets report.html and analysis/",
        path=True,
        exists="folder",
    )
