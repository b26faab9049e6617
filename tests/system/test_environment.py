"""What a run records about its machine."""

import platform

from common.settings.compose import ROOT
from common.system.environment import cpu_name, describe


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
