"""Classification models of torchvision as backbones, by their prefix."""

import warnings

import pytest
import torch
import torchvision
from torch import nn

from common.networks.backbones import Backbone, build_backbone
from common.networks.backbones.torchvision_models import ONE_SIZE, names
from common.system.errors import UserError

FAMILIES = {
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "mnasnet0_5": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_small": 1024,
    "resnext50_32x4d": 2048,
    "shufflenet_v2_x0_5": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "vgg13_bn": 4096,
}


def on_meta(name: str, size: int = 32) -> tuple[Backbone, torch.Tensor]:
    """A model and its features of two images, without memory; a warning is an error."""
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        backbone = build_backbone(f"torchvision:{name}")
        return backbone, backbone(torch.zeros(2, 3, size, size))


@pytest.mark.parametrize("name", FAMILIES)
def test_families_give_features_of_small_images_in_training_too(name):
    backbone, features = on_meta(name)
    assert isinstance(backbone, Backbone)
    assert features.shape == (2, backbone.num_features) == (2, FAMILIES[name])
    assert not [layer for layer in backbone.modules() if getattr(layer, "out_features", 0) == 1000]


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in names() if not n.startswith((*ONE_SIZE, "regnet"))])
def test_all_that_torchvision_has_give_features_of_small_images(name):
    backbone, features = on_meta(name)
    assert features.shape == (2, backbone.num_features)


def test_models_that_cannot_be_built_without_memory_work_too():
    backbone = build_backbone("torchvision:regnet_y_400mf")
    assert backbone(torch.randn(2, 3, 32, 32)).shape == (2, backbone.num_features)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    backbone = build_backbone(f"torchvision:{name}")
    features = backbone(torch.randn(2, 3, 32, 32))
    assert features.isfinite().all()
    features.square().sum().backward()
    for path, parameter in backbone.named_parameters():
        assert parameter.grad is not None, path


def size_after(backbone: nn.Module, layer: nn.Module) -> tuple[int, int]:
    seen = []
    layer.register_forward_hook(lambda _, inputs, maps: seen.append(tuple(maps.shape[2:])))
    backbone(torch.zeros(2, 3, 32, 32, device="meta"))
    return seen[0]


@pytest.mark.parametrize(
    ("name", "path", "size"),
    [
        ("resnet18", "layer1", (32, 32)),  # 7x7 convolution of stride 2 and a max-pool
        ("densenet121", "features.denseblock1", (32, 32)),  # likewise
        ("mobilenet_v2", "features.0", (32, 32)),  # a convolution of stride 2 alone
        ("vgg13", "features.1", (32, 32)),  # neither
        ("vgg13", "features.4", (16, 16)),  # whose first max-pool is no part of a stem
        ("convnext_tiny", "features.0", (8, 8)),  # patches of 4x4 pixels
    ],
)
def test_the_stem_keeps_small_images(name, path, size):
    backbone, _ = on_meta(name)
    assert size_after(backbone, backbone.model.get_submodule(path)) == size


@pytest.mark.parametrize("name", ["mobilenet_v2", "vgg13", "inception_v3", "squeezenet1_1"])
def test_the_dropout_before_the_classifier_leaves_with_it(name):
    backbone, _ = on_meta(name)
    options = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, **options)
    before, after = (
        sum(isinstance(layer, nn.Dropout) for layer in network.modules())
        for network in (theirs, backbone)
    )
    assert after == before - 1


def test_two_names_of_one_family_differ_in_their_stem():
    def kernel(arch):
        with torch.device("meta"):
            backbone = build_backbone(arch)
        return next(x.kernel_size for x in backbone.modules() if isinstance(x, nn.Conv2d))

    assert (kernel("resnet18"), kernel("torchvision:resnet18")) == ((3, 3), (7, 7))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenet_v3", r"no classification model 'mobilenet_v3' .*mobilenet_v2"),  # a close one
        # Of other tasks.
        ("fasterrcnn_resnet50_fpn", "no classification model"),
        ("deeplabv3_resnet50", "no classification model"),
        ("r3d_18", "no classification model"),
        # Of one image size.
        ("vit_b_16", "224 x 224 pixels alone"),
        ("maxvit_t", "224 x 224 pixels alone"),
    ],
)
def test_other_models_are_refused(name, said):
    with pytest.raises(UserError, match=said):
        build_backbone(f"torchvision:{name}")


def test_another_width_is_refused_with_the_key_to_give():
    with pytest.raises(
        UserError, match=r"width is 0\.25, .*one width.*hparams\.width=1 .*fine_width"
    ):
        build_backbone("torchvision:mobilenet_v3_small", width=0.25)


def test_residual_connections_of_torchvisions_models_stay():
    with pytest.raises(UserError, match="no residual connections that could be left out"):
        build_backbone("torchvision:resnext50_32x4d", residual=False)
