"""Losses: the one that is there, bit for bit, and one of features that a student may add."""

import math
from inspect import signature

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

import arch_single_head.trainer
import train_system
from arch_dual_head.datamodule import DualHeadData
from arch_dual_head.module import DualHead
from arch_dual_head.schema import DualConfig
from common.checkpoints.files import read
from common.networks.macro import Outputs
from common.runs.description import Stage
from common.runs.stage import record_of
from common.settings.compose import ROOT, compose
from common.system.errors import UserError
from common.training.loss_table import LOSSES, Loss
from common.training.losses import (
    cross_correlation,
    cross_entropy,
    decorrelated,
    soft_hierarchy,
    soft_labels,
)

CLASSES = {"fine": 6, "coarse": 3}


def outputs(seed=0) -> Outputs:
    random = torch.Generator().manual_seed(seed)
    features = {side: torch.randn(8, 5, generator=random) for side in ("left", "right")}
    return Outputs(
        features, {level: torch.randn(8, of, generator=random) for level, of in CLASSES.items()}
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_summed_over_the_levels_that_have_labels(smoothing):
    found, labels = outputs(), {level: torch.arange(8) % of for level, of in CLASSES.items()}
    each = {
        level: functional.cross_entropy(
            found.logits[level], labels[level], label_smoothing=smoothing
        )
        for level in CLASSES
    }
    both = cross_entropy(found, labels, label_smoothing=smoothing)
    assert both.equal(each["fine"] + each["coarse"])
    fine = cross_entropy(found, {"fine": labels["fine"]}, label_smoothing=smoothing)
    assert fine.equal(each["fine"])


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_table_is_a_number_with_gradients(name):
    function = LOSSES[name].load()
    parameters = signature(function).parameters.values()
    hyper_parameters = {one.name: 0.1 for one in parameters if one.kind is one.KEYWORD_ONLY}
    if "coarse_of_fine" in hyper_parameters:
        hyper_parameters["coarse_of_fine"] = (0, 0, 1, 1, 2, 2)
    if "class_weights" in hyper_parameters:
        hyper_parameters["class_weights"] = {level: torch.rand(of) for level, of in CLASSES.items()}
    found = outputs()
    for logits in found.logits.values():
        logits.requires_grad_()
    labels = {level: torch.arange(8) % of for level, of in CLASSES.items()}
    loss = function(found, labels, **hyper_parameters)
    assert loss.shape == ()
    loss.backward()
    assert all(logits.grad is not None for logits in found.logits.values())


def test_soft_labels_fall_with_the_distance_in_the_tree():
    """Classes 0 and 1 have one parent, 2 has another: distances 0, 1/2 and 1."""
    near, far = math.exp(-3 / 2), math.exp(-3)
    rows = torch.tensor([[1, near, far], [near, 1, far], [far, far, 1]])
    expected = rows / rows.sum(dim=1, keepdim=True)
    torch.testing.assert_close(soft_labels((4, 4, 7), 3.0, torch.device("cpu")), expected)
    # Where all have one parent, it is the root of their tree.
    flat = soft_labels((0, 0, 0), 3.0, torch.device("cpu"))
    torch.testing.assert_close(flat[0], torch.tensor([1, far, far]) / (1 + 2 * far))


def test_soft_hierarchy_is_cross_entropy_where_labels_are_hard_and_prefers_a_sibling():
    found, labels = outputs(), {level: torch.arange(8) % of for level, of in CLASSES.items()}
    tree = (0, 0, 1, 1, 2, 2)
    hard = soft_hierarchy(found, labels, hierarchy_beta=500.0, coarse_of_fine=tree)
    torch.testing.assert_close(hard, cross_entropy(found, labels, label_smoothing=0.0))

    def loss_of_answer(answer: int) -> float:
        logits = {"fine": 5.0 * torch.eye(6)[[answer]]}
        label = {"fine": torch.tensor([0])}
        soft = soft_hierarchy(Outputs({}, logits), label, hierarchy_beta=4.0, coarse_of_fine=tree)
        return float(soft)

    assert loss_of_answer(0) < loss_of_answer(1) < loss_of_answer(2)


def test_auxiliary_heads_add_their_weighted_loss(tiny):
    """Without dropout, the loss of a step is the joint one plus the weight times that of each hemisphere."""
    options = ["hparams.dropout=0", "hparams.ffreeze=false", "hparams.cfreeze=false"]
    options += ["hparams.model_path_fine=null", "hparams.model_path_coarse=null"]
    options += ["hparams.auxiliary=0.3", "hparams.label_smoothing=0"]
    cfg = compose(ROOT / "arch_dual_head", schema=DualConfig, overrides=[*tiny, *options])
    data = DualHeadData(cfg, seed=0)
    data.load()
    stage = Stage(arm="any", seed=0, folder="arch_dual_head", config=cfg)
    module = DualHead(cfg=cfg, record=record_of(stage, data, ""))
    batch = {"images": torch.zeros(4, 3, 32, 32, dtype=torch.uint8)}
    batch |= {level: torch.arange(4) for level in ("fine", "coarse")}
    found = module.train().outputs(module.seen(batch))
    labels = {level: batch[level] for level in ("fine", "coarse")}
    each = [
        cross_entropy(Outputs({}, logits), labels, label_smoothing=0.0)
        for logits in (found.logits, *found.auxiliary.values())
    ]
    assert len(each) == 3
    torch.testing.assert_close(module.training_step(batch, 0), each[0] + 0.3 * (each[1] + each[2]))


def alike(found: Outputs, labels: dict, *, label_smoothing: float, dropout: float):
    """Cross-entropy, and how far left and right features agree; dropout stands for a key of its own."""
    left, right = found.features.values()
    agreement = functional.cosine_similarity(left.float(), right.float()).mean()
    return cross_entropy(found, labels, label_smoothing=label_smoothing) + dropout * agreement


def test_a_loss_sees_features_and_takes_its_hyper_parameters(checkpoints, monkeypatch):
    monkeypatch.setitem(LOSSES, "alike", Loss("", f"{__name__}:alike"))
    record, weights = read(checkpoints["bilateral"])
    batch = {"images": torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)}
    batch |= {level: torch.arange(8) for level in ("fine", "coarse")}
    losses = {}
    for name in ("cross_entropy", "alike"):
        cfg = OmegaConf.create(record.config)
        cfg.hparams.loss, cfg.hparams.dropout = name, 0.0
        if name == "alike":
            cfg.hparams.dropout = 0.5
        module = DualHead(cfg=cfg, record=record).eval()
        module.network.load_state_dict(weights)
        losses[name] = module.training_step(batch, 1)
        seen = module.outputs(module.seen(batch))
        # Of kept features it is the same one.
        kept = batch | {"features": module.predict_step(batch, 0)["features"]}
        torch.testing.assert_close(module.training_step(kept, 1), losses[name])
    left, right = seen.features.values()
    agreement = functional.cosine_similarity(left, right).mean()
    torch.testing.assert_close(losses["alike"], losses["cross_entropy"] + 0.5 * agreement)


def test_what_two_hemispheres_have_in_common_counts_once():
    torch.manual_seed(0)
    logits = {level: torch.randn(6, 3) for level in ("fine", "coarse")}
    labels = {level: torch.randint(0, 3, (6,)) for level in logits}
    features = {side: torch.randn(6, 4) for side in ("left", "right")}
    plain = cross_entropy(Outputs({}, logits), labels, label_smoothing=0.1)
    common = cross_correlation(*features.values())
    found = decorrelated(Outputs(features, logits), labels, decorrelation=2, label_smoothing=0.1)
    torch.testing.assert_close(found, plain + 2 * common)
    own = decorrelated(Outputs({}, logits), labels, decorrelation=2, label_smoothing=0.1)
    torch.testing.assert_close(own, plain)


def test_cross_correlation_is_that_of_numpy_and_reaches_both_hemispheres():
    left, right = (values.requires_grad_() for values in outputs().features.values())
    found = cross_correlation(left, right)
    matrix = np.corrcoef(left.detach().numpy(), right.detach().numpy(), rowvar=False)[:5, 5:]
    assert found.item() == pytest.approx((matrix**2).mean(), rel=1e-3)
    found.backward()
    assert left.grad.abs().sum() > 0
    assert right.grad.abs().sum() > 0
    with pytest.raises(UserError, match="1 image"):
        cross_correlation(left[:1], right[:1])


def pulled(found: Outputs, labels: dict, *, pull_weight: float):
    """Take a hyper-parameter that is no key."""


def weakly_decorrelated(found: Outputs, labels: dict, *, decorrelation: float):
    """Take a hyper-parameter that is a key of two heads alone."""


@pytest.mark.parametrize(
    ("loss", "name", "main"),
    [
        ("pulled", "pull_weight", arch_single_head.trainer.main),
        ("pulled", "pull_weight", train_system.main),
        ("weakly_decorrelated", "decorrelation", train_system.main),
    ],
)
def test_a_loss_that_takes_what_is_no_key_says_where_to_add_it(
    loss, name, main, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setitem(LOSSES, "cross_entropy", Loss("", f"{__name__}:{loss}"))
    status, _, err = in_process(main, *tiny, f"save_dir={tmp_path}")
    assert status == 1
    assert err.strip().endswith(
        f"hparams.loss=cross_entropy takes `{name}`, which is no key of arch_single_head: add it to TrainingKeys in "
        "common/runs/schema.py, or for this folder alone to arch_single_head/schema.py."
    )
    assert err.count("\n") == 1


def mean_of(found: Outputs) -> torch.Tensor:
    return found.logits["fine"].mean()


GIVEN = {
    "a Tensor of the shape (32,)": lambda found, labels: found.logits["fine"].mean(dim=1),
    "None": lambda found, labels: None,
    "a tuple": lambda found, labels: (mean_of(found), {}),
    "a float": lambda found, labels: 0.5,
    "a number without gradients": lambda found, labels: mean_of(found).detach(),
}


@pytest.mark.parametrize("given", GIVEN)
def test_a_loss_that_gives_no_number_to_minimise_is_refused(
    given, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setattr("common.training.losses.cross_entropy", GIVEN[given])
    status, _, err = in_process(arch_single_head.trainer.main, *tiny, f"save_dir={tmp_path}")
    assert status == 1
    assert f"hparams.loss=cross_entropy gives {given}; allowed: one number" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (
            lambda outputs, labels, label_smoothing: mean_of(outputs),
            "outputs, labels, label_smoothing",
        ),
        (lambda outputs, labels, pull=0.1, *, dropout: mean_of(outputs), "outputs, labels, pull"),
        (lambda outputs, *, label_smoothing: mean_of(outputs), "outputs"),
    ],
)
def test_hyper_parameters_of_a_loss_are_taken_by_name_alone(
    loss, names, tiny, in_process, monkeypatch, tmp_path
):
    monkeypatch.setattr("common.training.losses.cross_entropy", loss)
    status, _, err = in_process(arch_single_head.trainer.main, *tiny, f"save_dir={tmp_path}")
    assert status == 1
    assert f"hparams.loss=cross_entropy takes {names} by their places; allowed: outputs and" in err
    assert err.count("\n") == 1
