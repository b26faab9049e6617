"""Mistakes in a file that was added, as the commands report them: before anything is trained, in one sentence."""

import pytest
from torch import Tensor, nn

import train_system
from common.networks import joins
from common.networks.backbones import Backbone, registry
from common.networks.join import Concatenate
from common.settings.choices import Choice


class Maps(Backbone):
    """Gives maps in place of features, on the CPU alone where it counts."""

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 3)
        self.num_features = 8
        self.counts = counts

    def forward(self, images: Tensor) -> Tensor:
        if self.counts:
            images = images * float(images.sum() < 1)
        return self.layer(images)


class Halved(Concatenate):
    """Forgets one hemisphere."""

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return features["left"]


class Deep(Maps):
    """Takes images of 42 pixels at least."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.max_pool2d(self.layer(images), 40).amax((2, 3))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda *, width: Maps(counts=False), "(2, 8, 30, 30) of 2 images; allowed: (2, 8)"),
        (lambda *, width: Maps(counts=True), "(2, 8, 30, 30) of 2 images; allowed: (2, 8)"),
        (
            lambda *, width: Deep(counts=False),
            "Images of 32 x 32 pixels are too small for resnet18",
        ),
    ],
)
def test_a_backbone_of_a_later_stage_is_refused_before_the_first_is_trained(
    make, found, tiny, in_process, tmp_path, monkeypatch
):
    known, mine = registry.entry, registry.Entry(make, 1.0, 1.0)
    monkeypatch.setattr(registry, "entry", lambda arch: mine if arch == "resnet18" else known(arch))
    status, out, err = in_process(
        train_system.main, *tiny, f"save_dir={tmp_path}", "num_seeds=1", "carch=resnet18"
    )
    assert status == 1
    assert found in err
    assert len(err.splitlines()) == 1
    assert "started" not in out


def test_a_join_is_refused_before_the_first_stage_is_trained(
    tiny, in_process, tmp_path, monkeypatch
):
    row = Choice("half", f"{__name__}:Halved")
    monkeypatch.setitem(joins.JOINS, "mean", row)
    status, out, err = in_process(
        train_system.main, *tiny, f"save_dir={tmp_path}", "num_seeds=1", "hparams.join=mean"
    )
    assert status == 1
    assert "Join Halved of " in err
    assert "(2, 64) of 2 images; allowed: (2, 128)" in err
    assert "started" not in out


@pytest.mark.parametrize("asked", [False, True])
def test_whoever_adds_a_part_may_see_the_traceback_of_its_failure(
    asked, tiny, in_process, tmp_path, monkeypatch
):
    def broken(*, width):
        raise ZeroDivisionError("of my own")

    known, mine = registry.entry, registry.Entry(broken, 1.0, 1.0)
    monkeypatch.setattr(registry, "entry", lambda arch: mine if arch == "resnet18" else known(arch))
    if asked:
        monkeypatch.setenv("BILATERAL_TRACEBACK", "1")
    status, _, err = in_process(
        train_system.main, *tiny, f"save_dir={tmp_path}", "num_seeds=1", "carch=resnet18"
    )
    assert status == 1
    assert err.splitlines()[-1].startswith("error: ")
    assert "fails: ZeroDivisionError: of my own." in err.splitlines()[-1]
    assert ("Traceback" in err) == asked
    assert ('raise ZeroDivisionError("of my own")' in err) == asked
