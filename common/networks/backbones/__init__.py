"""Backbones: images (B, 3, H, W) → features (B, num_features). One file per family."""

from common.networks.backbones import resnet, resnet9, vgg  # noqa: F401  importing a file registers what is in it
from common.networks.backbones.backbone import Backbone
from common.networks.backbones.registry import (
    build_backbone,
    own_sparsity,
    register,
    registered,
)

__all__ = ["Backbone", "build_backbone", "own_sparsity", "register", "registered"]
