"""One hemisphere with one head: left on fine labels, right on coarse ones, left without labels."""

from typing import Any

from omegaconf import DictConfig

from common.checkpoints.files import Record
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import Network, UnilateralNet
from common.settings.levels import side_alone
from common.training.module import TrainingModule
from common.training.paradigms import paradigm_of


class SingleHead(TrainingModule):
    """One hemisphere and its head, trained by the paradigm that hparams.mode or hparams.paradigm names."""

    def __new__(cls, *, cfg: DictConfig, record: Record) -> Any:
        """Make a module that builds its network as this class does and takes its steps as the paradigm's."""
        paradigm = paradigm_of(cfg.hparams).load()
        return super().__new__(type(cls.__name__, (cls, paradigm), {}))

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """Read the parameters of the one hemisphere, by its side."""
        return {side_alone(cfg.hparams.mode): HemisphereConfig.read(cfg.hparams)}

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> Network:
        """Build the network: images float (B, 3, H, W) to logits (B, C) of the one level."""
        (hemisphere_config,) = cls.hemisphere_configs(cfg).values()
        return UnilateralNet(
            backbone=hemisphere_config.backbone(),
            spatial_filter=hemisphere_config.spatial_filter(),
            num_classes=record.num_classes,
            dropout=cfg.hparams.dropout,
        )
