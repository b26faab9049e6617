"""Trained networks on fixed images: the features of hemispheres, each computed once, and what heads make of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from architectures import ARCHITECTURES
from common.checkpoints.files import digest, read
from common.data.datamodule import EVAL_BATCH
from common.data.images import Undecoded
from common.networks.macro import EnsembleNet, HemispheresAndHeads, log_mean_softmax
from common.system.environment import choose_precision, uses_gpu
from common.trained.evaluate import rebuild
from common.training.supervised import Supervised


def load(checkpoint: Path) -> Supervised:
    """The network of a checkpoint in its LightningModule, in evaluation mode, on the device it was tested on."""
    record, weights = read(checkpoint)
    module = rebuild(record, weights, path=checkpoint, architecture=ARCHITECTURES[record.folder])
    return module.to("cuda" if uses_gpu(module.cfg.trainer_params.accelerator) else "cpu")


@contextmanager
def as_tested(module: Supervised) -> Iterator[None]:
    """The arithmetic in which the network was tested: no gradients, and the precision of its configuration."""
    params = module.cfg.trainer_params
    precision = choose_precision(params.precision, params.accelerator)
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    kind = kinds.get(precision, torch.float32)
    with torch.no_grad(), torch.autocast(module.device.type, kind, enabled=precision in kinds):
        yield


def weights_of(hemisphere: nn.Module) -> str:
    """A short name for a hemisphere's weights, by which equal ones are known."""
    return digest({name: value.cpu() for name, value in hemisphere.state_dict().items()})


class FeatureCache:
    """Fixed images, seen by one hemisphere after the other; equal hemispheres of several networks see them once.

    Args:
        images: uint8 (N, 3, H, W), or what gives such by rows.
        rows: which of them, int64 (M,); None: all.
    """

    def __init__(self, images: Tensor | Undecoded, rows: Tensor | None = None) -> None:
        self.images = images
        self.rows = torch.arange(images.shape[0]) if rows is None else rows
        self._seen: dict[tuple[str, str], Tensor] = {}

    def features(self, module: Supervised, network: HemispheresAndHeads) -> dict[str, Tensor]:
        """Features (M, F) on the CPU of each hemisphere of a network, by its name."""
        return {
            name: self._once(module, hemisphere) for name, hemisphere in network.hemispheres.items()
        }

    def _once(self, module: Supervised, hemisphere: nn.Module) -> Tensor:
        first = self._look(module, hemisphere, self.rows[:8])
        # The weights do not tell all: precision and what comes before the backbone show in the first features.
        key = (weights_of(hemisphere), digest({"first": first}))
        if key not in self._seen:
            batches = self.rows.split(EVAL_BATCH)
            self._seen[key] = torch.cat([self._look(module, hemisphere, rows) for rows in batches])
        return self._seen[key]

    def _look(self, module: Supervised, hemisphere: nn.Module, rows: Tensor) -> Tensor:
        with as_tested(module):
            seen = module.transforms(self.images[rows].to(module.device))
            return hemisphere(seen).float().cpu()

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
