"""A study that an earlier version began and this one extends says that its stages were computed in different ways."""

import pytest
from helpers import finish

from common.results.arithmetic import ARITHMETIC, computed_otherwise
from common.results.caveats import caveats
from common.results.comparison import Comparison
from common.results.rows import finished
from common.results.tables import write_tables

METRICS = {"fine": {"accuracy": 0.5, "loss": 1.0}}
EARLIER, TESTED_SINCE, NOW = {}, {"chance": {}}, {"arithmetic": ARITHMETIC}


def stage(experiment, arm, seed, result, precision):
    finish(experiment, arm, seed, result, **METRICS)
    identity = f"trainer_params: {{precision: {precision}}}\n"
    (experiment / arm / f"seed{seed}" / "fingerprint.yaml").write_text(identity)


@pytest.mark.parametrize(
    ("results", "precision", "named"),
    [
        ((EARLIER, NOW), "bf16-mixed", "fine/seed0"),
        ((NOW, EARLIER, TESTED_SINCE), "16-mixed", "fine/seed1"),
        ((EARLIER, EARLIER), "bf16-mixed", None),
        ((TESTED_SINCE, NOW), "bf16-mixed", None),
        (({"arithmetic": 2}, NOW), "bf16-mixed", None),
        ((EARLIER, NOW), "32-true", None),
    ],
)
def test_stages_in_half_precision_of_an_earlier_version_are_named(
    results, precision, named, tmp_path
):
    for seed, result in enumerate(results):
        stage(tmp_path, "fine", seed, result, precision)
    write_tables(tmp_path, Comparison(reference="fine"))
    page = (tmp_path / "summary.md").read_text()
    sentence = computed_otherwise(finished(tmp_path))
    if named is None:
        assert sentence == ""
        assert "earlier version" not in page
    else:
        assert f"unlike the other stages: {named} (since then: heads" in sentence
        assert sentence in page
        assert caveats(tmp_path, finished(tmp_path)) == [sentence]


def test_stages_of_which_nothing_is_known_are_not_named(tmp_path):
    finish(tmp_path, "fine", 0, EARLIER, **METRICS)
    finish(tmp_path, "fine", 1, NOW, **METRICS)
    assert computed_otherwise(finished(tmp_path)) == ""
