"""The training step as a CUDA graph: forward pass, loss and backward pass are recorded once and replayed at each step.

Steps of small networks wait for Python, which launches one kernel after the other; a replay launches all at once
(PyTorch's documentation, "CUDA Graphs"). The optimiser, clipping and the schedule stay outside.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.system.errors import UserError
from common.training.metrics import Batch

# Steps before a recording, in which libraries choose kernels and allocate what they keep.
WARM_UP = 4
# How far a replayed step may be from the plain one, relative: in numbers of 8 bits of mantissa, and in others, where
# compiled sums of ResNet-9 were 2e-3 apart.
ROUNDED, EXACT, COMPILED = 2e-2, 1e-4, 1e-2
# How many times as far from float32 as the plain step it may be instead: compiled, sums round otherwise.
FARTHER = 1.25


class NotReplayedError(Exception):
    """Says why a step is not replayed."""


LossOfBatch = Callable[[Batch], Tensor]
# Records what a function does; gives what repeats it, and the function's result, which each repetition overwrites.
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]


class GraphedStep:
    """A step that is recorded once and replayed; it leaves gradients of its batch alone, in the same tensors each time.

    They must be used before the next step; whether they are cleared afterwards does not matter.

    Args:
        compute: gives the loss of a batch; what it draws at random comes from the device's own generator.
        learning: the parameters that get gradients.
        batch: has the shapes of all batches to come.
        record: how it is recorded.
    """

    def __init__(
        self,
        compute: LossOfBatch,
        learning: Sequence[nn.Parameter],
        batch: Batch,
        record: Recorder,
    ) -> None:
        self.held = {name: value.clone() for name, value in batch.items()}
        self.learning = learning
        with _without_autocast_cache():
            self.replay, self.loss = record(lambda: plain_step(compute, learning, self.held))
        self.gradients = [parameter.grad for parameter in learning]

    def __call__(self, batch: Batch) -> Tensor:
        """Take the step of a batch; its loss is valid until the next one."""
        for name, held in self.held.items():
            held.copy_(batch[name], non_blocking=True)
        self.replay()
        # Lightning takes them off before each validation.
        for parameter, gradient in zip(self.learning, self.gradients, strict=True):
            parameter.grad = gradient
        return self.loss


def plain_step(compute: LossOfBatch, learning: Sequence[nn.Parameter], batch: Batch) -> Tensor:
    """Take a step's forward pass, loss and backward pass; gradients are of this batch alone."""
    for parameter in learning:
        parameter.grad = None
    loss = compute(batch)
    # As Lightning does, whose backward pass is outside of autocast.
    with torch.autocast(loss.device.type, enabled=False):
        loss.backward()
    return loss.detach()


def record_on_gpu(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record what a function launches on the GPU.

    Raises:
        RuntimeError: it does something that cannot be recorded, such as waiting for the GPU.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    pool = torch.cuda.graph_pool_handle()
    try:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream().wait_stream(beside)
        # Of this thread alone: another one may be pinning memory for the first batches.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            loss = work()
    except Exception:
        graph.reset()
        _close(pool)
        _leave_recording(stream)
        raise
    return graph.replay, loss


def _close(pool: tuple[int, int]) -> None:
    """Have memory no longer taken from the pool of a recording that failed.

    PyTorch 2.11 goes on taking it from there (github.com/pytorch/pytorch/pull/180395), and then refuses every other
    recording. Later versions have closed it, and say so.
    """
    device = torch.cuda.current_device()
    with suppress(RuntimeError):
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)


@contextmanager
def _without_autocast_cache() -> Iterator[None]:
    """Have weights converted anew: those in bfloat16 that were cached before would be recorded as they were then."""
    caches = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(caches)


def _leave_recording(stream: torch.cuda.Stream) -> None:
    """Return to plain steps after a recording that failed.

    PyTorch 2.11 leaves the recording's stream in use, and the generator as if it were recorded: a recording of next to
    nothing ends that.

    Raises:
        UserError: generators or streams cannot be used all the same.
    """
    try:
        torch.cuda.set_stream(stream)
        with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
            torch.zeros(1, device="cuda")
        torch.rand(1, device="cuda").item()
    except RuntimeError as error:
        raise UserError(
            "The training step could not be recorded as a CUDA graph, and the GPU must be opened anew: give "
            "hparams.cuda_graph=false."
        ) from error


class Comparison(NamedTuple):
    """How far another step is from the plain one, relative to it: in its loss, and in all gradients together.

    ``tolerance`` is how far it may be. Where its gradients are farther, ``plain_rounding`` and ``rounding`` say how far
    those of either are from the plain ones in float32.
    """

    loss: float
    gradients: float
    tolerance: float
    plain_rounding: float = 0.0
    rounding: float = math.inf

    @property
    def agrees(self) -> bool:
        """Say whether both are the same but for rounding; NaN is not."""
        return self.loss <= self.tolerance and (
            self.gradients <= self.tolerance or self.rounding <= FARTHER * self.plain_rounding
        )


class Trial:
    """Takes one step in several ways from equal weights, statistics and random numbers, and leaves these as they were.

    Args:
        network: whose parameters get gradients; those of the last step stay.
        sums: what steps add to beside.
        batch: the step's.
        seed: seeds the generators that the step draws from.
        autocast: makes the context in which steps are computed.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: Batch,
        *,
        sums: Sequence[Tensor] = (),
        seed: Callable[[], object],
        autocast: Callable[[], AbstractContextManager],
    ) -> None:
        self.learning = [one for one in network.parameters() if one.requires_grad]
        self.batch = batch
        self.device = next(iter(batch.values())).device.type
        self.seed = seed
        self.autocast = autocast
        held = [*network.parameters(), *network.buffers(), *sums]
        self.before = [(tensor, tensor.detach().clone()) for tensor in held]

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Put weights, statistics and sums back afterwards, also where something fails."""
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in self.before:
                    tensor.copy_(value)

    def take(self, step: LossOfBatch, *, exact: bool = False) -> tuple[Tensor, Tensor]:
        """Give the loss of a step that leaves gradients, and these in one row, float32; ``exact``: without autocast."""
        self.seed()
        with (
            self.restoring(),
            self.autocast(),
            torch.autocast(self.device, enabled=False) if exact else nullcontext(),
        ):
            loss = step(self.batch)
        gradients = [one.grad.flatten().float() for one in self.learning if one.grad is not None]
        return loss.float().clone(), torch.cat(gradients)

    def compare(
        self,
        compute: LossOfBatch,
        other: Callable[[], LossOfBatch],
        *,
        compiled: bool,
    ) -> Comparison:
        """Compare another step with the plain one.

        Args:
            compute: gives the loss of a batch, without the backward pass.
            other: makes the other step, which leaves gradients, once the plain one has been taken.
            compiled: whether that is compiled.
        """
        plain = partial(plain_step, compute, self.learning)
        loss, gradients = self.take(plain)
        with self.restoring():
            step = other()
        other_loss, other_gradients = self.take(step)
        with self.autocast():
            rounded = torch.is_autocast_enabled(self.device)
        found = Comparison(
            loss=_apart(other_loss, loss, loss),
            gradients=_apart(other_gradients, gradients, gradients),
            tolerance=ROUNDED if rounded else COMPILED if compiled else EXACT,
        )
        if found.agrees:
            return found
        # Only then: in float32 a step takes twice the memory, and a GPU chooses kernels for it by trial.
        _, exact = self.take(plain, exact=True)
        return found._replace(
            plain_rounding=_apart(gradients, exact, exact),
            rounding=_apart(other_gradients, exact, exact),
        )


def record_step(
    compute: LossOfBatch,
    plain: LossOfBatch,
    trial: Trial,
    batch: Batch,
    record: Recorder,
    *,
    compiled: bool,
) -> GraphedStep:
    """Record a step, and compare it with the plain one on the trial's batch.

    Args:
        compute: gives the loss of a batch, without the backward pass.
        plain: the same, not compiled.
        trial: of another batch and other random numbers than the recording, which might repeat its own.
        batch: recorded.
        record: how.
        compiled: whether ``compute`` is.

    Raises:
        NotReplayedError: it cannot be recorded, or is not the plain step.
    """
    made: list[GraphedStep] = []

    def other() -> GraphedStep:
        with trial.autocast():
            made.append(GraphedStep(compute, trial.learning, batch, record))
        return made[0]

    try:
        found = trial.compare(plain, other, compiled=compiled)
    except UserError:
        raise
    except Exception as error:
        # Of any kind: compiled code asserts the sizes of its inputs, and Triton's errors are none of torch's.
        why = str(_first(error)).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise NotReplayedError(f"recording the step failed ({why})") from error
    if not found.agrees:
        raise NotReplayedError(
            f"the replayed step is not the plain one (relative difference of losses {found.loss:.1e}, of gradients "
            f"{found.gradients:.1e})"
        )
    return made[0]


def _first(error: BaseException) -> BaseException:
    """Give what went wrong first: where a recording breaks off, its end fails too, and says nothing of why."""
    while isinstance(error.__context__, RuntimeError | AssertionError):
        error = error.__context__
    return error


def _apart(one: Tensor, other: Tensor, unit: Tensor) -> float:
    return float((one - other).norm() / unit.norm())
