"""The files beside the code agree with one another."""

from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def test_constraints_lie_within_the_requirements():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {pin.name.lower(): next(iter(pin.specifier)).version for pin in pins}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line.startswith(("#", "-")):
            requirement = Requirement(line)
            assert pinned[requirement.name.lower()] in requirement.specifier, line


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert citation["cff-version"] == "1.2.0"
    assert f'version = "{citation["version"]}"' in project
    assert f'license = {{ text = "{citation["license"]}" }}' in project
    assert f'authors = [{{ name = "{citation["authors"][0]["name"]}" }}]' in project
    assert "2209.06862" in citation["references"][0]["url"]
