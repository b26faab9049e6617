"""Numbers and one page about a finished study:  python analyse.py run=runs/demo."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from analysis.schema import AnalyseConfig
from common.settings.command import command
from common.settings.compose import ROOT
from common.settings.overrides import quoted_paths


def run(cfg: DictConfig) -> None:
    """Analyse the study, say what came out and name its report."""
    # Imported late: torch takes seconds, and --help needs none of it.
    from analysis.pipeline import analyse_and_say

    print(analyse_and_say(Path(cfg.run), data_root=cfg.dataset.root))


def main() -> None:
    """The command line."""
    sys.argv[1:] = quoted_paths(sys.argv[1:], AnalyseConfig)
    command(
        run,
        schema=AnalyseConfig,
        folder=ROOT,
        config_dir=ROOT / "common" / "config",
        config_name="analyse",
    )


if __name__ == "__main__":
    main()
