"""The best epoch is tested, not the last one, and accuracy is the share of right answers."""

import pytest
import torch
from helpers import CLASSES, by_hand, equal, result_of, weights

import arch_single_head.test
import arch_single_head.trainer
import common.data.datamodule as data
from common.training.metrics import LevelMetrics
from common.training.module import TrainingModule

SINGLE = arch_single_head.trainer.main


@pytest.fixture
def scripted(monkeypatch):
    """Let validation report given accuracies, one per epoch; gives the weights after each epoch."""

    def script(accuracies: list[float]) -> list[dict[str, torch.Tensor]]:
        after_epoch: list[dict[str, torch.Tensor]] = []
        compute, end = LevelMetrics.compute, TrainingModule.on_validation_epoch_end

        def ending(self):
            told = torch.tensor(accuracies[len(after_epoch)])
            after_epoch.append({k: v.clone() for k, v in self.network.state_dict().items()})

            def telling(metrics):
                values = compute(metrics)
                return {k: told if k.endswith("accuracy") else v for k, v in values.items()}

            with monkeypatch.context() as patch:
                patch.setattr(LevelMetrics, "compute", telling)
                end(self)

        monkeypatch.setattr(TrainingModule, "on_validation_epoch_end", ending)
        return after_epoch

    return script


@pytest.mark.parametrize(
    ("accuracies", "best", "more"),
    [
        ([0.2, 0.6, 0.1], 1, []),
        pytest.param([0.6, 0.6, 0.1], 0, [], marks=pytest.mark.slow),
        ([0.1, 0.6, 0.6], 1, []),
        pytest.param([0.0, 0.0, 0.0], 0, [], marks=pytest.mark.slow),
        pytest.param([0.1, 0.2, 0.3], 2, [], marks=pytest.mark.slow),
        ([0.2, 0.3, 0.6], 2, ["ckpt_callback.save_top_k=2"]),
        ([0.2, 0.6, 0.1], 2, ["ckpt_callback.select=last"]),
        pytest.param([0.6, 0.6, 0.6], 0, ["ckpt_callback.save_top_k=3"], marks=pytest.mark.slow),
    ],
)
def test_the_earliest_best_epoch_is_tested(
    accuracies, best, more, scripted, in_process, two_epochs, navon, tmp_path
):
    after_epoch = scripted(accuracies)
    status, _, err = in_process(
        SINGLE,
        *two_epochs,
        *more,
        f"save_dir={tmp_path}",
        "exp_name=run",
        "hparams.mode=coarse",
        "trainer_params.max_epochs=3",
        "trainer_params.limit_train_batches=5",
    )
    assert status == 0, err
    place = tmp_path / "run/coarse/seed0"
    state = {f"network.{k}": v for k, v in after_epoch[best].items()}
    assert equal(weights(place / "checkpoints/best.ckpt"), state)
    result = result_of(place)
    assert (result["best_epoch"], result["epochs"]) == (best + 1, 3)
    told = pytest.approx(accuracies[best])
    assert result["validation"]["coarse"]["accuracy"] == told
    assert result["test"]["coarse"] == by_hand(place / "checkpoints/best.ckpt", navon, "coarse")


@pytest.mark.parametrize("level", CLASSES)
def test_accuracy_is_the_share_of_right_answers(small_study, navon, level):
    result = result_of(small_study.place / level / "seed0")
    for split, told in (("test", result["test"]), ("validation", result["validation"])):
        assert told[level] == by_hand(small_study.best[level], navon, level, split)


def test_accuracy_and_loss_do_not_depend_on_how_images_are_batched(
    small_study, in_process, monkeypatch
):
    command = arch_single_head.test.main, f"checkpoint={small_study.best['coarse']}"
    whole = in_process(*command)
    # 200 test images: the last batch has 2.
    monkeypatch.setattr(data, "EVAL_BATCH", 66)
    parts = in_process(*command)
    assert parts == whole
    accuracy = result_of(small_study.place / "coarse/seed0")["test"]["coarse"]["accuracy"]
    assert f"{100 * accuracy:.2f} %" in whole[1]
