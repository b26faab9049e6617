"""A GPU where there is none: its tensors are not computed with those of the CPU, and what it is asked is counted."""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

# A device that torch knows without a driver.
GPU = torch.device("meta")


class Pretending(Tensor):
    """A tensor that says it is on `GPU`; its numbers are ``held`` on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Pretending":
        """Hold a tensor of the CPU."""
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=GPU
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse: only a `PretendedGpu` computes."""
        raise RuntimeError(f"{func} outside of PretendedGpu")


class PretendedGpu(TorchDispatchMode):
    """Compute what is said to be on `GPU`, with the same numbers as the CPU.

    As on a true one, tensors of the two do not mix, but for single numbers, and ``to`` carries them over. ``asked``
    counts operations on its tensors by their names in torch, and tensors that were carried: "to meta", "to cpu".
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation."""
        kwargs = dict(kwargs or {})
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = any(isinstance(one, Pretending) for one in tensors)
        name, target = func.name().removeprefix("aten::"), kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
            target = torch.device(target).type
        if target is not None and name == "_to_copy":
            self.asked[f"to {target}"] += 1
        elif there:
            self.asked[name] += 1
            mixed = [one for one in tensors if one.dim() and not isinstance(one, Pretending)]
            assert not mixed, f"{name} of a tensor on the CPU and one on the GPU"
        args, kwargs = tree_map_only(Pretending, lambda one: one.held, (args, kwargs))
        result = func(*args, **kwargs)
        on_gpu = there if target is None else target == GPU.type
        return tree_map_only(Tensor, Pretending, result) if on_gpu else result
