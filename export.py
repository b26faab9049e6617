"""A trained network for programs without this project:  python export.py checkpoint=PATH format=onnx|torch."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from common.settings.command import command
from common.settings.compose import ROOT
from common.settings.explain import printable
from common.settings.overrides import quoted_paths
from common.system.atomic_files import refuse_unwritable
from common.system.errors import UserError
from common.trained.schema import ExportConfig


def write(cfg: DictConfig) -> None:
    """Write the file, and say how closely its answers match."""
    # Imported late: torch takes seconds, and --help needs none of it.
    from bilateral import load
    from common.trained.evaluate import run_folder
    from common.trained.export import SUFFIXES, TOLERANCE, export

    for other, suffix in SUFFIXES.items():
        if other != cfg.format and str(cfg.output).endswith(suffix):
            raise UserError(
                f"output={cfg.output} has the ending of format={other}, and format is {cfg.format}: change one of them."
            )
    if cfg.output:
        refuse_unwritable("output", Path(cfg.output))
    trained = load(cfg.checkpoint)
    place = run_folder(Path(cfg.checkpoint)) / f"{trained.record.arm}{SUFFIXES[cfg.format]}"
    file = Path(cfg.output) if cfg.output else place
    difference = export(trained, file, kind=cfg.format)
    print(f"Exported: {printable(str(file))}")
    print(
        f"Its logits differ from the original's by at most {difference:.1e} of the largest one, "
        f"on random and on extreme images in batches of 1 to 13 (allowed: {TOLERANCE:.0e})."
    )


def main() -> None:
    """The command line."""
    sys.argv[1:] = quoted_paths(sys.argv[1:], ExportConfig)
    command(
        write,
        schema=ExportConfig,
        folder=ROOT,
        config_dir=ROOT / "common" / "config",
        config_name="export",
    )


if __name__ == "__main__":
    main()
