"""List the pictures below a folder, and pass over what computers leave between them."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from common.data.folders.collection import Skipped, suffix_of
from common.data.index import SUFFIXES
from common.data.pictures import HEIC, UNREAD, not_read, walk_links


@dataclass
class Files:
    """Pictures and folders by their paths below the folder, ``/`` between; and what is not read.

    ``skipped`` are pictures and folders that are not read, ``others`` counts all other files by suffix.
    """

    pictures: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)


def walk(root: Path) -> Files:
    """List a folder and all folders below it, in the order of names, see `walk_links`."""
    found, walked = Files(), walk_links(root)

    def below(path: Path) -> str:
        return path.relative_to(root).as_posix()

    for folder, why in walked.unread.items():
        found.skipped.append(Skipped(below(folder), f"this folder cannot be read: {why}"))
    for folder, first in walked.again.items():
        reason = f"this folder is {below(first)} too, by a link, and is read there"
        found.skipped.append(Skipped(below(folder), reason))
    folders = sorted({*walked.files, *walked.unread} - {root})
    found.folders = [below(folder) for folder in folders if not unnamed(below(folder))]
    for files in walked.files.values():
        for file in files:
            _sort_in(found, file, below(file))
    found.pictures.sort()
    return found


def why_not(path: Path) -> str | None:
    """Say why a picture is not read, as far as its name tells; None where nothing speaks against it."""
    suffix = suffix_of(path.name)
    if reason := not_read(suffix):
        return reason
    if suffix not in (*SUFFIXES, *HEIC):
        return f"{suffix} is not a picture that is read: allowed are {', '.join(SUFFIXES)}"
    if not path.is_file():
        return "neither a regular file nor a link to one"
    if not path.name.isprintable():
        return "its name cannot be shown: rename it"
    return None


def unnamed(shown: str) -> str | None:
    """Say why folders name no class: they are no text, as where an archive of another system was unpacked."""
    try:
        shown.encode()
    except UnicodeEncodeError:
        return "the name of its folder is no text in UTF-8: rename the folder"
    return None


def _sort_in(found: Files, path: Path, shown: str) -> None:
    suffix = suffix_of(shown)
    if suffix not in (*SUFFIXES, *HEIC, *UNREAD):
        found.others[suffix] += 1
    elif reason := why_not(path) or unnamed(shown):
        found.skipped.append(Skipped(shown, reason))
    else:
        found.pictures.append(shown)
