"""One hemisphere with one head: left on fine labels, right on coarse ones."""

from omegaconf import DictConfig
from torch import nn

from common.checkpoints.files import Record
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import UnilateralNet
from common.training.supervised import Supervised


class SingleHead(Supervised):
    """Trains one hemisphere and its head."""

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """The parameters of the one hemisphere, by its level."""
        return {cfg.hparams.mode: HemisphereConfig.read(cfg.hparams)}

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> nn.Module:
        """Images float (B, 3, H, W) to logits (B, C) of the one level."""
        (hemisphere_config,) = cls.hemisphere_configs(cfg).values()
        return UnilateralNet(
            backbone=hemisphere_config.backbone(),
            spatial_filter=hemisphere_config.spatial_filter(),
            num_classes=record.num_classes,
            dropout=cfg.hparams.dropout,
        )
