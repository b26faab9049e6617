"""One or two hemispheres with two heads, fine and coarse."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from common.checkpoints import (
    Record,
    hemisphere_weights,
    load_network,
    read,
    refuse_other_substrate,
)
from common.data import HierarchicalData
from common.errors import UserError
from common.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.schema import LEVELS
from common.substrate import Substrate
from common.supervised import Supervised


class DualHead(Supervised):
    """Trains two heads, and those hemispheres that are not frozen."""

    @staticmethod
    def substrates(cfg: DictConfig) -> dict[str, Substrate]:
        """The parameters of each hemisphere, or of the one that unilateral networks have."""
        sides = LEVELS if cfg.hparams.macro_arch == "bilateral" else ("fine",)
        return {side: Substrate.of(cfg.hparams, side) for side in sides}

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> nn.Module:
        """Images float (B, 3, H, W) to fine and coarse logits (B, C)."""
        hparams = cfg.hparams
        substrates = cls.substrates(cfg)
        fine = substrates["fine"]
        if hparams.macro_arch == "ensemble":
            members = [_unilateral(cfg, record, fine) for _ in hparams.model_path_fine]
            return EnsembleNet(networks=members)
        if hparams.macro_arch == "unilateral":
            return _unilateral(cfg, record, fine)
        coarse = substrates["coarse"]
        return BilateralNet(
            fine_backbone=fine.backbone(),
            coarse_backbone=coarse.backbone(),
            fine_filter=fine.spatial_filter(),
            coarse_filter=coarse.spatial_filter(),
            num_classes=record.num_classes,
            dropout=hparams.dropout,
            freeze_fine=hparams.ffreeze,
            freeze_coarse=hparams.cfreeze,
        )

    @staticmethod
    def hemisphere_paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
        """Checkpoints of the fine and the coarse hemisphere, or of an ensemble's members."""
        hparams = cfg.hparams
        if hparams.macro_arch == "ensemble":
            return {
                f"member{i}": _at_seed(path, seed) for i, path in enumerate(hparams.model_path_fine)
            }
        paths = {"fine": hparams.model_path_fine, "coarse": hparams.model_path_coarse}
        if hparams.macro_arch == "unilateral":
            paths.pop("coarse")
        return {level: _at_seed(path, seed) for level, path in paths.items() if path is not None}

    def load_hemispheres(self, data: HierarchicalData) -> None:
        """Load each hemisphere, or each member of an ensemble, from its checkpoint.

        Raises:
            UserError: a checkpoint that is missing, damaged, or of another architecture, level or data set.
        """
        hparams = self.cfg.hparams
        paths = self.hemisphere_paths(self.cfg, self.record.seed)
        substrates = self.substrates(self.cfg)
        if hparams.macro_arch == "ensemble":
            for member, path in zip(self.network.networks, paths.values(), strict=True):  # type: ignore[arg-type]
                weights = _member_weights(path, substrates["fine"], data)
                load_network(member, weights, path=path)
            return
        for level, path in paths.items():
            weights = hemisphere_weights(
                path,
                key=f"hparams.model_path_{level}",
                level=level,
                substrate=substrates[level],
                data=data,
            )
            hemisphere = self.network.get_submodule(f"hemispheres.{level}.backbone")
            load_network(hemisphere, weights, path=path)


def _unilateral(cfg: DictConfig, record: Record, substrate: Substrate) -> UnilateralNet:
    return UnilateralNet(
        backbone=substrate.backbone(),
        spatial_filter=substrate.spatial_filter(),
        num_classes=record.num_classes,
        dropout=cfg.hparams.dropout,
        freeze=cfg.hparams.ffreeze and cfg.hparams.macro_arch == "unilateral",
    )


def _at_seed(path: str, seed: int) -> Path:
    return Path(path.replace("{seed}", str(seed)))


def _member_weights(path: Path, substrate: Substrate, data: HierarchicalData) -> dict:
    record, weights = read(path)
    theirs = record.config["hparams"]
    if theirs.get("macro_arch") != "unilateral":
        raise UserError(
            f"hparams.model_path_fine: {path} is a {record.arm} network; an ensemble takes unilateral ones."
        )
    refuse_other_substrate(
        path, key="hparams.model_path_fine", theirs=Substrate.of(theirs, "fine"), ours=substrate
    )
    if record.train_images != data.train_images:
        raise UserError(
            f"hparams.model_path_fine: {path} was trained on other images than this run's training images."
        )
    return weights
