"""Muon: step along the orthogonal matrix that is nearest to each weight matrix's momentum.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"
(kellerjordan.github.io/posts/muon), with the length of a step of Liu et al. 2025, "Muon is scalable for LLM training"
(arxiv.org/abs/2502.16982, section 2.2): that of AdamW, so that both take the same learning rate. `torch.optim.Muon`
takes matrices alone; here the weights of a convolution are one, with a row for each map that it makes.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor

# Of the polynomial that `orthogonal` iterates, and how often (Jordan et al.). A singular value of 0.005 to 1 times the
# matrix's norm ends between 0.68 and 1.16.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# The root mean square of a step of AdamW, in learning rates (Liu et al.).
ADAMW_RMS = 0.2


def orthogonal(matrix: Tensor) -> Tensor:
    """Replace the singular values of a matrix (M, N) by about 1, by Newton-Schulz iterations in bfloat16."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).bfloat16()
    x = x / x.norm().clamp(min=1e-7)  # so that no singular value is above 1
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Takes orthogonal steps in groups of parameters with ``orthogonal: True``, and steps of AdamW in others.

    Args:
        groups: of parameters; those of orthogonal ones have outputs as their first dimension.
        momentum: share of the earlier steps' mean gradient that is kept (Nesterov).
        weight_decay: share by which weights shrink in a step, in learning rates.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, momentum: float, weight_decay: float
    ) -> None:
        # It steps only in some of the groups, and holds the state of these in this optimiser's place.
        self.adamw = torch.optim.AdamW(groups, weight_decay=weight_decay)
        defaults = {"momentum": momentum, "orthogonal": False}
        super().__init__(self.adamw.param_groups, self.adamw.defaults | defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step; ``closure`` computes gradients, and its loss is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in (group for group in self.param_groups if group["orthogonal"]):
            for weights in (one for one in group["params"] if one.grad is not None):
                self._step_orthogonally(weights, weights.grad, group)
        # Loading a checkpoint gives an optimiser other groups, and another state.
        self.adamw.state = self.state
        self.adamw.param_groups = [group for group in self.param_groups if not group["orthogonal"]]
        self.adamw.step()
        return loss

    def _step_orthogonally(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        state = self.state[weights]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        mean = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        step = orthogonal(gradient.lerp(mean, momentum).flatten(1))
        rows, columns = step.shape
        length = ADAMW_RMS * math.sqrt(max(rows, columns))
        weights.mul_(1 - lr * group["weight_decay"])
        weights.add_(step.view(weights.shape), alpha=-lr * length)
