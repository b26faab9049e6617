"""What no stage could be built from is refused before the first one is trained, whatever the stage."""

import pytest

import train_system
from architectures import ARCHITECTURES
from common.runs.experiment import refuse_unbuildable
from common.settings.compose import ROOT, SHARED, compose
from common.training import loss_table
from study.plan import plan
from study.schema import StudyConfig


def unweighted(outputs, labels):
    """Take no weights of classes."""


@pytest.fixture
def refused(tiny, in_process, tmp_path):
    """The sentence with which a study is refused that has not begun to train."""

    def run(*overrides: str) -> str:
        status, out, err = in_process(
            train_system.main, *tiny, f"save_dir={tmp_path}", "num_seeds=1", *overrides
        )
        assert status == 1
        assert "started" not in out
        assert len(err.splitlines()) == 1
        return err

    return run


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (
            ["study=callosum", "arms=callosal_frozen", "hparams.callosum.at=layer9"],
            "hparams.callosum.at=layer9: the left hemisphere has no such stage",
        ),
        (["hparams.join=winner"], "give hparams.auxiliary=1"),
        (
            ["arms=unilateral_wide", "arch=torchvision:shufflenet_v2_x0_5", "hparams.width=1"],
            "leave unilateral_wide out of arms",
        ),
        (["hparams.join=mean", "hparams.coarse_width=0.25"], "left has 64 and right has 128"),
    ],
)
def test_hemispheres_that_cannot_become_one_network(overrides, found, refused):
    assert found in refused(*overrides)


def test_a_loss_that_cannot_be_what_is_asked_for(refused, monkeypatch):
    row = loss_table.Loss("none", f"{__name__}:unweighted")
    monkeypatch.setitem(loss_table.LOSSES, "cross_entropy", row)
    assert "takes no weights of classes" in refused("dual.hparams.class_weights=balanced")


def test_an_arm_is_tried_once_whatever_the_number_of_seeds(tiny, tmp_path):
    given = [*tiny, f"save_dir={tmp_path}", "num_seeds=3"]
    cfg = compose(
        ROOT,
        schema=StudyConfig,
        overrides=given,
        config_dir=SHARED,
        config_name="train_system",
    )
    built = []

    def counted(module):
        class Counted(module):
            def __init__(self, **arguments):
                super().__init__(**arguments)
                built.append(self.record.arm)

        return Counted

    refuse_unbuildable(
        plan(cfg, given),
        {name: one._replace(module=counted(one.module)) for name, one in ARCHITECTURES.items()},
    )
    assert built == ["fine", "coarse", "bilateral"]
