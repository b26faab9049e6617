"""Trained networks on fixed images: the features of hemispheres, each computed once, and what heads make of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from omegaconf import OmegaConf
from torch import Tensor

from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.supervised import DualHead
from arch_single_head.datamodule import SingleHeadData
from arch_single_head.supervised import SingleHead
from common.checkpoints import digest, load_network, read
from common.data import EVAL_BATCH
from common.environment import choose_precision, uses_gpu
from common.experiment import Architecture
from common.macro import EnsembleNet, HemispheresAndHeads, log_mean_softmax
from common.supervised import Supervised

ARCHITECTURES = {
    "arch_single_head": Architecture(SingleHeadData, SingleHead),
    "arch_dual_head": Architecture(DualHeadData, DualHead),
}


def load(checkpoint: Path) -> Supervised:
    """The network of a checkpoint in its LightningModule, in evaluation mode, on the device it was tested on."""
    record, weights = read(checkpoint)
    architecture = ARCHITECTURES[record.folder]
    module = architecture.module(cfg=OmegaConf.create(record.config), record=record)
    load_network(module.network, weights, path=checkpoint)
    gpu = uses_gpu(module.cfg.trainer_params.accelerator)
    return module.eval().to("cuda" if gpu else "cpu")


@contextmanager
def as_tested(module: Supervised) -> Iterator[None]:
    """The arithmetic in which the network was tested: no gradients, and the precision of its configuration."""
    params = module.cfg.trainer_params
    precision = choose_precision(params.precision, params.accelerator)
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    kind = kinds.get(precision, torch.float32)
    with torch.no_grad(), torch.autocast(module.device.type, kind, enabled=precision in kinds):
        yield


class Eyes:
    """Fixed images, seen by one hemisphere after the other; equal hemispheres of several networks see them once.

    Args:
        images: uint8 (N, 3, H, W).
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self._seen: dict[tuple[str, ...], Tensor] = {}

    def features(self, module: Supervised, network: HemispheresAndHeads) -> dict[str, Tensor]:
        """Features (N, F) on the CPU of each hemisphere of a network, by its name."""
        found = {}
        for name, hemisphere in network.hemispheres.items():
            backbone = hemisphere.backbone
            key = (
                str(module.cfg.trainer_params.precision),
                digest(
                    {k: v.cpu() for k, v in cast(torch.nn.Module, backbone).state_dict().items()}
                ),
            )
            if key not in self._seen:
                with as_tested(module):
                    batches = [
                        hemisphere(module.retina(batch.to(module.device))).float().cpu()
                        for batch in self.images.split(EVAL_BATCH)
                    ]
                self._seen[key] = torch.cat(batches)
            found[name] = self._seen[key]
        return found

    def logits(self, module: Supervised) -> dict[str, Tensor]:
        """Logits (N, C) of each head; of an ensemble, the logarithm of its members' mean probability."""
        network = module.network
        members = network.networks if isinstance(network, EnsembleNet) else [network]
        outputs = [
            head_logits(module, one, self.features(module, one))  # type: ignore[arg-type]
            for one in members
        ]
        if not isinstance(network, EnsembleNet):
            return outputs[0]
        return {level: log_mean_softmax([out[level] for out in outputs]) for level in outputs[0]}


def head_logits(
    module: Supervised, network: HemispheresAndHeads, features: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What the heads say of features (N, F) by hemisphere: for each level (N, C), float32 on the CPU."""
    joined = torch.cat([features[name] for name in network.hemispheres], dim=1)
    found: dict[str, list[Tensor]] = {level: [] for level in network.heads}
    with as_tested(module):
        for batch in joined.split(EVAL_BATCH):
            for level, head in network.heads.items():
                found[level].append(head(batch.to(module.device)).float().cpu())
    return {level: torch.cat(batches) for level, batches in found.items()}
