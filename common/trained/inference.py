"""Ask a trained network: pictures in, features and probabilities out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from common.checkpoints.record import Record
from common.data.transforms import Transforms
from common.networks.macro import HemispheresAndHeads, Network
from common.settings.levels import SIDES
from common.system.errors import UserError, shown
from common.trained.pictures import Pictures, read_pixels
from common.trained.representation import (
    FEATURES,
    activations,
    dissimilarity,
    layer_names,
    plot_dissimilarity,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Classes = Tensor | np.ndarray | Sequence[int]
# Pictures that are in the network at a time; the number changes memory and nothing else.
BATCH = 256


class Trained:
    """A trained network with all that its checkpoint says about it; nothing here trains or changes it.

    Wherever ``pictures`` are asked for, give one or a list of: paths, folders, patterns, PIL images, uint8 tensors
    (3, H, W), uint8 NumPy arrays (H, W, 3); or one uint8 tensor (B, 3, H, W) or array (B, H, W, 3). They are brought to
    RGB and to ``image_size``; a large JPEG is decoded as those of a prepared set were where its path is given. Computed
    in float32, whatever the precision of training.

    Args:
        network: in evaluation mode; its weights are kept from asking for gradients.
        transforms: normalises pixels as in its training.
        record: what its checkpoint says of it.
        device: where to compute.
        accuracy: on test images, by level, 0 to 1; empty if nobody knows.
    """

    def __init__(
        self,
        *,
        network: Network,
        transforms: Transforms,
        record: Record,
        device: torch.device,
        accuracy: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.network = network.to(device)
        self.network.requires_grad_(False)
        self.transforms = transforms.to(device)
        self.record = record
        self.device = device
        self.accuracy = accuracy

    def __repr__(self) -> str:
        """Say what it is, in a few lines."""
        height, width = self.image_size
        heads = [
            f"{self.record.level_name(level)}: {len(names)} classes"
            + (
                f", {100 * self.accuracy[level]:.1f} % of test images correct"
                if level in self.accuracy
                else ""
            )
            for level, names in self.class_names.items()
        ]
        lines = [
            f"{self.record.arm}/seed{self.record.seed}, trained on {self.record.config['dataset']['name']} "
            f"({width} x {height} pixels)",
            *heads,
            f"hemispheres: {', '.join(self.sides)}",
        ]
        return "\n  ".join(lines)

    @property
    def levels(self) -> tuple[str, ...]:
        """Name the levels it predicts."""
        return self.record.levels

    @property
    def class_names(self) -> dict[str, list[str]]:
        """Name the classes per level, in the order of the probabilities."""
        return self.record.class_names

    @property
    def label_ids(self) -> dict[str, list[int]]:
        """Give the data set's label ids per level, in the same order."""
        return self.record.label_ids

    @property
    def image_size(self) -> tuple[int, int]:
        """Give height and width of the images it was trained on."""
        height, width = self.record.image_size
        return height, width

    @property
    def sides(self) -> tuple[str, ...]:
        """Name its hemispheres: left and right, in an ensemble member0.left, member1.left, ...

        A network of one hemisphere calls it right if its only head is coarse, and left if not.
        """
        return tuple(self.network.sides)

    def levels_of(self, hemisphere: str) -> tuple[str, ...]:
        """Name the levels of the heads that see a hemisphere: of two specialists each has one alone.

        Raises:
            UserError: there is no such hemisphere.
        """
        self._refuse_unknown(hemisphere)
        return tuple(self.network.part(hemisphere)[0].num_classes)

    @property
    def has_halves(self) -> bool:
        """Say whether it has a left and a right hemisphere, each of which can be asked alone."""
        return self.sides == SIDES

    def pixels(self, pictures: Pictures) -> Tensor:
        """Read pictures as they are shown to the network: uint8 (B, 3, H, W) of `image_size`.

        Raises:
            UserError: what is no picture, a file that is no image, or a tensor or an array of another type or shape.
        """
        return read_pixels(pictures, self.record)

    def features(self, pictures: Pictures) -> dict[str, Tensor]:
        """Compute the features of each hemisphere, by its name in `sides`: float (B, F)."""
        both = torch.cat([self._features(images) for images in self._batches(pictures)])
        return self.network.split(both)

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Name the layers of each hemisphere that `activations` takes, in order, by its name in `sides`."""
        (blank,) = self._batches(torch.zeros(1, 3, *self.image_size, dtype=torch.uint8))
        return {side: layer_names(self.network, side, blank) for side in self.sides}

    def activations(
        self, pictures: Pictures, *, layers: Sequence[str] | str, hemisphere: str
    ) -> dict[str, np.ndarray]:
        """Compute what layers of a hemisphere give: by name, float32 (B, ...), maps as (B, C, H, W).

        Args:
            pictures: see `Trained`.
            layers: names in `layers`, or one of them.
            hemisphere: its name in `sides`.

        Raises:
            UserError: there is no such hemisphere or layer.
        """
        self._refuse_unknown(hemisphere)
        several = isinstance(layers, Iterable) and not isinstance(layers, str)
        names: list[Any] = [*layers] if several else [layers]
        return activations(self.network, hemisphere, self._batches(pictures), names)

    def dissimilarity(
        self, pictures: Pictures, *, layer: str = FEATURES, measure: str = "correlation"
    ) -> dict[str, np.ndarray]:
        """Compute the representational dissimilarity matrix of each hemisphere: float (B, B), by its name in `sides`.

        Args:
            pictures: see `Trained`; at least two, whose order is that of rows and columns.
            layer: name in `layers`, of every hemisphere.
            measure: see `common.trained.representation.dissimilarity`.

        Raises:
            UserError: fewer than two pictures, no such layer or no such measure.
        """
        images = self.pixels(pictures)
        values = {
            side: self.activations(images, layers=[layer], hemisphere=side)[layer]
            for side in self.sides
        }
        return {side: dissimilarity(one, measure=measure) for side, one in values.items()}

    def plot_dissimilarity(
        self, pictures: Pictures, *, layer: str = FEATURES, measure: str = "correlation"
    ) -> "Figure":
        """Draw what `dissimilarity` gives."""
        matrices = self.dissimilarity(pictures, layer=layer, measure=measure)
        what = "1 − correlation" if measure == "correlation" else f"{measure} distance"
        return plot_dissimilarity(matrices, label=f"{what}, {layer}")

    def logits(self, pictures: Pictures, *, alone: str | None = None) -> dict[str, Tensor]:
        """Compute logits per level: float (B, C), any real number for each class.

        Args:
            pictures: see `Trained`.
            alone: of two hemispheres, the one whose features count, by its name in `sides`, "left" or "right"; those of
                the other are set to what the join takes for silence (0, of a product 1), so that what remains, if the
                join concatenates, is this one's contribution and the head's bias.
        """
        parts = [self._logits(images, alone) for images in self._batches(pictures)]
        return {level: torch.cat([part[level] for part in parts]) for level in self.levels}

    def predict(self, pictures: Pictures, *, alone: str | None = None) -> dict[str, Tensor]:
        """Compute the probability of each class per level: float (B, C), rows add up to 1. ``alone``: see `logits`.

        Raises:
            UserError: a probability is no number.
        """
        logits = self.logits(pictures, alone=alone)
        found = {level: values.softmax(dim=1) for level, values in logits.items()}
        if any(values.isnan().any() for values in found.values()):
            raise UserError(
                f"{self.record.arm}/seed{self.record.seed} answers with numbers that are not finite: its weights are "
                "too large; train it anew."
            )
        return found

    def weights(self, pictures: Pictures) -> dict[str, dict[str, Tensor]] | None:
        """Compute the weight of each hemisphere in each picture: by level and side, float (B,), of sum 1 over sides.

        None where the join weighs hemispheres alike in all pictures, or there are several networks.
        """
        if not isinstance(self.network, HemispheresAndHeads):
            return None
        with torch.no_grad():
            parts = [
                self.network.choices(self.network.features(images))
                for images in self._batches(pictures)
            ]
        found = [part for part in parts if part is not None]
        if not found:
            return None
        return {
            level: dict(
                zip(self.sides, torch.cat([one[level] for one in found]).cpu().T, strict=True)
            )
            for level in self.levels
        }

    def grad_cam(
        self, pictures: Pictures, *, level: str, hemisphere: str, classes: Classes | None = None
    ) -> Tensor:
        """Map where a hemisphere looks: float (B, H, W), from 0 to 1 (see `common.trained.grad_cam.grad_cam`).

        Args:
            pictures: see `Trained`.
            level: the head.
            hemisphere: its name in `sides`.
            classes: the class to explain in each picture, as its place in ``class_names``, B of them; by default the
                one that is predicted.
        """
        # Imported late: captum brings matplotlib, which features and predictions do not need.
        from common.trained.grad_cam import grad_cam

        return self._maps(grad_cam, pictures, level, hemisphere, classes)

    def hires_cam(
        self, pictures: Pictures, *, level: str, hemisphere: str, classes: Classes | None = None
    ) -> Tensor:
        """Map where a hemisphere looks, exact after a global maximum too (see `common.trained.grad_cam.hires_cam`).

        Arguments and result are those of `grad_cam`.
        """
        from common.trained.grad_cam import hires_cam

        return self._maps(hires_cam, pictures, level, hemisphere, classes)

    def _maps(
        self,
        method: Callable[..., Tensor],
        pictures: Pictures,
        level: str,
        hemisphere: str,
        classes: Classes | None,
    ) -> Tensor:
        if level not in self.levels:
            raise UserError(f"There is no head {level!r}; there are {', '.join(self.levels)}.")
        if level not in (own := self.levels_of(hemisphere)):
            raise UserError(
                f"There is no {level} head over {hemisphere}; there is {', '.join(own)}."
            )
        images = self.pixels(pictures)
        if classes is None:
            places = self.logits(images)[level].argmax(dim=1)
        else:
            places = _places(classes, len(images), len(self.class_names[level]))
        network, name = self.network.part(hemisphere)
        batches = zip(self._batches(images), places.to(self.device).split(BATCH), strict=True)
        return torch.cat(
            [
                method(network, normalised, level=level, side=name, classes=some).cpu()
                for normalised, some in batches
            ]
        )

    def _refuse_unknown(self, hemisphere: str) -> None:
        if hemisphere not in self.sides:
            raise UserError(
                f"There is no hemisphere {hemisphere!r}; there are {', '.join(self.sides)}."
            )

    def _batches(self, pictures: Pictures) -> Iterator[Tensor]:
        """Give normalised images float (B, 3, H, W) on the device, in batches."""
        for images in self.pixels(pictures).split(BATCH):
            yield self.transforms(images.to(self.device))

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return self.network.features(images).cpu()

    @torch.no_grad()
    def _logits(self, images: Tensor, alone: str | None) -> dict[str, Tensor]:
        if alone is None:
            found = self.network(images)
        else:
            self._refuse_unknown(alone)
            if not self.has_halves:
                raise UserError(
                    f"This network has no two hemispheres of which {alone!r} could be asked alone."
                )
            features = self.network.features(images)
            for side, part in self.network.split(features).items():
                if side != alone:
                    part.fill_(cast(HemispheresAndHeads, self.network).join.silent)
            found = self.network.classify(features)
        return {level: found[level].cpu() for level in self.levels}


def _places(classes: Classes, pictures: int, among: int) -> Tensor:
    """Check the class of each picture, as its place among so many; int64 (B,).

    Raises:
        UserError: another number of them, or what is no such place.
    """
    try:
        found = torch.as_tensor(classes)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    whole = found.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    if not whole or found.shape != (pictures,) or not ((found >= 0) & (found < among)).all():
        given = found.tolist() if found.numel() else classes
        raise UserError(
            f"classes is {shown(given)}; allowed: for each picture, here {pictures}, its place in class_names, a whole "
            f"number from 0 to {among - 1}."
        )
    return found.long()
