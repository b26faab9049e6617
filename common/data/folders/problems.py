"""Find what a person should know about a prepared set before training on it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from common.data.folders.collection import Collection, Picture
from common.data.hierarchy import Hierarchy
from common.data.index import Index
from common.system.errors import UserError
from common.system.words import some

FEW = 5  # training pictures of a class
PARTS = ("training", "validation", "test")


def parts_of(index: Index) -> np.ndarray:
    """Give the part of each image, int64 (N,): 0 training, 1 held out for validation, 2 test."""
    return np.where(np.array(index.split) == "test", 2, np.where(index.held_out, 1, 0))


def refuse_empty_parts(index: Index, place: Path) -> None:
    """Refuse a set on which nothing can be trained, chosen or tested.

    Raises:
        UserError: names the set's folder and what it lacks.
    """
    present = set(parts_of(index).tolist())
    lacking = [name for part, name in enumerate(PARTS) if part not in present]
    if lacking:
        raise UserError(
            f"{place} has no {' and no '.join(lacking)} pictures, so nothing can be trained on it: add pictures and "
            "prepare it again (three of a class give one of each; three groups, where groups stay together)."
        )


def problems(index: Index, hierarchy: Hierarchy, digests: Sequence[str]) -> list[str]:
    """Find all that is wrong with a set, in sentences.

    Args:
        index: its images.
        hierarchy: its classes.
        digests: of each image's content.
    """
    found = repeated_pictures(index, digests)
    found += absent_classes(index, hierarchy)
    found += alike_names("Fine", hierarchy.fine.values())
    found += alike_names("Coarse", hierarchy.coarse.values())
    if len(hierarchy.coarse) == 1:
        found.append(
            "There is one coarse class alone, so that the coarse level has nothing to tell apart."
        )
    counts = Counter(index.fine[parts_of(index) == 0].tolist())
    if counts:
        label, least = min(counts.items(), key=lambda item: item[1])
        if least < FEW:
            alike = len(counts) > 1 and set(counts.values()) == {least}
            who = (
                f"Every class has {least:,}"
                if alike
                else f"The smallest class is {hierarchy.fine[label]}, with {least:,}"
            )
            found.append(f"{who} for training: of so few, little can be learned or said.")
    return found


def repeated_pictures(index: Index, digests: Sequence[str]) -> list[str]:
    """Say which pictures are both in training and in test or validation, and which have several classes."""
    rows: Mapping[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        rows[digest].append(row)
    parts = parts_of(index)
    found = []
    repeated = [same for same in rows.values() if len(same) > 1]
    for one, other in ((0, 2), (0, 1), (1, 2)):
        both = [same for same in repeated if {one, other} <= {int(parts[row]) for row in same}]
        if both:
            names = some(f"{index.image[same[0]]} and {index.image[same[-1]]}" for same in both)
            found.append(
                f"Same pictures in {PARTS[one]} and {PARTS[other]} ({len(both):,}), which make accuracies too "
                f"high: {names}."
            )
    unlike = [same for same in repeated if len({int(index.fine[row]) for row in same}) > 1]
    if unlike:
        names = some(f"{index.image[same[0]]} and {index.image[same[-1]]}" for same in unlike)
        found.append(f"Same pictures under several classes ({len(unlike):,}): {names}.")
    return found


def divided_groups(index: Index, groups: Sequence[str | None]) -> list[str]:
    """Say which groups, given by image, have pictures in several parts."""
    parts: dict[str, set[int]] = defaultdict(set)
    for group, part in zip(groups, parts_of(index).tolist(), strict=True):
        if group is not None:
            parts[group].add(part)
    torn = [
        f"{group} ({' and '.join(PARTS[n] for n in sorted(of))})"
        for group, of in sorted(parts.items())
        if len(of) > 1
    ]
    return [f"Groups that are divided ({len(torn):,}): {some(torn)}."] if torn else []


def classes_without_pictures(collection: Collection, pictures: Sequence[Picture]) -> list[str]:
    """Say which classes that the collection names have no picture among those that can be used."""
    there = {(picture.coarse, picture.fine) for picture in pictures}
    absent = sorted(collection.named - there)
    if not absent:
        return []
    names = some("/".join(filter(None, pair)) for pair in absent)
    return [
        f"Classes without any picture that can be used ({len(absent):,}) are left out: {names}."
    ]


def absent_classes(index: Index, hierarchy: Hierarchy) -> list[str]:
    """Say which fine classes have no training, validation or test pictures."""
    parts = parts_of(index)
    found = []
    for number, part in enumerate(PARTS):
        there = set(index.fine[parts == number].tolist())
        absent = [name for label, name in hierarchy.fine.items() if label not in there]
        if absent:
            told = ", which cannot be learned" if number == 0 else ""
            found.append(
                f"Classes without {part} pictures ({len(absent):,}){told}: {some(absent)}."
            )
    return found


def alike_names(level: str, names: Iterable[str]) -> list[str]:
    """Say which classes of a level have names that differ by case or spaces alone, as slips of a hand do."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        alike["".join(name.casefold().split())].add(name)
    slips = [" and ".join(sorted(same)) for same in alike.values() if len(same) > 1]
    if not slips:
        return []
    return [
        f"{level} classes whose names differ by case or spaces alone ({len(slips):,}): {some(slips)}."
    ]
