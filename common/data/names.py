"""Check the names of images, and make them unique."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from common.system.errors import UserError

MAX_NAME = 200  # characters; leaves room for a suffix within the 255 of common file systems


def check_name(name: str, where: object) -> str:
    """Return the name of an image file, if it is a plain name that stays inside its folder.

    Raises:
        UserError: a separator, a drive, a leading dot, a control character, empty or too long.
    """
    plain = name.isprintable() and not any(c in name for c in "/\\:") and not name.startswith(".")
    if not plain or not 0 < len(name) <= MAX_NAME:
        raise UserError(
            f"{where}: {name[:80]!r} is not allowed as the name of an image: it must be a plain "
            f"file name of at most {MAX_NAME} printable characters, without '/', '\\', ':' or a "
            "leading dot"
        )
    return name


def unique_names(names: Sequence[str], fine: Sequence[int]) -> list[str]:
    """Give every image of one split a file name of its own, ending in .png.

    A name that occurs once stays. One that occurs more often gets the suffix `_fine<label id>`
    in each place, whatever the order, and a counter where even that is not enough. Upper and
    lower case count as equal, because some file systems cannot tell them apart.
    """
    stems = [name[:-4] if name.lower().endswith(".png") else name for name in names]
    repeated = _repeated(stems)
    stems = [
        f"{stem}_fine{label}" if _key(stem) in repeated else stem
        for stem, label in zip(stems, fine, strict=True)
    ]
    clashing = _repeated(stems)
    taken = {_key(stem) for stem in stems}
    for i, stem in enumerate(stems):
        if _key(stem) not in clashing:
            continue
        counter = 1
        while _key(f"{stem}_{counter}") in taken:
            counter += 1
        stems[i] = f"{stem}_{counter}"
        taken.add(_key(stems[i]))
    return [f"{stem}.png" for stem in stems]


def _key(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()


def _repeated(stems: Sequence[str]) -> set[str]:
    return {key for key, count in Counter(map(_key, stems)).items() if count > 1}
