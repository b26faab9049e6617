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
@pytest.mark.parametrize(
    ("accelerator", "gpu", "used"),
    [
        ("auto", True, True),
        ("gpu", True, True),
        ("cuda", True, True),
        ("cpu", True, False),
        ("mps", True, False),
        ("auto", False, False),
    ],
)
def test_a_gpu_in_use_has_tf32_always_and_kernels_by_trial_unless_deterministic(
    accelerator, gpu, used, deterministic, precision, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    by_trial = used and not deterministic
    assert use_fast_kernels(accelerator, deterministic=deterministic) is by_trial
    assert precision == ["high"] * used
