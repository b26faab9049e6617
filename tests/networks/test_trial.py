"""What a new backbone or join must give: each is tried by itself, and one sentence says what is wrong."""

import pytest
import torch
from torch import Tensor, nn

from common.networks.backbones import Backbone, build_backbone, registry
from common.networks.callosum import Callosum
from common.networks.crossings import CallosumKeys
from common.networks.hemisphere import Hemisphere
from common.networks.join import Concatenate, Join, build_join
from common.networks.macro import BilateralNet, UnilateralNet
from common.networks.trial import try_backbone, try_network
from common.settings.levels import SIDES
from common.system.errors import UserError

CLASSES = {"fine": 6, "coarse": 3}
SIZE = (16, 16)
HERE = "test_trial"


class Tiny(Backbone):
    """Two convolutions and their average."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)
        )
        self.num_features = 8

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean((2, 3))


class Maps(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Tokens(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, None].expand(-1, 5, -1)


class NoBatch(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean(0)


class Pair(Tiny):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(images), images


class Misfit(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) @ torch.ones(9, 9)


class Misspelt(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class Large(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.max_pool2d(self.layers(images), 16).amax((2, 3))


class Empty(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.num_features = 8


class NoReadOut(Tiny):
    forward = Backbone.forward

    def stages(self) -> dict:
        return {"all": (self.layers,)}


class Unfitting(Tiny):
    """Its second stage takes other maps than its first one makes."""

    forward = Backbone.forward

    def stages(self) -> dict:
        return {"one": (self.layers,), "two": (self.layers,)}

    def read_out(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


class Numberless(Backbone):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Unbuilt(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.layers.add(3)


class Lazy(Tiny):
    """Has a layer whose weights get their size from the first images."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.LazyLinear(8)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(super().forward(images))


@pytest.fixture
def build(monkeypatch):
    """Build a backbone called tiny, by a class or by a function of its own."""

    def build(make):
        builder = make if not isinstance(make, type) else lambda *, width: make()
        monkeypatch.setattr(registry, "entry", lambda arch: registry.Entry(builder, 1.0, 1.0))
        return build_backbone("tiny")

    return build


def said(call, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    sentence = str(caught.value)
    assert len(sentence) < 400
    assert len(sentence.splitlines()) == 1
    return sentence


@pytest.mark.parametrize(
    ("kind", "found"),
    [(Maps, "(2, 8, 12, 12)"), (Tokens, "(2, 5, 8)"), (NoBatch, "(8,)"), (Pair, "tuple")],
)
def test_other_features_than_a_backbone_says_are_refused_with_both_shapes(kind, found, build):
    sentence = said(try_backbone, build(kind).eval(), SIZE)
    assert f"gives {found}" in sentence
    assert "(2, 8)" in sentence
    assert f"tiny, {kind.__name__} of" in sentence
    assert HERE in sentence


@pytest.mark.parametrize(
    ("kind", "found"), [(Misfit, "cannot be multiplied"), (Misspelt, "no attribute 'layer'")]
)
def test_a_backbone_that_fails_at_every_size_says_why_and_where(kind, found, build):
    sentence = said(try_backbone, build(kind).eval(), SIZE)
    assert found in sentence
    assert "too small" not in sentence
    assert f"{HERE}.py, line " in sentence


def test_images_are_too_small_where_larger_ones_are_not(build):
    assert said(try_backbone, build(Large).eval(), SIZE) == (
        "Images of 16 x 16 pixels are too small for tiny."
    )
    assert try_backbone(build(Large).eval(), (32, 32)).shape == (2, 8)


def test_the_other_hemisphere_is_not_blamed(build):
    with pytest.raises(UserError, match="tiny") as caught:
        try_network(pair(build_backbone("resnet9", width=0.125), build(Maps)), SIZE)
    assert "resnet9" not in str(caught.value)


def pair(left, right, join=Concatenate) -> BilateralNet:
    return BilateralNet(
        left=Hemisphere(left, freeze=True),
        right=Hemisphere(right),
        num_classes=CLASSES,
        dropout=0.5,
        join=join,
    )


def test_a_stage_that_fails_is_blamed_with_a_callosum_too(build):
    keys = CallosumKeys(kind="add", at=1)
    sentence = said(lambda: Callosum({side: Hemisphere(build(Unfitting)) for side in SIDES}, keys))
    assert f"Unfitting of {HERE}" in sentence
    assert "fails: RuntimeError: " in sentence


def test_trying_changes_nothing_and_draws_no_random_number(build):
    net = pair(build_backbone("resnet9", width=0.125), build(Tiny)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    state = torch.get_rng_state()
    try_network(net, SIZE)
    assert torch.get_rng_state().equal(state)
    assert [part.training for part in net.modules()] == modes
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_a_layer_that_takes_its_size_from_images_gets_it(build):
    net = UnilateralNet(
        hemisphere=Hemisphere(build(Lazy)),
        num_classes=CLASSES,
        dropout=0.0,
    )
    try_network(net, SIZE)
    assert net.sides["left"].backbone.last.weight.shape == (8, 8)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda *, width: None, "gives NoneType; allowed: a Backbone"),
        (lambda *, width: nn.Linear(2, 2), "gives Linear; allowed: a Backbone"),
        (lambda: Tiny(), "unexpected keyword argument 'width'"),
        (Numberless, "num_features of Numberless of"),
        (Empty, "give `forward`, or `stages` and `read_out`"),
        (NoReadOut, "give `forward`, or `stages` and `read_out`"),
        (Unbuilt, "fails: AttributeError: 'Sequential' object has no attribute 'add'"),
    ],
)
def test_what_is_no_whole_backbone_is_refused_by_its_name_and_file(make, found, build):
    sentence = said(build, make)
    assert found in sentence
    assert HERE in sentence


def join_of(forward, num_features=8) -> type[Join]:
    class Mine(Join):
        def __init__(self, widths):
            super().__init__(widths)
            if num_features is not None:
                self.num_features = num_features

    Mine.forward = forward
    return Mine


class Unsigned(Join):
    def __init__(self):
        super().__init__({})


class Forwardless(Join):
    num_features = 8


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (join_of(lambda self, features: None), "gives NoneType; allowed: a Tensor (2, 8)"),
        (join_of(lambda self, features: features["left"], 9), "gives (2, 8) of 2 images; allowed"),
        (join_of(lambda self, features: features["top"]), "fails: KeyError: 'top'"),
        (join_of(lambda self, features: features["left"], None), "num_features of"),
        (Unsigned, "allowed: `__init__(self, num_features)`"),
        (Forwardless, "joins nothing: give `forward`"),
        (lambda widths: widths, "gives dict; allowed: a Join"),
    ],
)
def test_what_is_no_whole_join_is_refused_by_its_name_and_file(make, found, build):
    sentence = said(lambda: try_network(pair(build(Tiny), build(Tiny), make), SIZE))
    assert found in sentence
    assert HERE in sentence


def test_a_join_is_built_from_the_numbers_of_features():
    assert build_join(Concatenate, {"left": 3, "right": 4}).num_features == 7
