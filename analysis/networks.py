"""Trained networks on fixed images: the features of each hemisphere, computed once, and the logits for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from architectures import ARCHITECTURES
from common.checkpoints.files import digest
from common.data.datamodule import EVAL_BATCH
from common.data.images import Undecoded
from common.networks.macro import EnsembleNet, HemispheresAndHeads
from common.settings.levels import SPELLING
from common.system.environment import choose_precision, uses_gpu
from common.trained.load import load_module
from common.training.module import TrainingModule


def load(checkpoint: Path) -> TrainingModule:
    """The network of a checkpoint in its LightningModule, in evaluation mode, on the device it was tested on."""
    module = load_module(checkpoint, ARCHITECTURES)
    return module.to("cuda" if uses_gpu(module.cfg.trainer_params.accelerator) else "cpu")


@contextmanager
def as_tested(module: TrainingModule) -> Iterator[None]:
    """The arithmetic in which the network was tested: no gradients, and the precision of its configuration."""
    params = module.cfg.trainer_params
    precision = choose_precision(params.precision, params.accelerator)
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    kind = kinds.get(precision, torch.float32)
    with torch.no_grad(), torch.autocast(module.device.type, kind, enabled=precision in kinds):
        yield


def weights_of(hemisphere: nn.Module) -> str:
    """A digest of a hemisphere's weights; equal weights have equal digests."""
    return digest({name: value.cpu() for name, value in hemisphere.state_dict().items()})


def sides(network: HemispheresAndHeads) -> dict[str, nn.Module]:
    """The hemispheres of a bilateral network, keyed left and right."""
    return {side: network.hemispheres[name] for side, name in SPELLING.items()}


def side_by_side(features: Sequence[Tensor]) -> Tensor:
    """Join features (N, F) of hemispheres, given in the order of `network.hemispheres`, to (N, F_left + F_right).

    That is what `network.features` gives and `network.classify` takes. It also joins weights (C, F) in that order.
    """
    return torch.cat([*features], dim=1)


def halves_of(network: HemispheresAndHeads) -> dict[str, dict[str, Tensor]]:
    """Give what each feature adds to each logit, by level and side, (C, F) on the CPU.

    That is the head's weight and what the join makes of the feature: exact for a join that is linear in features,
    such as concatenation; for any other one it is what the feature alone adds where it is 1 and all others are 0.
    """
    blank = torch.zeros(1, network.num_features, device=next(network.parameters()).device)
    unit = torch.eye(network.num_features, device=blank.device)
    with torch.no_grad():
        rise = network.join(network.split(unit)) - network.join(network.split(blank))
        found = {}
        for level, head in network.heads.items():
            weight: Tensor = head.linear.weight  # type: ignore[union-attr, assignment]
            found[level] = network.split((weight @ rise.T).cpu())
    return found


class FeatureCache:
    """The features of fixed images, computed once for each hemisphere, also where several networks share it.

    Args:
        images: uint8 (N, 3, H, W), or what gives such by rows.
        rows: which of them, int64 (M,); None: all.
    """

    def __init__(self, images: Tensor | Undecoded, rows: Tensor | None = None) -> None:
        self.images = images
        self.rows = torch.arange(images.shape[0]) if rows is None else rows
        self._seen: dict[tuple[str, str], Tensor] = {}

    def features(self, module: TrainingModule, hemisphere: nn.Module) -> Tensor:
        """Features (M, F) of a hemisphere, float32 on the CPU.

        Args:
            module: gives the device, the precision and the transforms.
            hemisphere: of its network.
        """
        first = self._compute(module, hemisphere, self.rows[:8])
        # Equal weights are not enough: precision, or a filter before the backbone, shows in the first features.
        key = (weights_of(hemisphere), digest({"first": first}))
        if key not in self._seen:
            batches = self.rows.split(EVAL_BATCH)
            self._seen[key] = torch.cat(
                [self._compute(module, hemisphere, rows) for rows in batches]
            )
        return self._seen[key]

    def _compute(self, module: TrainingModule, hemisphere: nn.Module, rows: Tensor) -> Tensor:
        with as_tested(module):
            inputs = module.transforms(self.images[rows].to(module.device))
            return hemisphere(inputs).float().cpu()

    def logits(self, module: TrainingModule) -> dict[str, Tensor]:
        """Logits (M, C) by level; of an ensemble, the logarithm of its members' mean probability."""
        network = module.network
        if not isinstance(network, EnsembleNet):
            return self._logits(module, network)
        outputs = [self._logits(module, one) for one in network.networks]  # type: ignore[arg-type]
        return network.combine(outputs)

    def _logits(self, module: TrainingModule, network: HemispheresAndHeads) -> dict[str, Tensor]:
        features = [self.features(module, one) for one in network.hemispheres.values()]
        return classify(module, network, side_by_side(features))


def classify(
    module: TrainingModule, network: HemispheresAndHeads, features: Tensor
) -> dict[str, Tensor]:
    """Logits (N, C) by level, float32 on the CPU, of features (N, F_left + F_right) as `side_by_side` joins them."""
    found: dict[str, list[Tensor]] = {}
    with as_tested(module):
        for batch in features.split(EVAL_BATCH):
            for level, logits in network.classify(batch.to(module.device)).items():
                found.setdefault(level, []).append(logits.float().cpu())
    return {level: torch.cat(batches) for level, batches in found.items()}
