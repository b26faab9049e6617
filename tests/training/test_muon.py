"""Muon: the steps of torch.optim.Muon and of AdamW, each in its own part of a network."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import arch_single_head.trainer
from common.checkpoints.files import read
from common.training import callbacks
from common.training.muon import Muon, orthogonal
from common.training.optimisers import parameter_groups

SINGLE = arch_single_head.trainer.main
RECIPE = {"momentum": 0.9, "weight_decay": 0.1}
LR = 0.02


def muon(*matrices: nn.Parameter, others: tuple[nn.Parameter, ...] = ()) -> Muon:
    groups = [{"params": list(others), "lr": LR}]
    return Muon([*groups, {"params": list(matrices), "lr": LR, "orthogonal": True}], **RECIPE)


def parameter(*shape: int, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)))


def walk(optimizer: torch.optim.Optimizer, *parameters: nn.Parameter, steps: int = 4) -> None:
    """Take steps along gradients that are the same each time that this is called."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for one in parameters:
            one.grad = torch.randn(one.shape, generator=generator)
        optimizer.step()


@given(rows=st.integers(1, 24), columns=st.integers(1, 24), seed=st.integers(0, 99))
def test_singular_values_become_about_one(rows, columns, seed):
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    # One that is next to nothing stays so.
    whole = s > 0.02 * s.norm()
    found = (u.T @ orthogonal(matrix).float() @ vh.T).diagonal()[whole]
    assert ((found > 0.5) & (found < 1.3)).all()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="it came with PyTorch 2.9")
@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 6)])
def test_a_matrix_is_stepped_as_by_torchs_own_muon(shape):
    ours, theirs = parameter(*shape), parameter(*shape)
    walk(muon(ours), ours)
    library = {"lr": LR, "adjust_lr_fn": "match_rms_adamw"}
    walk(torch.optim.Muon([theirs], **library, **RECIPE), theirs)
    assert not torch.equal(ours, parameter(*shape))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.02 * LR)


def test_a_convolution_is_a_matrix_with_a_row_for_each_of_its_maps():
    conv, matrix = parameter(8, 3, 3, 3), parameter(8, 27)
    for one in (conv, matrix):
        walk(muon(one), one)
    torch.testing.assert_close(conv.flatten(1), matrix)
    last = parameter(8, 3, 3, 3)
    last.data = last.data.to(memory_format=torch.channels_last)
    walk(muon(last), last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last.flatten(1), matrix)


def test_what_is_not_orthogonal_is_stepped_by_adamw():
    ours, beside, theirs = parameter(8, 20), parameter(5, 5), parameter(8, 20)
    walk(muon(beside, others=(ours,)), ours)
    walk(torch.optim.AdamW([theirs], lr=LR, weight_decay=0.1), theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(beside, parameter(5, 5))  # it had no gradient


def test_it_goes_on_from_its_state():
    def made() -> tuple[list[nn.Parameter], Muon]:
        both = [parameter(8, 20), parameter(8)]
        return both, muon(both[0], others=(both[1],))

    whole, optimizer = made()
    walk(optimizer, *whole, steps=3)
    state = copy.deepcopy(optimizer.state_dict())
    weights = [one.detach().clone() for one in whole]
    walk(optimizer, *whole, steps=2)

    halves, optimizer = made()
    optimizer.load_state_dict(state)
    for one, value in zip(halves, weights, strict=True):
        one.data.copy_(value)
    walk(optimizer, *halves, steps=2)
    for one, other in zip(halves, whole, strict=True):
        assert torch.equal(one, other)


def test_hemispheres_take_orthogonal_steps_and_heads_do_not(first_step):
    built = first_step(SINGLE, "hparams.optimizer=muon", "hparams.plasticity=3")
    names = {id(one): name for name, one in built.network.named_parameters()}
    rates = {
        names[id(one)]: group["lr"]
        for group in built.optimizer.param_groups
        if group["orthogonal"]
        for one in group["params"]
    }
    matrices = {
        name
        for name, one in built.network.named_parameters()
        if name.startswith("hemispheres.") and one.ndim > 1
    }
    assert set(rates) == matrices
    assert len(matrices) == 8
    first = built.optimizer.param_groups[0]["lr"]
    assert [lr / first for lr in rates.values()] == pytest.approx([3] * 8)


def test_scales_and_tables_of_a_hemisphere_are_no_matrices():
    """ConvNeXt scales its maps by parameters (C, 1, 1); Swin looks up position biases in tables."""
    for arch, kept in (
        ("convnext_tiny", "layer_scale"),
        ("swin_t", "relative_position_bias_table"),
    ):
        network = nn.ModuleDict({"hemispheres": nn.ModuleDict({"fine": getattr(models, arch)()})})
        groups = parameter_groups(network, lr=LR, plasticity={}, matrices=True)
        apart = {id(one) for group in groups if "orthogonal" in group for one in group["params"]}
        names = [name for name, one in network.named_parameters() if id(one) in apart]
        assert names
        assert {name.rpartition(".")[2] for name in names} == {"weight"}
        assert any(kept in name for name, _ in network.named_parameters())


def test_a_run_continues_bit_for_bit(tiny, in_process, killed_at_step, monkeypatch, tmp_path):
    monkeypatch.setattr(callbacks, "CONTINUE_EVERY_S", 0.0)
    monkeypatch.setattr(callbacks, "EPOCHS_EVERY_S", 0.0)
    run = [*tiny, "hparams.optimizer=muon", f"save_dir={tmp_path}", "evaluate=false"]
    run += ["trainer_params.precision=32-true"]
    assert in_process(SINGLE, *run, "exp_name=whole")[0] == 0
    killed_at_step(7, SINGLE, *run, "exp_name=killed")
    status, out, _ = in_process(SINGLE, *run, "exp_name=killed")
    assert status == 0
    assert "continu" in out
    whole, killed = (
        read(tmp_path / name / "fine/seed0/checkpoints/last.ckpt")[1]
        for name in ("whole", "killed")
    )
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())
