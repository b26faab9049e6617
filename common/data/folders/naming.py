"""Name the images of the tree after the paths of the pictures."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from common.data.folders.collection import Picture

LONGEST = 120  # bytes of a name without its suffix; file systems take 255


def image_names(pictures: Sequence[Picture], splits: Sequence[str]) -> list[str]:
    """Give each picture a name without suffix that no other one of its split has.

    It is made of the path alone, so that it stays when other pictures come; only where two would have the same name
    (upper and lower case count as equal), both get a part of a digest of their whole paths.
    """
    stems = [_stem(picture.name) for picture in pictures]
    keys = [(split, stem.casefold()) for split, stem in zip(splits, stems, strict=True)]
    often = Counter(keys)
    return [
        f"{stem}-{_digest(picture.shown)}" if often[key] > 1 else stem
        for picture, stem, key in zip(pictures, stems, keys, strict=True)
    ]


def _stem(name: str) -> str:
    """Make a plain file name of a path: letters, digits, - and . stay, anything else becomes _."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    text = "_".join(part for part in path.with_suffix("").parts if part != "/")
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in text).lstrip(".") or "picture"
    if len(plain.encode()) <= LONGEST:
        return plain
    end = plain.encode()[-(LONGEST - 9) :].decode(errors="ignore").lstrip(".")
    return f"{end}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
