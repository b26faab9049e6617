"""Let the terminal's encoding decide how a text looks, and never whether a command succeeds."""

import io
import sys


def replace_what_cannot_be_shown() -> None:
    r"""Print a question mark for each character that standard output cannot encode, such as ``ä`` in ASCII.

    Standard error does so by itself, with ``\xe4``. A stream that is no text file of Python's own, as in a notebook,
    shows any character.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
