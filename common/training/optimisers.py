"""The recipe's optimiser and schedule: what learns, and at which rate."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from common.settings.levels import side_of
from common.training.muon import Muon

# Layers whose weights map features to features: what Muon makes orthogonal steps of.
MAPPING = (nn.Linear, nn.Conv2d, nn.MultiheadAttention)


def optimisation(
    network: nn.Module,
    hparams: DictConfig,
    *,
    plasticity: Mapping[str, float],
    steps: int,
    fused: bool,
) -> Any:
    """Make the optimiser over all that is not frozen, and its schedule by steps, as Lightning takes them.

    Args:
        network: of hemispheres and heads.
        hparams: the optimiser's and the schedule's, among others.
        plasticity: for each side, what multiplies the rate of its hemisphere.
        steps: of the whole training.
        fused: whether one kernel takes all parameters.
    """
    groups = parameter_groups(
        network, lr=hparams.lr, plasticity=plasticity, matrices=hparams.optimizer == "muon"
    )
    optimizer = _optimizer(groups, hparams, fused=fused)
    if hparams.schedule == "constant":
        return optimizer
    # Read once: a look into the configuration takes as long as a small kernel.
    warmup: float = hparams.warmup
    schedule = LambdaLR(optimizer, lambda step: one_cycle(step, steps=steps, warmup=warmup))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def one_cycle(step: int, *, steps: int, warmup: float) -> float:
    """Compute the share of the highest learning rate at a step: up and down by half cosines (Smith & Topin 2018).

    From 1/25 to 1 over a share ``warmup`` of the ``steps``, then to 0 after the last one. As torch's OneCycleLR,
    but right for runs of one step too.
    """
    peak = warmup * steps
    if step < peak:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * step / peak)) / 2
    return (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2


def parameter_groups(
    network: nn.Module, *, lr: float, plasticity: Mapping[str, float], matrices: bool = False
) -> list[dict[str, Any]]:
    """Group what is not frozen by learning rate: ``lr`` itself, which is the join's and the heads', comes first.

    Args:
        network: of hemispheres and heads.
        lr: base learning rate.
        plasticity: for each side, what multiplies the rate of its hemisphere.
        matrices: whether the weights of the hemispheres' convolutions, linear layers and attention are apart, in
            groups with ``orthogonal`` (`common.training.muon`).
    """
    maps = {id(weight) for weight in _maps(network)} if matrices else set()
    found: dict[tuple[float, bool], list[nn.Parameter]] = {(lr, False): []}
    for name, parameter in network.named_parameters():
        part, _, path = name.partition(".")
        in_hemisphere = part == "hemispheres"
        side = side_of(path.partition(".")[0]) if in_hemisphere else ""
        if parameter.requires_grad:
            apart = in_hemisphere and id(parameter) in maps
            found.setdefault((lr * plasticity.get(side, 1.0), apart), []).append(parameter)
    return [
        {"params": parameters, "lr": rate} | ({"orthogonal": True} if apart else {})
        for (rate, apart), parameters in found.items()
    ]


def _maps(network: nn.Module) -> Iterator[nn.Parameter]:
    """Give the matrices that map features to features: a scale or a table has dimensions too, and maps nothing."""
    for module in network.modules():
        if isinstance(module, MAPPING):
            yield from (one for one in module.parameters(recurse=False) if one.ndim > 1)


def _optimizer(
    groups: list[dict[str, Any]], hparams: DictConfig, *, fused: bool
) -> torch.optim.Optimizer:
    if hparams.optimizer == "muon":
        return Muon(groups, momentum=hparams.momentum, weight_decay=hparams.weight_decay)
    # None, not False: where it is not fused, PyTorch may still take all weights at once.
    common: dict[str, Any] = {"weight_decay": hparams.weight_decay, "fused": fused or None}
    if hparams.optimizer == "sgd":
        nesterov = hparams.momentum > 0
        return torch.optim.SGD(groups, momentum=hparams.momentum, nesterov=nesterov, **common)
    if hparams.optimizer == "adam":
        return torch.optim.Adam(groups, **common)
    return torch.optim.AdamW(groups, **common)
