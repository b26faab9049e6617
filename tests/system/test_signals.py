"""A signal that waits is neither forgotten nor handed to what comes next."""

import os
import signal

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
