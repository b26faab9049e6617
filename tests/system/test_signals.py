"""A signal that waits is neither forgotten nor handed to what comes next."""

import importlib
import os
import signal
import time

import pytest

from common.system.signals import Interrupted, signals


@pytest.mark.parametrize("failure", [None, RuntimeError("the loss is nan")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_waits_stops_the_command_also_where_the_block_fails(number, failure):
    handler = signal.getsignal(number)

    def work():
        with signals.installed(), signals.put_off():
            os.kill(os.getpid(), number)
            if failure:
                raise failure

    with pytest.raises(Interrupted) as raised:
        work()
    assert raised.value.status == 128 + number
    assert raised.value.__context__ is failure
    assert (signals.pending, signals.waits) == (None, False)
    assert signal.getsignal(number) == handler


def test_a_block_that_fails_without_a_signal_fails_as_it_did():
    with pytest.raises(RuntimeError, match="nan"), signals.put_off():
        raise RuntimeError("the loss is nan")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_an_import(number, tmp_path, monkeypatch):
    """Within one it would abort C++ code, or be swallowed as here."""
    (tmp_path / f"heavy{number:d}.py").write_text(
        f"""import os
try:
    os.kill(os.getpid(), {number:d})
    os.kill(os.getpid(), {number:d})
except BaseException:
    raise RecursionError
whole = True
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Interrupted) as raised, signals.installed():  # noqa: PT012 - a signal comes at any time
        assert importlib.import_module(f"heavy{number:d}").whole
        time.sleep(10)
    assert raised.value.status == 128 + number
    assert signals.held_since is None


def test_an_import_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("common.system.signals.IMPORTS_S", 0.2)
    (tmp_path / "endless.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {signal.SIGINT:d})\ntime.sleep(10)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Interrupted), signals.installed():
        importlib.import_module("endless")
