"""One hemisphere with one head: left on fine labels, right on coarse ones."""

from omegaconf import DictConfig
from torch import nn

from common.backbones import build_backbone
from common.checkpoints import Record
from common.macro import UnilateralNet
from common.supervised import Supervised


class SingleHead(Supervised):
    """Trains one hemisphere and its head."""

    @staticmethod
    def build_network(cfg: DictConfig, record: Record) -> nn.Module:
        """Images float (B, 3, H, W) to logits (B, C) of the one level."""
        return UnilateralNet(
            backbone=build_backbone(cfg.hparams.arch, width=cfg.hparams.width),
            num_classes=record.num_classes,
            dropout=cfg.hparams.dropout,
        )
