"""Metrics that need the hierarchy, the coarse class of each fine class: functions of `common.training.metrics.Answers`.

Each gives a value for each image (B,) and which images count, bool (B,). Of a fine prediction there are three tree
distances to the label, by the height of their lowest common ancestor: 0 the same class, 1 another one of the same
coarse class, 2 of another coarse class.
"""

import torch
from torch import Tensor

from common.training.metrics import Answers

Values = tuple[Tensor, Tensor]


def consistency(answers: Answers) -> Values:
    """Say whether the fine prediction lies in the class that the coarse head predicts: bool (B,), of all images."""
    coarse = answers.coarse_of_fine[answers.predicted("fine")]
    return _of_all(coarse == answers.predicted("coarse"))


def tice(answers: Answers) -> Values:
    """Say whether the two predictions are no path of the tree: bool (B,), of all images.

    The tree-based inconsistency error rate of Park et al. 2025, Visually consistent hierarchical image classification
    (ICLR): 1 - consistency.
    """
    same, counts = consistency(answers)
    return ~same, counts


def path(answers: Answers) -> Values:
    """Say whether both predictions are right: bool (B,), of all images; full-path accuracy in Park et al. 2025."""
    fine, coarse = (
        answers.predicted(level) == answers.labels[level] for level in ("fine", "coarse")
    )
    return _of_all(fine & coarse)


def coarse_via_fine(answers: Answers) -> Values:
    """Say whether the fine prediction lies in the right coarse class: bool (B,), of all images."""
    parent = answers.coarse_of_fine
    return _of_all(parent[answers.predicted("fine")] == parent[answers.labels["fine"]])


def coarse_via_fine_sum(answers: Answers) -> Values:
    """Say whether the right coarse class has the highest sum of its fine classes' probabilities: bool (B,), of all."""
    probabilities = answers.logits["fine"].float().softmax(dim=1)  # (B, C)
    # The first fine class of each coarse class stands for it: how many of these there are, only the device knows.
    parent = answers.coarse_of_fine
    first = (parent[:, None] == parent).int().argmax(dim=1)  # (C,)
    sums = torch.zeros_like(probabilities).index_add(1, first, probabilities)
    return _of_all(sums.argmax(dim=1) == first[answers.labels["fine"]])


def within_coarse(answers: Answers) -> Values:
    """Say whether the label has the highest fine logit among the classes of its coarse class: bool (B,), of all."""
    parent, labels = answers.coarse_of_fine, answers.labels["fine"]
    others = parent != parent[labels][:, None]  # (B, C)
    guess = answers.logits["fine"].masked_fill(others, -torch.inf).argmax(dim=1)
    return _of_all(guess == labels)


def within_family(answers: Answers) -> Values:
    """Say whether the fine prediction lies in the right coarse class: bool (B,), of images whose fine one is wrong."""
    right, _ = coarse_via_fine(answers)
    return right, answers.predicted("fine") != answers.labels["fine"]


def mistake_severity(answers: Answers) -> Values:
    """Give the tree distance of the fine prediction, 1 or 2: (B,), of images whose fine prediction is wrong.

    The hierarchical distance of a mistake in Bertinetto et al. 2020, Making better mistakes (CVPR), section Metrics.
    """
    distance = _distance(answers, answers.predicted("fine")[:, None])
    return distance, distance > 0


def ahd1(answers: Answers) -> Values:
    """Give the tree distance of the fine prediction, 0 to 2: (B,), of all images."""
    return _of_all(_distance(answers, answers.predicted("fine")[:, None]))


def ahd5(answers: Answers) -> Values:
    """Give the mean tree distance of the five highest fine logits (of all, where there are fewer): (B,), of all images.

    The average hierarchical distance of the top k in Bertinetto et al. 2020, section Metrics.
    """
    logits = answers.logits["fine"]
    return _of_all(_distance(answers, logits.topk(min(5, logits.shape[1]), dim=1).indices))


def _distance(answers: Answers, guesses: Tensor) -> Tensor:
    """Average the tree distances between fine classes (B, k) and the label: (B,), from 0 to 2."""
    parent, labels = answers.coarse_of_fine, answers.labels["fine"][:, None]
    distances = (guesses != labels).float() + (parent[guesses] != parent[labels]).float()
    return distances.mean(dim=1)


def _of_all(values: Tensor) -> Values:
    return values, torch.ones_like(values, dtype=torch.bool)
