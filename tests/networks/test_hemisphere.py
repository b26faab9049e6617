"""What a hemisphere is made of: each parameter does what it says, and to its own side."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from arch_dual_head import trainer
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from arch_single_head.schema import SingleConfig
from common.networks.backbones import build_backbone, registered
from common.networks.hemisphere import HemisphereConfig
from common.networks.macro import BilateralNet, Hemisphere
from common.networks.parameters import PARAMETERS
from common.networks.spatial_frequency import SpatialFilter
from common.runs.fingerprint import identify
from common.settings.compose import ROOT, compose
from common.settings.levels import SIDES, SPELLING
from common.system.errors import UserError
from common.training.optimisers import parameter_groups

NARROW = 0.125
RESIDUAL = ["resnet9", "inverted_resnet9", "sparse_resnet9", "resnet18", "resnet34", "resnet50"]


# Relative layer sizes


def widths(arch: str) -> list[int]:
    with torch.device("meta"):
        modules = build_backbone(arch).modules()
    return [layer.out_channels for layer in modules if isinstance(layer, nn.Conv2d)]


def test_inverted_resnet9_has_the_widths_of_resnet9_in_reverse():
    assert widths("resnet9") == [64, 128, 128, 128, 256, 512, 512, 512]
    assert widths("inverted_resnet9") == [512, 256, 256, 256, 128, 64, 64, 64]


# Residual connections


@pytest.mark.parametrize("arch", RESIDUAL)
def test_without_residual_connections_nothing_comes_past_a_block(arch):
    """With all its convolutions at zero, a block passes on its input along its residual connection alone."""
    for residual in (True, False):
        torch.manual_seed(0)
        backbone = build_backbone(arch, width=NARROW, residual=residual).eval()
        blocks = [
            block
            for block in backbone.modules()
            if hasattr(block, "block1") or (hasattr(block, "bn2") and not block.downsample)
        ]
        assert len(blocks) >= 2
        for block in blocks:
            for layer in block.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.zeros_(layer.weight)
        features = backbone(torch.rand(2, 3, 32, 32))
        # The first block after which there is nothing to see is enough to leave the features without a trace.
        assert features.any() == residual


@pytest.mark.parametrize("arch", RESIDUAL)
def test_residual_connections_leave_with_their_projections_and_nothing_else(arch):
    def names(residual: bool) -> set[str]:
        with torch.device("meta"):
            return set(build_backbone(arch, residual=residual).state_dict())

    assert names(False) == {name for name in names(True) if ".downsample." not in name}


@pytest.mark.parametrize("arch", sorted({*registered()} - {*RESIDUAL}))
def test_a_backbone_without_residual_connections_says_so(arch):
    with pytest.raises(UserError, match=rf"{arch} has no residual .*hparams.residual=true"):
        build_backbone(arch, width=NARROW, residual=False)


# Spatial frequency


def spectrum(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Frequency in cycles per image and energy, both flat, by numpy and from definitions."""
    height, width = images.shape[2:]
    v, u = np.meshgrid(
        np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width, indexing="ij"
    )
    energy = (np.abs(np.fft.fft2(images.double().numpy())) ** 2).sum((0, 1))
    return np.sqrt(u**2 + v**2).ravel(), energy.ravel()


@given(
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    st.none() | st.floats(1, 12),
    st.none() | st.floats(0.1, 3),
    st.integers(0, 100),
)
def test_a_filter_passes_its_band_as_it_is_and_nothing_else(size, low_pass, high_pass, seed):
    if high_pass is not None and high_pass > math.hypot(size[0] // 2, size[1] // 2):
        return
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    filtered = SpatialFilter(low_pass=low_pass, high_pass=high_pass)(images)
    assert filtered.shape == images.shape
    frequency, before = spectrum(images)
    _, after = spectrum(filtered)
    passes = (frequency <= (low_pass or np.inf)) & (frequency >= (high_pass or 0))
    # A cutoff that is a frequency of the image, but for rounding, may fall to either side.
    clear = [np.abs(frequency - (cut or -1)) > 1e-4 for cut in (low_pass, high_pass)]
    sure = clear[0] & clear[1]
    scale = before.max()
    np.testing.assert_allclose(
        after[passes & sure] / scale, before[passes & sure] / scale, atol=1e-5
    )
    np.testing.assert_allclose(after[~passes & sure] / scale, 0, atol=1e-10)


def grating(cycles: float, size: int = 32) -> torch.Tensor:
    """Upright bars, ``cycles`` of them over the width, around a mean of 3."""
    x = torch.arange(size) / size
    # Repeated, not expanded, which MKL of torch 2.6 does not transform.
    return (3 + torch.cos(2 * math.pi * cycles * x)).repeat(1, 3, size, 1)


@pytest.mark.parametrize(("cycles", "passes"), [(2, True), (4, True), (5, False), (12, False)])
def test_cutoffs_are_in_cycles_per_image_and_included(cycles, passes):
    low = SpatialFilter(low_pass=4, high_pass=None)(grating(cycles))
    high = SpatialFilter(low_pass=None, high_pass=4)(grating(cycles))
    mean = torch.full_like(low, 3.0)
    # The mean passes every low-pass, and no high-pass.
    torch.testing.assert_close(low, grating(cycles) if passes else mean)
    torch.testing.assert_close(
        high, grating(cycles) - 3 if cycles >= 4 else torch.zeros_like(high), atol=1e-5, rtol=0
    )


def test_a_high_pass_above_every_frequency_of_the_images_is_refused():
    with pytest.raises(UserError, match=r"high_pass=30 .* 32 x 32 pixels.* 22\.6 cycles per image"):
        SpatialFilter(low_pass=None, high_pass=30)(torch.zeros(1, 3, 32, 32))


def hemisphere(**options) -> Hemisphere:
    torch.manual_seed(0)
    return HemisphereConfig(arch="resnet9", width=NARROW, k=1.0, per_k=1.0, **options).build()


def test_a_hemisphere_sees_filtered_images_on_the_same_weights():
    plain, low = hemisphere(), hemisphere(low_pass=4.0)
    assert plain.spatial_filter is None
    assert plain.state_dict().keys() == low.state_dict().keys()
    images = torch.randn(4, 3, 32, 32)
    filtered = SpatialFilter(low_pass=4, high_pass=None)(images)
    assert low.eval()(images).equal(plain.eval()(filtered))
    assert not torch.allclose(low(images), plain(images))
    # The same in bfloat16, in which there is no Fourier transform.
    with torch.autocast("cpu", torch.bfloat16):
        assert low(images).equal(plain(filtered))


# Plasticity


def network(freeze_left=False) -> BilateralNet:
    torch.manual_seed(0)
    return BilateralNet(
        left=Hemisphere(build_backbone("resnet9", width=NARROW), freeze=freeze_left),
        right=Hemisphere(build_backbone("resnet9", width=NARROW)),
        num_classes={"fine": 6, "coarse": 3},
        dropout=0.0,
    )


def test_plasticity_multiplies_the_step_of_its_hemisphere_and_of_nothing_else():
    def steps(**plasticity) -> dict[str, torch.Tensor]:
        net = network()
        before = {name: p.detach().clone() for name, p in net.named_parameters()}
        groups = parameter_groups(net, lr=0.5, plasticity=plasticity)
        optimizer = torch.optim.SGD(groups)
        sum(logits.sum() for logits in net(torch.ones(2, 3, 16, 16)).values()).backward()
        optimizer.step()
        return {name: p.detach() - before[name] for name, p in net.named_parameters()}

    base, changed = steps(), steps(left=0.25, right=3.0)
    for name, step in base.items():
        factor = {"fine": 0.25, "coarse": 3.0}[name.split(".")[1]]
        factor = factor if name.startswith("hemispheres.") else 1.0
        torch.testing.assert_close(changed[name], factor * step, rtol=1e-3, atol=1e-6)
    assert sum(step.abs().sum() for step in base.values()) > 0


def test_the_base_rate_comes_first_and_frozen_hemispheres_have_none():
    net = network(freeze_left=True)
    groups = parameter_groups(net, lr=0.5, plasticity={"left": 7.0, "right": 0.1})
    assert [group["lr"] for group in groups] == [0.5, 0.05]
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in net.heads.parameters()}
    coarse = net.hemispheres["coarse"].parameters()
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in coarse}


def test_without_plasticity_there_is_one_group_in_the_order_of_the_network():
    net = network()
    (group,) = parameter_groups(net, lr=0.5, plasticity={"left": 1.0, "right": 1.0})
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters()]


# From keys to a hemisphere


def values(**changed) -> dict:
    return {name: row.default for name, row in PARAMETERS.items()} | {"width": 0.5} | changed


def another(name: str):
    """An allowed value of a parameter, other than that of `values`."""
    row = PARAMETERS[name]
    if row.kind is str:
        return "resnet18"
    if row.kind is bool:
        return not row.default
    if "unless" in row.rule:  # a path, or a name that is none
        return "IMAGENET1K_V1"
    low = row.rule.get("low", row.rule.get("above"))
    return (low + min(row.rule["high"], low + 10)) / 2


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_side_reads_its_own_keys(name):
    hparams = {
        key: values()[one]
        for one, sides in ((name, row.keys) for name, row in PARAMETERS.items())
        for key in (one, *sides)
    }
    for side, key in zip((None, *SIDES), (name, *PARAMETERS[name].keys), strict=True):
        changed = hparams | {key: another(name)}
        for other in (None, *SIDES):
            hemisphere_config = HemisphereConfig.read(changed, other)
            expected = (
                another(name) if other == side else HemisphereConfig.read(values()).__dict__[name]
            )
            assert getattr(hemisphere_config, name) == expected


@pytest.mark.parametrize("name", PARAMETERS)
def test_all_that_changes_a_hemispheres_function_is_a_difference(name):
    ours, theirs = (
        HemisphereConfig.read(values()),
        HemisphereConfig.read(values(**{name: another(name)})),
    )
    assert ours.difference(theirs) == (None if name == "plasticity" else name)
    assert ours.difference(HemisphereConfig.read(values(plasticity=5))) is None


def test_an_open_sparsity_is_the_backbones_own():
    dense = HemisphereConfig.read(values())
    assert (dense.k, dense.per_k) == (1, 1)
    assert dense.difference(HemisphereConfig.read(values(k=1.0, per_k=1))) is None
    own = HemisphereConfig.read(values(arch="sparse_resnet9"))
    assert (own.k, own.per_k) == (0.25, 0.8)
    assert HemisphereConfig.read(values(arch="sparse_resnet9", k=1.0)).k == 1


def test_records_from_before_these_parameters_are_of_dense_plain_hemispheres():
    older = OmegaConf.create({"arch": "resnet9", "width": 0.5})
    assert HemisphereConfig.read(older) == HemisphereConfig.read(values())


@pytest.mark.parametrize("side", [None, *SIDES])
def test_a_band_that_nothing_passes_is_refused_by_the_names_of_its_keys(side):
    prefix = f"{SPELLING[side]}_" if side else ""
    arch = f"{SPELLING[side][0]}arch" if side else "arch"
    hparams = {f"{prefix}{name}": value for name, value in values().items() if name != "arch"}
    hparams |= {arch: "resnet9", f"{prefix}low_pass": 3.0, f"{prefix}high_pass": 4.0}
    with pytest.raises(UserError, match=rf"hparams.{prefix}low_pass=3 .*{prefix}high_pass=4"):
        HemisphereConfig.read(hparams, side)
    assert HemisphereConfig.read(hparams | {f"{prefix}low_pass": 4.0}, side).low_pass == 4


# The shipped examples

EXAMPLES = sorted((ROOT / "arch_dual_head" / "config").glob("asymmetry_*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
@pytest.mark.parametrize(
    "dataset",
    [*(pytest.param(d, marks=pytest.mark.slow) for d in ("cifar100", "cifar100_tenth")), "navon"],
)
def test_each_example_makes_the_hemispheres_differ_in_its_parameter_alone(file, dataset, command):
    done = command(
        "arch_dual_head/trainer.py",
        "--config-name",
        file.stem,
        "--cfg",
        "job",
        "--resolve",
        f"dataset={dataset}",
    )
    assert done.returncode == 0, done.stderr
    cfg = OmegaConf.create(yaml.safe_load(done.stdout))
    fine, coarse = DualHead.hemisphere_configs(cfg).values()
    chosen = OmegaConf.load(file).hparams
    theirs = {name for name, row in PARAMETERS.items() if set(row.keys) & set(chosen)}
    assert {name for name in PARAMETERS if getattr(fine, name) != getattr(coarse, name)} == theirs
    assert cfg.exp_name.startswith(file.stem)


def test_a_variant_may_contradict_a_group_that_is_chosen_on_the_command_line(in_process, tmp_path):
    status, _, err = in_process(
        trainer.main,
        "--config-name",
        "asymmetry_width",
        "dataset=navon",
        f"dataset.root={tmp_path}",
        f"save_dir={tmp_path}",
    )
    assert status == 1
    assert "No folder of labelled images" in err  # past all checks of the configuration


def test_names_after_the_prefix_are_for_the_registry_to_check():
    cfg = compose(
        ROOT / "arch_dual_head",
        schema=DualConfig,
        overrides=["hparams.farch=torchvision:mobilenet_v3_small", "hparams.carch=torchvision:x"],
    )
    assert cfg.hparams.farch == "torchvision:mobilenet_v3_small"
    for wrong in ("torchvision:", "torchvisio:x", "mobilenet_v3_small"):
        with pytest.raises(UserError, match=r"allowed: .*resnet9, .*, torchvision:NAME"):
            compose(
                ROOT / "arch_dual_head", schema=DualConfig, overrides=[f"hparams.farch={wrong}"]
            )


def test_a_parameter_at_its_neutral_value_does_not_shape_a_result_and_any_other_does():
    data = SimpleNamespace(digest="", test_digest=lambda: "")

    def shaping(*overrides) -> dict:
        cfg = compose(ROOT / "arch_single_head", schema=SingleConfig, overrides=overrides)
        identity = identify(cfg, data, "32-true", {}, schema=SingleConfig, sides=(None,))
        return identity["hparams"]

    base = shaping()
    assert base.keys() & PARAMETERS.keys() == {"arch", "width"}
    # Of weights, what they are counts: tests/checkpoints/test_pretrained.py.
    for name, value in ((name, another(name)) for name in PARAMETERS if name != "pretrained"):
        assert shaping(f"hparams.{name}={value}") == {**base, name: value}
    # Of sparse_resnet9, null is not 1.
    assert shaping("hparams.k=1") == {**base, "k": 1}
