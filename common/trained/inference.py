"""A trained network as a thing to ask: pictures in, features and probabilities out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from common.checkpoints.files import Record
from common.data.pictures import as_rgb, find_pictures, fit, read_picture
from common.data.transforms import Transforms
from common.networks.macro import EnsembleNet, HemispheresAndHeads
from common.system.errors import UserError

Picture = str | Path | Image.Image | Tensor
Pictures = Picture | Sequence[Picture]
SIDES = {"fine": "left", "coarse": "right"}
# Pictures that are in the network at a time; the number changes memory and nothing else.
BATCH = 256


class Trained:
    """A trained network with all that its checkpoint says about it; nothing here trains or changes it.

    Wherever ``pictures`` are asked for, give one or a list of: paths, folders, PIL images, uint8 tensors (3, H, W);
    or one uint8 tensor (B, 3, H, W). They are brought to RGB and to ``image_size``. Computed in
    float32, whatever the precision of training.

    Args:
        network: in evaluation mode; its weights are kept from asking for gradients.
        transforms: normalises pixels as in its training.
        record: what its checkpoint says of it.
        device: where to compute.
    """

    def __init__(
        self, *, network: nn.Module, transforms: Transforms, record: Record, device: torch.device
    ) -> None:
        self.network = network.to(device).requires_grad_(False)
        self.transforms = transforms.to(device)
        self.record = record
        self.device = device

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels it predicts."""
        return self.record.levels

    @property
    def class_names(self) -> dict[str, list[str]]:
        """Per level, the names of the classes in the order of the probabilities."""
        return self.record.class_names

    @property
    def label_ids(self) -> dict[str, list[int]]:
        """Per level, the data set's label ids in the same order."""
        return self.record.label_ids

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images it was trained on."""
        height, width = self.record.image_size
        return height, width

    @property
    def sides(self) -> dict[str, tuple[HemispheresAndHeads, str]]:
        """Each hemisphere: a name for it, the network it belongs to, and what it is called in there.

        Named fine (left) and coarse (right), in an ensemble member0.fine, member1.fine, ...
        """
        if isinstance(self.network, EnsembleNet):
            members = {f"member{i}.": net for i, net in enumerate(self.network.networks)}
        else:
            members = {"": self.network}
        return {
            f"{prefix}{side}": (net, side)
            for prefix, net in members.items()
            if isinstance(net, HemispheresAndHeads)
            for side in net.hemispheres
        }

    @property
    def has_halves(self) -> bool:
        """Whether it has a left and a right hemisphere, each of which can be asked alone."""
        return isinstance(self.network, HemispheresAndHeads) and len(self.sides) == 2

    def pixels(self, pictures: Pictures) -> Tensor:
        """Pictures as they are shown to the network: uint8 (B, 3, H, W) of `image_size`.

        Raises:
            UserError: a file that is no image, or a tensor of another type or shape.
        """
        if isinstance(pictures, str | Path | Image.Image):
            pictures = [pictures]
        elif isinstance(pictures, Tensor):
            pictures = [*pictures] if pictures.ndim == 4 else [pictures]
        found: list[Picture] = []
        for picture in pictures:
            if isinstance(picture, str | Path):
                found += find_pictures(Path(picture))
            else:
                found.append(picture)
        if not found:
            raise UserError("There are no pictures to show to the network.")
        return torch.stack([self._one(picture) for picture in found])

    def features(self, pictures: Pictures) -> dict[str, Tensor]:
        """Per hemisphere, by its name in `sides`, its features float (B, F)."""
        both = torch.cat([self._features(images) for images in self._batches(pictures)])
        return dict(zip(self.sides, both.split(self._widths, dim=1), strict=True))

    def logits(self, pictures: Pictures, *, alone: str | None = None) -> dict[str, Tensor]:
        """Per level, what its head says of each class: float (B, C), any real number.

        Args:
            pictures: see `Trained`.
            alone: of two hemispheres, the one whose features count; those of the other are set to 0, so that what
                remains is this one's contribution and the head's bias.
        """
        parts = [self._logits(images, alone) for images in self._batches(pictures)]
        return {level: torch.cat([part[level] for part in parts]) for level in self.levels}

    def predict(self, pictures: Pictures, *, alone: str | None = None) -> dict[str, Tensor]:
        """Per level, the probability of each class: float (B, C), rows add up to 1. ``alone``: see `logits`."""
        logits = self.logits(pictures, alone=alone)
        return {level: values.softmax(dim=1) for level, values in logits.items()}

    def grad_cam(
        self, pictures: Pictures, *, level: str, side: str, classes: Tensor | None = None
    ) -> Tensor:
        """Where a hemisphere looks: float (B, H, W), from 0 to 1 (see `common.trained.grad_cam.grad_cam`).

        Args:
            pictures: see `Trained`.
            level: the head.
            side: the hemisphere, by its name in `sides`.
            classes: the class to explain in each picture, as its place in ``class_names``, int64 (B,); by default
                the one that is predicted.
        """
        # Imported late: captum brings matplotlib, which features and predictions do not need.
        from common.trained.grad_cam import grad_cam

        images = self.pixels(pictures)
        if classes is None:
            classes = self.logits(images)[level].argmax(dim=1)
        network, name = self._choose(side)
        batches = zip(self._batches(images), classes.to(self.device).split(BATCH), strict=True)
        return torch.cat(
            [
                grad_cam(network, normalised, level=level, side=name, classes=some).cpu()
                for normalised, some in batches
            ]
        )

    def _choose(self, side: str) -> tuple[HemispheresAndHeads, str]:
        if side not in self.sides:
            raise UserError(f"There is no hemisphere {side!r}; there are {', '.join(self.sides)}.")
        return self.sides[side]

    @property
    def _widths(self) -> list[int]:
        """Number of features of each hemisphere, in the order of `sides`."""
        return [
            network.get_submodule(f"hemispheres.{name}").num_features  # type: ignore[misc]
            for network, name in self.sides.values()
        ]

    def _one(self, picture: Picture) -> Tensor:
        """One picture as uint8 (3, H, W)."""
        height, width = self.image_size
        if isinstance(picture, Tensor):
            if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
                raise UserError(
                    f"A tensor of {picture.dtype} and shape {tuple(picture.shape)} is no picture; allowed: "
                    "torch.uint8 and shape (3, H, W), or (B, 3, H, W) for all of them."
                )
            if picture.shape[1:] == (height, width):
                return picture.cpu()
            picture = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
        # A copy, because the caller's own image must not be turned.
        image = (
            as_rgb(picture.copy())
            if isinstance(picture, Image.Image)
            else read_picture(Path(picture))
        )
        # (H, W, 3) -> (3, H, W)
        return torch.from_numpy(np.array(fit(image, height=height, width=width))).permute(2, 0, 1)

    def _batches(self, pictures: Pictures) -> Iterator[Tensor]:
        """Normalised images float (B, 3, H, W) on the device."""
        for images in self.pixels(pictures).split(BATCH):
            yield self.transforms(images.to(self.device))

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return self.network.features(images).cpu()  # type: ignore[operator]

    @torch.no_grad()
    def _logits(self, images: Tensor, alone: str | None) -> dict[str, Tensor]:
        if alone is None:
            return {level: values.cpu() for level, values in self.network(images).items()}
        self._choose(alone)
        if not isinstance(self.network, HemispheresAndHeads) or not self.has_halves:
            raise UserError(
                f"This network has no two hemispheres, of which {alone!r} could be asked alone."
            )
        heads = self.network.heads
        features = self.network.features(images)
        for side, part in zip(self.sides, features.split(self._widths, dim=1), strict=True):
            if side != alone:
                part.zero_()
        return {level: heads[level](features).cpu() for level in self.levels}
