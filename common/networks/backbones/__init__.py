"""Backbones: images (B, 3, H, W) → features (B, num_features). One file per family, which registers what is in it."""

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from common.networks.backbones.backbone import Backbone
from common.networks.backbones.registry import (
    build_backbone,
    own_sparsity,
    register,
    registered,
)
from common.system.errors import importing

for _module in iter_modules(__path__):
    with importing(str(Path(__file__).with_name(f"{_module.name}.py"))):
        import_module(f"{__name__}.{_module.name}")

__all__ = ["Backbone", "build_backbone", "own_sparsity", "register", "registered"]
