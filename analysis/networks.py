"""Trained networks on fixed images: the features of each hemisphere, computed once, and the logits for them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from analysis.study import FinishedStage
from architectures import ARCHITECTURES
from common.checkpoints.files import digest
from common.data.datamodule import EVAL_BATCH, evaluation_batch
from common.data.images import Undecoded
from common.networks.full_batch import in_full_batch
from common.networks.join import Join
from common.networks.macro import EnsembleNet, HemispheresAndHeads, Network
from common.settings.levels import SPELLING, side_of
from common.system.environment import precision_of_test, use_fast_kernels, uses_gpu
from common.system.errors import UserError
from common.trained.load import load_module
from common.training.module import TrainingModule


def load(checkpoint: Path) -> TrainingModule:
    """The network of a checkpoint in its LightningModule, in evaluation mode, on the device it was tested on."""
    module = load_module(checkpoint, ARCHITECTURES)
    return module.to("cuda" if uses_gpu(module.cfg.trainer_params.accelerator) else "cpu")


def network_of(stage: FinishedStage) -> TrainingModule:
    """The network of a stage's best checkpoint, as `load` gives it.

    Raises:
        UserError: it is not the network whose result the stage holds.
    """
    module = load(stage.checkpoint)
    recorded = stage.result.get("fingerprint")
    if recorded not in (None, module.record.fingerprint):
        raise UserError(
            f"{stage.checkpoint} and {stage.place / 'result.yaml'} are of different runs: put back the one that was "
            f"replaced, or delete {stage.place} to train that stage anew."
        )
    return module


@contextmanager
def as_tested(module: TrainingModule) -> Iterator[None]:
    """The arithmetic in which the network was tested: no gradients, and the precision of its configuration."""
    params = module.cfg.trainer_params
    precision = precision_of_test(params.precision, params.accelerator)
    kinds = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    kind = kinds.get(precision, torch.float32)
    products, by_trial = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    # Products alone: after training in this process cuDNN would choose kernels by trial, for each new shape.
    torch.backends.cudnn.benchmark = use_fast_kernels(params.accelerator, deterministic=True)
    try:
        with torch.no_grad(), torch.autocast(module.device.type, kind, enabled=precision in kinds):
            yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.benchmark = by_trial


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


def halves_of(network: HemispheresAndHeads, features: Tensor) -> dict[str, dict[str, Tensor]]:
    """Give by how much each logit rises with each feature, by level and side, (C, F_side) on the CPU.

    The slope at some images, averaged over them, as the network has it. Where the join is linear in features, such as
    concatenation, that is the same in all images: the head's weight times what the join makes of the feature.

    Args:
        network: with two hemispheres.
        features: of some images side by side, (N, num_features); few are enough.
    """
    at = features.to(next(network.parameters()).device, copy=True).requires_grad_()
    with torch.enable_grad():
        slopes = {
            level: torch.stack(
                [
                    torch.autograd.grad(one.sum(), at, retain_graph=True)[0].mean(dim=0)
                    for one in logits.unbind(dim=1)
                ]
            )
            for level, logits in network.classify(at).items()
        }
    return {level: network.split(one.cpu()) for level, one in slopes.items()}


def parts_of(network: HemispheresAndHeads, features: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Give what each hemisphere adds to what the heads see, by side, (N, F) on the CPU; None if there is no such sum.

    Args:
        network: with two hemispheres.
        features: (N, F_side) by side.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        parts = network.join.parts({side: one.to(device) for side, one in features.items()})
    return parts and {side: one.cpu() for side, one in parts.items()}


class Together(nn.Module):
    """Hemispheres that a callosum connects, as if they were one: images → the features of both side by side."""

    def __init__(self, network: HemispheresAndHeads) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) into features (B, num_features)."""
        return self.network.features(images)


def features_of(network: Network, hemisphere: nn.Module, images: Tensor) -> Tensor:
    """Give the features (B, F) of a hemisphere of a network, with what it hears of the other one.

    Args:
        network: that it is part of.
        hemisphere: of ``network``, or of a member of it.
        images: normalised float (B, 3, H, W).
    """
    if isinstance(network, HemispheresAndHeads) and network.callosum is not None:
        (side,) = (side for side, one in network.sides.items() if one is hemisphere)
        return network.outputs(images).features[side]
    return hemisphere(images)


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
            batches = self.rows.split(self._full_batch(module))
            self._seen[key] = torch.cat(
                [self._compute(module, hemisphere, rows) for rows in batches]
            )
        return self._seen[key]

    def _compute(self, module: TrainingModule, hemisphere: nn.Module, rows: Tensor) -> Tensor:
        with as_tested(module):
            inputs = module.transforms(self.images[rows].to(module.device))
            # On a GPU, so that no kernels are chosen by trial for the last batch alone.
            size = self._full_batch(module) if inputs.is_cuda else 0
            return in_full_batch(hemisphere, inputs, size).float().cpu()

    def _full_batch(self, module: TrainingModule) -> int:
        return evaluation_batch(self.images.shape[-2:], gpu=module.device.type == "cuda")

    def of_network(self, module: TrainingModule, network: HemispheresAndHeads) -> dict[str, Tensor]:
        """Features (M, F_side) by side of a network of ``module``, with what its hemispheres hear of each other."""
        if network.callosum is None:
            return {
                side_of(name): self.features(module, one)
                for name, one in network.hemispheres.items()
            }
        return network.split(self.features(module, Together(network)))

    def logits(self, module: TrainingModule) -> dict[str, Tensor]:
        """Logits (M, C) by level; of an ensemble, the logarithm of its members' mean probability."""
        network = module.network
        if not isinstance(network, EnsembleNet):
            return self._logits(module, network)
        outputs = [self._logits(module, one) for one in network.networks]  # type: ignore[arg-type]
        return network.combine(outputs)

    def _logits(self, module: TrainingModule, network: HemispheresAndHeads) -> dict[str, Tensor]:
        features = self.of_network(module, network)
        return classify(module, network, side_by_side([*features.values()]))


def silence(features: Tensor, mean: Tensor, which: Tensor) -> Tensor:
    """Set the features in ``which`` (bool (F,)) of features (N, F) to their ``mean`` (F,) in every image.

    That is computed where the features are.
    """
    return torch.where(which.to(features.device), mean.to(features.device), features)


def without(
    silent: str, features: Mapping[str, Tensor], known: Mapping[str, Tensor], join: Join
) -> Tensor:
    """Put features (N, F_side) by side, the ``silent`` ones as the join has those of a silent hemisphere.

    Args:
        silent: the side.
        features: of any images.
        known: of training images (M, F_side).
        join: of the network.
    """
    held = join.silenced(known[silent].mean(0)).expand_as(features[silent])
    return side_by_side([*{**features, silent: held}.values()])


def classify(
    module: TrainingModule, network: HemispheresAndHeads, features: Tensor
) -> dict[str, Tensor]:
    """Logits (N, C) by level, float32 on the CPU, of features (N, F_left + F_right) as `side_by_side` joins them."""
    found: dict[str, list[Tensor]] = {}
    with as_tested(module):
        for batch in features.split(EVAL_BATCH):
            for level, logits in network.classify(batch.to(module.device)).items():
                found.setdefault(level, []).append(logits.float())
    # At once: a GPU would be waited for after each batch.
    return {level: torch.cat(batches).cpu() for level, batches in found.items()}


def choices(
    module: TrainingModule, network: HemispheresAndHeads, features: Tensor
) -> dict[str, Tensor] | None:
    """Weights (N, sides) of the hemispheres by level, on the CPU; arguments are those of `classify`.

    None where the join weighs hemispheres alike in all images.
    """
    with as_tested(module):
        batches = [network.choices(batch.to(module.device)) for batch in features.split(EVAL_BATCH)]
    found = [one for one in batches if one is not None]
    if not found:
        return None
    return {level: torch.cat([one[level].float().cpu() for one in found]) for level in found[0]}
