"""Winner-take-all: who survives, in training and in evaluation, and what gradients do."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from common.networks.backbones import build_backbone, own_sparsity, registered
from common.networks.backbones.sparsity import Winners, lifetime_winners, spatial_winners
from common.system.errors import UserError

NARROW = 0.125
shares = st.floats(0.001, 1)
sizes = st.tuples(*(st.integers(1, 6) for _ in range(4)))


def maps_of(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


# Known answers


def test_the_largest_units_of_each_map_survive():
    maps = maps_of([[[[1, 5], [3, 2]], [[9, 8], [7, 6]]]])
    survived = Winners(k=0.5)(maps)
    assert survived.equal(maps_of([[[[0, 5], [3, 0]], [[9, 8], [0, 0]]]]))


def test_the_first_of_equals_survive():
    maps = maps_of([[[[2, 1, 1], [1, 3, 1]]]])
    expected = [[[[True, True, True], [False, True, False]]]]
    assert spatial_winners(maps, 4 / 6).tolist() == expected


@pytest.mark.parametrize("place", [0, 3])
def test_what_is_no_number_survives_to_be_seen(place):
    maps = maps_of([1, 2, 3, 4]).view(1, 1, 2, 2)
    maps.view(-1)[place] = float("nan")
    for k in (0.25, 0.5, 1):
        assert Winners(k=k)(maps).isnan().any()


def test_each_feature_survives_for_the_images_for_which_it_is_largest():
    features = maps_of([[2, 9], [4, 8], [3, 10]])
    expected = [[False, True], [True, False], [True, True]]
    assert lifetime_winners(features, 2 / 3).tolist() == expected


# For all maps


@given(sizes, shares, st.integers(0, 1000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_exactly_k_of_each_map_survive_and_none_is_smaller_than_a_loser(size, k, seed, dtype):
    # Few different values, so that most are tied.
    maps = torch.randint(0, 4, size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    winners = spatial_winners(maps, k)
    expected = max(1, round(k * size[2] * size[3]))
    assert winners.sum(dim=(2, 3)).eq(expected).all()
    weakest = maps.masked_fill(~winners, float("inf")).amin(dim=(2, 3))
    strongest_loser = maps.masked_fill(winners, -float("inf")).amax(dim=(2, 3))
    assert (weakest >= strongest_loser).all()
    assert winners.equal(spatial_winners(maps, k))
    channels_last = maps.contiguous(memory_format=torch.channels_last)
    assert winners.equal(spatial_winners(channels_last, k))


@given(st.integers(1, 9), st.integers(1, 5), shares, st.integers(0, 1000))
def test_each_feature_survives_for_exactly_per_k_of_the_images(images, features, per_k, seed):
    values = torch.randint(0, 4, (images, features), generator=torch.Generator().manual_seed(seed))
    winners = lifetime_winners(values, per_k)
    assert winners.sum(dim=0).eq(max(1, round(per_k * images))).all()
    weakest = values.masked_fill(~winners, 9).amin(dim=0)
    assert (weakest >= values.masked_fill(winners, -9).amax(dim=0)).all()


@given(sizes, shares, st.integers(0, 1000))
def test_gradients_flow_through_winners_alone(size, k, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(size, generator=generator).add(1).requires_grad_()
    survived = Winners(k=k)(maps)
    survived.sum().backward()
    assert maps.grad.equal((survived > 0).float())
    assert survived[survived > 0].equal(maps[survived > 0])


# In networks


def sparse(arch, *, k, per_k=1.0, **options):
    torch.manual_seed(0)
    return build_backbone(arch, width=NARROW, k=k, per_k=per_k, **options)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", registered())
def test_every_map_of_a_sparse_backbone_has_its_share_of_survivors(arch, precision):
    backbone = sparse(arch, k=0.3)
    seen, called = [], set()

    def note(layer, inputs, output):
        called.add(layer)
        if output.ndim == 4:
            seen.append((layer, inputs[0], output))

    layers = [layer for layer in backbone.modules() if isinstance(layer, Winners)]
    for layer in layers:
        layer.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        backbone(torch.randn(3, 3, 32, 32))
    dense = [
        layer for layer in sparse(arch, k=1).modules() if isinstance(layer, nn.ReLU | nn.ReLU6)
    ]
    assert called == set(layers)
    assert len(layers) == len(dense)
    assert seen
    for _, dense, survived in seen:
        allowed = max(1, round(0.3 * survived[0, 0].numel()))
        positive = (dense > 0).sum(dim=(2, 3))
        assert (survived > 0).sum(dim=(2, 3)).equal(positive.clamp(max=allowed))
    assert any((dense > 0).sum() > (survived > 0).sum() for _, dense, survived in seen)


@pytest.mark.parametrize("arch", registered())
def test_sparse_layers_leave_names_and_initial_weights_alone(arch):
    dense, kept = sparse(arch, k=1), sparse(arch, k=0.3, per_k=0.5).state_dict()
    assert not [layer for layer in dense.modules() if isinstance(layer, Winners)]
    assert dense.state_dict().keys() == kept.keys()
    assert all(value.equal(kept[name]) for name, value in dense.state_dict().items())


@pytest.mark.parametrize("arch", registered())
def test_in_evaluation_features_do_not_depend_on_the_other_images(arch):
    backbone = sparse(arch, k=0.3, per_k=0.2)
    images, others = torch.randn(6, 3, 32, 32), torch.zeros(6, 3, 32, 32)
    others[:2] = images[:2]
    images[2:] *= 10  # so that these win what others lose, of however few features
    # Dropout is not what is asked about.
    for layer in backbone.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        assert not torch.allclose(backbone(images)[:2], backbone(others)[:2], atol=1e-4)
        backbone.eval()
        features = backbone(images)
        assert features[:2].equal(backbone(others)[:2])
    # Lifetime sparsity acts in training only.
    same = sparse(arch, k=0.3)
    same.load_state_dict(backbone.state_dict())
    assert same.eval()(images).equal(features)


@pytest.mark.parametrize("arch", registered())
def test_lifetime_sparsity_keeps_each_feature_for_its_share_of_a_training_batch(arch):
    torch.manual_seed(0)
    dense, images = sparse(arch, k=1), torch.randn(8, 3, 32, 32)
    kept = sparse(arch, k=1, per_k=0.25)
    torch.manual_seed(1)  # dropout
    features = dense(images)
    torch.manual_seed(1)
    survived = kept(images)
    assert survived.equal(torch.where(lifetime_winners(features, 0.25), features, 0))
    assert ((survived != 0).sum(dim=0) <= 2).all()
    assert ((features != 0).sum(dim=0) > 2).any()
    assert kept.eval()(images).count_nonzero() > survived.count_nonzero()


@pytest.mark.parametrize("arch", registered())
def test_a_backbones_own_sparsity_gives_way_to_what_is_asked_for(arch):
    own = own_sparsity(arch)
    assert own == ({"k": 0.25, "per_k": 0.8} if arch == "sparse_resnet9" else {"k": 1, "per_k": 1})

    for k, per_k in itertools.product((None, 0.1, 1), repeat=2):
        backbone = build_backbone(arch, width=NARROW, k=k, per_k=per_k)
        shares = {layer.k for layer in backbone.modules() if isinstance(layer, Winners)}
        assert shares == {own["k"] if k is None else k} - {1}
        lifetimes = {hook.args[0] for hook in backbone._forward_hooks.values()}
        assert lifetimes == {own["per_k"] if per_k is None else per_k} - {1}


@pytest.mark.parametrize(
    ("name", "what"),
    [("mobilenet_v3_small", "Hardswish"), ("googlenet", "no ReLU"), ("convnext_tiny", "GELU")],
)
def test_a_network_that_is_not_of_relu_layers_is_refused(name, what):
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=rf"torchvision:{name} has {what}.*hparams.k=1 .*fine_k"),
    ):
        build_backbone(f"torchvision:{name}", k=0.5)
