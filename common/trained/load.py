"""Rebuild a trained network from its checkpoint alone."""

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf

from common.checkpoints.files import load_network, read
from common.checkpoints.record import complete, refuse_damaged
from common.runs.description import Architecture
from common.settings.compose import ROOT
from common.system.errors import UserError
from common.training.module import TrainingModule


def load_module(checkpoint: Path, architectures: Mapping[str, Architecture]) -> TrainingModule:
    """Rebuild the network of a checkpoint in its LightningModule, in evaluation mode.

    Args:
        checkpoint: path of a best.ckpt or last.ckpt.
        architectures: by the name of the experiment folder; the checkpoint must have been written by one of them.

    Raises:
        UserError: a checkpoint that is missing, damaged, of another folder or of another version.
    """
    record, weights = read(checkpoint)
    if record.folder not in architectures:
        raise UserError(
            f"{checkpoint} was written by {record.folder[:80]}; allowed here: checkpoints of "
            f"{' and '.join(architectures)}{_who_else(record.folder)}."
        )
    architecture = architectures[record.folder]
    record = complete(record, architecture.schema, path=checkpoint)
    with refuse_damaged(checkpoint):
        module = architecture.module(cfg=OmegaConf.create(record.config), record=record)
    load_network(module.network, weights, path=checkpoint)
    return module.eval()


def _who_else(folder: str) -> str:
    """Say what takes the checkpoints of another experiment folder, as the end of a sentence; of none, nothing."""
    test = f"{folder}/test.py"
    return f" ({test} tests it)" if folder.isidentifier() and (ROOT / test).is_file() else ""
