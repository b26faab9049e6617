"""Multinomial logistic regression on features, the probe of all analyses: the same kind for every hemisphere.

Its L2 penalty is chosen on validation images. Features are standardised by the training images' mean and deviation, so
that one penalty means the same for every hemisphere. Everything is computed where the features are: on a GPU, or on the
CPU on one thread.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import LBFGS

from common.checkpoints.files import digest

# The inverse of the penalty, as scikit-learn's C: half the sum of squared weights counts 1 / (C N) against the mean
# cross-entropy of N images. From strong to weak.
STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 3))
# The change of the penalised loss (in nats) in one step at which a fit ends; accuracies no longer change then.
TOLERANCE = 1e-6
MOST_STEPS = 500


@dataclass(frozen=True)
class Probe:
    """A fitted probe: features (N, F) → logits (N, C).

    ``mean`` and ``spread`` (F,) standardise; ``weight`` (F, C) and ``bias`` (C,) are of standardised features;
    ``strength`` is the one of `STRENGTHS` that was chosen.
    """

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor
    strength: float

    def logits(self, features: Tensor) -> Tensor:
        """Give logits (N, C), float64: computed on the probe's device, and given on that of the features."""
        inputs = (features.to(self.mean.device).double() - self.mean) / self.spread
        return (inputs @ self.weight + self.bias).to(features.device)

    @property
    def at_end(self) -> bool:
        """Whether the penalty is the strongest or the weakest that was tried, so that a better one may lie beyond."""
        return self.strength in (STRENGTHS[0], STRENGTHS[-1])


@contextmanager
def exactly() -> Iterator[None]:
    """Let torch compute on one thread of the CPU, and on a GPU multiply in all digits of float32.

    Operations are so small that several threads would wait for one another, most of all on a busy machine. In TF32,
    which tests and training may have chosen, a loss is not known to the `TOLERANCE` at which a fit ends.
    """
    threads, products = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(products)


@dataclass(frozen=True)
class Standardised:
    """Features of training images, standardised and turned: the same whatever labels are read off them.

    ``mean`` and ``spread`` (F,) standardise; ``axes`` (F, F) are the principal ones, in columns, of which ``inputs``
    (N, F) are the coordinates and ``variances`` (F,) theirs. All are float64.
    """

    mean: Tensor
    spread: Tensor
    axes: Tensor
    inputs: Tensor
    variances: Tensor

    @classmethod
    @exactly()
    def of(cls, features: Tensor) -> "Standardised":
        """Standardise features (N, F), and turn them to their principal axes.

        Along these the penalty is the same, and each coordinate can be scaled by its own curvature.
        """
        mean, spread = features.double().mean(0), features.double().std(0)
        spread = torch.where(spread > 1e-6, spread, 1.0)  # a feature that never changes stays 0
        inputs = (features.double() - mean) / spread
        variances, axes = torch.linalg.eigh(inputs.T @ inputs / len(inputs))
        return cls(mean, spread, axes, inputs @ axes, variances.clamp_min(0))


Labelled = tuple[Tensor, Tensor]


@exactly()
def fit(
    train: Labelled,
    validation: Labelled,
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
    standardised: Standardised | None = None,
) -> Probe:
    """Fit from the strongest penalty to weaker ones, until fewer validation images are right, and give the best.

    Args:
        train: features (N, F) and labels int64 (N,).
        validation: the same, of other images, on the same device.
        classes: number of labels.
        strengths: to choose from, rising.
        standardised: the training features, where that is known from a fit of other labels.
    """
    known = standardised or Standardised.of(train[0])
    problem = _Problem(known, train[1])
    weight = problem.inputs.new_zeros(problem.inputs.shape[1], classes, dtype=torch.float64)
    best, chosen = -1, None
    for strength in strengths:
        weight = problem.solve(1 / (strength * len(train[1])), weight)
        probe = Probe(known.mean, known.spread, known.axes @ weight[:-1], weight[-1], strength)
        right = int((probe.logits(validation[0]).argmax(1) == validation[1]).sum())
        if right < best:
            break
        if right > best:
            best, chosen = right, probe
    assert chosen is not None
    return chosen


class _Problem:
    """The penalised mean cross-entropy of training images, whose minimum L-BFGS finds (Liu & Nocedal 1989).

    Args:
        features: of the images, (N, F).
        labels: int64 (N,).
    """

    def __init__(self, features: Standardised, labels: Tensor) -> None:
        inputs, variances = features.inputs, features.variances
        self.inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1).float()
        self.variances = torch.cat([variances, variances.new_ones(1)])
        self.labels = labels
        self.images = torch.arange(len(labels), device=labels.device)

    def solve(self, penalty: float, start: Tensor) -> Tensor:
        """Give the weights (F + 1, C), the last row the bias, float64; ``start`` is a guess of them."""
        penalties = torch.full_like(self.variances, penalty)
        penalties[-1] = 0  # the bias is free
        # The curvature is about variance / classes + penalty: in these units it is about 1 in every direction.
        units = (self.variances / start.shape[1] + penalties).rsqrt()[:, None]
        scaled = (start / units).float().requires_grad_()
        # Not scipy's: each of its small vector operations wakes all threads of its own linear algebra, and waits.
        optimiser = LBFGS(
            [scaled],
            max_iter=MOST_STEPS,
            tolerance_grad=0,
            tolerance_change=TOLERANCE,
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        optimiser.step(self._loss(scaled, units.float(), (penalties[:, None] * units**2).float()))
        return scaled.detach().double() * units

    def _loss(self, weight: Tensor, units: Tensor, penalties: Tensor) -> Callable[[], float]:
        """Make the function that gives the loss of weights in these units, and leaves their gradient with them."""
        inputs = self.inputs * units.T

        @torch.no_grad()
        def loss() -> float:
            logs = (inputs @ weight).log_softmax(dim=1)
            entropy = functional.nll_loss(logs, self.labels)
            total = entropy.double() + 0.5 * (penalties * weight * weight).double().sum()
            # In place: of a thousand classes, each further table (N, C) takes as long as the product.
            errors = logs.exp_()
            errors[self.images, self.labels] -= 1
            weight.grad = inputs.T @ errors.div_(len(inputs)) + penalties * weight
            return float(total)

        return loss


class Fits:
    """Probes that were fitted already, by what they were fitted on: hemispheres and labels recur across analyses.

    Args:
        device: on which they are fitted.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = device
        self._known: dict[str, Probe] = {}
        # The features of the last fit alone: labels of several kinds are read off them one after the other.
        self._last: tuple[str, Standardised] | None = None

    def fit(
        self,
        train: Labelled,
        validation: Labelled,
        classes: int,
        strengths: Sequence[float] = STRENGTHS,
    ) -> Probe:
        """Call `fit`, or give the earlier answer. All tensors given are on the CPU."""
        features = digest({"x": train[0]})
        held = {"y": train[1], "vx": validation[0], "vy": validation[1]}
        key = features + digest(held | {"c": torch.tensor([classes, *strengths])})
        if key not in self._known:
            x, y, vx, vy = (one.to(self.device) for one in (*train, *validation))
            if self._last is None or self._last[0] != features:
                self._last = features, Standardised.of(x)
            self._known[key] = fit((x, y), (vx, vy), classes, strengths, self._last[1])
        return self._known[key]
