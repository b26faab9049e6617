"""One or two hemispheres with two heads, fine and coarse."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from arch_dual_head.sources import at_seed
from common.checkpoints.files import (
    Record,
    hemisphere_weights,
    load_network,
    read,
    refuse_other_hemisphere,
)
from common.data.datamodule import HierarchicalData
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.networks.size import width_for
from common.settings.levels import SIDES, SPELLING
from common.system.errors import UserError
from common.training.supervised import Supervised


class DualHead(Supervised):
    """Trains two heads, and those hemispheres that are not frozen."""

    @staticmethod
    def sides(cfg: DictConfig) -> Sequence[str]:
        """The hemispheres that the network has."""
        return SIDES if cfg.hparams.macro_arch == "bilateral" else SIDES[:1]

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """The parameters of each hemisphere, or of the one that unilateral networks have."""
        return {
            SPELLING[side]: HemisphereConfig.read(cfg.hparams, side) for side in DualHead.sides(cfg)
        }

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> nn.Module:
        """Images float (B, 3, H, W) to fine and coarse logits (B, C)."""
        hparams = cfg.hparams
        fine, coarse = (HemisphereConfig.read(hparams, side) for side in SIDES)
        if hparams.macro_arch == "ensemble":
            members = [_unilateral(cfg, record, fine) for _ in hparams.model_path_fine]
            return EnsembleNet(networks=members)
        if hparams.macro_arch == "unilateral":
            return _unilateral(cfg, record, fine)
        if hparams.macro_arch == "unilateral_wide":
            width = width_for(
                lambda width: _unilateral(cfg, record, replace(fine, width=width)),
                like=lambda: _bilateral(cfg, record, fine, coarse),
            )
            return _unilateral(cfg, record, replace(fine, width=width))
        return _bilateral(cfg, record, fine, coarse)

    @staticmethod
    def hemisphere_paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
        """Checkpoints of the fine and the coarse hemisphere, or of an ensemble's members."""
        hparams = cfg.hparams
        if hparams.macro_arch == "ensemble":
            return {
                f"member{i}": at_seed(path, cfg, seed)
                for i, path in enumerate(hparams.model_path_fine)
            }
        if hparams.model_path is not None:
            return {"network": at_seed(hparams.model_path, cfg, seed)}
        paths = {"fine": hparams.model_path_fine, "coarse": hparams.model_path_coarse}
        if hparams.macro_arch != "bilateral":
            paths.pop("coarse")
        return {
            level: at_seed(path, cfg, seed) for level, path in paths.items() if path is not None
        }

    def load_hemispheres(self, data: HierarchicalData) -> None:
        """Load each hemisphere, or each member of an ensemble, from its checkpoint.

        Raises:
            UserError: a checkpoint that is missing, damaged, or of another architecture, level or data set.
        """
        hparams = self.cfg.hparams
        paths = self.hemisphere_paths(self.cfg, self.record.seed)
        hemisphere_configs = self.hemisphere_configs(self.cfg)
        if hparams.macro_arch == "ensemble":
            for member, path in zip(self.network.networks, paths.values(), strict=True):  # type: ignore[arg-type]
                weights = _network_weights(
                    path, "hparams.model_path_fine", "unilateral", hemisphere_configs, data
                )
                load_network(member, weights, path=path)
            return
        if "network" in paths:
            path = paths["network"]
            weights = _network_weights(
                path, "hparams.model_path", hparams.macro_arch, hemisphere_configs, data
            )
            load_network(self.network, weights, path=path)
            return
        for level, path in paths.items():
            weights = hemisphere_weights(
                path,
                key=f"hparams.model_path_{level}",
                level=hparams[f"{level}_speciality"],
                hemisphere_config=hemisphere_configs[level],
                data=data,
            )
            hemisphere = self.network.get_submodule(f"hemispheres.{level}.backbone")
            load_network(hemisphere, weights, path=path)


def _bilateral(
    cfg: DictConfig, record: Record, fine: HemisphereConfig, coarse: HemisphereConfig
) -> BilateralNet:
    return BilateralNet(
        fine_backbone=fine.backbone(),
        coarse_backbone=coarse.backbone(),
        fine_filter=fine.spatial_filter(),
        coarse_filter=coarse.spatial_filter(),
        num_classes=record.num_classes,
        dropout=cfg.hparams.dropout,
        freeze_fine=cfg.hparams.ffreeze,
        freeze_coarse=cfg.hparams.cfreeze,
    )


def _unilateral(
    cfg: DictConfig, record: Record, hemisphere_config: HemisphereConfig
) -> UnilateralNet:
    return UnilateralNet(
        backbone=hemisphere_config.backbone(),
        spatial_filter=hemisphere_config.spatial_filter(),
        num_classes=record.num_classes,
        dropout=cfg.hparams.dropout,
        freeze=cfg.hparams.ffreeze and cfg.hparams.macro_arch == "unilateral",
    )


def _network_weights(
    path: Path,
    key: str,
    macro_arch: str,
    hemisphere_configs: dict[str, HemisphereConfig],
    data: HierarchicalData,
) -> dict:
    """The weights of a whole two-head network of the same hemispheres that was trained on the same images."""
    record, weights = read(path)
    theirs = record.config["hparams"]
    if theirs.get("macro_arch") != macro_arch:
        raise UserError(
            f"{key}: {path} is a {record.arm} network; a {macro_arch} one is asked for."
        )
    for side, ours in zip(SIDES, hemisphere_configs.values(), strict=False):
        refuse_other_hemisphere(
            path, key=key, theirs=HemisphereConfig.read(theirs, side), ours=ours
        )
    if record.train_images != data.train_images:
        raise UserError(
            f"{key}: {path} was trained on other images than this run's training images."
        )
    return weights
