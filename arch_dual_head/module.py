"""One or two hemispheres with two heads, fine and coarse."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig
from torch import nn

from arch_dual_head.budget import equal_epochs
from arch_dual_head.macro_architectures import (
    MEMBERS,
    SPECIALISTS,
    described_sides,
    frozen_sides,
    macro_architecture,
)
from arch_dual_head.networks import Parts
from arch_dual_head.schema import DualConfig
from arch_dual_head.sources import path_key, paths
from common.checkpoints.files import (
    hemisphere_weights,
    load_network,
    read,
    refuse_other_hemisphere,
    refuse_other_training_images,
    specialist_weights,
)
from common.checkpoints.pretrained import load_pretrained
from common.checkpoints.record import Record, complete
from common.data.datamodule import HierarchicalData
from common.data.transforms import augments
from common.networks.crossings import CallosumKeys
from common.networks.hemisphere import Hemisphere, HemisphereConfig
from common.networks.macro import EnsembleNet, HemispheresAndHeads, Network
from common.settings.levels import SIDES, SPELLING, side_of
from common.system.errors import UserError
from common.training.module import TrainingModule
from common.training.objective import Objective
from common.training.supervised import Supervised


class DualHead(TrainingModule):
    """Trains two heads, and those hemispheres that are not frozen."""

    @staticmethod
    def objective_type(cfg: DictConfig) -> type[Objective]:
        """Choose the labels of both levels."""
        return Supervised

    @staticmethod
    def sides(cfg: DictConfig) -> Sequence[str]:
        """Name the hemispheres whose keys shape the network: left, or left and right."""
        return described_sides(cfg.hparams)

    @staticmethod
    def hemisphere_configs(cfg: DictConfig) -> dict[str, HemisphereConfig]:
        """Read the parameters of each hemisphere whose keys shape the network, by side."""
        return {side: HemisphereConfig.read(cfg.hparams, side) for side in DualHead.sides(cfg)}

    @classmethod
    def build_network(cls, cfg: DictConfig, record: Record) -> Network:
        """Build the network: images float (B, 3, H, W) to fine and coarse logits (B, C).

        Raises:
            UserError: the network cannot be built so, or is not what its row of the table says.
        """
        row = macro_architecture(cfg.hparams)
        network = row.load()(Parts(cfg.hparams, record.num_classes, record.coarse_of_fine))
        if row.loads != MEMBERS:
            found = {side: one.frozen for side, one in network.sides.items()}
            frozen = frozen_sides(cfg.hparams)
            wanted = {side: side in frozen for side in row.sides}
            if found != wanted:
                raise UserError(
                    f"{row.where} builds a network whose hemispheres (frozen: true) are {found}; "
                    f"the row {cfg.hparams.macro_arch} of MACRO_ARCHITECTURES and the configuration ask for {wanted}."
                )
            if tuple(row.sides) == SIDES and cfg.hparams.callosum.kind and not network.callosum:
                raise UserError(
                    f"{row.where} builds a network without a callosum (`Parts.callosum`), but hparams.callosum.kind is "
                    f"{cfg.hparams.callosum.kind}."
                )
        return network

    @staticmethod
    def epochs(cfg: DictConfig, data: HierarchicalData) -> int:
        """Give the epochs of training: those of the configuration, or as many as make training equal."""
        if cfg.trainer_params.max_epochs is not None:
            return cfg.trainer_params.max_epochs
        return equal_epochs(
            cfg,
            num_classes={level: len(data.classes[level].ids) for level in data.levels},
            image_size=data.image_size,
            augments=augments(
                crop_padding=cfg.dataset.crop_padding,
                flip=cfg.dataset.flip,
                crop_scale=cfg.dataset.crop_scale,
            ),
            coarse_of_fine=data.coarse_of_fine,
        )

    @staticmethod
    def hemisphere_paths(cfg: DictConfig, seed: int) -> dict[str, Path]:
        """Name the checkpoints that the network builds on, by what they serve as (see `sources.templates`)."""
        return paths(cfg, seed)

    def load_hemispheres(self, data: HierarchicalData) -> None:
        """Load each hemisphere, each member of an ensemble, or the whole network, from its checkpoint.

        Hemispheres without a checkpoint take their pretrained weights, where they have some.

        Raises:
            UserError: a checkpoint that is missing, damaged, or of another architecture, level or data set; weights
                that do not fit; or a hemisphere that is frozen and was not loaded.
        """
        sources = self.hemisphere_paths(self.cfg, self.record.seed)
        row = macro_architecture(self.cfg.hparams)
        loaded: list[nn.Module] = []
        if row.loads == MEMBERS:
            members = cast(EnsembleNet, self.network).members.values()
            for member, path in zip(members, sources.values(), strict=True):
                if row.members == SPECIALISTS:
                    self._load_specialist(member, path, data)
                else:
                    self._load_whole(member, path, path_key("left"), row.members, data)
                loaded.append(member)
        elif "network" in sources:
            macro_arch = self.cfg.hparams.macro_arch
            self._load_whole(self.network, sources["network"], "model_path", macro_arch, data)
            loaded.append(self.network)
        else:
            loaded += [self._load_one(side_of(name), path, data) for name, path in sources.items()]
            for side, config in self.hemisphere_configs(self.cfg).items():
                if side in row.sides and SPELLING[side] not in sources:
                    hemisphere = self.network.sides[side]
                    loaded += [hemisphere] if load_pretrained(hemisphere.backbone, config) else []
        refuse_unloaded(self.network, loaded)

    def _load_one(self, side: str, path: Path, data: HierarchicalData) -> nn.Module:
        """Load one hemisphere, and give what was loaded."""
        weights = hemisphere_weights(
            path,
            key=f"hparams.{path_key(side)}",
            level=self.cfg.hparams[f"{SPELLING[side]}_speciality"],
            hemisphere_config=self.hemisphere_configs(self.cfg)[side],
            data=data,
        )
        hemisphere = self.network.sides[side]
        load_network(hemisphere.backbone, weights, path=path)
        return hemisphere

    def _load_specialist(
        self, network: HemispheresAndHeads, path: Path, data: HierarchicalData
    ) -> None:
        """Load one hemisphere with its own head."""
        (side,) = network.sides
        weights = specialist_weights(
            path,
            key=f"hparams.{path_key('left')}",
            level=SPELLING[side],
            hemisphere_config=self.hemisphere_configs(self.cfg)[side],
            data=data,
        )
        load_network(network, weights, path=path)

    def _load_whole(
        self, network: nn.Module, path: Path, key: str, macro_arch: str, data: HierarchicalData
    ) -> None:
        """Load a whole two-head network of the same hemispheres and join, trained on the same images."""
        key = f"hparams.{key}"
        record, weights = read(path)
        _refuse_other_network(path, key, record, macro_arch, self.cfg)
        refuse_other_training_images(path, key=key, record=record, data=data)
        load_network(network, weights, path=path)


def _refuse_other_network(
    path: Path, key: str, record: Record, macro_arch: str, cfg: DictConfig
) -> None:
    """Refuse a network of another macro-architecture, of other hemispheres or of another join."""
    if record.config["hparams"].get("macro_arch") != macro_arch:
        raise UserError(
            f"{key}: {path} is a {record.arm} network; a {macro_arch} one is asked for."
        )
    theirs = complete(record, DualConfig, path=path).config["hparams"]
    for side, ours in DualHead.hemisphere_configs(cfg).items():
        refuse_other_hemisphere(
            path, key=key, theirs=HemisphereConfig.read(theirs, side), ours=ours
        )
    if CallosumKeys.read(theirs) != CallosumKeys.read(cfg.hparams):
        raise UserError(
            f"{key}: {path} has another callosum than hparams.callosum says; its own is {theirs['callosum']}."
        )
    if theirs["join"] != cfg.hparams.join:
        raise UserError(
            f"{key}: {path} joins hemispheres by {theirs['join']}, but hparams.join is {cfg.hparams.join}."
        )


def refuse_unloaded(network: Network, loaded: Sequence[nn.Module]) -> None:
    """Refuse a hemisphere in which nothing learns and into which nothing was loaded.

    Args:
        network: whose hemispheres are looked at.
        loaded: its parts into which checkpoints or pretrained weights were loaded.

    Raises:
        UserError: names the hemisphere.
    """
    filled = {id(part) for one in loaded for part in one.modules()}
    names = {id(one): side for side, one in network.sides.items()}
    for name, part in network.named_modules():
        learns = any(p.requires_grad for p in part.parameters())
        if isinstance(part, Hemisphere) and not learns and id(part) not in filled:
            raise UserError(
                f"The {names.get(id(part), name)} hemisphere is frozen, and no checkpoint was loaded into it: give "
                "hparams.model_path_fine (left) or hparams.model_path_coarse (right), hparams.fine_pretrained or "
                "hparams.coarse_pretrained, or train it with hparams.ffreeze=false or hparams.cfreeze=false."
            )
