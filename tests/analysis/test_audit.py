"""The tables and analyses of a small study, computed a second way from its files alone.

Checkpoints are opened by torch.load, pictures by Pillow, tables by csv; everything else is plain numpy and scipy, with
torch for convolutions. Nothing of the project computes here but the commands that make the study. Add what a new table
or analysis says as one more test.
"""

import csv
import gzip
import itertools
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from PIL import Image
from torch.nn import functional

import analysis.pipeline as pipeline
import train_system
from common.data.raw import Raw, RawSplit
from common.data.tree import write_tree

SEEDS = (0, 1, 2)
LEVELS = ("fine", "coarse")
BOTH_LEVELS = ("bilateral", "unilateral")
ARMS = (*LEVELS, *BOTH_LEVELS, "ensemble")
# How files spell the hemispheres (see docs/architecture.md).
SPELLING = {"left": "fine", "right": "coarse"}
# How much brighter, of 255, what tells the classes is: so much that networks are right often, and wrong often.
COLOUR, CORNER = 8, 32
CASES = ("both", "left only", "right only", "neither")


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return [*csv.DictReader(text)]


# ---------------------------------------------------------------- networks, from raw weights


def resnet9(weights: dict[str, torch.Tensor], images: torch.Tensor) -> SimpleNamespace:
    """What a ResNet-9 makes of normalised images (N, 3, H, W): its layers, last maps (N, F, cells), features (N, F)."""
    convolutions = []

    def block(x, name, pool=False):
        x = functional.conv2d(x, weights[f"{name}.conv.weight"], padding=1)
        convolutions.append(x)
        mean, variance, scale, shift = (
            weights[f"{name}.norm.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp_min(0)
        return functional.max_pool2d(x, 2) if pool else x

    def residual(x, name):
        return x + block(block(x, f"{name}.block1"), f"{name}.block2")

    x = residual(block(block(images, "prep"), "layer1", pool=True), "residual1")
    x = residual(block(block(x, "layer2", pool=True), "layer3", pool=True), "residual3")
    macs = sum(
        out[0].numel() * weight[0].numel()
        for out, weight in zip(
            convolutions, (w for n, w in weights.items() if n.endswith("conv.weight")), strict=True
        )
    )
    layers = [one.flatten(1).double().numpy() for one in convolutions]
    maps = x.flatten(2).double().numpy()
    return SimpleNamespace(layers=layers, maps=maps, features=maps.max(2), macs=macs)


def part(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


class Eyes:
    """Looks at the images of a study, normalised, by split; equal hemispheres look at them only once."""

    def __init__(self, images: dict[str, torch.Tensor]) -> None:
        self.images = images
        self.seen: dict[tuple[str, bytes], SimpleNamespace] = {}

    def look(self, weights: dict[str, torch.Tensor], split: str) -> SimpleNamespace:
        key = split, b"".join(weight.numpy().tobytes() for weight in weights.values())
        if key not in self.seen:
            self.seen[key] = resnet9(weights, self.images[split])
        return self.seen[key]


class Network:
    """A network with one or two hemispheres, from its weights."""

    def __init__(self, weights: dict[str, torch.Tensor], eyes: Eyes) -> None:
        self.weights, self.eyes = weights, eyes
        self.heads = {
            level: (weight.double().numpy(), weights[f"heads.{level}.linear.bias"].double().numpy())
            for level in LEVELS
            if (weight := weights.get(f"heads.{level}.linear.weight")) is not None
        }

    def hemispheres(self, split: str) -> dict[str, SimpleNamespace]:
        """What each hemisphere makes of the images of a split, by side, left first."""
        backbones = {
            side: part(self.weights, f"hemispheres.{spelled}.backbone.")
            for side, spelled in SPELLING.items()
        }
        return {side: self.eyes.look(one, split) for side, one in backbones.items() if one}

    def features(self, split: str) -> dict[str, np.ndarray]:
        return {side: one.features for side, one in self.hemispheres(split).items()}

    def logits(self, split: str) -> dict[str, np.ndarray]:
        joined = np.concatenate([*self.features(split).values()], axis=1)
        return {level: joined @ weight.T + bias for level, (weight, bias) in self.heads.items()}

    @property
    def parameters(self) -> int:
        learned = [n for n in self.weights if "running_" not in n and "num_batches" not in n]
        return sum(self.weights[n].numel() for n in learned)

    @property
    def head_parameters(self) -> int:
        return sum(weight.size + bias.size for weight, bias in self.heads.values())

    @property
    def macs(self) -> int:
        heads = sum(weight.size for weight, _ in self.heads.values())
        return sum(one.macs for one in self.hemispheres("test").values()) + heads


def members(checkpoint: Path, eyes: Eyes) -> list[Network]:
    """The networks of a checkpoint: one, or the members of an ensemble."""
    weights = part(torch.load(checkpoint, weights_only=True)["state_dict"], "network.")
    numbers = {int(n.split(".")[1]) for n in weights if n.startswith("networks.")}
    parts = [part(weights, f"networks.{i}.") for i in sorted(numbers)]
    return [Network(one, eyes) for one in parts or [weights]]


class Audit:
    """A finished study and its images, as files."""

    def __init__(self, place: Path, root: Path) -> None:
        self.place = place
        index = table(root / "index.csv")
        splits = {
            "train": [r for r in index if r["split"] == "train" and r["held_out"] != "1"],
            "val": [r for r in index if r["split"] == "train" and r["held_out"] == "1"],
            "test": [r for r in index if r["split"] == "test"],
        }
        pixels = {
            split: np.stack(
                [picture(root / r["split"] / "fine" / r["fine"] / r["image"]) for r in rows]
            )
            for split, rows in splits.items()
        }
        mean, std = (f(pixels["train"], axis=(0, 1, 2)) for f in (np.mean, np.std))
        eyes = Eyes(
            {
                split: torch.tensor((one - mean) / std).permute(0, 3, 1, 2).float()
                for split, one in pixels.items()
            }
        )
        self.names = {split: [r["image"] for r in rows] for split, rows in splits.items()}
        # Label ids count from 0, as the outputs of heads do.
        self.labels = {
            split: {level: np.array([int(r[level]) for r in rows]) for level in LEVELS}
            for split, rows in splits.items()
        }
        self.parents = dict(zip(*(self.labels["train"][level] for level in LEVELS), strict=True))
        self.networks = {
            (arm, seed): members(place / arm / f"seed{seed}" / "checkpoints/best.ckpt", eyes)
            for arm in ARMS
            for seed in SEEDS
        }
        # The numbers of the analyses: quantity → (seed, level, side, item) → number.
        self.values: dict[str, dict[tuple, float]] = defaultdict(dict)
        for r in table(place / "analysis/values.csv"):
            at = int(r["seed"]), r["level"], r["side"], r["item"]
            self.values[r["of"]][at] = float(r["value"])

    def logits(self, arm: str, seed: int, split: str) -> dict[str, np.ndarray]:
        """Logits by level; of an ensemble the logarithm of the mean probability."""
        said = [one.logits(split) for one in self.networks[arm, seed]]
        if len(said) == 1:
            return said[0]
        return {
            level: np.log(np.mean([scipy.special.softmax(one[level], 1) for one in said], axis=0))
            for level in said[0]
        }


def picture(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file), float)


def coloured_corners() -> Raw:
    """12 fine classes in 3 coarse ones: noise with a little more of one colour, and one corner a little brighter."""
    rng = np.random.default_rng(0)

    def split(each: int) -> RawSplit:
        fine = np.arange(12).repeat(each)
        images = rng.normal(120, 40, (len(fine), 3, 16, 16))
        for image, label in zip(images, fine, strict=True):
            top, left = 8 * (label % 2), 8 * (label // 2 % 2)
            image[label // 4] += COLOUR
            image[:, top : top + 8, left : left + 8] += CORNER
        names = [f"{i}.png" for i in range(len(fine))]
        pixels = images.clip(0, 255).astype(np.uint8)
        return RawSplit(pixels, fine.tolist(), (fine // 4).tolist(), names)

    return Raw(split(40), split(10), [f"f{i}" for i in range(12)], [f"c{i}" for i in range(3)])


@pytest.fixture(scope="module")
def audit(two_epochs, succeed, tmp_path_factory) -> Audit:
    """Three seeds of specialised and unspecialised networks and of an ensemble, analysed."""
    folder = tmp_path_factory.mktemp("audit")
    write_tree(coloured_corners(), folder / "CORNERS", split_seed=0)
    arms = "arms=[bilateral,unilateral,ensemble]"
    place = (f"dataset.root={folder / 'CORNERS'}", f"save_dir={folder}", "exp_name=study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "save_figures", lambda *_: None)  # which takes longer than all else
        succeed(train_system.main, *two_epochs, *place, arms, f"num_seeds={len(SEEDS)}")
    return Audit(folder / "study", folder / "CORNERS")


# ---------------------------------------------------------------- results.csv


def rows_of_arms(audit: Audit, name: str) -> list[dict[str, str]]:
    """The rows of a table about the arms that are audited."""
    return [r for r in table(audit.place / name) if r["arm"] in ARMS]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return -scipy.special.log_softmax(logits, 1)[np.arange(len(labels)), labels].mean()


def metrics(logits: dict[str, np.ndarray], labels: dict[str, np.ndarray], level: str) -> dict:
    """Accuracy, loss and top-5 accuracy of one level."""
    own, truth = logits[level], labels[level]
    better = (own > own[np.arange(len(truth)), truth][:, None]).sum(1)
    return {
        "accuracy": (own.argmax(1) == truth).mean(),
        "loss": cross_entropy(own, truth),
        "top5": (better < 5).mean(),
    }


def test_accuracies_and_losses_are_those_of_raw_weights_and_pictures(audit):
    rows = rows_of_arms(audit, "results.csv")
    assert {(r["arm"], int(r["seed"])) for r in rows} == {
        (arm, seed) for arm in ARMS for seed in SEEDS
    }
    for r in rows:
        found = {
            split: metrics(
                audit.logits(r["arm"], int(r["seed"]), split), audit.labels[split], r["level"]
            )
            for split in ("val", "test")
        }
        columns = found["test"] | {
            "val_accuracy": found["val"]["accuracy"],
            "val_loss": found["val"]["loss"],
        }
        # Written with six digits.
        assert {name: float(r[name]) for name in columns} == pytest.approx(columns, abs=5e-6)
    assert len({r["accuracy"] for r in rows}) > len(rows) / 3  # no constant would pass


def test_parameters_and_multiply_adds_are_those_of_raw_weights(audit):
    for r in rows_of_arms(audit, "results.csv"):
        networks = audit.networks[r["arm"], int(r["seed"])]
        parameters = sum(one.parameters for one in networks)
        trained = {"bilateral": networks[0].head_parameters, "ensemble": 0}
        assert int(r["parameters"]) == parameters
        assert int(r["trained_parameters"]) == trained.get(r["arm"], parameters)
        assert int(r["macs"]) == sum(one.macs for one in networks)


def test_the_best_epoch_is_that_of_the_highest_validation_accuracy(audit):
    for r in rows_of_arms(audit, "results.csv"):
        file = audit.place / r["arm"] / f"seed{r['seed']}" / "metrics.csv"
        if r["arm"] == "ensemble":
            continue
        epochs = [e for e in table(file) if e.get(f"val_{r['level']}_accuracy")]
        names = [
            f"val_{level}_accuracy" for level in LEVELS if epochs[0].get(f"val_{level}_accuracy")
        ]
        means = [np.mean([float(e[name]) for name in names]) for e in epochs]
        assert int(r["best_epoch"]) == 1 + int(np.argmax(means))


# ---------------------------------------------------------------- summary.csv, differences.csv


def accuracies(audit: Audit, arm: str, level: str) -> np.ndarray:
    """Test accuracy of each seed, from weights and pictures."""
    truth = audit.labels["test"][level]
    said = (audit.logits(arm, seed, "test")[level].argmax(1) for seed in SEEDS)
    return np.array([(answers == truth).mean() for answers in said])


def student(values: np.ndarray) -> dict[str, float]:
    """Mean, deviation of a sample, and Student's interval as a test of one sample gives it."""
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return {"mean": values.mean(), "std": values.std(ddof=1), "ci95_low": low, "ci95_high": high}


def student_of_share(values: np.ndarray) -> dict[str, float]:
    """The same of a share, whose interval is that of its logit by the delta method, transformed back."""
    found = student(values)
    mean = values.mean()
    half = (found["ci95_high"] - found["ci95_low"]) / 2 / (mean * (1 - mean))
    ends = scipy.special.expit(scipy.special.logit(mean) + np.array([-half, half]))
    return found | {"ci95_low": ends[0], "ci95_high": ends[1]}


def test_the_summary_is_that_of_raw_weights_and_pictures(audit):
    rows = rows_of_arms(audit, "summary.csv")
    assert len(rows) == 8
    for r in rows:
        expected = student_of_share(accuracies(audit, r["arm"], r["level"]))
        if r["arm"] == "ensemble":  # its three networks share members
            expected = {name: expected[name] for name in ("mean", "std")}
        assert {name: float(r[name]) for name in expected} == pytest.approx(expected, abs=5e-6)
        assert int(r["seeds"]) == len(SEEDS)


def test_differences_are_those_of_raw_weights_and_pictures(audit):
    rows = [r for r in rows_of_arms(audit, "differences.csv") if r["minus"] in ARMS]
    known = [r for r in rows if "ensemble" not in (r["arm"], r["minus"])]
    pairs = {(frozenset((r["arm"], r["minus"])), r["level"]) for r in known}
    assert pairs == {
        *((frozenset((level, other)), level) for level in LEVELS for other in BOTH_LEVELS),
        *((frozenset(BOTH_LEVELS), level) for level in LEVELS),
    }
    for r in rows:
        one, other = (accuracies(audit, arm, r["level"]) for arm in (r["arm"], r["minus"]))
        expected = student(one - other)
        if r not in known:
            expected = {name: expected[name] for name in ("mean", "std")}
        assert {name: float(r[name]) for name in expected} == pytest.approx(expected, abs=5e-6)
        assert int(r["seeds"]) == len(SEEDS)


def test_means_and_intervals_of_the_analyses_are_those_of_their_values(audit):
    rows = table(audit.place / "analysis/summary.csv")
    for r in rows:
        numbers = audit.values[r["of"]]
        places = [(seed, r["level"], r["side"], r["item"]) for seed in SEEDS]
        values = np.array([numbers[place] for place in places if place in numbers])
        assert int(r["seeds"]) == len(values)
        assert float(r["mean"]) == pytest.approx(values.mean(), rel=1e-6, abs=1e-9)
        interval = {"evidence": student, "probe accuracy": student_of_share}.get(r["of"])
        if interval is not None and values.std() > 0:
            expected = interval(values)
            for name in ("ci95_low", "ci95_high"):
                assert float(r[name]) == pytest.approx(expected[name], rel=1e-6)
            assert r["approximate"] == "False"
    assert sum(r["of"] == "evidence" for r in rows) == 2 * (12 + 3)


# ---------------------------------------------------------------- calibration


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Over 15 bins of equal width, each with its upper edge: |accuracy - confidence|, weighted by images."""
    probabilities = scipy.special.softmax(logits, 1)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    truth = np.eye(logits.shape[1])[labels]
    return ((scipy.special.softmax(logits, 1) - truth) ** 2).sum(1).mean()


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Where the slope of the loss is zero: the labels' mean logit is the one that the probabilities expect."""

    def slope(inverse: float) -> float:
        expected = (scipy.special.softmax(inverse * logits, 1) * logits).sum(1)
        return (expected - logits[np.arange(len(labels)), labels]).mean()

    # It is kept from 0.05 to 20: a head that knows nothing would best say nothing, one that is always right be sure.
    low, high = 1 / 20, 20
    if slope(low) > 0 or slope(high) < 0:
        return 1 / low if slope(low) > 0 else 1 / high
    return 1 / scipy.optimize.brentq(slope, low, high, xtol=1e-12)


def test_calibration_is_that_of_raw_weights_and_pictures(audit):
    checked = 0
    for seed, arm, level in itertools.product(SEEDS, ("bilateral", *LEVELS), LEVELS):
        if level not in audit.logits(arm, seed, "test"):
            continue
        logits, labels = audit.logits(arm, seed, "test")[level], audit.labels["test"][level]
        fitted = temperature(audit.logits(arm, seed, "val")[level], audit.labels["val"][level])
        expected = {
            "calibration error": calibration_error(logits, labels),
            "calibration error after temperature": calibration_error(logits / fitted, labels),
            "Brier score": brier(logits, labels),
            "Brier score after temperature": brier(logits / fitted, labels),
            "temperature": fitted,
        }
        found = {of: audit.values[of][seed, level, arm, ""] for of in expected}
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        checked += 1
    assert checked == 4 * len(SEEDS)


# ---------------------------------------------------------------- similarity


def hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012), equation 5, from two matrices of scalar products (N, N)."""
    n, ones = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3))


def cka(one: np.ndarray, other: np.ndarray) -> float:
    """Linear CKA of representations (N, F) without bias (Nguyen et al. 2021)."""
    k, m = one @ one.T, other @ other.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def representations(audit: Audit, arm: str, seed: int, side: str) -> list[np.ndarray]:
    """The layers of a hemisphere, and its features, of the test images."""
    (network,) = audit.networks[arm, seed]
    seen = network.hemispheres("test")[side]
    return [*seen.layers, seen.features]


def test_cka_is_that_of_raw_weights_and_pictures(audit):
    found = audit.values["cka"]
    left, right = (representations(audit, "bilateral", 1, side) for side in SPELLING)
    assert len(left) == 9
    for i, j in ((0, 0), (0, 8), (3, 3), (4, 7), (8, 2), (8, 8)):
        assert found[1, "", "left-right", f"{i},{j}"] == pytest.approx(
            cka(left[i], right[j]), abs=1e-5
        )
    earlier = representations(audit, "bilateral", 0, "right")
    unspecialised = representations(audit, "unilateral", 1, "left")
    for i in (0, 5, 8):
        for pair, one, other in (
            ("right-other seed", right, earlier),
            ("left-unspecialised", left, unspecialised),
            ("right-unspecialised", right, unspecialised),
        ):
            assert found[1, "", pair, str(i)] == pytest.approx(cka(one[i], other[i]), abs=1e-5)


def test_cosines_are_those_of_all_pairs_of_test_images(audit):
    (network,) = audit.networks["bilateral", 2]
    features, means = network.features("test"), network.features("train")
    for side, level in itertools.product(SPELLING, LEVELS):
        centred = features[side] - means[side].mean(0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        labels = audit.labels["test"][level]
        same = labels[:, None] == labels[None, :]
        others = ~np.eye(len(labels), dtype=bool)
        cosines = unit @ unit.T
        for item, pairs in (("within classes", same & others), ("between classes", ~same)):
            expected = cosines[pairs].mean()
            assert audit.values["cosine"][2, level, side, item] == pytest.approx(expected, abs=1e-5)


# ---------------------------------------------------------------- hemispheres


def test_cases_are_those_of_raw_weights_and_pictures(audit):
    truth = audit.labels["test"]["coarse"]
    for seed in SEEDS:
        fine = audit.logits("fine", seed, "test")["fine"].argmax(1)
        left = np.array([audit.parents[one] for one in fine]) == truth
        right = audit.logits("coarse", seed, "test")["coarse"].argmax(1) == truth
        both = audit.logits("bilateral", seed, "test")["coarse"].argmax(1) == truth
        cases = (left & right, left & ~right, ~left & right, ~left & ~right)
        for name, case in zip(CASES, cases, strict=True):
            place = (seed, "", "", name)
            assert audit.values["images in a case"][place] == pytest.approx(case.mean(), abs=1e-9)
            if case.any():
                found = audit.values["bilateral accuracy in a case"][place]
                assert found == pytest.approx(both[case].mean(), abs=1e-9)


def test_what_heads_take_from_a_hemisphere_is_that_of_raw_weights_and_pictures(audit):
    for seed, level in itertools.product(SEEDS, LEVELS):
        (network,) = audit.networks["bilateral", seed]
        features, truth = network.features("test"), audit.labels["test"][level]
        means = {side: one.mean(0) for side, one in network.features("train").items()}
        weight, bias = network.heads[level]
        halves = dict(zip(SPELLING, np.split(weight, [len(means["left"])], axis=1), strict=True))
        logits = network.logits("test")[level]
        rows = np.arange(len(truth))
        others = np.where(np.eye(logits.shape[1], dtype=bool)[truth], -np.inf, logits)
        evidence, margin, lost = {}, {}, {}
        for side, half in halves.items():
            terms = (features[side] - means[side]) @ half.T
            evidence[side] = terms[rows, truth] - terms.mean(1)
            margin[side] = terms[rows, truth] - terms[rows, others.argmax(1)]
            silent = [
                np.broadcast_to(means[one], seen.shape) if one == side else seen
                for one, seen in features.items()
            ]
            without = np.concatenate(silent, axis=1) @ weight.T + bias
            lost[side] = (logits.argmax(1) == truth).mean() - (without.argmax(1) == truth).mean()
        for side in SPELLING:
            expected = {"accuracy lost when silenced": lost[side]}
            for of, parts in (("share of evidence", evidence), ("share of margin", margin)):
                sums = {one: part.sum() for one, part in parts.items()}
                if min(sums.values()) >= 0:  # else a hemisphere speaks against the right classes
                    expected[of] = sums[side] / sum(sums.values())
            found = {
                of: audit.values[of][seed, level, side, ""]
                for of in ("accuracy lost when silenced", "share of evidence", "share of margin")
                if (seed, level, side, "") in audit.values[of]
            }
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_a_hemisphere_alone_is_as_accurate_as_its_own_network(audit):
    for seed, (side, level) in itertools.product(SEEDS, SPELLING.items()):
        correct = audit.logits(level, seed, "test")[level].argmax(1) == audit.labels["test"][level]
        found = audit.values["accuracy of a hemisphere alone"][seed, level, side, ""]
        assert found == pytest.approx(correct.mean(), abs=1e-9)


def test_hottest_cells_are_those_of_raw_weights_and_pictures(audit):
    """After a maximum, HiResCAM is weight times feature in the cell of the maximum; Grad-CAM is it in every cell."""
    shares = {}
    for seed, level in itertools.product(SEEDS, LEVELS):
        (network,) = audit.networks["bilateral", seed]
        weight, _ = network.heads[level]
        first = 0
        for side, seen in network.hemispheres("test").items():
            _, features, cells = seen.maps.shape
            own = weight[audit.labels["test"][level], first : first + features]  # (N, F)
            first += features
            peaks = np.eye(cells)[seen.maps.argmax(2)]  # (N, F, cells)
            exact = np.einsum("nf,nfc,nfc->nc", own, peaks, seen.maps)
            averaged = np.einsum("nf,nfc->nc", own, seen.maps)
            some = (exact.max(1) > 0) & (averaged.max(1) > 0)
            same = (exact.argmax(1) == averaged.argmax(1))[some]
            shares[seed, level, side, ""] = same.mean()
    found = audit.values["hottest cell of Grad-CAM is that of HiResCAM"]
    assert found == pytest.approx(shares, abs=1e-9)
    assert min(shares.values()) < 1


# ---------------------------------------------------------------- predictions.csv.gz, images.csv


def answers(audit: Audit, arm: str, seed: int) -> list[dict[str, str]]:
    """The rows of a stage's predictions, in the order of the test images in index.csv."""
    with gzip.open(audit.place / arm / f"seed{seed}/predictions.csv.gz", "rt", newline="") as text:
        rows = {row["image"]: row for row in csv.DictReader(text)}
    assert rows.keys() == set(audit.names["test"])
    return [rows[name] for name in audit.names["test"]]


def test_predictions_are_those_of_raw_weights_and_pictures(audit):
    for arm, seed in itertools.product(ARMS, SEEDS):
        rows = answers(audit, arm, seed)
        logits = audit.logits(arm, seed, "test")
        for level, own in logits.items():
            assert [int(r[level]) for r in rows] == audit.labels["test"][level].tolist()
            assert [int(r[f"{level}_answer"]) for r in rows] == own.argmax(1).tolist()
            said = np.array([float(r[f"{level}_probability"]) for r in rows])
            assert said == pytest.approx(scipy.special.softmax(own, 1).max(1), abs=2e-5)


def test_answers_of_one_hemisphere_alone_are_those_of_the_other_at_its_mean(audit):
    for seed in SEEDS:
        rows = answers(audit, "bilateral", seed)
        (network,) = audit.networks["bilateral", seed]
        seen, means = network.features("test"), network.features("train")
        for side, level in itertools.product(SPELLING, LEVELS):
            held = [
                one if name == side else np.broadcast_to(means[name].mean(0), one.shape)
                for name, one in seen.items()
            ]
            weight, bias = network.heads[level]
            expected = (np.concatenate(held, axis=1) @ weight.T + bias).argmax(1)
            assert [int(r[f"{side}_{level}"]) for r in rows] == expected.tolist()


def agreement_beyond_chance(one: np.ndarray, other: np.ndarray) -> float:
    """Cohen's (1960) kappa of two raters who call each image right or wrong, from their table of counts."""
    counts = np.histogram2d(one, other, bins=2, range=((0, 1), (0, 1)))[0] / len(one)
    expected = (counts.sum(0) * counts.sum(1)).sum()
    return (np.trace(counts) - expected) / (1 - expected)


def test_contrasts_image_by_image_are_those_of_the_predictions(audit):
    rows = [r for r in rows_of_arms(audit, "images.csv") if r["arm"] != "ensemble"]
    assert {(r["arm"], r["level"]) for r in rows} == {
        *((level, level) for level in LEVELS),
        *(("unilateral", level) for level in LEVELS),
    }
    rng = np.random.default_rng(1)
    for r in rows:
        level = r["level"]
        right = {
            arm: np.array(
                [
                    [row[level] == row[f"{level}_answer"] for row in answers(audit, arm, seed)]
                    for seed in SEEDS
                ]
            )
            for arm in (r["arm"], r["minus"])
        }
        one, other = right[r["arm"]], right["bilateral"]
        only = [((a & ~b).sum(), (b & ~a).sum()) for a, b in zip(one, other, strict=True)]
        p = [scipy.stats.binomtest(a, a + b).pvalue if a + b else 1.0 for a, b in only]
        ahead, ties = (one.mean(1) > other.mean(1)).sum(), (one.mean(1) == other.mean(1)).sum()
        expected = {
            "seeds": len(SEEDS),
            "images": one.shape[1],
            "mean": one.mean() - other.mean(),
            "mcnemar": np.mean(np.array(p) < 0.05),
            "kappa": np.mean(
                [agreement_beyond_chance(a, b) for a, b in zip(one, other, strict=True)]
            ),
            "ahead": (ahead + ties / 2) / len(SEEDS),
        }
        if not ties:
            exact = scipy.stats.binomtest(ahead, len(SEEDS)).proportion_ci(method="exact")
            expected |= {"ahead_ci95_low": exact.low, "ahead_ci95_high": exact.high}
        assert {name: float(r[name]) for name in expected} == pytest.approx(expected, abs=1e-9)
        # Drawn one by one, seeds and images; the draws are others.
        difference = one.astype(int) - other
        seeds, images = (rng.integers(n, size=(4000, n)) for n in difference.shape)
        drawn = [
            difference[np.ix_(some, these)].mean()
            for some, these in zip(seeds, images, strict=True)
        ]
        ends = np.quantile(drawn, (0.025, 0.975))
        found = [float(r["ci95_low"]), float(r["ci95_high"])]
        assert found == pytest.approx(ends, abs=0.08 * (ends[1] - ends[0]) + 1 / difference.size)


def test_metrics_of_the_hierarchy_are_those_of_raw_weights_and_pictures(audit):
    parents = np.array([audit.parents[fine] for fine in range(len(audit.parents))])
    member = np.eye(parents.max() + 1)[parents]  # (fine classes, coarse classes)
    for r in rows_of_arms(audit, "results.csv"):
        logits = audit.logits(r["arm"], int(r["seed"]), "test")
        fine, coarse = (audit.labels["test"][level] for level in LEVELS)
        if r["level"] != "fine" or "fine" not in logits:
            continue
        own = logits["fine"]
        family = np.where(parents[None] == coarse[:, None], own, -np.inf)
        sums = scipy.special.softmax(own, 1) @ member
        expected = {
            "within_coarse": (family.argmax(1) == fine).mean(),
            "coarse_via_fine": (parents[own.argmax(1)] == coarse).mean(),
            "coarse_via_fine_sum": (sums.argmax(1) == coarse).mean(),
        }
        if "coarse" in logits:
            said = logits["coarse"].argmax(1)
            expected |= {
                "consistency": (parents[own.argmax(1)] == said).mean(),
                "path": ((own.argmax(1) == fine) & (said == coarse)).mean(),
            }
            expected["tice"] = 1 - expected["consistency"]
        assert {name: float(r[name]) for name in expected} == pytest.approx(expected, abs=5e-6)


# ---------------------------------------------------------------- specialisation

TASKS = ("within_coarse", "coarse")
HALVES = {"left": ("left",), "right": ("right",), "both": ("left", "right")}
# The inverse penalties that are tried, from strong to weak (docs/specialisation.md).
STRENGTHS = 10.0 ** np.arange(-4, 3)
# Test images that two fits of the same regression may see differently, because both end at a tolerance.
UNSURE = 1


def regression(inputs: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """Weights (F + 1, C) of a multinomial logistic regression: penalised mean cross-entropy, its bias free."""
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    truth = np.eye(labels.max() + 1)[labels]
    penalties = np.full((inputs.shape[1], 1), 1 / (strength * len(inputs)))
    penalties[-1] = 0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(inputs.shape[1], -1)
        logs = scipy.special.log_softmax(inputs @ weight, 1)
        value = -(truth * logs).sum() / len(inputs) + 0.5 * (penalties * weight**2).sum()
        slope = inputs.T @ (np.exp(logs) - truth) / len(inputs) + penalties * weight
        return value, slope.ravel()

    start = np.zeros(inputs.shape[1] * truth.shape[1])
    options = {"maxiter": 2000, "ftol": 1e-9, "gtol": 1e-6}
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(inputs.shape[1], -1)


def probed(audit: Audit, seed: int, half: str, level: str) -> np.ndarray:
    """Logits (N, C) for the test images, of a regression whose penalty is chosen on validation images."""
    (network,) = audit.networks["bilateral", seed]
    splits = ("train", "val", "test")
    seen = {
        split: np.hstack([network.features(split)[side] for side in HALVES[half]])
        for split in splits
    }
    mean, spread = seen["train"].mean(0), seen["train"].std(0, ddof=1)
    spread[spread <= 1e-6] = 1
    seen = {split: (one - mean) / spread for split, one in seen.items()}
    best, chosen = -1, None
    for strength in STRENGTHS:
        weight = regression(seen["train"], audit.labels["train"][level], strength)
        said = {split: seen[split] @ weight[:-1] + weight[-1] for split in splits}
        right = (said["val"].argmax(1) == audit.labels["val"][level]).sum()
        if right < best:
            break
        if right > best:
            best, chosen = right, said["test"]
    assert chosen is not None
    return chosen


def right_on_tasks(audit: Audit, seed: int, half: str) -> dict[str, np.ndarray]:
    """Which test images probes of the features of one hemisphere, or both, get right, by task."""
    fine, coarse = (audit.labels["test"][level] for level in LEVELS)
    parents = np.array([audit.parents[one] for one in range(len(audit.parents))])
    children = np.where(
        parents[None] == coarse[:, None], probed(audit, seed, half, "fine"), -np.inf
    )
    return {
        "within_coarse": children.argmax(1) == fine,
        "coarse": probed(audit, seed, half, "coarse").argmax(1) == coarse,
    }


GUESSING = {
    "within_coarse": 1 / 4,
    "coarse": 1 / 3,
}  # 12 fine classes, four in each of 3 coarse ones


@pytest.fixture(scope="module")
def probes(audit) -> dict[tuple[int, str], dict[str, np.ndarray]]:
    """Which test images are right by task, for each seed and half."""
    return {
        (seed, half): right_on_tasks(audit, seed, half)
        for seed, half in itertools.product(SEEDS, HALVES)
    }


def indices(audit: Audit) -> dict[tuple[str, str, str, str], float]:
    """The rows of specialisation_indices.csv about the trained networks: by seed, measure, task and side."""
    return {
        (r["seed"], r["measure"], r["task"], r["side"]): float(r["value"])
        for r in table(audit.place / "analysis/specialisation_indices.csv")
        if r["epoch"] == "" and r["arm"] == "bilateral"
    }


def kappas(audit: Audit) -> dict[tuple[int, str, str], float]:
    """The competences of the trained networks, as specialisation.csv has them: by seed, half and task."""
    return {
        (int(r["seed"]), r["side"], r["task"]): float(r["kappa"])
        for r in table(audit.place / "analysis/specialisation.csv")
        if r["epoch"] == "" and r["arm"] == "bilateral"
    }


def test_competences_are_those_of_another_regression(audit, probes):
    found = kappas(audit)
    for (seed, half), tasks in probes.items():
        for task, right in tasks.items():
            chance = GUESSING[task]
            expected = (right.mean() - chance) / (1 - chance)
            unsure = UNSURE / len(right) / (1 - chance)
            assert found[seed, half, task] == pytest.approx(expected, abs=unsure + 1e-9)
    assert len(found) == len(SEEDS) * len(HALVES) * len(TASKS)


def test_indices_are_those_of_the_competences(audit, probes):
    """From the competences in the file; D also from those of the other regression."""
    found, given = indices(audit), kappas(audit)
    double = 0
    for seed in SEEDS:
        alive = {task: min(given[seed, side, task] for side in SPELLING) >= 0.1 for task in TASKS}
        for task in TASKS:
            left, right, both = (given[seed, half, task] for half in HALVES)
            expected = {
                ("laterality", ""): (left - right) / (left + right),
                ("unique", "left"): both - right,
                ("unique", "right"): both - left,
                ("shared", ""): left + right - both,
            }
            for (measure, side), value in expected.items():
                place = (str(seed), measure, task, side)
                assert (place in found) == alive[task]
                if alive[task]:
                    assert found[place] == pytest.approx(value, abs=1e-9)
        place = (str(seed), "double dissociation", "", "")
        assert (place in found) == all(alive.values())
        if not all(alive.values()):
            continue
        double += 1
        effects = [given[seed, "left", task] - given[seed, "right", task] for task in TASKS]
        assert found[place] == pytest.approx((effects[0] - effects[1]) / 2, abs=1e-9)
        own = {
            (side, task): (probes[seed, side][task].mean() - chance) / (1 - chance)
            for side in SPELLING
            for task, chance in GUESSING.items()
        }
        effects = [own["left", task] - own["right", task] for task in TASKS]
        unsure = UNSURE / len(audit.names["test"]) * sum(1 / (1 - g) for g in GUESSING.values())
        assert found[place] == pytest.approx((effects[0] - effects[1]) / 2, abs=unsure)
    assert double


def test_error_consistency_of_hemispheres_is_that_of_another_regression(audit, probes):
    found = indices(audit)
    checked = 0
    for seed, task in itertools.product(SEEDS, TASKS):
        place = (str(seed), "error consistency", task, "left-right")
        if place in found:
            one, other = (probes[seed, side][task] for side in SPELLING)
            # One of 120 images in another cell of the table of counts.
            expected = agreement_beyond_chance(one, other)
            assert found[place] == pytest.approx(expected, abs=0.04)
            checked += 1
    assert checked


def test_necessity_and_dissimilarity_are_those_of_raw_weights_and_pictures(audit):
    found = indices(audit)
    coarse, fine = audit.labels["test"]["coarse"], audit.labels["test"]["fine"]
    parents = np.array([audit.parents[one] for one in range(len(audit.parents))])
    features = {}
    for seed in SEEDS:
        (network,) = audit.networks["bilateral", seed]
        features[seed], means = network.features("test"), network.features("train")

        def accuracy(without: str | None, network=network, seen=features[seed], means=means):
            held = [
                np.broadcast_to(means[side].mean(0), one.shape) if side == without else one
                for side, one in seen.items()
            ]
            said = {
                level: np.concatenate(held, axis=1) @ weight.T + bias
                for level, (weight, bias) in network.heads.items()
            }
            children = np.where(parents[None] == coarse[:, None], said["fine"], -np.inf)
            return {
                "within_coarse": (children.argmax(1) == fine).mean(),
                "coarse": (said["coarse"].argmax(1) == coarse).mean(),
            }

        for task, chance in GUESSING.items():
            whole = accuracy(None)[task]
            for side in SPELLING:
                place = (str(seed), "necessity", task, side)
                alive = (whole - chance) / (1 - chance) >= 0.1
                assert (place in found) == alive
                if alive:
                    lost = (whole - accuracy(side)[task]) / (whole - chance)
                    assert found[place] == pytest.approx(lost, abs=1e-6)
    for seed in SEEDS:
        own = features[seed]
        others = [
            np.mean([cka(own[side], features[other][side]) for other in SEEDS if other != seed])
            for side in SPELLING
        ]
        rho = 1 - cka(own["left"], own["right"]) / np.sqrt(np.prod(others))
        assert found[str(seed), "dissimilarity", "", ""] == pytest.approx(rho, abs=1e-4)
