"""Every backbone of ours, and three families of torchvision, run stage by stage as they run as a whole."""

import pytest
import torch

from common.networks.backbones import build_backbone, registered
from common.networks.backbones.backbone import run
from common.system.errors import UserError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
# Those that come with the project must have stages; others may.
OURS = {"resnet9", "inverted_resnet9", "sparse_resnet9", "resnet18", "resnet34", "resnet50"} | {
    *("vgg11", "vgg11_bn"),
    *("torchvision:resnet18", "torchvision:vgg11_bn", "torchvision:convnext_tiny"),
}
FOREIGN = ["torchvision:resnet18", "torchvision:vgg11_bn", "torchvision:convnext_tiny"]


@pytest.mark.parametrize("arch", [*registered(), *FOREIGN])
@torch.no_grad()
def test_stage_by_stage_is_the_whole(arch):
    torch.manual_seed(0)
    width = 1.0 if arch in FOREIGN else 0.125
    backbone = build_backbone(arch, width=width).eval()
    maps, sizes = IMAGES, []
    try:
        stages = backbone.stages()
    except UserError:  # a backbone need not have any
        assert arch not in OURS
        return
    for name, stage in stages.items():
        assert isinstance(name, str)
        maps = run(stage, maps)
        assert maps.ndim == 4
        sizes.append(maps.shape[2])
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) >= 2
    assert backbone.read_out(maps).equal(backbone(IMAGES))


def test_a_backbone_without_residual_connections_too():
    backbone = build_backbone("resnet18", width=0.125, residual=False).eval()
    maps = IMAGES
    for stage in backbone.stages().values():
        maps = run(stage, maps)
    assert backbone.read_out(maps).equal(backbone(IMAGES))


@pytest.mark.parametrize("arch", ["torchvision:mobilenet_v2", "torchvision:swin_t"])
def test_others_are_refused_in_one_sentence(arch):
    with pytest.raises(UserError, match=r"cannot be cut into stages.*ResNet, VGG and ConvNeXt"):
        build_backbone(arch).stages()
