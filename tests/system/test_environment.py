"""What a run records about its machine."""

import platform

import pytest
import torch

from common.settings.compose import ROOT
from common.system.environment import choose_precision, cpu_name, describe
from common.system.errors import UserError


def test_a_processor_is_known_by_its_model(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 106\nmodel name\t: Some CPU @ 2 GHz\n" * 2)
    assert cpu_name(file) == "Some CPU @ 2 GHz"
    for text in ("processor: 0\n", "model name:\n"):
        file.write_text(text)
        assert cpu_name(file) == (platform.processor() or platform.machine())
    assert cpu_name(tmp_path / "none") == (platform.processor() or platform.machine())


def test_device_memory_and_all_packages_that_shape_or_show_results_are_recorded():
    about = describe("cpu", ROOT)
    assert about["device"] == cpu_name()
    assert 0.1 < about["memory_gib"] < 1e5
    assert {"captum", "scipy", "matplotlib", "jinja2", "tensorboard"} <= {
        name for name, version in about["packages"].items() if version
    }


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_float16_is_refused_where_lightning_would_take_bfloat16(monkeypatch, accelerator):
    for device in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"precision is '16-mixed'.* auto, 32-true, bf16-mixed"):
        choose_precision("16-mixed", accelerator)
    assert choose_precision("bf16-mixed", accelerator) == "bf16-mixed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_precision("16-mixed", "auto") == "16-mixed"
