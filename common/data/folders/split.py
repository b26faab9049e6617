"""Divide pictures into training, validation and test, as the collection says or else by lot, stratified by class."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.data.folders.collection import Picture
from common.data.held_out import held_out
from common.system.errors import UserError

TEST_SHARE = 0.2
HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class Division:
    """The split of each picture (train or test), how that came about, and which validation pictures were given.

    ``validation`` is bool (N,) where the collection says which training pictures are held out; else None.
    """

    splits: list[str]
    validation: np.ndarray | None
    how: str


def divide(
    pictures: Sequence[Picture], labels: Sequence[int], *, test: float | None, seed: int
) -> Division:
    """Divide pictures into training and test ones.

    Args:
        pictures: N of them.
        labels: fine label ids, N.
        test: the share of test pictures to draw; None: a fifth, where the collection has no test pictures.
        seed: of the draw.

    Raises:
        UserError: there are no training pictures, or a share is asked for and there are test pictures.
    """
    given = Counter(picture.split for picture in pictures)
    if given["test"] or given["val"]:
        if test is not None:
            raise UserError(
                f"--test {test:g}: the pictures have a {'test' if given['test'] else 'val'} part of their own: leave "
                "it out"
            )
        if len(pictures) == given["test"] + given["val"]:
            raise UserError("there are no training pictures, only those of val and test")
    # Pictures of no split beside others of a split are training pictures.
    splits = ["test" if picture.split == "test" else "train" for picture in pictures]
    if given["test"] and given["val"]:
        validation = np.array([picture.split == "val" for picture in pictures])
        return Division(splits, validation, "train, val and test as given: val is held out")
    if given["test"]:
        return Division(splits, None, "train and test as given: a tenth of train is held out")
    if given["val"]:
        splits = ["test" if picture.split == "val" else "train" for picture in pictures]
        return Division(splits, None, "val is the test set, and a tenth of train is held out")
    share = TEST_SHARE if test is None else test
    chosen = _draw(pictures, labels, share, seed, "test")
    how = f"{share:.3g} of each class drawn as test pictures, and a tenth of the rest held out"
    together = ", whole groups at a time" if _grouped(pictures) else ""
    return Division(["test" if one else "train" for one in chosen], None, how + together)


def hold_out(
    pictures: Sequence[Picture],
    labels: Sequence[int],
    names: Sequence[str],
    seed: int,
    coarse: Sequence[int] | None = None,
) -> np.ndarray:
    """Choose a tenth of training pictures for validation, bool (N,): as `held_out` does, or whole groups."""
    if not _grouped(pictures):
        return held_out(labels, names, seed, coarse=coarse)
    return _by_groups(pictures, labels, HELD_OUT_SHARE, seed, "held out")


def _grouped(pictures: Sequence[Picture]) -> bool:
    return any(picture.group is not None for picture in pictures)


def _draw(
    pictures: Sequence[Picture], labels: Sequence[int], share: float, seed: int, purpose: str
) -> np.ndarray:
    """Draw a share of each class, bool (N,): at least one of two, and never all."""
    if _grouped(pictures):
        return _by_groups(pictures, labels, share, seed, purpose)
    rows = defaultdict(list)
    for row, label in enumerate(labels):
        rows[label].append(row)
    chosen = np.zeros(len(labels), bool)
    for members in rows.values():
        members.sort(key=lambda row: _lot(pictures[row].shown, seed, purpose))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[:count]] = True
    return chosen


def _by_groups(
    pictures: Sequence[Picture], labels: Sequence[int], share: float, seed: int, purpose: str
) -> np.ndarray:
    """Draw whole groups, so that of each class about a share is drawn, bool (N,); pictures of no group are one each.

    Groups come in an order drawn by lot. One is taken if that brings the shares of its classes nearer to what is
    wanted (the sum of squares over classes); then, for a class of which none was, its smallest group. Of each class
    a picture remains that is not drawn.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        groups["p" + picture.shown if picture.group is None else "g" + picture.group].append(row)
    if len(groups) < 2:
        raise UserError(
            "all pictures belong to one group, so that they cannot be divided by groups"
        )
    order = sorted(groups, key=lambda name: _lot(name, seed, purpose))
    count = {name: Counter(labels[row] for row in groups[name]) for name in order}
    size, drawn, taken = Counter(labels), Counter[int](), set[str]()

    def leaves_some(name: str) -> bool:
        return all(drawn[label] + own < size[label] for label, own in count[name].items())

    for name in order:
        gain = sum(
            (drawn[label] / size[label] - share) ** 2
            - ((drawn[label] + own) / size[label] - share) ** 2
            for label, own in count[name].items()
        )
        if gain > 0 and leaves_some(name):
            taken.add(name)
            drawn.update(count[name])
    for label in sorted(size):
        own = [name for name in order if label in count[name] and leaves_some(name)]
        if own and not drawn[label]:
            smallest = min(own, key=lambda name: len(groups[name]))
            taken.add(smallest)
            drawn.update(count[smallest])
    chosen = np.zeros(len(labels), bool)
    chosen[[row for name in taken for row in groups[name]]] = True
    return chosen


def _lot(text: str, seed: int, purpose: str) -> bytes:
    """Give a place in a random order that depends on nothing but a picture's or group's name and the seed."""
    return hashlib.sha256(f"{seed}/{purpose}/{text}".encode()).digest()
