"""The analyses, on numbers whose answers are known."""

import itertools
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from analysis import alignment, sections
from analysis.alignment import cka, gram
from analysis.logistic import fit
from analysis.networks import silence
from analysis.report.part import Part
from analysis.report.svg import Frame, drawn_here, picture
from analysis.section import Findings, Section, listed
from analysis.sections import agreement, attention, similarity
from analysis.sections.agreement import case_of, cases_per_class, confusion
from analysis.sections.attention import CASES as LOOKS
from analysis.sections.attention import PER_CASE, Attention, choose, share_of_same_cells
from analysis.sections.calibration import (
    BINS,
    brier_score,
    calibrated_error,
    calibration_error,
    reliability,
    scores,
)
from analysis.sections.contributions import (
    class_means,
    contribution,
    evidence,
    margin,
    share,
    strongest_other,
)
from analysis.sections.cosine import cosine_within_and_between
from analysis.sections.gains import accuracy_per_class
from analysis.sections.independence import CASES
from analysis.sections.lesions import accuracy, most_used, use
from analysis.sections.probe import small_letters
from analysis.sections.reliance import which_is_shown
from analysis.sections.similarity import Similarity, layer_grams
from analysis.sections.temperature import fit_temperature
from analysis.seed import VALIDATION_IMAGES, FeatureSet, Seed, StudyImages, checkpoint_alone
from analysis.study import FinishedStage, FinishedStudy
from analysis.values import CORRELATION, SHARE, Bounds, Values
from common.data.image_set import ImageSet
from common.networks.backbones import build_backbone, registered
from common.networks.hemisphere import Hemisphere
from common.results.intervals import estimate, student


def test_what_is_left_out_of_several_seeds_is_one_sentence():
    found = Findings()
    for seed in (0, 10):
        found.leave_out(f"the share with seed {seed}; it has none.")
    found.leave_out("the map with seed 2; it is empty.")
    found.leave_out("the tree.")
    assert found.omissions() == [
        "the share with seeds 0, 10; it has none.",
        "the map with seed 2; it is empty.",
        "the tree.",
    ]


@pytest.fixture
def some() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def rotation(size: int, some: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=some)).Q


# ---------------------------------------------------------------- contributions


def test_contributions_and_the_constant_sum_to_the_logits(some):
    features, weight, bias = (torch.randn(*s, generator=some) for s in ((9, 5), (4, 5), (4,)))
    mean = torch.randn(5, generator=some)
    left = contribution(features[:, :2], weight[:, :2], mean[:2])
    right = contribution(features[:, 2:], weight[:, 2:], mean[2:])
    logits = features @ weight.T + bias
    assert torch.allclose(bias + weight @ mean + left + right, logits, atol=1e-5)


def test_a_head_that_ignores_a_half_takes_no_evidence_from_it(some):
    features = torch.randn(50, 6, generator=some)
    weight = torch.randn(3, 6, generator=some)
    weight[:, 3:] = 0
    labels = (features @ weight.T).argmax(1)
    halves = [
        evidence(contribution(features[:, part], weight[:, part], torch.zeros(3)), labels)
        for part in (slice(0, 3), slice(3, 6))
    ]
    assert halves[1].abs().max() == 0
    assert share(*halves) == 1
    assert share(*reversed(halves)) == 0


def test_what_is_added_to_all_logits_alike_is_no_evidence(some):
    terms, labels = torch.randn(8, 3, generator=some), torch.arange(8) % 3
    assert torch.allclose(evidence(terms, labels), evidence(terms + 7, labels), atol=1e-5)


def test_class_means_of_a_class_without_images_are_no_number():
    means = class_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3)
    assert means[[0, 2]].tolist() == [2, 5]
    assert means[1].isnan()


@pytest.mark.parametrize(("classes", "same"), [([0, 1, 2], True), ([0, 0, 2], False)])
def test_the_share_depends_on_the_mean_only_where_classes_differ_in_size(some, classes, same):
    features, weight = (torch.randn(*s, generator=some).double() for s in ((60, 6), (3, 6)))
    labels = torch.tensor(classes).repeat(20)
    features += 3 * weight[labels]  # so that both halves speak for the correct class
    halves = (slice(0, 3), slice(3, 6))

    def left(mean: torch.Tensor) -> float:
        return share(
            *(evidence(contribution(features[:, h], weight[:, h], mean[h]), labels) for h in halves)
        )

    means = torch.randn(2, 6, generator=some).double()
    assert (left(means[0]) == pytest.approx(left(means[1]), rel=1e-9)) == same


def test_the_margin_is_against_the_strongest_other_class():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [0.0, 5.0, 6.0]])
    labels = torch.tensor([0, 1, 2])
    rivals = strongest_other(logits, labels)
    assert rivals.tolist() == [2, 0, 1]
    assert margin(logits, labels, rivals).tolist() == [1, -2, 1]


def test_halves_and_a_constant_add_up_to_the_margin(some):
    features, weight, bias = (torch.randn(*s, generator=some) for s in ((9, 6), (4, 6), (4,)))
    mean, labels = features.mean(0), torch.arange(9) % 4
    logits = features @ weight.T + bias
    rivals = strongest_other(logits, labels)
    halves = [
        margin(contribution(features[:, h], weight[:, h], mean[h]), labels, rivals)
        for h in (slice(0, 3), slice(3, 6))
    ]
    constant = (bias + weight @ mean)[labels] - (bias + weight @ mean)[rivals]
    whole = logits[torch.arange(9), labels] - logits[torch.arange(9), rivals]
    assert torch.allclose(sum(halves) + constant, whole, atol=1e-5)


def test_there_is_no_share_where_a_half_favours_other_classes():
    assert share(torch.tensor([3.0, 1.0]), torch.tensor([1.0, -1.0])) == 1
    assert share(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0])) == 0.75
    for left, right in ((-3.0, 1.0), (1.0, -3.0), (3.0, -1.0), (-1.0, 3.0), (-1.0, -1.0), (0, 0)):
        assert math.isnan(share(torch.tensor([left]), torch.tensor([right])))


def relied_on(seeds: int, spread: float) -> Findings:
    """A head that takes most from the right hemisphere in the mean over seeds, these so far apart."""
    found = Findings()
    for seed in range(seeds):
        by_seed = spread * (seed - (seeds - 1) / 2)
        for of, left in (("share of evidence", 0.4), ("share of margin", 0.3)):
            for side, part in (("left", left + by_seed), ("right", 1 - left - by_seed)):
                found.values.add(of, part, level="coarse", side=side, seed=seed)
        for side, lost in (("left", 0.05 + by_seed), ("right", 0.01)):
            found.values.add(
                "accuracy lost when silenced", lost, level="coarse", side=side, seed=seed
            )
        more = 0.04 + by_seed
        found.values.add(
            "accuracy lost when silenced, left minus right", more, level="coarse", seed=seed
        )
    return found


@pytest.mark.parametrize(
    ("seeds", "spread", "shown"),
    [
        (
            3,
            0.01,
            "the right one by the evidence, the right one by the margin, the left one by silencing",
        ),
        (3, 0.05, "not shown by the evidence, the right one by the margin, not shown by silencing"),
        (3, 0.2, "not shown by the evidence, not shown by the margin, not shown by silencing"),
        (2, 0.01, "not shown by the evidence, not shown by the margin, not shown by silencing"),
    ],
)
def test_a_hemisphere_matters_more_where_the_interval_shows_it(seeds, spread, shown):
    """Whatever the means are: they are the same in each case."""
    assert [*which_is_shown(relied_on(seeds, spread))] == [
        f"The hemisphere that matters more for the coarse head is {shown}. The left one gives 40 % of the evidence and "
        "30 % of the margin. Silencing the left one costs 5.0 points, silencing the right one 1.0."
    ]


def test_shares_of_some_seeds_alone_show_nothing():
    """They are the seeds in which neither hemisphere speaks against the answer, chosen by what came out."""
    found = relied_on(3, 0.01)
    for of in ("accuracy lost when silenced", "accuracy lost when silenced, left minus right"):
        for side in ("left", "right") if of.endswith("silenced") else ("",):
            found.values.add(of, 0.04, level="coarse", side=side, seed=3)
    (said,) = which_is_shown(found)
    assert (
        "is not shown by the evidence, not shown by the margin, the left one by silencing" in said
    )
    assert "40 % of the evidence in 3 of 4 seeds" in said


# ---------------------------------------------------------------- lesions


def test_silencing_nothing_changes_nothing_and_all_leaves_the_mean(some):
    features, mean = torch.randn(4, 6, generator=some), torch.arange(6.0)
    half = torch.tensor([True] * 3 + [False] * 3)
    order = torch.rand(6, generator=some)
    assert silence(features, mean, most_used(order, half, 0.0)).equal(features)
    silenced = silence(features, mean, most_used(order, half, 1.0))
    assert silenced[:, :3].equal(mean[:3].expand(4, 3))
    assert silenced[:, 3:].equal(features[:, 3:])


def test_a_network_that_ignores_one_half_loses_nothing_when_it_is_silenced(some):
    features, head = torch.randn(200, 8, generator=some), nn.Linear(8, 5)
    with torch.no_grad():
        head.weight[:, 4:] = 0
    labels = head(features).argmax(1)
    half = torch.arange(8) < 4
    mean = features.mean(0)
    assert accuracy(head(silence(features, mean, ~half)), labels) == 1
    assert accuracy(head(silence(features, mean, half)), labels) < 0.9


def test_the_most_used_features_fall_silent_first():
    half = torch.tensor([False, True, True, True, True])
    order = torch.tensor([9.0, 1.0, 4.0, 2.0, 3.0])
    assert most_used(order, half, 0.25).nonzero()[:, 0].tolist() == [2]
    assert most_used(order, half, 0.5).nonzero()[:, 0].tolist() == [2, 4]
    assert most_used(order, half, 1.0).nonzero()[:, 0].tolist() == [1, 2, 3, 4]


def test_use_counts_both_heads_alike_and_not_what_is_the_same_for_all_classes():
    first = torch.tensor([[1.0, 0.0, 5.0], [-1.0, 0.0, 5.0]])
    second = torch.tensor([[0.0, 100.0, 5.0], [0.0, -100.0, 5.0]])
    assert use([first, second], torch.ones(3)).tolist() == [1, 1, 0]
    # Of a constant feature nothing can be made.
    assert use([first], torch.tensor([0.0, 1.0, 1.0])).tolist() == [0, 0, 0]


# ---------------------------------------------------------------- similarity


def test_cka_of_a_rotated_and_scaled_copy_is_one(some):
    one = torch.randn(100, 20, generator=some)
    other = 3 * one @ rotation(20, some) + 5
    assert cka(gram(one), gram(other)) == pytest.approx(1, abs=1e-5)


def test_cka_of_unrelated_representations_is_about_zero_though_they_have_many_values(some):
    one, other = torch.randn(2, 200, 1000, generator=some)
    assert abs(cka(gram(one), gram(other))) < 0.02


def test_cka_of_orthogonal_representations_is_about_zero():
    angle = torch.arange(400) / 400 * 2 * math.pi
    one = torch.stack([angle.cos(), angle.sin()], 1)
    other = torch.stack([(2 * angle).cos(), (2 * angle).sin()], 1)
    assert abs(cka(gram(one), gram(other))) < 0.01


def test_cka_tells_how_much_is_shared(some):
    shared, alone, other = torch.randn(3, 500, 10, generator=some)
    half = cka(gram(torch.cat([shared, alone], 1)), gram(torch.cat([shared, other], 1)))
    assert half == pytest.approx(0.5, abs=0.05)


def test_layers_are_those_with_weights_and_then_the_features(some):
    backbone = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 5), nn.ReLU()
    )
    images = torch.randn(10, 3, 6, 6, generator=some)
    with torch.no_grad():
        grams = layer_grams(backbone, images, forward=backbone)
        assert [*grams] == ["0", "2", "4", "features"]
        assert grams["0"].equal(gram(backbone[0](images)))
        assert grams["features"].equal(gram(backbone(images)))
    assert not backbone[0]._forward_hooks


def test_deep_networks_are_thinned_out(some):
    backbone = nn.Sequential(*(nn.Linear(3, 3) for _ in range(40)))
    with torch.no_grad():
        grams = layer_grams(backbone, torch.randn(6, 3, generator=some), forward=backbone)
    names = [*grams]
    assert (len(names), names[0], names[-2:]) == (11, "0", ["39", "features"])
    assert grams["39"].equal(grams["features"])


def test_cosines_are_those_of_all_pairs(some):
    features, labels = torch.randn(30, 4, generator=some), torch.arange(30) % 3
    within, between = [], []
    for i in range(30):
        for j in range(30):
            if i != j:
                value = nn.functional.cosine_similarity(features[i], features[j], dim=0)
                (within if labels[i] == labels[j] else between).append(float(value))
    expected = (sum(within) / len(within), sum(between) / len(between))
    assert cosine_within_and_between(features, labels) == pytest.approx(expected, abs=1e-5)


def test_cosines_of_separate_classes():
    features = torch.tensor([[1.0, 0], [2.0, 0], [0, 1.0], [0, 3.0]])
    assert cosine_within_and_between(features, torch.tensor([0, 0, 1, 1])) == pytest.approx((1, 0))


@pytest.mark.parametrize("number", [2, 5, 20])
def test_no_two_images_of_one_class_have_no_cosine(number):
    """Sums in another order of classes differ by a rounding error, which must not be divided by 0."""
    for seed in range(20):
        some = torch.Generator().manual_seed(seed)
        features = torch.randn(number, 64, generator=some)
        labels = torch.randperm(number, generator=some)
        within, between = cosine_within_and_between(features, labels)
        assert math.isnan(within)
        assert -1 <= between <= 1
        within, between = cosine_within_and_between(features, torch.zeros_like(labels))
        assert math.isnan(between)
        assert -1 <= within <= 1


# ---------------------------------------------------------------- agreement


def test_cases():
    left = torch.tensor([True, True, False, False])
    right = torch.tensor([True, False, True, False])
    case = case_of(left, right)
    assert [CASES[i] for i in case] == ["both", "left only", "right only", "neither"]
    counts = cases_per_class(case, torch.tensor([0, 0, 1, 1]), 2)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_confusion_has_true_classes_in_rows():
    counts = confusion(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]), 2)
    assert counts.tolist() == [[1, 2], [0, 0]]


def test_accuracy_per_class():
    correct, labels = torch.tensor([True, False, True]), torch.tensor([0, 0, 1])
    found = accuracy_per_class(correct, labels, 3)
    assert found[:2].tolist() == [0.5, 1]
    assert found[2].isnan()


def test_images_to_look_at_belong_to_their_case():
    left = torch.tensor([True, False, False, True] * 5)
    right = torch.tensor([False, True, False, True] * 5)
    chosen = choose(left, right, torch.ones(20, dtype=torch.bool))
    assert [case for case, _ in chosen] == [
        name
        for name in (
            "only the left is correct",
            "only the right is correct",
            "only both together are correct",
            "all are correct",
        )
        for _ in range(PER_CASE)
    ]
    assert [row % 4 for _, row in chosen] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert chosen == choose(left, right, torch.ones(20, dtype=torch.bool))
    nobody = torch.zeros(20, dtype=torch.bool)
    assert choose(nobody, nobody, nobody) == []


def test_hottest_cells_are_compared_where_both_maps_have_light():
    one = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [-1.0, -2.0, 0.0], [0.0, 1.0, 0.0]])
    other = torch.tensor([[0.0, 1.0, 0.5], [1.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert share_of_same_cells(one, other) == 0.5
    assert math.isnan(share_of_same_cells(-one.abs(), other))


# ---------------------------------------------------------------- one seed after the other


class ByRows:
    """Images that can be asked for by their rows alone, as those that do not fit into memory."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.shape = images, images.shape

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        assert isinstance(rows, torch.Tensor)
        return self.images[rows]


def sorted_set(classes: int, each: int) -> ImageSet:
    """Images class after class, each of the colour of its class; two fine classes in a coarse one."""
    labels = torch.arange(classes).repeat_interleave(each)
    images = labels.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    both = {"fine": labels, "coarse": labels // 2}
    return ImageSet(ByRows(images), both, torch.arange(len(labels)))


@pytest.fixture
def images() -> StudyImages:
    """Of 10 fine classes, 300 images each for training, validation and test."""
    these = sorted_set(10, 300)
    classes = {
        level: SimpleNamespace(names=[f"{level} {i}" for i in range(count)], ids=[*range(count)])
        for level, count in (("fine", 10), ("coarse", 5))
    }
    parents = [label // 2 for label in range(10)]
    data = SimpleNamespace(classes=classes, coarse_of_fine=parents, train_set=these, val_set=these)
    return StudyImages(data, test=these)


def seed(
    number: int,
    images: StudyImages,
    left: nn.Module | None = None,
    said: dict[str, torch.Tensor] | None = None,
) -> Seed:
    """One seed; ``said`` are logits: of the left alone fine ones, of the right alone and of both coarse ones."""
    hemispheres = {"fine": left or nn.Linear(2, 2), "coarse": nn.Linear(2, 2)}
    nothing = FeatureSet({}, {})
    return Seed(
        number=number,
        study=FinishedStudy(Path(), []),
        images=images,
        module=SimpleNamespace(network=SimpleNamespace(hemispheres=hemispheres)),
        train=nothing,
        validation=nothing,
        test=FeatureSet({}, images.test.labels),
        logits={"fine": said["left"], "coarse": said["together"]} if said else {},
        alone={"fine": said["left"], "coarse": said["right"]} if said else {},
    )


def test_cka_sees_images_of_every_class(images, monkeypatch):
    looked: list[torch.Tensor] = []
    monkeypatch.setattr(similarity, "grams_of", lambda _, __, these: looked.append(these) or {})
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)
    Similarity().compute(seed(0, images), Findings())
    counts = torch.bincount(looked[0][:, 0, 0, 0].long(), minlength=10)
    assert counts.sum() == alignment.CKA_IMAGES
    assert counts.min() > 30
    assert looked[1].equal(looked[0])


@pytest.mark.parametrize("counts", [[9_000] * 2 + [1] * 40, [30] * 400, [3] * 5])
def test_what_probes_learn_from_holds_every_class_and_enough_of_many(counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    train = ImageSet(
        torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8),
        {"fine": labels, "coarse": labels // 2},
        torch.arange(len(labels)),
    )
    names = {
        level: SimpleNamespace(names=[*"?" * (int(of.max()) + 1)])
        for level, of in train.labels.items()
    }
    rows = StudyImages(SimpleNamespace(classes=names, train_set=train), train).train_rows
    assert len(rows.unique()) == len(rows)
    assert labels[rows].unique().tolist() == [*range(len(counts))]
    most = max(3_000, 10 * len(counts))
    assert min(most, sum(counts)) <= len(rows) <= most + len(counts)


def test_probes_are_chosen_on_validation_images_of_every_class(images):
    rows = images.validation_rows
    counts = torch.bincount(images.data.val_set.labels["fine"][rows], minlength=10)
    assert counts.sum() == VALIDATION_IMAGES
    assert counts.min() > 60


@pytest.fixture
def one_gram(monkeypatch, some):
    """Each look at a hemisphere gives one layer, another one each time."""
    monkeypatch.setattr(
        similarity, "grams_of", lambda *_: {"conv": gram(torch.randn(20, 5, generator=some))}
    )
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)


def outputs(hemisphere: Hemisphere, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each layer of a backbone that runs gives, by name in the order of running, and its features."""
    seen: dict[str, torch.Tensor] = {}
    for name, layer in hemisphere.backbone.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # A copy, over which no ReLU in place writes.
            layer.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out + 0}))
    with torch.no_grad():
        features = hemisphere(images)
    return {**seen, "features": features}


@pytest.mark.parametrize(
    "arch",
    [*registered(), *(f"torchvision:{one}" for one in ("swin_t", "mobilenet_v3_small"))],
)
def test_each_number_is_that_of_the_layers_that_it_names(arch, some, monkeypatch):
    """Not all run: the weights of some are taken by a function alone (VGG, Swin)."""
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)
    torch.manual_seed(0)
    pictures = torch.randint(0, 255, (8, 3, 32, 32), dtype=torch.uint8, generator=some)
    labels = {level: torch.arange(8) for level in ("fine", "coarse")}
    images = StudyImages(SimpleNamespace(classes={}), ImageSet(pictures, labels, torch.arange(8)))
    width = 1 if arch.startswith("torchvision") else 0.125
    left = Hemisphere(build_backbone(arch, width=width)).eval()
    right = Hemisphere(build_backbone("resnet9", width=0.125)).eval()
    only = seed(0, images, left)
    only.network.hemispheres["coarse"] = right
    only.module.device = torch.device("cpu")
    params = SimpleNamespace(precision="32-true", accelerator="cpu")
    only.module.cfg = SimpleNamespace(trainer_params=params)
    only.module.transforms = lambda raw: raw.float() / 255 - 0.5
    section, found = Similarity(), Findings()
    section.compute(only, found)

    ran, others = (outputs(one, only.module.transforms(pictures)) for one in (left, right))
    # All layers, or 10 of them, and the features; the first and the last among them.
    shown = section.layers["left"]
    assert len(shown) == min(11, len(ran))
    assert [shown[i] for i in (0, -2, -1)] == [[*ran][i] for i in (0, -2, -1)]
    numbers = {(one.means.layer, one.means.other_layer): one.value for one in found.values.values}
    assert [*numbers] == [*itertools.product(shown, section.layers["right"])]
    for (layer, other), number in numbers.items():
        expected = cka(gram(ran[layer]), gram(others[other]))
        assert number == pytest.approx(expected, abs=1e-4), (layer, other)


def test_pairs_of_seeds_that_overlap_have_an_approximate_interval(images, one_gram):
    section, found = Similarity(), Findings()
    for number in range(4):
        section.compute(seed(number, images), found)
    own = found.values.get("cka", "", "left-right", "0,0")
    assert own.approximate is False
    other = found.values.get("cka", "", "left-other seed", "0")
    numbers = [one["0"] for one in found.values.by_seed("cka", "", "left-other seed").values()]
    # Of 0+1, 1+2, 2+3, two of the three pairs share half: r = 1/3.
    error = math.sqrt((1 + 2 / 3) / (1 - 1 / 3)) * np.std(numbers, ddof=1) / math.sqrt(3)
    z = np.arctanh(np.mean(numbers))
    half = stats.t.ppf(0.975, 2) * error / (1 - np.mean(numbers) ** 2)
    assert (other.seeds, other.approximate) == (3, True)
    assert (other.ci95_low, other.ci95_high) == pytest.approx(
        (np.tanh(z - half), np.tanh(z + half))
    )
    assert found.left_out[1:] == []


def test_ticks_name_layers_only_where_both_hemispheres_call_them_so(images, some, monkeypatch):
    monkeypatch.setattr(similarity, "add_cosines", lambda *_: None)

    def ticks(left: list[str], right: list[str]) -> str:
        sides = itertools.cycle([left, right])
        grams = {
            name: gram(torch.randn(20, 5, generator=some)) for name in (*left, *right, "features")
        }
        monkeypatch.setattr(
            similarity, "grams_of", lambda *_: {n: grams[n] for n in (*next(sides), "features")}
        )
        section, found = Similarity(), Findings(test_images=20)
        for number in range(2):
            section.compute(seed(number, images), found)
        return str(section.render(found).figures[0][0])

    same = ticks(["stem"], ["stem"])
    assert ">stem<" in same
    for unlike in (ticks(["stem"], ["conv", "last"]), ticks(["stem"], ["conv"])):
        assert not any(f">{name}<" in unlike for name in ("stem", "conv", "last", "features"))
        assert ">2<" in unlike


def test_a_hemisphere_that_seeds_share_is_no_other_one(images, one_gram):
    section, found, left = Similarity(), Findings(), nn.Linear(2, 2)
    for number in range(2):
        section.compute(seed(number, images, left), found)
    assert found.values.get("cka", "", "left-other seed", "0") is None
    assert found.values.get("cka", "", "right-other seed", "0").seeds == 1
    # Of two seeds that share it there are no two independent numbers.
    assert found.values.get("cka", "", "left-right", "0,0").ci95_low is None
    assert any("left hemisphere of another seed" in s for s in found.left_out)


def test_networks_that_seeds_have_in_common_are_known():
    def study(*made_of: list[int]) -> FinishedStudy:
        stages = [
            FinishedStage("bilateral", number, Path(), {"seeds": seeds})
            for number, seeds in enumerate(made_of)
        ]
        return FinishedStudy(Path(), stages)

    for made_of, overlap in (
        (([0], [1]), False),
        (([0, 5], [1, 6]), False),
        (([0], [1, 0]), True),
    ):
        values = Values()
        values.networks |= study(*made_of).networks("bilateral")
        assert values.overlap() == overlap
        assert [[*map(int, one)] for one in values.networks.values()] == [*made_of]
    earlier = [FinishedStage("bilateral", number, Path(), {}) for number in range(2)]
    assert FinishedStudy(Path(), earlier).networks("bilateral") == {0: {"0": 1}, 1: {"1": 1}}


def test_a_case_that_only_a_later_seed_has_is_looked_at(images, monkeypatch):
    monkeypatch.setattr(
        attention,
        "look",
        lambda seed, chosen: [SimpleNamespace(case=case, seed=seed.number) for case, _ in chosen],
    )
    fine, coarse = (nn.functional.one_hot(y).float() for y in images.test.labels.values())
    wrong = coarse.roll(1, 1)
    rights = [
        {"left": fine, "right": wrong, "together": coarse},
        {"left": fine, "right": coarse, "together": coarse},
        {"left": fine, "right": wrong, "together": coarse},
    ]
    monkeypatch.setattr(attention, "add_hottest_cells", lambda *_: None)
    section, found = Attention(), Findings()
    for number, said in enumerate(rights):
        section.compute(seed(number, images, said=said), found)
    looks = [(one.case, one.seed) for one in section.looks]
    assert looks == [(LOOKS[0], 0)] * PER_CASE + [(LOOKS[3], 1)] * PER_CASE


def test_the_left_hemisphere_answers_with_the_coarse_class_of_its_fine_one(images):
    fine, coarse = (nn.functional.one_hot(y).float() for y in images.test.labels.values())
    mistaken = fine.view(-1, 5, 2).flip(2).flatten(1)  # the other fine class of the same coarse one
    said = {"left": mistaken, "right": coarse.roll(1, 1), "together": coarse}
    section, found = agreement.Agreement(), Findings()
    section.compute(seed(0, images, said=said), found)
    shares = {case: one.mean for case, one in found.values.items("images in a case").items()}
    assert shares == {"both": 0, "left only": 1, "right only": 0, "neither": 0}
    assert section.confusion.equal(torch.eye(5, dtype=torch.long) * 600)


def test_a_network_alone_is_one_whose_file_is_there(tmp_path):
    given = tmp_path / "given-seed7.ckpt"
    path = f"{tmp_path}/given-seed{{seed}}.ckpt"
    stage = FinishedStage("fine", 7, tmp_path, {"checkpoint": "fine.ckpt"})
    study = FinishedStudy(tmp_path, [stage])
    assert checkpoint_alone(study, "fine", 7, path) is None
    given.touch()
    assert checkpoint_alone(study, "fine", 7, path) == given
    assert checkpoint_alone(study, "coarse", 7, None) is None
    (tmp_path / "fine.ckpt").touch()
    assert checkpoint_alone(study, "fine", 7, path) == tmp_path / "fine.ckpt"


SPARSITY = """
from analysis.report.part import Part
from analysis.section import Section


class Sparsity(Section):
    order = 25

    def compute(self, seed, found):
        for side, features in seed.test.features.items():
            share = (features == 0).double().mean().item()
            found.values.add("sparsity", share, side=side, seed=seed.number)

    def render(self, found):
        left = found.values.get("sparsity", side="left")
        return left and Part("sparsity", "How sparse?", text=[f"Left: {100 * left.mean:.0f} %."])
"""


@pytest.fixture
def sections_with(tmp_path, monkeypatch):
    """Gives what is found with one more file, sparsity.py of such a text, in the folder of analyses."""

    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])

    def found(text: str) -> Findings:
        (tmp_path / "sparsity.py").write_text(text)
        found = Findings()
        try:
            sections.add_sections(found)
        finally:
            sys.modules.pop("analysis.sections.sparsity", None)
        return found

    return found


def test_a_new_file_in_the_folder_is_a_new_analysis(images, sections_with):
    every = sections_with(SPARSITY).sections
    assert len(every) == len({type(one) for one in every})
    (new,) = (one for one in every if type(one).__name__ == "Sparsity")
    one = seed(0, images)
    one.test.features["left"] = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    found = Findings([new])
    found.add(one)
    assert [part.text for part in found.parts()] == [["Left: 75 %."]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("    order = 25\n", ""), "Sparsity gives no order"),
        (("import Part", "import Prat"), "ImportError: cannot import name 'Prat'"),
        (("def compute", "deff compute"), "SyntaxError"),
    ],
)
def test_a_file_that_is_no_analysis_costs_the_report_nothing_else(change, reason, sections_with):
    others = len(sections_with(SPARSITY).sections) - 1
    found = sections_with(SPARSITY.replace(*change))
    assert len(found.sections) == others
    (sentence,) = found.left_out
    assert sentence.startswith("sparsity, which failed (")
    assert reason in sentence
    assert found.failures.keys() == {"sparsity"}


class Shows(Section):
    order = 10

    def __init__(self, part) -> None:
        self.part = part

    def render(self, found):
        return self.part() if callable(self.part) else self.part


class ShowsLater(Shows):
    order = 20


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"id": "new"}, "render gives dict, not a Part"),
        (Part("first", "Again?"), "its id first is that of shows too"),
        (Part("results", "Which?"), "its id results is that of the page too"),
        (
            lambda: Part("new", "Drawn?", figures=[(picture(Frame("a b", "New"), str), "")]),
            "the page has another figure of the name a-b",
        ),
    ],
)
def test_a_section_that_takes_the_place_of_another_is_left_out(part, reason):
    def first():
        return Part("first", "First?", figures=[(picture(Frame("a b", "First"), str), "")])

    found = Findings([Shows(first), ShowsLater(part)])
    with drawn_here() as figures:
        assert [part.id for part in found.parts()] == ["first"]
    assert [one.name for one in figures] == ["a-b"]
    assert reason in found.left_out[0]


# ---------------------------------------------------------------- calibration


def test_a_head_that_is_half_sure_and_half_right_is_calibrated():
    logits = torch.zeros(10, 2) + torch.tensor([1e-3, 0])
    labels = torch.tensor([0, 1] * 5)
    assert calibration_error(logits, labels) == pytest.approx(0, abs=1e-3)
    assert calibration_error(20 * logits * 1e3, labels) == pytest.approx(0.5, abs=1e-3)


def test_the_calibration_error_is_that_of_the_reliability_curve(some):
    logits, labels = 2 * torch.randn(500, 4, generator=some), torch.arange(500) % 4
    curve = reliability(logits, labels)
    gap = (curve.confidence - curve.accuracy).abs().nan_to_num() * curve.images / 500
    assert len(curve.images) == BINS
    assert curve.images.sum() == 500
    assert calibration_error(logits, labels) == pytest.approx(float(gap.sum()), abs=1e-5)


@pytest.mark.parametrize("images", [100, 1000])
def test_a_calibrated_head_has_an_error_too_the_larger_the_fewer_images(some, images):
    logits = 2 * torch.randn(images, 10, generator=some)
    drawn = torch.multinomial(logits.softmax(1), 200, replacement=True, generator=some).T
    known = float(np.mean([calibration_error(logits, labels) for labels in drawn]))
    assert calibrated_error(logits) == pytest.approx(known, rel=0.1)
    assert (calibrated_error(logits) > 0.07) == (images == 100)
    assert calibrated_error(1000 * logits) < 0.01  # sure, and so right


def test_a_bin_of_few_images_is_not_averaged_with_those_of_many():
    logits = torch.zeros(1000, 2)
    logits[0, 0] = 9.0
    found = scores(logits, torch.zeros(1000, dtype=torch.int64))
    known = {place for place, value in found["reliability"].items() if not math.isnan(value)}
    assert known == {"7"}
    assert found["images of a confidence"]["14"] == pytest.approx(0.001)


def test_the_brier_score_runs_from_0_to_2():
    labels = torch.tensor([0, 1, 1])
    sure = 50 * nn.functional.one_hot(labels, 3).float()
    assert brier_score(sure, labels) == pytest.approx(0, abs=1e-9)
    assert brier_score(sure.roll(1, 1), labels) == pytest.approx(2, abs=1e-9)
    assert brier_score(torch.zeros(3, 3), labels) == pytest.approx((2 / 3) ** 2 + 2 / 9)


def test_a_reliability_curve_holds_all_images_at_their_confidence(some):
    logits, labels = torch.randn(200, 4, generator=some), torch.arange(200) % 4
    for temperature in (1.0, 3.0):
        found = scores(logits / temperature, labels)
        sums = {"confidence": 0.0, "reliability": 0.0}
        for place, images in found["images of a confidence"].items():
            for of in sums:
                sums[of] += images * found[of][place] if images else 0
        confidence = special.softmax(logits.numpy() / temperature, 1).max(1).mean()
        assert sums["confidence"] == pytest.approx(confidence, rel=1e-6)
        assert sums["reliability"] == pytest.approx(accuracy(logits, labels))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_temperature_is_found_again(some, temperature):
    """Labels drawn from what a head says, whose logits are then stretched."""
    logits = 2 * torch.randn(40_000, 5, generator=some)
    labels = torch.multinomial(logits.softmax(1), 1, generator=some)[:, 0]
    found = fit_temperature(temperature * logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    # Where the loss is least, its slope is 0: the mean logit of the labels is the one that the head expects.
    scaled = (temperature * logits / found).double()
    expected = (scaled.softmax(1) * scaled).sum(1).mean()
    assert float(scaled.gather(1, labels[:, None]).mean() - expected) == pytest.approx(0, abs=1e-4)
    assert calibration_error(scaled, labels) < 0.01


def test_a_temperature_has_bounds():
    labels = torch.arange(6) % 3
    right = nn.functional.one_hot(labels).float()
    assert fit_temperature(right, labels) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(-right, labels) == pytest.approx(20, rel=1e-3)


# ---------------------------------------------------------------- probes


def test_a_probe_reads_what_is_there_and_not_what_is_not(some):
    features, labels = torch.randn(600, 10, generator=some), torch.arange(600) % 3
    features[torch.arange(600), labels] += 4
    noise = torch.randn(600, 10, generator=some)
    for inputs, low, high in ((features, 0.9, 1.0), (noise, 0.2, 0.5)):
        parts = [(inputs[i : i + 200], labels[i : i + 200]) for i in (0, 200)]
        right = (fit(*parts, 3).logits(inputs[400:]).argmax(1) == labels[400:]).double().mean()
        assert low <= right <= high


def test_a_probe_does_without_features_that_never_change(some):
    features, labels = torch.randn(90, 4, generator=some), torch.arange(90) % 2
    features[:, 0] = labels
    features[:, 3] = 1
    part = (features[:60], labels[:60])
    assert fit(part, part, 2).logits(features[60:]).argmax(1).equal(labels[60:])


def test_small_letters_come_from_names():
    parents = torch.tensor([0, 0, 1])
    letters, of = small_letters(["A of X", "A of B", "C of X"], ["A", "C"], parents)
    assert letters == ["B", "X"]
    assert of.tolist() == [1, 0, 1]
    assert small_letters(["dolphin", "A of B", "C of X"], ["A", "C"], parents) is None
    assert small_letters(["A of X", "C of B", "C of X"], ["A", "C"], parents) is None


# ---------------------------------------------------------------- numbers and tables


def test_values_have_an_interval_over_seeds_and_none_of_one_seed():
    values = Values()
    for seed, number in enumerate((0.5, 0.7, 0.6)):
        values.add("accuracy", number, level="fine", seed=seed)
    values.add("accuracy", 0.5, level="coarse", seed=0)
    values.add("accuracy", math.nan, level="coarse", seed=1)
    fine, coarse = values.get("accuracy", "fine"), values.get("accuracy", "coarse")
    assert (fine.seeds, fine.mean) == (3, pytest.approx(0.6))
    assert (fine.ci95_low, fine.ci95_high) == student(estimate([0.5, 0.7, 0.6]))
    assert (coarse.seeds, coarse.mean, coarse.ci95_low) == (1, 0.5, None)
    assert values.get("accuracy", "both") is None
    assert [*values] == [fine, coarse]


def test_networks_in_common_make_an_interval_wider_or_none():
    values = Values()
    ring = [{"0": 1, "1": 1}, {"1": 1, "2": 1}, {"2": 1, "0": 1}]
    for seed in range(3):
        values.add("gain", seed, seed=seed, side="own")
        values.add("gain", seed, seed=seed, side="ring", made_of=ring[seed])
        values.add("gain", seed, seed=seed, side="same", made_of={"0": 1})
    own, shared, same = (values.get("gain", "", side) for side in ("own", "ring", "same"))
    assert own.mean == shared.mean == same.mean == 1
    assert (own.approximate, shared.approximate, same.approximate) == (False, True, None)
    # The widening of a ring of three: sqrt(2 / (1 - 1 / 2)).
    assert shared.ci95_high - 1 == pytest.approx(2 * (own.ci95_high - 1))
    assert same.ci95_low is None
    assert own.ci95_high > 1  # a difference is not bounded
    values.independent = False
    assert values.get("gain", "", "own").ci95_low is None


@pytest.mark.parametrize(
    ("within", "numbers"),
    [
        (SHARE, (0.99, 1.0, 1.0)),
        (SHARE, (0.0, 0.004, 0.0)),
        (CORRELATION, (-1.0, -0.9, -0.99)),
        (Bounds(0, 2), (1.9, 2, 1.7)),
    ],
)
def test_no_interval_leaves_what_a_quantity_can_be(within, numbers):
    values = Values()
    for seed, number in enumerate(numbers):
        values.add("it", number, seed=seed, within=within)
    found = values.get("it")
    low, high = within
    scaled = (np.mean(numbers) - low) / (high - low)
    half = stats.t.ppf(0.975, 2) * np.std(numbers, ddof=1) / math.sqrt(3) / (high - low)
    ends = special.logit(scaled) + half / (scaled * (1 - scaled)) * np.array([-1, 1])
    expected = low + (high - low) * special.expit(ends)
    assert (found.ci95_low, found.ci95_high) == pytest.approx(expected)
    assert low <= found.ci95_low < found.mean < found.ci95_high <= high


def test_a_number_that_cannot_be_is_refused_and_rounding_is_not():
    values = Values()
    for number in (1.01, -0.01, math.inf):
        with pytest.raises(ValueError, match="lesions"):
            values.add("lesions", number, seed=0, within=SHARE)
    values.add("lesions", 1 + 1e-7, seed=0, within=SHARE)
    assert values.get("lesions").mean == 1


def test_a_sentence_names_some_and_counts_the_rest():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c", "d"]) == "a; b; c; d"
    assert listed(["a", "b", "c", "d", "e", "f"]) == "a; b; c; d; and 2 more"
