"""CKA and cosines of representations whose similarity is known."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from analysis import alignment
from analysis.alignment import cka, gram
from analysis.section import Findings
from analysis.sections import similarity
from analysis.sections.cosine import cosine_within_and_between
from analysis.sections.similarity import Similarity, layer_grams
from analysis.seed import StudyImages
from common.data.image_set import ImageSet
from common.networks.backbones import build_backbone, registered
from common.networks.hemisphere import Hemisphere


def rotation(size: int, some: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=some)).Q


def test_cka_of_a_rotated_and_scaled_copy_is_one(some):
    one = torch.randn(100, 20, generator=some)
    other = 3 * one @ rotation(20, some) + 5
    assert cka(gram(one), gram(other)) == pytest.approx(1, abs=1e-5)


def test_cka_of_unrelated_representations_is_about_zero_though_they_have_many_values(some):
    one, other = torch.randn(2, 200, 1000, generator=some)
    assert abs(cka(gram(one), gram(other))) < 0.02


def test_cka_of_orthogonal_representations_is_about_zero():
    angle = torch.arange(400) / 400 * 2 * math.pi
    one = torch.stack([angle.cos(), angle.sin()], 1)
    other = torch.stack([(2 * angle).cos(), (2 * angle).sin()], 1)
    assert abs(cka(gram(one), gram(other))) < 0.01


def test_cka_tells_how_much_is_shared(some):
    shared, alone, other = torch.randn(3, 500, 10, generator=some)
    half = cka(gram(torch.cat([shared, alone], 1)), gram(torch.cat([shared, other], 1)))
    assert half == pytest.approx(0.5, abs=0.05)


def test_layers_are_those_with_weights_and_then_the_features(some):
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.ReLU()
    )
    images = torch.randn(10, 3, 6, 6, generator=some)
    with torch.no_grad():
        grams = layer_grams(backbone, images, forward=backbone)
        assert [*grams] == ["0", "2", "4", "features"]
        assert grams["0"].equal(gram(backbone[0](images)))
        assert grams["features"].equal(gram(backbone(images)))
    assert not backbone[0]._forward_hooks


def test_deep_networks_are_thinned_out(some):
    backbone = nn.Sequential(*(nn.Linear(3, 3) for _ in range(40)))
    with torch.no_grad():
        grams = layer_grams(backbone, torch.randn(6, 3, generator=some), forward=backbone)
    names = [*grams]
    assert (len(names), names[0], names[-2:]) == (11, "0", ["39", "features"])
    assert grams["39"].equal(grams["features"])


def test_cosines_are_those_of_all_pairs(some):
    features, labels = torch.randn(30, 4, generator=some), torch.arange(30) % 3
    within, between = [], []
    for i in range(30):
        for j in range(30):
            if i != j:
                value = nn.functional.cosine_similarity(features[i], features[j], dim=0)
                (within if labels[i] == labels[j] else between).append(float(value))
    expected = (sum(within) / len(within), sum(between) / len(between))
    assert cosine_within_and_between(features, labels) == pytest.approx(expected, abs=1e-5)


def test_cosines_of_separate_classes():
    features = torch.tensor([[1.0, 0], [2.0, 0], [0, 1.0], [0, 3.0]])
    assert cosine_within_and_between(features, torch.tensor([0, 0, 1, 1])) == pytest.approx((1, 0))


@pytest.mark.parametrize("number", [2, 5, 20])
def test_no_two_images_of_one_class_have_no_cosine(number):
    """Sums in another order of classes differ by a rounding error, which must not be divided by 0."""
    for seed in range(20):
        some = torch.Generator().manual_seed(seed)
        features = torch.randn(number, 64, generator=some)
        labels = torch.randperm(number, generator=some)
        within, between = cosine_within_and_between(features, labels)
        assert math.isnan(within)
        assert -1 <= between <= 1
        within, between = cosine_within_and_between(features, torch.zeros_like(labels))
        assert math.isnan(between)
        assert -1 <= within <= 1


def test_cka_sees_images_of_every_class(images, monkeypatch, seed):
    looked: list[torch.Tensor] = []
    monkeypatch.setattr(similarity, "grams_of", lambda _, __, these: looked.append(these) or {})
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)
    Similarity().compute(seed(0, images), Findings())
    counts = torch.bincount(looked[0][:, 0, 0, 0].long(), minlength=10)
    assert counts.sum() == alignment.CKA_IMAGES
    assert counts.min() > 30
    assert looked[1].equal(looked[0])


@pytest.fixture
def one_gram(monkeypatch, some):
    """Each look at a hemisphere gives one layer, another one each time."""
    monkeypatch.setattr(
        similarity, "grams_of", lambda *_: {"conv": gram(torch.randn(20, 5, generator=some))}
    )
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)


def outputs(hemisphere: Hemisphere, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each layer of a backbone that runs gives, by name in the order of running, and its features."""
    seen: dict[str, torch.Tensor] = {}
    for name, layer in hemisphere.backbone.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # A copy, over which no ReLU in place writes.
            layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out + 0}))
    with torch.no_grad():
        features = hemisphere(images)
    return {**seen, "features": features}


@pytest.mark.parametrize(
    "arch",
    [*registered(), *(f"torchvision:{one}" for one in ("swin_t", "mobilenet_v3_small"))],
)
def test_each_number_is_that_of_the_layers_that_it_names(arch, some, monkeypatch, seed):
    """Not all run: the weights of some are taken by a function alone (VGG, Swin)."""
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)
    torch.manual_seed(0)
    pictures = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8, generator=some)
    labels = {level: torch.arange(8) for level in ("fine", "coarse")}
    images = StudyImages(SimpleNamespace(classes={}), ImageSet(pictures, labels, torch.arange(8)))
    width = 1 if arch.startswith("torchvision") else 0.125
    left = Hemisphere(build_backbone(arch, width=width)).eval()
    right = Hemisphere(build_backbone("resnet9", width=0.125)).eval()
    only = seed(0, images, left)
    only.network.hemispheres["coarse"] = right
    only.module.device = torch.device("cpu")
    params = SimpleNamespace(precision="32-true", accelerator="cpu")
    only.module.cfg = SimpleNamespace(trainer_params=params)
    only.module.transforms = lambda raw: raw.float() / 255 - 0.5
    section, found = Similarity(), Findings()
    section.compute(only, found)

    ran, others = (outputs(one, only.module.transforms(pictures)) for one in (left, right))
    # All layers, or 10 of them, and the features; the first and the last among them.
    shown = section.layers["left"]
    assert len(shown) == min(11, len(ran))
    assert [shown[i] for i in (0, -2, -1)] == [[*ran][i] for i in (0, -2, -1)]
    numbers = {(one.means.layer, one.means.other_layer): one.value for one in found.values.values}
    assert [*numbers] == [*itertools.product(shown, section.layers["right"])]
    for (layer, other), number in numbers.items():
        expected = cka(gram(ran[layer]), gram(others[other]))
        assert number == pytest.approx(expected, abs=1e-4), (layer, other)


def test_pairs_of_seeds_that_overlap_have_an_approximate_interval(images, one_gram, seed):
    section, found = Similarity(), Findings()
    for number in range(4):
        section.compute(seed(number, images), found)
    own = found.values.get("cka", "", "left-right", "0,0")
    assert own.approximate is False
    other = found.values.get("cka", "", "left-other seed", "0")
    numbers = [one["0"] for one in found.values.by_seed("cka", "", "left-other seed").values()]
    # Of 0+1, 1+2, 2+3, two of the three pairs share half: r = 1/3.
    error = math.sqrt((1 + 2 / 3) / (1 - 1 / 3)) * np.std(numbers, ddof=1) / math.sqrt(3)
    z = np.arctanh(np.mean(numbers))
    half = stats.t.ppf(0.975, 2) * error / (1 - np.mean(numbers) ** 2)
    assert (other.seeds, other.approximate) == (3, True)
    assert (other.ci95_low, other.ci95_high) == pytest.approx(
        (np.tanh(z - half), np.tanh(z + half))
    )
    assert found.left_out[1:] == []


def test_ticks_name_layers_only_where_both_hemispheres_call_them_so(
    images, some, monkeypatch, seed
):
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)

    def ticks(left: list[str], right: list[str]) -> str:
        sides = itertools.cycle([left, right])
        grams = {
            name: gram(torch.randn(20, 5, generator=some)) for name in (*left, *right, "features")
        }
        monkeypatch.setattr(
            similarity, "grams_of", lambda *_: {n: grams[n] for n in (*next(sides), "features")}
        )
        section, found = Similarity(), Findings(test_images=20)
        for number in range(2):
            section.compute(seed(number, images), found)
        return str(section.render(found).figures[0][0])

    same = ticks(["stem"], ["stem"])
    assert ">stem<" in same
    for unlike in (ticks(["stem"], ["conv", "last"]), ticks(["stem"], ["conv"])):
        assert not any(f">{name}<" in unlike for name in ("stem", "conv", "last", "features"))
        assert ">2<" in unlike


def test_a_hemisphere_that_seeds_share_is_no_other_one(images, one_gram, seed):
    section, found, left = Similarity(), Findings(), nn.Linear(2, 2)
    for number in range(2):
        section.compute(seed(number, images, left), found)
    assert found.values.get("cka", "", "left-other seed", "0") is None
    assert found.values.get("cka", "", "right-other seed", "0").seeds == 1
    # Of two seeds that share it there are no two independent numbers.
    assert found.values.get("cka", "", "left-right", "0,0").ci95_low is None
    assert any("left hemisphere of another seed" in s for s in found.left_out)
