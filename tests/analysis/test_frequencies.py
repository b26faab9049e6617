"""Noise of one octave: its spectrum, and what it finds in hemispheres of which it is known what they see."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from analysis.logistic import Fits
from analysis.masking import (
    STRENGTHS,
    Mask,
    centre_frequency,
    octave_noise,
    octaves,
    seen,
    sensitivities,
)
from analysis.section import Findings
from analysis.sections.frequencies import (
    CENTRE,
    EXCESS,
    SENSITIVITY,
    SHIFT,
    Frequencies,
    robustness,
    verdict,
)
from analysis.seed import FeatureSet
from analysis.specialisation.tasks import chances
from analysis.values import Item, Summary, Values
from common.networks.spatial_frequency import SpatialFilter
from study.arms import PRIMARY

TASKS = ("within_coarse", "coarse")


def dice(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize(
    ("size", "centres"),
    [
        ((32, 32), [1, 2, 4, 8, 16]),
        ((48, 33), [1, 2, 4, 8, 16]),
        ((2, 9), [1]),
        ((1, 9), []),
    ],
)
def test_octaves_reach_half_the_pixels_of_the_shorter_side(size, centres):
    assert octaves(*size) == centres


@given(height=st.integers(2, 24), width=st.integers(2, 24), data=st.data())
def test_noise_has_the_frequencies_of_its_octave_alone(height, width, data):
    centre = data.draw(st.sampled_from(octaves(height, width)))
    noise = octave_noise(2, height, width, centre, dice())
    assert noise.shape == (2, 1, height, width)
    assert noise.square().mean((1, 2, 3)).tolist() == pytest.approx([1, 1], rel=1e-4)
    power = np.abs(np.fft.fft2(noise[:, 0].double().numpy())) ** 2
    down, across = (np.fft.fftfreq(size, 1 / size) for size in (height, width))
    frequency = np.hypot(down[:, None], across)
    # The ends of an octave are no whole numbers but for the lower one, 1: sqrt(1/2) to sqrt(2), without it.
    inside = (frequency > centre / math.sqrt(2) - 1e-6) & (frequency < centre * math.sqrt(2) - 1e-6)
    assert power[:, ~inside].max() < 1e-6 * power.max()
    assert (power[:, inside] > 0).all()


def test_each_frequency_is_in_one_octave():
    powers = [
        np.abs(np.fft.fft2(octave_noise(1, 32, 32, centre, dice())[0, 0].numpy())) ** 2 > 1e-3
        for centre in octaves(32, 32)
    ]
    counts = np.sum(powers, axis=0)
    assert counts.max() == 1
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(32, 1 / 32)] * 2))
    assert (counts[(frequency >= 1) & (frequency <= 16)] == 1).all()


def test_what_noise_costs_is_the_share_of_the_competence_and_its_mean_octave():
    noisy = {Mask(2, 0.5): 0.8, Mask(2, 1.0): 0.4, Mask(8, 0.5): 0.8, Mask(8, 1.0): 0.0}
    found = sensitivities({None: 0.8} | noisy)
    assert found == pytest.approx({2: 0.25, 8: 0.5})
    # Octaves 1 and 3, the second counted twice.
    assert centre_frequency(found) == pytest.approx(7 / 3)
    # Noise that helps counts nothing.
    assert centre_frequency({1: -0.2, 4: 0.1}) == pytest.approx(2)
    assert math.isnan(centre_frequency({1: -0.2, 4: 0.0}))


# ---------------------------------------------------------------- hemispheres that are known

SIZE, PER_CLASS = 16, 40
LABELS = {
    "fine": torch.arange(4).repeat(PER_CLASS),
    "coarse": torch.arange(4).repeat(PER_CLASS) // 2,
}


def pictures(generator: torch.Generator) -> torch.Tensor:
    """Each class has a grating of 1 or 2 cycles, along or across, and one of 5 or 6, which all say the class."""
    place = torch.arange(SIZE) * 2 * math.pi / SIZE

    def grating(cycles: int, *, across: bool) -> torch.Tensor:
        wave = torch.cos(cycles * place)
        return wave.expand(SIZE, SIZE) if across else wave[:, None].expand(SIZE, SIZE)

    classes = torch.stack(
        [
            grating(1 + one % 2, across=one < 2) + grating(5 + one % 2, across=one < 2)
            for one in range(4)
        ]
    )
    clean = classes[LABELS["fine"]][:, None].expand(-1, 3, -1, -1)
    noise = torch.randn(clean.shape, generator=generator)
    return (128 + 12 * clean + 10 * noise).clamp(0, 255).byte()


class Pixels(nn.Module):
    """Two hemispheres whose features are the pixels that a filter lets pass."""

    def __init__(self, left: SpatialFilter, right: SpatialFilter) -> None:
        super().__init__()
        self.sides = nn.ModuleDict({"left": left, "right": right})

    def features(self, images):
        return torch.cat([one(images)[:, 0].flatten(1) for one in self.sides.values()], dim=1)

    @staticmethod
    def split(features):
        return dict(zip(("left", "right"), features.split(SIZE**2, dim=1), strict=True))


class Images:
    """A set of images as the analyses see it."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.subset = torch.arange(len(images))
        self.labels = LABELS

    def __len__(self) -> int:
        return len(self.images)


def seed_of(network, *, arm="bilateral", number=0, images=None) -> SimpleNamespace:
    module = SimpleNamespace(
        device=torch.device("cpu"),
        transforms=lambda some: some.float() / 50 - 2.5,
        network=network,
        cfg=SimpleNamespace(trainer_params=SimpleNamespace(precision="32-true", accelerator="cpu")),
    )
    train, validation, test = (pictures(dice(10 * number + i)) for i in range(3))

    parents = torch.tensor([0, 0, 1, 1])

    def features(some) -> FeatureSet:
        return FeatureSet(network.split(network.features(module.transforms(some))), LABELS)

    return SimpleNamespace(
        number=number,
        arm=arm,
        study=SimpleNamespace(networks=lambda _: {one: {str(one): 1.0} for one in range(9)}),
        module=module,
        network=network,
        train=features(train),
        validation=features(validation),
        images=SimpleNamespace(
            test=Images(test if images is None else images),
            classes={"fine": 4, "coarse": 2},
            parents=parents,
            guessing=chances(LABELS, parents),
        ),
        fits=Fits(),
    )


def high_and_low() -> Pixels:
    """A left hemisphere that sees 4 cycles and more, and a right one that sees up to 3."""
    return Pixels(
        SpatialFilter(low_pass=None, high_pass=4), SpatialFilter(low_pass=3, high_pass=None)
    )


def test_a_filter_is_found_where_it_is():
    found = Findings()
    for number in range(3):
        Frequencies().compute(seed_of(high_and_low(), number=number), found)
    values = found.values

    def lost(side: str, task: str, centre: int) -> float:
        (one,) = (
            one
            for one in values.items(SENSITIVITY, task, side).values()
            if one.means == Item(arm="bilateral", cycles=centre)
        )
        assert one.seeds == 3
        return one.mean

    for task in TASKS:
        # No noise around 8 gets through the right one's filter, none around 1 and 2 through that of the left one.
        assert lost("right", task, 8) == 0
        assert lost("left", task, 1) == lost("left", task, 2) == 0
        assert min(lost("right", task, 1), lost("right", task, 2)) > 0.05
        assert lost("left", task, 4) > 0.05
        left, right = (values.get(CENTRE, task, side, "bilateral") for side in ("left", "right"))
        assert left.mean >= 2 > right.mean
        shift = values.get(SHIFT, task, item="bilateral")
        assert shift.mean == pytest.approx(left.mean - right.mean)
        # What noise takes from one hemisphere the other one still has, in part.
        costs = [
            values.get(SENSITIVITY, task, one, "bilateral").mean
            for one in ("both", "left", "right")
        ]
        assert costs[0] < max(costs[1:])
    part = Frequencies().render(found)
    said = " ".join(part.text)
    assert said.count("the left one uses higher frequencies.") == 2
    assert len(part.figures) == 2
    names = re.sub(r"<[^>]*>", " ", " ".join(drawing for drawing, _ in part.figures))
    assert all(f" {one} " in names for one in ("left", "right", "1", "2", "4", "8"))
    assert [row[0].text for row in part.tables[0].rows] == ["bilateral"] * 2


def test_equal_hemispheres_have_equal_centres_and_the_same_noise_comes_again():
    def twins() -> Pixels:
        return Pixels(*(SpatialFilter(low_pass=6, high_pass=None) for _ in range(2)))

    found, again = Findings(), Findings()
    Frequencies().compute(seed_of(twins()), found)
    Frequencies().compute(seed_of(twins()), again)
    assert [one.value for one in found.values.values] == [one.value for one in again.values.values]
    for task in TASKS:
        assert found.values.get(SHIFT, task, item="bilateral").mean == 0
    said = " ".join(Frequencies().render(found).text)
    assert said.count("it takes three seeds or more") == 2


def test_every_mask_is_seen_once_by_all_images():
    views = dict(seen(seed_of(high_and_low())))
    assert set(views) == {None} | {Mask(c, s) for c in octaves(SIZE, SIZE) for s in STRENGTHS}
    for view in views.values():
        assert view.of("both").shape == (4 * PER_CLASS, 2 * SIZE**2)
        assert view.labels["fine"].shape == (4 * PER_CLASS,)
    gentle, strong = (views[Mask(8, one)].features["left"] for one in (0.25, 1.0))
    clean = views[None].features["left"]
    # The same noise, four times as strong: in each image of that standard deviation in training pixels' units.
    assert torch.allclose(strong - clean, 4 * (gentle - clean), atol=1e-4)


def test_the_first_arm_and_its_unspecialised_control_are_asked_and_no_other():
    found = Findings(pairs=["bilateral", PRIMARY, "bilateral_finetuned"])
    for arm in found.pairs:
        Frequencies().compute(seed_of(high_and_low(), arm=arm), found)
    assert {one.means.arm for one in found.values.values} == {"bilateral", PRIMARY}
    rows = Frequencies().render(found).tables[0].rows
    assert [row[0].text for row in rows] == ["bilateral"] * 2 + [PRIMARY] * 2


def test_what_noise_costs_two_arms_is_compared_seed_by_seed():
    found = Findings(pairs=["bilateral", PRIMARY])
    section = Frequencies()
    low = Pixels(*(SpatialFilter(low_pass=3, high_pass=None) for _ in range(2)))
    for number in range(3):
        section.compute(seed_of(high_and_low(), number=number), found)
        section.compute(seed_of(low, arm=PRIMARY, number=number), found)
    section.finish(found)
    for task in TASKS:
        costs = found.values.by_seed(SENSITIVITY, task, "both")
        excess = found.values.by_seed(EXCESS, task, "both")
        assert len(excess) == 3
        for number, one in excess.items():
            difference = costs[number]["bilateral"] - costs[number][PRIMARY]
            assert one == {"bilateral": pytest.approx(difference)}
    said = " ".join(section.render(found).text)
    assert "noise costs two specialised hemispheres" in said
    # What noise hides from one specialised hemisphere the other one sees; those of the control see the same.
    assert found.values.get(EXCESS, "coarse", "both", "bilateral").ci95_high < 0
    assert "Specialised ones lose less." in said


def half_blind() -> Pixels:
    """A left hemisphere that sees all, and a right one that sees nothing."""
    return Pixels(
        SpatialFilter(low_pass=None, high_pass=None), SpatialFilter(low_pass=0.5, high_pass=None)
    )


def test_an_arm_with_a_dead_hemisphere_is_not_passed_over_for_its_control():
    found = Findings(pairs=["bilateral", PRIMARY])
    section = Frequencies()
    for number in range(2):
        section.compute(seed_of(half_blind(), number=number), found)
        section.compute(seed_of(high_and_low(), arm=PRIMARY, number=number), found)
    section.finish(found)
    part = section.render(found)
    said = " ".join(part.text)
    dead = "nothing is compared: a hemisphere of two specialised hemispheres is dead in every seed."
    assert said.count(dead) == len(TASKS)
    assert "noise costs two specialised hemispheres" in said
    rows = part.tables[0].rows
    assert [row[0].text for row in rows] == ["bilateral"] * 2 + [PRIMARY] * 2
    assert [row[2].text for row in rows] == ["0", "0", "2", "2"]
    assert not found.left_out


def test_numbers_of_fewer_seeds_than_the_study_has_say_so():
    found = Findings()
    for number, network in enumerate([high_and_low(), half_blind()]):
        Frequencies().compute(seed_of(network, number=number), found)
    part = Frequencies().render(found)
    assert " ".join(part.text).count(" in 1 of 2 seeds)") == len(TASKS)
    assert [row[2].text for row in part.tables[0].rows] == ["1", "1"]


def test_hemispheres_that_know_nothing_and_images_without_two_octaves_are_left_out():
    found = Findings()
    blind = Pixels(*(SpatialFilter(low_pass=0.5, high_pass=None) for _ in range(2)))
    Frequencies().compute(seed_of(blind), found)
    assert not found.values.values
    assert Frequencies().render(found) is None
    # Of one that knows nothing neither its own numbers are given nor those of the other one alone.
    section = Frequencies()
    section.compute(seed_of(half_blind()), found)
    section.finish(found)
    assert {one.side for one in found.values.values} == {"both"}
    assert section.render(found) is None
    assert found.left_out.pop().endswith("is dead on each task, in every seed.")
    none = Findings(pairs=[])  # a study that has lost its networks
    Frequencies().finish(none)
    assert Frequencies().render(none) is None
    tiny = torch.zeros(4 * PER_CLASS, 3, 3, 3, dtype=torch.uint8)
    Frequencies().compute(seed_of(high_and_low(), images=tiny), found)
    assert found.left_out == [
        "which spatial frequencies the hemispheres use; the images are too small."
    ]


def test_what_noise_costs_two_arms_is_said_of_the_seeds_that_both_have():
    values = Values()
    costs = {"bilateral": [0.40, 0.42, 0.44, 0.60, 0.62], PRIMARY: [0.30, 0.31, 0.32]}
    for arm, numbers in costs.items():
        for seed, cost in enumerate(numbers):
            values.add(SENSITIVITY, cost, level="coarse", side="both", item=arm, seed=seed)
    for seed in range(3):
        apart = costs["bilateral"][seed] - costs[PRIMARY][seed]
        values.add(EXCESS, apart, level="coarse", side="both", item="bilateral", seed=seed)
    (said,) = robustness(values, "bilateral")
    assert "42.0 %" in said
    assert "31.0 % (difference +11.0 points" in said


@pytest.mark.parametrize(
    ("ends", "seeds", "said"),
    [
        # Seeds in which neither hemisphere is dead are chosen by what came out.
        ((0.01, 0.2), 3, "chosen"),
        ((0.01, 0.2), 5, "higher"),
        ((-0.2, -0.01), 5, "lower"),
        ((-0.1, 0.1), 5, "not shown"),
        ((None, None), 2, "too few seeds"),
        ((None, None), 5, "no interval"),
    ],
)
def test_a_difference_takes_an_interval_without_zero(ends, seeds, said):
    assert verdict(Summary("", "", "", "", seeds, 0.1, *ends), seeds=5) == said
