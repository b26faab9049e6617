"""Mistakes in a file that was added, as the commands report them: before anything is trained, in one sentence."""

from dataclasses import replace

import pytest
from torch import Tensor, nn

import arch_single_head.trainer
import train_system
from common.networks import joins
from common.networks.backbones import Backbone, registry
from common.networks.join import Concatenate
from common.results import metrics
from common.settings.choices import Choice
from common.system.errors import place_of
from common.training import loss_table


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


def misspelt(outputs, labels):
    """A loss with a mistake that a step meets."""
    return outputs.logits["fine"].sum() * gamma  # noqa: F821


def too_many(outputs, labels):
    """One that a library meets."""
    return outputs.logits["fine"] @ outputs.logits["fine"]


def unsure(answers):
    """A metric with such a mistake."""
    return answers.logits["middle"], None


@pytest.mark.parametrize(
    ("table", "name", "part", "said"),
    [
        (loss_table.LOSSES, "cross_entropy", misspelt, "NameError: name 'gamma' is not defined."),
        (loss_table.LOSSES, "cross_entropy", too_many, "RuntimeError: "),
        (metrics.METRICS, "top5", unsure, "KeyError: 'middle'."),
    ],
)
def test_a_part_that_fails_in_a_step_says_in_which_line(
    table, name, part, said, tiny, in_process, tmp_path, monkeypatch
):
    mine = replace(table[name], where=f"{__name__}:{part.__name__}")
    monkeypatch.setitem(table, name, mine)
    trainer = arch_single_head.trainer.main
    status, _, err = in_process(trainer, *tiny, f"save_dir={tmp_path}", "hparams.batch_size=7")
    assert status == 1
    line = part.__code__.co_firstlineno + 2
    assert f"error: {place_of(part)}, line {line}, fails: {said}" in err
    assert "Traceback" not in err


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
