"""Specialisation over training, from the features that stages saved while their hemispheres learned."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analysis.seed import FeatureSet, Seed
from analysis.specialisation.reading import Reading, read
from arch_dual_head.sources import paths
from common.data.image_set import ImageSet
from common.results.rows import read_result
from common.settings.levels import SIDES, SPELLING
from common.training.probe_features import FOLDER, SavedFeatures


@dataclass(frozen=True)
class Saved:
    """The folder of the stage in which a hemisphere learned, and its side there; empty: it was the only one."""

    place: Path
    side: str

    def epochs(self) -> dict[int, Path]:
        """The files by epoch, counted from 1."""
        files = sorted((self.place / FOLDER).glob("epoch*.npz"))
        return {int(file.stem.removeprefix("epoch")): file for file in files}


def course(seed: Seed, trained: Reading, leave_out: Callable[[str], None]) -> list[Reading]:
    """Read the two hemispheres of a network at each epoch at which the features of both were saved.

    Empty if the hemispheres' stages saved nothing, or not of the same images.

    Args:
        seed: of the network.
        trained: what probes read off the trained network; each probe here takes the penalty that was chosen there.
        leave_out: notes an epoch of which a file is damaged.
    """
    saved = learned_in(seed)
    if set(saved) != set(SIDES):
        return []
    files = {side: one.epochs() for side, one in saved.items()}
    found = []
    for epoch in sorted(set(files["left"]) & set(files["right"])):
        left, right = (_features(files[side][epoch], saved[side]) for side in SIDES)
        if left is None or right is None:
            file = files["left" if left is None else "right"][epoch]
            leave_out(
                f"epoch {epoch} of the course of specialisation of {seed.arm} with seed {seed.number}; {file} is "
                "damaged, or of an earlier run."
            )
            continue
        pair = _pair(left, right)
        if pair is None:
            return []
        found.append(_read(seed, epoch, trained, *pair))
    return found


def learned_in(seed: Seed) -> dict[str, Saved]:
    """The stage in which each hemisphere of a network learned, by side; without those whose features are not there.

    That is the network's own stage, or the one whose checkpoint was loaded into that hemisphere.
    """
    own = seed.study.of(seed.arm)[seed.number].place
    if (own / FOLDER).is_dir():
        return {side: Saved(own, side) for side in SIDES}
    loaded = paths(seed.module.cfg, seed.number)
    found = {}
    for side in SIDES:
        checkpoint = loaded.get(SPELLING[side])
        if checkpoint is None:
            continue
        place = checkpoint.parent.parent
        # The study's own, if it was moved together with the network's folder.
        here = seed.study.place / place.parent.name / place.name
        place = here if here.is_dir() else place
        if (place / FOLDER).is_dir():
            found[side] = Saved(place, "")
    return found


Places = Mapping[str, Tensor]
Features = Mapping[str, Tensor]


def _features(file: Path, saved: Saved) -> tuple[Places, Features] | None:
    """Places and features of one hemisphere by split; None if the file is damaged or of an earlier run."""
    try:
        content = SavedFeatures.read(file)
        result = read_result(saved.place / "result.yaml")
        if result is None or result.get("fingerprint") != content.fingerprint:
            return None
        # A network of one hemisphere has it under one name, whichever hemisphere it becomes in another network.
        side = saved.side or next(iter(content.features["train"]))
        return content.places, {split: one[side] for split, one in content.features.items()}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        return None


def _pair(
    left: tuple[Places, Features], right: tuple[Places, Features]
) -> tuple[Places, dict[str, dict[str, Tensor]]] | None:
    """Places by split, and features by split and side, of the images that both have; None if there are none.

    A stage may have saved fewer images than another; the first of several processes saves its share of them.
    """
    places: dict[str, Tensor] = {}
    features: dict[str, dict[str, Tensor]] = {}
    for split, ours in left[0].items():
        theirs = right[0][split]
        both = torch.isin(ours, theirs)
        if not both.any():
            return None
        places[split] = ours[both]
        order = theirs.argsort()
        rows = order[torch.searchsorted(theirs[order], places[split])]
        features[split] = {"left": left[1][split][both], "right": right[1][split][rows]}
    return places, features


def _read(
    seed: Seed,
    epoch: int,
    trained: Reading,
    places: Places,
    features: dict[str, dict[str, Tensor]],
) -> Reading:
    images = seed.images
    train = _labelled(images.data.train_set, places["train"], features["train"])
    validation = _labelled(images.data.val_set, places["validation"], features["validation"])
    return read(
        seed.arm,
        seed.number,
        epoch,
        images,
        seed.fits,
        train=train,
        validation=validation,
        scored=validation,
        chance=images.guessing_validation,
        strengths=trained.strengths,
    )


def _labelled(images: ImageSet, places: Tensor, features: dict[str, Tensor]) -> FeatureSet:
    rows = images.subset[places]
    return FeatureSet(features, {level: y[rows] for level, y in images.labels.items()})
