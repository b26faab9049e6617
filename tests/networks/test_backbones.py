"""Backbones: one contract for all that are registered, and what is particular about each family."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
import torchvision
from torch import nn

from common.networks.backbones import Backbone, build_backbone, register, registered
from common.networks.backbones.vgg import pooled_linear
from common.system.errors import UserError

NARROW = 0.125  # keeps the tests quick


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# One contract for all


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("arch", registered())
def test_maps_images_to_finite_features_and_every_parameter_gets_a_gradient(arch, size, precision):
    torch.manual_seed(0)
    backbone = build_backbone(arch, width=NARROW)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        features = backbone(torch.randn(2, 3, size, size))
    assert isinstance(backbone, Backbone)
    assert features.shape == (2, backbone.num_features)
    assert features.isfinite().all()

    features.float().square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("arch", registered())
def test_accepts_channels_last_and_images_that_are_not_square(arch):
    torch.manual_seed(0)
    backbone = build_backbone(arch, width=NARROW).eval()
    images = torch.randn(2, 3, 32, 96)
    expected = backbone(images)
    backbone.to(memory_format=torch.channels_last)
    actual = backbone(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arch", registered())
def test_width_multiplies_the_channels(arch):
    # Widths at which no rounding counts, nor the few weights that read images.
    with torch.device("meta"):
        narrow, wide = build_backbone(arch, width=8), build_backbone(arch, width=16)
    assert wide.num_features == 2 * narrow.num_features
    # Nearly every weight joins two layers that are both twice as wide.
    assert num_parameters(wide) / num_parameters(narrow) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("arch", "num_features", "parameters"),
    [
        ("resnet9", 512, 6_568_000),
        ("sparse_resnet9", 512, 6_568_000),
        ("inverted_resnet9", 64, 2_818_688),
        ("resnet18", 512, 11_168_832),
        ("resnet34", 512, 21_276_992),
        ("resnet50", 2048, 23_500_352),
        ("vgg11", 4096, 128_766_336),
        ("vgg11_bn", 4096, 128_771_840),
    ],
)
def test_full_width(arch, num_features, parameters):
    with torch.device("meta"):
        backbone = build_backbone(arch)
    assert backbone.num_features == num_features
    assert num_parameters(backbone) == parameters


@pytest.mark.parametrize("arch", registered())
def test_the_seed_decides_the_weights(arch):
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_backbone(arch, width=NARROW).parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


# Names


def test_every_name_builds_its_own_architecture():
    # Not by their weights alone: sparse_resnet9 has those of resnet9.
    with torch.device("meta"):
        assert len({str(build_backbone(arch)) for arch in registered()}) == len(registered())


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match="'resnet_x' is unknown") as error:
        build_backbone("resnet_x")
    assert all(arch in str(error.value) for arch in registered())


@pytest.mark.parametrize("width", [0, -1.0, math.nan, math.inf])
def test_a_width_that_is_not_positive_is_refused(width):
    with pytest.raises(UserError, match=r"width .* above 0"):
        build_backbone("resnet9", width=width)


def test_a_name_cannot_be_taken_twice():
    def resnet9(*, width: float) -> Backbone:
        raise AssertionError

    with pytest.raises(
        UserError, match=r"two backbones are called 'resnet9'.*backbones/resnet9\.py"
    ):
        register(resnet9)


def test_width_is_keyword_only():
    with pytest.raises(TypeError):
        build_backbone("resnet9", 0.5)


# ResNet-9


def test_resnet9_has_eight_convolutions_without_bias_each_with_batchnorm():
    backbone = build_backbone("resnet9", width=NARROW)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 8
    assert all(convolution.bias is None for convolution in convolutions)
    assert len(backbone.state_dict()) == 48


def test_resnet9_with_a_head_for_100_classes_has_6_6_million_parameters():
    with torch.device("meta"):
        network = nn.Sequential(build_backbone("resnet9"), nn.Linear(512, 100))
    assert num_parameters(network) == 6_619_300


def test_resnet9_takes_images_of_8_pixels():
    assert build_backbone("resnet9", width=NARROW)(torch.randn(2, 3, 8, 8)).shape == (2, 64)


def test_resnet9_starts_with_the_variance_of_he_et_al():
    torch.manual_seed(0)
    weight = build_backbone("resnet9").residual3.block1.conv.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.01)


def test_resnet9_is_the_published_network():
    """Against the same network written out with functions, on its weights."""
    torch.manual_seed(0)
    backbone = build_backbone("resnet9", width=NARROW)
    weights = iter(backbone.parameters())

    def block(maps: torch.Tensor) -> torch.Tensor:
        maps = F.conv2d(maps, next(weights), padding=1)
        return F.batch_norm(maps, None, None, next(weights), next(weights), training=True).relu()

    images = torch.randn(4, 3, 32, 32)
    maps = F.max_pool2d(block(block(images)), 2)
    maps = maps + block(block(maps))
    maps = F.max_pool2d(block(maps), 2)
    maps = F.max_pool2d(block(maps), 2)
    maps = maps + block(block(maps))
    expected = F.adaptive_max_pool2d(maps, 1).flatten(1)
    torch.testing.assert_close(backbone(images), expected)


# ResNet-18, -34, -50


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50"])
def test_resnet_is_torchvisions_but_for_stem_and_classifier(arch):
    with torch.device("meta"):
        ours = {name: tuple(p.shape) for name, p in build_backbone(arch).state_dict().items()}
        theirs = {
            name: tuple(p.shape)
            for name, p in torchvision.models.get_model(arch).state_dict().items()
            if not name.startswith("fc.")
        }
    assert theirs.pop("conv1.weight") == (64, 3, 7, 7)
    assert ours.pop("conv1.weight") == (64, 3, 3, 3)
    assert ours == theirs


def test_resnet_keeps_32_pixels_up_to_its_first_stage():
    backbone = build_backbone("resnet18", width=NARROW)
    seen = []
    backbone.layer1.register_forward_hook(lambda module, inputs, maps: seen.append(maps.shape))
    backbone(torch.randn(2, 3, 32, 32))
    assert seen == [(2, 8, 32, 32)]


NARROW_STEP = """
import torch
from common.networks.backbones import build_backbone
backbone = build_backbone("{arch}", width=0.125).to(memory_format=torch.channels_last)
images = torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)
for _ in range(4):
    backbone(images).square().sum().backward()
"""


@pytest.mark.parametrize("arch", ["resnet18", "resnet34"])
def test_a_narrow_resnet_learns_in_float32_as_training_lays_out_its_maps(arch, command):
    """Of 8 channels, oneDNN's gradient of a 1x1 convolution of stride 2 kills the process, hence one of its own."""
    done = command("-c", NARROW_STEP.format(arch=arch))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [(32, 32), (33, 46)])
def test_a_narrow_resnet_is_torchvisions_with_fewer_channels(size):
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", width=NARROW).eval()
    images = torch.randn(2, 3, *size)
    features = backbone(images)
    for name in ("layer2", "layer3", "layer4"):
        block = getattr(backbone, name)[0]
        block.downsample[0].stride = block.conv1.stride
        block.downsample = nn.Sequential(*block.downsample)
    torch.testing.assert_close(features, backbone(images))


# VGG-11


def test_maps_of_seven_by_seven_are_their_own_average():
    maps, linear = torch.randn(2, 3, 7, 7, requires_grad=True), torch.nn.Linear(3 * 49, 5)
    found = pooled_linear(maps, linear)
    assert found.equal(linear(F.adaptive_avg_pool2d(maps, 7).flatten(1)))
    # The average's gradient is not deterministic on a GPU.
    found.sum().backward()
    assert "AdaptiveAvgPool" not in str(found.grad_fn.next_functions)


@pytest.fixture(scope="module")
def vgg_pair():
    """Our VGG-11 and torchvision's cut before its last dropout, on the same weights."""
    torch.manual_seed(0)
    theirs = torchvision.models.vgg11(init_weights=False)
    theirs.classifier = theirs.classifier[:-2]
    with torch.device("meta"):
        ours = build_backbone("vgg11")
    # Strict: names and shapes are torchvision's. Assigned: the same memory, so a gradient of
    # one is told from the other's by clearing it in between.
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return ours, theirs


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
def test_vgg11_computes_what_torchvisions_does(vgg_pair, size):
    images = torch.randn(2, 3, size, size)

    def features_and_gradients(network):
        torch.manual_seed(1)  # dropout
        features = network(images)
        features.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
        network.zero_grad()
        return features.detach(), gradients

    ours, theirs = map(features_and_gradients, vgg_pair)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-6)
    for name in theirs[1]:
        # float32 sums in another order: judged against the largest entry of each gradient
        scale = theirs[1][name].abs().max().item()
        torch.testing.assert_close(ours[1][name], theirs[1][name], rtol=1e-4, atol=1e-5 * scale)


def test_vgg11_bn_computes_what_torchvisions_does():
    torch.manual_seed(0)
    theirs = torchvision.models.vgg11_bn(init_weights=False)
    theirs.classifier = theirs.classifier[:-2]
    with torch.device("meta"):
        ours = build_backbone("vgg11_bn")
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 2), (3, 2), (6, 6), (7, 7), (3, 20), (8, 8)])
def test_pooled_linear_is_exact_for_every_map_size(shape):
    torch.manual_seed(0)
    linear = nn.Linear(4 * 49, 5).double()
    maps = torch.randn(3, 4, *shape, dtype=torch.double, requires_grad=True)
    inputs = [maps, linear.weight, linear.bias]
    seed = torch.randn(3, 5, dtype=torch.double)

    expected = linear(F.adaptive_avg_pool2d(maps, 7).flatten(1))
    expected_gradients = torch.autograd.grad(expected, inputs, seed)
    actual = pooled_linear(maps, linear)
    torch.testing.assert_close(actual, expected)
    with torch.profiler.profile() as launched:
        gradients = torch.autograd.grad(actual, inputs, seed)
    torch.testing.assert_close(gradients, expected_gradients)
    # The one that is not deterministic on a GPU.
    assert not any("pool2d_backward" in one.key for one in launched.key_averages())


def test_vgg11_has_one_dropout_because_the_head_brings_the_other():
    backbone = build_backbone("vgg11", width=NARROW)
    assert sum(isinstance(module, nn.Dropout) for module in backbone.modules()) == 1
    assert isinstance(backbone.classifier[-1], nn.ReLU)
