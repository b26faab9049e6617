"""Networks of hemispheres and heads: what they compute, and that frozen means frozen."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  its usual name
from torch import Tensor, nn

from common.networks.backbones import build_backbone
from common.networks.hemisphere import Hemisphere
from common.networks.macro import BilateralNet, EnsembleNet, Head, UnilateralNet
from common.system.errors import UserError

CLASSES = {"fine": 6, "coarse": 3}


def backbone(arch="resnet9", width=0.125):
    return build_backbone(arch, width=width)


def unilateral(*, levels=("fine", "coarse"), freeze=False, dropout=0.5, seed=0):
    torch.manual_seed(seed)
    return UnilateralNet(
        hemisphere=Hemisphere(backbone(), freeze=freeze),
        num_classes={level: CLASSES[level] for level in levels},
        dropout=dropout,
    )


def bilateral(*, freeze_left=True, freeze_right=True, seed=0):
    torch.manual_seed(seed)
    return BilateralNet(
        left=Hemisphere(backbone(), freeze=freeze_left),
        right=Hemisphere(backbone(width=0.25), freeze=freeze_right),
        num_classes=CLASSES,
        dropout=0.5,
    )


def images(batch=8) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names in the state dict whose value is not bit for bit what it was before."""
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


def train(network: nn.Module, *, steps=4) -> None:
    """Steps on every parameter, also those that ought to have been left out, as a careless
    optimiser would; weight decay moves a parameter whose gradient is zero."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    network.train()
    for step in range(steps):
        logits = network(images() + step)
        targets = torch.arange(8)
        losses = [F.cross_entropy(value, targets % value.shape[1]) for value in logits.values()]
        optimiser.zero_grad()
        sum(losses).backward()
        optimiser.step()


# What goes in and comes out


@pytest.mark.parametrize("levels", [("fine",), ("coarse",), ("fine", "coarse")])
def test_unilateral_has_a_head_for_each_level(levels):
    network = unilateral(levels=levels)
    assert network.features(images()).shape == (8, 64)
    shapes = {level: logits.shape for level, logits in network(images()).items()}
    assert shapes == {level: (8, CLASSES[level]) for level in levels}
    # Named after its only level; fine with two.
    assert list(network.hemispheres) == [levels[0]]


def test_bilateral_concatenates_left_then_right_and_both_heads_see_both():
    network = bilateral().eval()
    left = network.hemispheres["fine"].backbone.eval()(images())
    right = network.hemispheres["coarse"].backbone.eval()(images())
    features = network.features(images())
    assert network.num_features == 64 + 128
    assert torch.equal(features, torch.cat([left, right], dim=1))
    logits = network(images())
    assert list(logits) == ["fine", "coarse"]
    for level, head in network.heads.items():
        assert logits[level].shape == (8, CLASSES[level])
        assert torch.equal(logits[level], head.linear(features))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_trainable_parameter_gets_a_gradient(precision):
    for network in (unilateral(), bilateral(freeze_left=False, freeze_right=False)):
        network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images())
        sum(value.float().square().sum() for value in logits.values()).backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_auxiliary_heads_teach_each_hemisphere_alone_and_are_for_training_only():
    network = BilateralNet(
        left=Hemisphere(backbone()),
        right=Hemisphere(backbone()),
        num_classes=CLASSES,
        dropout=0.0,
        auxiliary=True,
    )
    found = network.train().outputs(images())
    assert {side: {*levels} for side, levels in found.auxiliary.items()} == {
        "left": {"fine", "coarse"},
        "right": {"fine", "coarse"},
    }
    assert found.auxiliary["right"]["fine"].shape == (8, CLASSES["fine"])
    found.auxiliary["right"]["fine"].sum().backward()
    assert all(p.grad is None for p in network.sides["left"].parameters())
    assert any(p.grad is not None for p in network.sides["right"].parameters())
    assert not network.eval().outputs(images()).auxiliary
    # From features that were kept, as from images.
    network.train()
    kept = network.outputs_of(network.features(images()))
    assert kept.auxiliary["left"]["coarse"].shape == (8, CLASSES["coarse"])
    names = {name.split(".linear")[0] for name in network.state_dict() if "auxiliary" in name}
    assert names == {f"auxiliary.{side}.{level}" for side in CLASSES for level in CLASSES}


def test_each_hemisphere_has_its_own_architecture():
    network = BilateralNet(
        left=Hemisphere(backbone("resnet9")),
        right=Hemisphere(backbone("resnet18"), freeze=True),
        num_classes=CLASSES,
        dropout=0.0,
    )
    kinds = {side: type(h.backbone).__name__ for side, h in network.hemispheres.items()}
    assert kinds == {"fine": "ResNet9", "coarse": "ResNet"}
    assert {side: h.frozen for side, h in network.hemispheres.items()} == {
        "fine": False,
        "coarse": True,
    }


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_heads_compute_in_float32_whatever_the_hemispheres_compute_in(kind):
    """Two logits that bfloat16 and float16 cannot tell apart, and the second is the higher one."""
    network = bilateral().eval()
    with torch.no_grad():
        for head in network.heads.values():
            head.linear.bias[:2] = torch.tensor([1000.0, 1000.001])
    with torch.autocast("cpu", kind):
        features = network.features(images())
        logits = network(images())
    assert features.dtype == kind
    for level, head in network.heads.items():
        assert logits[level].dtype == torch.float32
        assert torch.equal(logits[level], head.linear(features.float()))
    tied = torch.tensor([1000.0, 1000.001]).to(kind)
    assert tied[0] == tied[1]


def test_dropout_acts_in_training_only():
    head = Head(num_features=100, num_classes=5, dropout=0.6)
    features = torch.ones(2, 100)
    assert head.dropout.p == 0.6
    assert not torch.equal(head(features)[0], head(features)[1])
    head.eval()
    assert torch.equal(head(features)[0], head(features)[1])


def test_order_of_num_classes_does_not_matter():
    network = UnilateralNet(
        hemisphere=Hemisphere(backbone()),
        num_classes={"coarse": 3, "fine": 6},
        dropout=0.5,
    )
    assert list(network.heads) == ["fine", "coarse"]
    assert network.state_dict().keys() == unilateral().state_dict().keys()


@pytest.mark.parametrize("num_classes", [{}, {"fine": 6, "medium": 4}])
def test_unknown_levels_are_refused(num_classes):
    with pytest.raises(ValueError, match="not levels"):
        UnilateralNet(
            hemisphere=Hemisphere(backbone()),
            num_classes=num_classes,
            dropout=0.5,
        )


# Frozen hemispheres


@pytest.mark.parametrize(
    ("freeze_left", "freeze_right"),
    [(True, True), (True, False), (False, True), (False, False)],
)
def test_training_changes_no_bit_of_a_frozen_hemisphere(freeze_left, freeze_right):
    network = bilateral(freeze_left=freeze_left, freeze_right=freeze_right)
    before = snapshot(network)
    train(network)
    moved = changed(network, before)
    for level, frozen in {"fine": freeze_left, "coarse": freeze_right}.items():
        hemisphere = {name for name in before if name.startswith(f"hemispheres.{level}.")}
        assert len(hemisphere) == 48
        assert hemisphere & moved == (set() if frozen else hemisphere)
    heads = {name for name in before if name.startswith("heads.")}
    assert heads <= moved


@pytest.mark.parametrize("levels", [("fine",), ("coarse",), ("fine", "coarse")])
def test_the_hemisphere_of_a_unilateral_network_can_be_frozen(levels):
    network = unilateral(levels=levels, freeze=True)
    before = snapshot(network)
    train(network)
    assert changed(network, before) == {name for name in before if name.startswith("heads.")}


def test_a_frozen_hemisphere_stays_frozen_through_save_and_load(tmp_path):
    network = bilateral(freeze_right=False)
    before = snapshot(network.hemispheres["fine"])
    train(network)
    torch.save(network.state_dict(), tmp_path / "network.ckpt")

    loaded = bilateral(freeze_right=False, seed=1)
    loaded.load_state_dict(torch.load(tmp_path / "network.ckpt", weights_only=True))
    assert not changed(loaded.hemispheres["fine"], before)
    train(loaded)
    assert not changed(loaded.hemispheres["fine"], before)


def test_frozen_parameters_want_no_gradient_and_get_none():
    network = bilateral(freeze_right=False)
    train(network, steps=1)
    for name, parameter in network.named_parameters():
        frozen = name.startswith("hemispheres.fine.")
        assert parameter.requires_grad is not frozen, name
        assert (parameter.grad is None) is frozen, name


def test_features_of_frozen_hemispheres_carry_no_graph():
    network = bilateral().train()
    # Even where the images want a gradient: nothing is kept for a backward pass.
    assert not network.features(images().requires_grad_()).requires_grad
    assert all(logits.requires_grad for logits in network(images()).values())


def test_a_frozen_hemisphere_ignores_train_at_every_depth():
    network = nn.Sequential(bilateral(freeze_right=False))
    frozen, free = network[0].hemispheres["fine"], network[0].hemispheres["coarse"]
    for parent in (network, network[0], network[0].hemispheres, frozen):
        parent.train()
        assert not any(module.training for module in frozen.modules())
        assert all(module.training for module in free.modules())
    network.eval()
    assert not any(module.training for module in network.modules())


def test_names_of_weights_do_not_depend_on_freezing():
    free, frozen = bilateral(freeze_left=False, freeze_right=False), bilateral()
    assert list(free.state_dict()) == list(frozen.state_dict())
    assert {name.split(".backbone.")[0] for name in free.state_dict() if ".backbone." in name} == {
        "hemispheres.fine",
        "hemispheres.coarse",
    }


@pytest.mark.parametrize("level", ["fine", "coarse"])
def test_a_hemisphere_moves_between_networks_by_its_prefix(level):
    single = UnilateralNet(
        hemisphere=Hemisphere(backbone(width=0.125 if level == "fine" else 0.25)),
        num_classes={level: CLASSES[level]},
        dropout=0.5,
    )
    network = bilateral()
    network.hemispheres[level].load_state_dict(single.hemispheres[level].state_dict(), strict=True)
    prefix = f"hemispheres.{level}."
    ours, theirs = network.state_dict(), single.state_dict()
    names = [name for name in theirs if name.startswith(prefix)]
    assert len(names) == 48
    assert all(torch.equal(ours[name], theirs[name]) for name in names)


# Ensembles


@pytest.fixture
def members():
    networks = [unilateral(seed=seed) for seed in range(3)]
    for network in networks:
        train(network, steps=2)
    return networks


def test_ensemble_gives_the_log_of_the_mean_probability(members):
    ensemble = EnsembleNet(networks=members)
    outputs = [member.eval()(images()) for member in members]
    for level, log_probability in ensemble(images()).items():
        mean = sum(output[level].softmax(dim=1) for output in outputs) / 3
        torch.testing.assert_close(log_probability.exp(), mean)
        targets = torch.arange(8) % CLASSES[level]
        torch.testing.assert_close(
            F.cross_entropy(log_probability, targets), F.nll_loss(mean.log(), targets)
        )


def test_ensemble_is_finite_for_probabilities_below_the_smallest_float(members):
    for member in members:
        nn.init.constant_(member.heads["fine"].linear.bias, 0)
        with torch.no_grad():
            member.heads["fine"].linear.bias[0] = 1000
    logits = EnsembleNet(networks=members)(images())["fine"]
    assert logits.isfinite().all()


def test_ensemble_computes_in_float32_under_autocast(members):
    with torch.autocast("cpu", torch.bfloat16):
        outputs = EnsembleNet(networks=members)(images())
    for logits in outputs.values():
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(8))


def test_ensemble_only_evaluates(members):
    ensemble = EnsembleNet(networks=members)
    before = snapshot(ensemble)
    ensemble.train()
    assert not any(module.training for module in ensemble.modules())
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    assert not any(logits.requires_grad for logits in ensemble(images()).values())
    assert not changed(ensemble, before)


def test_ensemble_features_are_those_of_its_members(members):
    ensemble = EnsembleNet(networks=members)
    expected = torch.cat([member.features(images()) for member in members], dim=1)
    assert ensemble.num_features == 3 * 64
    assert torch.equal(ensemble.features(images()), expected)


def test_ensemble_refuses_members_that_predict_different_things():
    with pytest.raises(UserError, match="same classes"):
        EnsembleNet(networks=[unilateral(), unilateral(levels=("fine",))])
    other = UnilateralNet(
        hemisphere=Hemisphere(backbone()),
        num_classes={"fine": 7, "coarse": 3},
        dropout=0.5,
    )
    with pytest.raises(UserError, match=r"first has .*6.* number 2 has .*7"):
        EnsembleNet(networks=[unilateral(), other])
    with pytest.raises(UserError, match="at least one"):
        EnsembleNet(networks=[])
