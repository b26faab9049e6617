"""What a person is told when data cannot be read or written: one sentence, never a traceback."""

import sys
from collections.abc import Callable


class DataError(Exception):
    """Data that cannot be used; its text is one sentence saying what, where and what is allowed."""


def run_script(script: Callable[[], None]) -> int:
    """Run a script's body and turn what a person can cause into one line on stderr.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C.
    """
    try:
        script()
    except DataError as error:
        message = str(error)
    except OSError as error:  # full disk, no permission, a name that is too long
        where = f"{error.filename}: " if error.filename else ""
        message = f"cannot read or write {where}{error.strerror or error}"
    except MemoryError:
        message = "not enough memory for this data set"
    except KeyboardInterrupt:
        print("interrupted; run the same command again", file=sys.stderr)
        return 130
    else:
        return 0
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 1
