"""The sentence for an error of the system, whichever way it names its file."""

import errno
import os

import pytest

from analysis.schema import AnalyseConfig
from common.settings.explain import explain
from common.system.errors import run_script


@pytest.mark.parametrize("name", ["/data/Käfer.png", "/data/Käfer.png".encode()])
def test_a_file_is_named_as_a_person_knows_it(name, capsys):
    def script() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)

    assert run_script(script) == 1
    said = capsys.readouterr().err
    assert said == "error: cannot read or write /data/Käfer.png: Read-only file system\n"
    with pytest.raises(OSError, match="Read-only") as raised:
        script()
    assert explain(raised.value, AnalyseConfig) == "Read-only file system: /data/Käfer.png."


def test_an_error_of_no_file_names_none():
    assert explain(OSError(errno.ENOSPC, "No space left on device"), AnalyseConfig) == (
        "No space left on device."
    )
