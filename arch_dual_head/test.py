"""Test a trained two-head network:  python test.py checkpoint=PATH  [hparams.mode=feature]."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from common.settings.command import command
from common.settings.overrides import quoted_paths
from common.trained.schema import TestConfig

FOLDER = Path(__file__).resolve().parent


def test(cfg: DictConfig) -> None:
    """Print the checkpoint's accuracy on the test images, or write its features."""
    # Imported late: torch takes seconds, and --help needs none of it.
    from arch_dual_head.datamodule import DualHeadData
    from arch_dual_head.module import DualHead
    from arch_dual_head.schema import DualConfig
    from common.runs.description import Architecture
    from common.trained.evaluate import run_test

    run_test(cfg, folder=FOLDER.name, architecture=Architecture(DualHeadData, DualHead, DualConfig))


def main() -> None:
    """Run the command line."""
    sys.argv[1:] = quoted_paths(sys.argv[1:], TestConfig)
    command(test, schema=TestConfig, folder=FOLDER, config_name="test")


if __name__ == "__main__":
    main()
