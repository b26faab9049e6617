"""Number the classes of a collection, so that a name stays with its class when others are added."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from common.data.folders.collection import Picture
from common.data.hierarchy import Hierarchy
from common.system.words import some

Key = TypeVar("Key")


@dataclass(frozen=True)
class Classes:
    """The classes of both levels by label id, and the label ids of a picture's fine and coarse class."""

    fine: dict[int, str]
    coarse: dict[int, str]
    ids: dict[tuple[str, str], tuple[int, int]]  # (fine, coarse) name -> label ids

    def of(self, picture: Picture) -> tuple[int, int]:
        """Give the label ids of a picture's fine and coarse class."""
        return self.ids[picture.fine, picture.coarse]


def number_classes(pictures: Sequence[Picture], earlier: Hierarchy | None) -> Classes:
    """Number classes in the order of coarse and fine names; those of an earlier preparation keep their label ids.

    New ones come after all earlier ones, so that no number of a class that is gone gets another name. Fine classes of
    one name in two coarse ones are two classes, which then carry the coarse one's name too.
    """
    pairs = sorted({(picture.coarse, picture.fine) for picture in pictures})
    twice = {name for name, count in Counter(fine for _, fine in pairs).items() if count > 1}
    known_coarse = {name: label for label, name in earlier.coarse.items()} if earlier else {}
    coarse = _numbered(
        [above for above, _ in pairs], known_coarse, earlier.coarse if earlier else ()
    )
    known_fine = _earlier_fine(earlier) if earlier else {}
    names = {
        (fine, above): _with_coarse(fine, above) if fine in twice else fine for above, fine in pairs
    }
    kept: dict[tuple[str, str], int] = {}
    for pair in names:
        for key in _earlier_names(pair, names, alone=pair[0] not in twice):
            if key in known_fine:
                kept.setdefault(pair, known_fine[key])
    fine = _numbered(list(names), kept, earlier.fine if earlier else ())
    return Classes(
        fine={fine[pair]: name for pair, name in names.items()},
        coarse={label: name for name, label in coarse.items()},
        ids={pair: (fine[pair], coarse[pair[1]]) for pair in names},
    )


def number_independent(pictures: Sequence[Picture], earlier: Hierarchy | None) -> Classes:
    """Number the classes of two independent labels, each in the order of its names; earlier ones keep their ids."""
    pairs = sorted({(picture.fine, picture.coarse) for picture in pictures})
    fine, coarse = (
        _numbered(
            sorted({pair[index] for pair in pairs}),
            {name: label for label, name in known.items()},
            known,
        )
        for index, known in enumerate((earlier.fine, earlier.coarse) if earlier else ({}, {}))
    )
    return Classes(
        fine={label: name for name, label in fine.items()},
        coarse={label: name for name, label in coarse.items()},
        ids={pair: (fine[pair[0]], coarse[pair[1]]) for pair in pairs},
    )


def same_name_notes(pictures: Sequence[Picture]) -> list[str]:
    """Say which fine classes have the name of another one in another coarse class."""
    above: dict[str, set[str]] = {}
    for picture in pictures:
        above.setdefault(picture.fine, set()).add(picture.coarse)
    twice = [
        f"{name} ({' and '.join(sorted(of))})" for name, of in sorted(above.items()) if len(of) > 1
    ]
    if not twice:
        return []
    return [
        f"Fine classes that occur in several coarse ones ({len(twice)}) are kept apart: {some(twice)}. If this is a "
        "slip, correct it and prepare again."
    ]


def _with_coarse(fine: str, above: str) -> str:
    return f"{fine} ({above})"


def _earlier_names(
    pair: tuple[str, str], names: Mapping[tuple[str, str], str], *, alone: bool
) -> list[tuple[str, str | None]]:
    """List what a class, (fine, coarse), may have been called before, the likeliest first; see `_earlier_fine`.

    It may have been the only one of its name then, or, where it is ``alone`` now, one of several or in another coarse
    class.
    """
    fine, above = pair
    found: list[tuple[str, str | None]] = [(names[pair], above), pair]
    longer = _with_coarse(fine, above)
    if alone and (longer, above) not in names:
        found.append((longer, above))
    return [*found, (fine, None)] if alone else found


def _earlier_fine(earlier: Hierarchy) -> dict[tuple[str, str | None], int]:
    """Find earlier label ids by fine and coarse name, and by fine name alone where it is the only one."""
    found: dict[tuple[str, str | None], int] = {}
    often = Counter(earlier.fine.values())
    for label, name in earlier.fine.items():
        found[name, earlier.coarse[earlier.parent[label]]] = label
        if often[name] == 1:
            found[name, None] = label
    return found


def _numbered(
    keys: Sequence[Key], known: Mapping[Key, int], taken: Iterable[int]
) -> dict[Key, int]:
    """Give each key a number: its known one, else the next after all that are taken, in the order of the keys."""
    following = max(taken, default=-1) + 1
    found: dict[Key, int] = {}
    for key in keys:
        if key not in found:
            number = known.get(key)
            if number is None:
                number, following = following, following + 1
            found[key] = number
    return found
