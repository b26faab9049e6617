"""One temperature for all logits of a head, fitted on validation images. A part of the section on calibration."""

import math

from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from analysis.networks import classify
from analysis.seed import Seed

# A head that is correct on every validation image would be made surer without end.
LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the temperature T of Guo et al. (2017, arxiv.org/abs/1706.04599, section 4.2): logits / T.

    It minimises the negative log-likelihood, which has one minimum: it is convex in 1 / T. The predicted classes stay
    what they are; T above 1 makes the head less sure, T below 1 surer.

    Args:
        logits: of validation images (N, C).
        labels: theirs (N,).

    Returns:
        T, from 0.05 to 20.
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return float(nn.functional.cross_entropy(logits / math.exp(log_temperature), labels))

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def validation_logits(seed: Seed) -> dict[tuple[str, str], Tensor]:
    """Logits (N, C) for the validation images of a seed, by arm and level, of the networks of its test logits."""
    both = classify(seed.module, seed.network, seed.validation.of("both"))
    found = {("bilateral", level): logits for level, logits in both.items()}
    return found | {(level, level): logits for level, logits in seed.alone_held_out.items()}
