"""The probe: the minimum of the penalised loss, its penalty chosen on validation images."""

import numpy as np
import pytest
import torch
from pretended_gpu import GPU, PretendedGpu
from scipy.optimize import minimize
from scipy.special import logsumexp

from analysis import logistic
from analysis.logistic import STRENGTHS, Fits, Probe, Standardised, exactly, fit


def some(count: int, seed: int, noise: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Five features of three classes, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = noise * torch.randn(count, 5, generator=generator)
    features[torch.arange(count), labels] += 1.5
    return features * torch.tensor([1.0, 100, 0.01, 1, 1]) + 7, labels


def by_hand(features: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Logits of a generic minimiser of scikit-learn's loss, on standardised features: (N, 3)."""
    inputs = (features - features.mean(0)) / features.std(0, ddof=1)
    truth = np.eye(3)[labels]

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:15].reshape(5, 3), flat[15:]
        logits = inputs @ weight + bias
        entropy = (logsumexp(logits, axis=1) - (truth * logits).sum(1)).sum()
        return strength * entropy + 0.5 * (weight**2).sum()

    flat = minimize(loss, np.zeros(18), method="BFGS").x
    return inputs @ flat[:15].reshape(5, 3) + flat[15:]


@pytest.mark.parametrize("strength", STRENGTHS[1:5])
def test_a_probe_is_at_the_minimum(strength):
    features, labels = some(120, 0)
    probe = fit((features, labels), some(30, 1), 3, (strength,))
    ours = probe.logits(features).softmax(1).numpy()
    theirs = by_hand(features.double().numpy(), labels.numpy(), strength)
    theirs = np.exp(theirs - logsumexp(theirs, axis=1, keepdims=True))
    assert ours == pytest.approx(theirs, abs=0.01)


def test_the_penalty_is_the_best_on_validation_images_and_the_strongest_of_equals():
    train, validation = some(60, 0, noise=3), some(300, 1, noise=3)
    chosen = fit(train, validation, 3)
    assert chosen.strength in STRENGTHS
    tried = []
    for strength in STRENGTHS:
        logits = by_hand(train[0].double().numpy(), train[1].numpy(), strength)
        assert logits.shape == (60, 3)
        probe = fit(train, validation, 3, (strength,))
        tried.append(int((probe.logits(validation[0]).argmax(1) == validation[1]).sum()))
    falls = next((i for i in range(1, len(tried)) if tried[i] < max(tried[:i])), len(tried))
    best = max(tried[:falls])
    right = int((chosen.logits(validation[0]).argmax(1) == validation[1]).sum())
    assert abs(right - best) <= 2  # a warm start ends a little elsewhere
    assert not fit(train, validation, 3).at_end or chosen.strength in (STRENGTHS[0], STRENGTHS[-1])


def test_a_penalty_at_the_end_of_those_tried_is_known():
    # What helps in training misleads on validation images: the strongest penalty is best.
    features, labels = some(60, 0)
    turned = (features, (labels + 1) % 3)
    assert fit((features, labels), turned, 3).at_end


def test_features_that_never_change_in_training_say_nothing():
    features, labels = some(60, 0)
    features[:, 4] = 0.1
    probe = fit((features, labels), (features, labels), 3)
    changed = features.clone()
    changed[:, 4] = 5
    assert probe.logits(changed).numpy() == pytest.approx(probe.logits(features).numpy(), abs=1e-3)


def test_the_same_question_is_answered_once(monkeypatch):
    asked = []
    original = logistic.fit
    monkeypatch.setattr(logistic, "fit", lambda *a: asked.append(a) or original(*a))
    fits, train = Fits(), some(60, 0)
    one, again = (fits.fit(train, train, 3) for _ in range(2))
    assert one is again
    other = fits.fit((train[0], (train[1] + 1) % 3), train, 3)
    assert other is not one
    assert len(asked) == 2


def test_a_fit_gives_torch_its_threads_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(some(60, 0), some(30, 1), 3)
        assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError):
            fit(some(60, 0), (torch.zeros(3, 4), torch.zeros(3)), 3)  # other features
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def same(one: Probe, other: Probe) -> bool:
    names = ("mean", "spread", "weight", "bias")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_features_from_which_several_labels_are_read_are_standardised_once(monkeypatch):
    asked, original = [], Standardised.of
    monkeypatch.setattr(Standardised, "of", lambda x: asked.append(x) or original(x))
    fits, (x, y), validation = Fits(), some(60, 0), some(30, 1)
    others = ((x, y), (x, (y + 1) % 3), (x + 1, y))
    probes = [fits.fit(one, validation, 3) for one in others]
    assert len(asked) == 2
    for probe, train in zip(probes, others, strict=True):
        assert same(probe, fit(train, validation, 3))


def test_a_fit_of_other_classes_is_another_one():
    fits, train, validation = Fits(), some(60, 0), some(30, 1)
    assert [fits.fit(train, validation, classes).weight.shape[1] for classes in (3, 5)] == [3, 5]


def test_a_fit_stays_on_the_gpu_and_finds_the_same_there():
    train, validation = some(60, 0, noise=3), some(30, 1, noise=3)
    with PretendedGpu() as gpu:
        probe = Fits(GPU).fit(train, validation, 3)
        assert {one.device for one in (probe.mean, probe.spread, probe.weight, probe.bias)} == {GPU}
        # Features and labels of both kinds of images go there, and nothing comes back.
        assert (gpu.asked["to meta"], gpu.asked["to cpu"]) == (4, 0)
        logits = probe.logits(validation[0])
        assert (gpu.asked["to meta"], gpu.asked["to cpu"]) == (5, 1)
    theirs = fit(train, validation, 3)
    assert logits.device == validation[0].device
    assert torch.equal(logits, theirs.logits(validation[0]))
    assert probe.strength == theirs.strength


def test_a_pretended_gpu_refuses_tensors_of_the_cpu():
    with PretendedGpu(), pytest.raises(AssertionError, match="on the CPU"):
        torch.ones(3, device=GPU) + torch.ones(3)


def test_a_fit_multiplies_in_all_digits_whatever_tests_chose():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exactly():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
