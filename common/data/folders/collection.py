"""What a collection of pictures holds, however it is laid out."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from common.data.hierarchy import Hierarchy
from common.data.prepared import Made


@dataclass(frozen=True)
class Picture:
    """A picture with its classes.

    ``shown`` is its path as the collection has it, ``name`` the same below the folder of its split. ``split`` is train,
    val or test, where the collection says so; pictures of one ``group`` must be on one side.
    """

    path: Path
    shown: str
    name: str
    fine: str
    coarse: str
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Skipped:
    """A picture that cannot be used, or a folder of them, and why."""

    shown: str
    reason: str


@dataclass
class Collection:
    """All pictures, those that are skipped, and what was found out about the rest.

    ``layout`` says in one line how the collection is laid out; ``notes`` are sentences that a person should read;
    ``others`` counts files that are no pictures, by suffix; ``named`` are the classes, (coarse, fine), that folders or
    rows name, with pictures or without, ("", fine) where no table says the coarse class; ``described`` is what
    labelled folders and their hierarchy.yaml say, ``made`` what their prepared.yaml does.
    """

    layout: str
    pictures: list[Picture]
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    named: set[tuple[str, str]] = field(default_factory=set)
    described: Hierarchy | None = None
    made: Made | None = None


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Give a number with its noun: 1 picture, 2 pictures, 1 class, 2 classes."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def suffix_of(name: str) -> str:
    """Give a file's suffix in lower case; a word where it has none."""
    return PurePosixPath(name).suffix.lower() or "no suffix"
