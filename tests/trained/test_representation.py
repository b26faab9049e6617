"""Activations of a hemisphere's layers, and how dissimilar pictures are to it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch import nn

from bilateral import load
from common.networks.backbones import build_backbone
from common.networks.callosum import Callosum
from common.networks.crossings import CallosumKeys
from common.networks.hemisphere import Hemisphere
from common.networks.macro import UnilateralNet
from common.system.errors import UserError
from common.trained.representation import activations, dissimilarity, layer_names


@pytest.fixture(scope="module")
def trained(checkpoints):
    return load(checkpoints["bilateral"])


@pytest.fixture(scope="module")
def files(navon):
    return sorted((navon / "test" / "fine").glob("*/*.png"))[:5]


def test_features_are_the_last_layer_of_each_hemisphere(trained, files):
    features = trained.features(files)
    for side in ("left", "right"):
        assert trained.layers[side][-1] == "features"
        found = trained.activations(files, layers=["features"], hemisphere=side)
        assert np.array_equal(found["features"], features[side].numpy())


def test_any_layer_gives_what_it_computed_for_each_picture(trained, files):
    layers = [name for name in trained.layers["right"] if name != "features"]
    found = trained.activations(files, layers=layers, hemisphere="right")
    assert list(found) == layers
    assert {len(values) for values in found.values()} == {len(files)}
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}
    # A layer's output is what its module makes of its input: here the first convolution, of the pictures themselves.
    hemisphere = trained.network.sides["right"]
    name, module = next(
        (name, one)
        for name, one in hemisphere.backbone.named_modules()
        if isinstance(one, nn.Conv2d)
    )
    with torch.no_grad():
        expected = module(trained.transforms(trained.pixels(files)))
    assert np.allclose(found[name], expected, atol=1e-6)
    # Nothing is left behind.
    assert not any(one._forward_hooks for one in hemisphere.modules())


def test_a_layer_is_seen_as_it_was_before_the_next_one_wrote_over_it():
    hemisphere = Hemisphere(build_backbone("vgg11", width=0.125)).eval()
    network = UnilateralNet(hemisphere=hemisphere, num_classes={"fine": 2}, dropout=0.0).eval()
    images = torch.randn(2, 3, 32, 32)
    backbone = hemisphere.backbone
    found = activations(network, "left", iter([images]), ["features.0", "features.1"])
    with torch.no_grad():
        convolved = backbone.features[0](images)
    assert backbone.features[1].inplace
    assert np.allclose(found["features.0"], convolved, atol=1e-6)
    assert np.allclose(found["features.1"], convolved.relu(), atol=1e-6)


def test_a_connected_hemisphere_hears_the_other_one(checkpoints, files):
    one = load(checkpoints["bilateral"])
    apart = one.activations(files, layers=["features"], hemisphere="left")["features"]
    callosum = Callosum(one.network.sides, keys=CallosumKeys(kind="add", at=["layer1"]))
    for weights in callosum.parameters():
        nn.init.normal_(weights, std=0.5)
    one.network.callosum = callosum.eval()
    found = one.activations(files, layers=["features"], hemisphere="left")["features"]
    assert np.array_equal(found, one.features(files)["left"].numpy())
    assert not np.allclose(found, apart)


def test_in_one_batch_or_in_many(trained, files, monkeypatch):
    whole = trained.activations(files, layers=["features"], hemisphere="left")["features"]
    monkeypatch.setattr("common.trained.inference.BATCH", 2)
    parts = trained.activations(files, layers=["features"], hemisphere="left")["features"]
    assert np.allclose(whole, parts, atol=1e-5)


def test_one_layer_needs_no_list(trained, files):
    (name,) = trained.activations(files, layers="features", hemisphere="left")
    assert name == "features"


def test_a_wrong_layer_or_hemisphere_is_a_sentence(trained, files):
    with pytest.raises(UserError, match="no layer 'featurs'; did you mean features"):
        trained.activations(files, layers=["featurs"], hemisphere="left")
    for layers in (0, None, [1]):
        with pytest.raises(UserError, match=r"^A layer is (0|None|1); allowed: a name of `layers`"):
            trained.activations(files, layers=layers, hemisphere="left")
    with pytest.raises(UserError, match="no hemisphere 'middle'; there are left, right"):
        trained.activations(files, layers=["features"], hemisphere="middle")


def test_dissimilarity_is_one_minus_the_correlation_of_each_pair():
    values = np.random.default_rng(0).normal(size=(4, 3, 2, 2)).astype("float32")
    found = dissimilarity(values)
    assert found.shape == (4, 4)
    assert np.array_equal(np.diag(found), np.zeros(4))
    for i, j in ((0, 1), (2, 3), (3, 1)):
        r = pearsonr(values[i].ravel(), values[j].ravel()).statistic
        assert found[i, j] == pytest.approx(1 - r)
        assert found[j, i] == found[i, j]
    assert dissimilarity(np.array([[0.0, 0.0], [3.0, 4.0]]), measure="euclidean")[0, 1] == 5
    with pytest.raises(UserError, match="takes two pictures or more; there are 1"):
        dissimilarity(values[:1])
    for measure in ("nonsense", None):
        with pytest.raises(UserError, match=f"measure is {measure!r}"):
            dissimilarity(values, measure=measure)


def test_matrices_of_both_hemispheres_are_drawn_on_one_scale(trained, files):
    matrices = trained.dissimilarity(files)
    assert list(matrices) == ["left", "right"]
    figure = trained.plot_dissimilarity(files)
    drawn = [axes for axes in figure.axes if axes.images and "hemisphere" in axes.get_title()]
    assert [axes.get_title() for axes in drawn] == ["left hemisphere", "right hemisphere"]
    for axes, matrix in zip(drawn, matrices.values(), strict=True):
        assert np.allclose(axes.images[0].get_array(), matrix)
    assert len({axes.images[0].get_clim() for axes in drawn}) == 1
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows


def test_a_network_says_what_it_is(trained, checkpoints):
    said = repr(trained)
    assert said.startswith("bilateral/seed0, trained on NAVON (32 x 32 pixels)\n")
    assert "coarse: 20 classes" in said
    assert "hemispheres: left, right" in said
    # Beside its result.yaml it knows how well it does.
    for level, share in trained.accuracy.items():
        assert f"{level}: {len(trained.class_names[level])} classes, {100 * share:.1f} %" in said


class Sliced(nn.Module):
    """A backbone that takes its layers out of a container, which itself is never asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            images = layer(images)
        return images.mean((2, 3))


def test_a_container_that_is_never_asked_is_no_layer():
    backbone = Sliced()
    network = SimpleNamespace(
        sides={"left": SimpleNamespace(backbone=backbone)}, features=backbone.forward
    )
    names = layer_names(network, "left", torch.zeros(1, 3, 8, 8))
    assert names == ("layers.0", "layers.1", "features")
