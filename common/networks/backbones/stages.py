"""Where torchvision's ResNet, VGG and ConvNeXt are cut into stages, and what follows the last one."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VGG, ConvNeXt, ResNet

from common.networks.backbones.backbone import Stages


def stages_of(model: nn.Module) -> Stages | None:
    """Cut a model: after its stem and after each of its stages; None if it is of another family."""
    if isinstance(model, ResNet):
        return resnet_stages(model)
    if isinstance(model, VGG):
        return pooled_blocks(model.features)
    if isinstance(model, ConvNeXt):
        # Stem, stage 1, then before each further stage a layer that halves height and width.
        stem, first, *others = model.features
        pairs = zip(others[::2], others[1::2], strict=True)
        stages = {f"stage{i}": pair for i, pair in enumerate(pairs, start=2)}
        return {"stem": (stem,), "stage1": (first,), **stages}
    return None


def resnet_stages(model: ResNet) -> Stages:
    """Cut a ResNet after its stem and after each of its four stages."""
    stem = (model.conv1, model.bn1, model.relu, model.maxpool)
    return {"stem": stem} | {f"layer{i}": (getattr(model, f"layer{i}"),) for i in range(1, 5)}


def pooled_blocks(features: nn.Module) -> Stages:
    """Cut the convolutions of a VGG after each max-pool: block1 to block5."""
    blocks: list[list[nn.Module]] = [[]]
    for layer in features.children():
        blocks[-1].append(layer)
        if isinstance(layer, nn.MaxPool2d):
            blocks.append([])
    return {f"block{i}": block for i, block in enumerate(filter(None, blocks), start=1)}


def read_out_of(model: Any, maps: Tensor) -> Tensor:
    """Do what a model of these families does after its last stage: maps (B, C, h, w) → features (B, F)."""
    pooled = model.avgpool(maps)
    if isinstance(model, ConvNeXt):
        return model.classifier(pooled)
    flat = torch.flatten(pooled, 1)
    return model.fc(flat) if isinstance(model, ResNet) else model.classifier(flat)
