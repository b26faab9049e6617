"""What the jobs of a sweep are called."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from common.settings.overrides import override_keys

LONGEST = 80  # characters of the part of a name that tells a sweep's jobs apart
QUOTES = "\"'/"


def sweep_name(overrides: list[str], fixed: Sequence[str] = ()) -> str:
    """The part of a sweep's experiment name that tells its jobs apart: ``hparams.lr-0.1_seeds-[0]``.

    Args:
        overrides: of the job.
        fixed: keys that are the same in all jobs; a name that is too long as a whole is without them.
    """
    given = {k: v for k, v in override_keys(overrides).items() if k not in ("exp_name", "save_dir")}
    name = "_".join(f"{key}-{value}" for key, value in given.items())
    plain = _plain(name)[:LONGEST]
    if plain == name:
        return name
    # A name that lost something gains a digest of the whole, so that two jobs never share one.
    digest = blake2b(name.encode(), digest_size=4).hexdigest()
    swept = {key: value for key, value in given.items() if key not in fixed}
    return "_".join([*_parts(swept or given), digest])


def _parts(given: Mapping[str, str]) -> list[str]:
    """Of each key its last word, of a path its last folder, so that it stays readable; without the longest."""
    parts = [
        f"{key.rpartition('.')[2]}-{_plain(value.strip(QUOTES).rpartition('/')[2])}"
        for key, value in given.items()
    ]
    while len("_".join(parts)) > LONGEST:
        parts.remove(max(parts, key=len))
    return parts


def fixed_keys(line: Sequence[str]) -> list[str]:
    """The keys of a command line that have one value in all jobs; of several words for one key the last counts."""
    parser, found = OverridesParser.create(), dict[str, bool]()
    for word in line:
        # What cannot be read is refused later, and Hydra says why.
        with contextlib.suppress(HydraException):
            if not word.startswith("-"):
                swept = parser.parse_override(word).is_sweep_override()
                found |= dict.fromkeys(override_keys([word]), not swept)
    return [key for key, fixed in found.items() if fixed]


def _plain(text: str) -> str:
    """A text as a folder's name may hold it."""
    return re.sub(r"[^\w.,+\[\]-]+", "-", text)
