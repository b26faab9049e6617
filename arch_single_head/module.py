"""One hemisphere with one head: left on fine labels, right on coarse ones, left without labels."""

from omegaconf import DictConfig

from common.checkpoints.record import Record
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import Network, UnilateralNet
from common.settings.levels import side_alone
from common.training.module import TrainingModule
from common.training.objective import Objective
from common.training.paradigms import paradigm_of


class SingleHead(TrainingModule):
    """One hemisphere and its head."""

    @staticmethod
    def objective_type(cfg: DictConfig) -> type[Objective]:
        """Load the class of the paradigm that hparams.mode or hparams.paradigm names."""
        return paradigm_of(cfg.hparams).load()

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """Read the parameters of the one hemisphere, by its side."""
        return {side_alone(cfg.hparams.mode): HemisphereConfig.read(cfg.hparams)}

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> Network:
        """Build the network: images float (B, 3, H, W) to logits (B, C) of the one level."""
        (hemisphere_config,) = cls.hemisphere_configs(cfg).values()
        return UnilateralNet(
            hemisphere=hemisphere_config.build(),
            num_classes=record.num_classes,
            dropout=cfg.hparams.dropout,
        )
