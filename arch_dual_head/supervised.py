"""One or two hemispheres with two heads, fine and coarse."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from arch_dual_head.sources import at_seed
from common.backbones import build_backbone
from common.checkpoints import Record, hemisphere_weights, load_network, read
from common.data import HierarchicalData
from common.errors import UserError
from common.macro import BilateralNet, EnsembleNet, UnilateralNet
from common.matching import width_for
from common.supervised import Supervised


class DualHead(Supervised):
    """Trains two heads, and those hemispheres that are not frozen."""

    @staticmethod
    def build_network(cfg: DictConfig, record: Record) -> nn.Module:
        """Images float (B, 3, H, W) to fine and coarse logits (B, C)."""
        hparams = cfg.hparams
        if hparams.macro_arch == "ensemble":
            return EnsembleNet(networks=[_unilateral(cfg, record) for _ in hparams.model_path_fine])
        if hparams.macro_arch == "unilateral":
            return _unilateral(cfg, record)
        if hparams.macro_arch == "unilateral_wide":
            width = width_for(
                lambda width: _unilateral(cfg, record, width=width),
                like=lambda: _bilateral(cfg, record),
            )
            return _unilateral(cfg, record, width=width)
        return _bilateral(cfg, record)

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
        if hparams.macro_arch == "ensemble":
            for member, path in zip(self.network.networks, paths.values(), strict=True):  # type: ignore[arg-type]
                weights = _network_weights(
                    path, key="model_path_fine", macro_arch="unilateral", data=data
                )
                load_network(member, weights, path=path)
            return
        if "network" in paths:
            path = paths["network"]
            weights = _network_weights(
                path, key="model_path", macro_arch=hparams.macro_arch, data=data
            )
            load_network(self.network, weights, path=path)
            return
        asked = {
            "fine": (hparams.farch, hparams.fine_width),
            "coarse": (hparams.carch, hparams.coarse_width),
        }
        for level, path in paths.items():
            arch, width = asked[level]
            weights = hemisphere_weights(
                path,
                key=f"hparams.model_path_{level}",
                level=hparams[f"{level}_speciality"],
                arch=arch,
                width=width,
                data=data,
            )
            hemisphere = self.network.get_submodule(f"hemispheres.{level}.backbone")
            load_network(hemisphere, weights, path=path)


def _bilateral(cfg: DictConfig, record: Record) -> BilateralNet:
    hparams = cfg.hparams
    return BilateralNet(
        fine_backbone=build_backbone(hparams.farch, width=hparams.fine_width),
        coarse_backbone=build_backbone(hparams.carch, width=hparams.coarse_width),
        num_classes=record.num_classes,
        dropout=hparams.dropout,
        freeze_fine=hparams.ffreeze,
        freeze_coarse=hparams.cfreeze,
    )


def _unilateral(cfg: DictConfig, record: Record, width: float | None = None) -> UnilateralNet:
    return UnilateralNet(
        backbone=build_backbone(cfg.hparams.farch, width=width or cfg.hparams.fine_width),
        num_classes=record.num_classes,
        dropout=cfg.hparams.dropout,
        freeze=cfg.hparams.ffreeze and cfg.hparams.macro_arch == "unilateral",
    )


def _network_weights(path: Path, *, key: str, macro_arch: str, data: HierarchicalData) -> dict:
    """The weights of a whole two-head network that was trained on the same images."""
    record, weights = read(path)
    if record.config["hparams"].get("macro_arch") != macro_arch:
        raise UserError(
            f"hparams.{key}: {path} is a {record.arm} network; a {macro_arch} one is asked for."
        )
    if record.train_images != data.train_images:
        raise UserError(
            f"hparams.{key}: {path} was trained on other images than this run's training images."
        )
    return weights
