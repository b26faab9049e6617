"""Handle Ctrl-C and a scheduler's notice: training stops after its step with a checkpoint, all else stops at once."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What a scheduler sends before it ends a job. SLURM's own is SIGTERM; job scripts for Lightning ask for SIGUSR1.
NOTICES = (signal.SIGTERM, signal.SIGUSR1)
HANDLED = (signal.SIGINT, *NOTICES)
# How long a process that loads images outlives a notice that was meant for the one that trains.
OUTLIVE_S = 60
# How soon a signal that came during an import comes again, and how long imports may hold it up.
AGAIN_S, IMPORTS_S = 0.05, 10.0


class Interrupted(BaseException):
    """A signal asked the command to stop; the same command continues later.

    Not an Exception, so that code that catches errors, such as of damaged files, does not catch it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(
            f"Stopped by {signal.Signals(signum).name}: run the same command to continue."
        )
        self.status = 128 + signum


class _Signals:
    """Remember a signal that has come, and whether it has to wait."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self.waits = False
        self.process = 0
        self.held_since: float | None = None  # a signal that came during an import
        self.comes_again = False

    def install(self, *signums: int) -> None:
        """Take over these signals, by default all of `HANDLED`, which are treated alike."""
        self.process = os.getpid()
        for signum in signums or HANDLED:
            signal.signal(signum, self._handle)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take over the signals until the block ends; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {signum: signal.getsignal(signum) for signum in HANDLED}
        self.install()
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # loads images for this one, which decides
            if signum == signal.SIGTERM:
                os._exit(128 + signum)
            return
        if not self.waits:
            if not self._held(signum, frame):
                raise Interrupted(signum)
            return
        if self.pending is not None:
            os._exit(128 + signum)
        self.pending = signum
        # To the system itself: Python's own handlers wait until a long operation, such as a backward pass, is over.
        signal.signal(signum, signal.SIG_DFL)
        print("Stopping after this step; once more stops at once.", file=sys.stderr, flush=True)

    def _held(self, signum: int, frame: FrameType | None) -> bool:
        """Say whether a signal came during an import, and let it come again soon.

        Raised within, an exception ends the process where C++ code is imported, and is swallowed by other code.
        """
        now = time.monotonic()
        since = now if self.held_since is None else self.held_since
        if not _imports(frame) or now - since > IMPORTS_S:
            self.held_since = None
            return False
        self.held_since = since
        if not self.comes_again:
            self.comes_again = True
            again = threading.Timer(AGAIN_S, self._send, [signum])
            again.daemon = True
            again.start()
        return True

    def _send(self, signum: int) -> None:
        self.comes_again = False
        os.kill(os.getpid(), signum)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Let signals wait for the next `check`, at the latest at the end of the block, also where that fails."""
        self.waits = True
        try:
            yield
        finally:
            self.waits = False
            self.check()

    def check(self) -> None:
        """Stop here if a signal has come.

        Raises:
            Interrupted: with the exit status that shells expect, such as 130 or 143.
        """
        if self.pending is not None:
            signum, self.pending = self.pending, None
            raise Interrupted(signum)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported around a frame."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


signals = _Signals()


def outlive_notices(_: int) -> None:
    """Let a process that loads images ignore notices for a while, so that the training process can end its step.

    A scheduler may send them to all processes, and torch's own handler would end this one, and with it that step.
    """
    for signum in NOTICES:
        signal.signal(signum, lambda *_: signal.alarm(OUTLIVE_S))
