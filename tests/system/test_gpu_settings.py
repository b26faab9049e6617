"""What is set on a GPU, tried without one: torch is told that there is one."""

import pytest
import torch

from common.system.environment import use_fast_kernels


@pytest.fixture
def precision(monkeypatch) -> list[str]:
    """What float32 products are set to."""
    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    return asked


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_tf32_always_and_kernels_by_trial_unless_deterministic(
    accelerator, deterministic, precision, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert use_fast_kernels(accelerator, deterministic=deterministic) is not deterministic
    assert precision == ["high"]


@pytest.mark.parametrize(("accelerator", "gpu"), [("cpu", True), ("mps", True), ("auto", False)])
def test_nothing_is_set_without_a_gpu_in_use(accelerator, gpu, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert use_fast_kernels(accelerator, deterministic=False) is False
    assert precision == []
