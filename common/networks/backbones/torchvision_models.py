"""Any classification model of torchvision as a backbone: `torchvision:NAME`, untrained or with weights of torchvision.

Its classifier is cut off. Its stem is adapted to small images, unless pretrained weights are loaded, by one rule: where
the first convolution has a stride above 1, the stride becomes 1 and the first max-pool is removed. Convolutions whose
stride is their kernel's size cut the image into patches and stay (ConvNeXt, Swin). Kernel sizes stay too, so that
`torchvision:resnet18` has the original 7x7 stem where `resnet18` has a 3x3 one. Names of weights are torchvision's.

Models whose position codes are made for one image size (ViT, MaxViT) are refused. The average pools of AlexNet and
VGG have no deterministic gradient on a GPU.
"""

import difflib
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from common.networks.backbone_names import TORCHVISION
from common.networks.backbones.backbone import Backbone, Builder, Stages
from common.networks.backbones.stages import read_out_of, stages_of
from common.networks.parameters import setting
from common.system.errors import UserError

ONE_SIZE = ("vit_", "maxvit_")
# Those with auxiliary classifiers, and the beginnings of these classifiers' weights.
AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}


class TorchvisionModel(Backbone):
    """A model without its classifier: images (B, 3, H, W) → features (B, num_features).

    With `pretrained`, it computes what torchvision's does, as pretrained weights are made for that.
    """

    prefix = "model."

    def __init__(self, *, name: str, pretrained: bool = False) -> None:
        super().__init__()
        # Two of them have auxiliary classifiers, and warn unless they are told to initialise. Trained weights of these
        # two are for pixels scaled in another way than those of all others, which the model does if it is told to.
        options = {"aux_logits": False, "init_weights": True, "transform_input": pretrained}
        self.model = torchvision.models.get_model(
            name, weights=None, **(options if name in AUXILIARY else {})
        )
        self.num_features, classifier = remove_classifier(self.model)
        self.classifiers = (f"{classifier}.", *AUXILIARY.get(name, ()))
        if not pretrained:
            adapt_stem(self.model)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) → features (B, num_features)."""
        return self.model(images)

    def stages(self) -> Stages:
        """Name the stages of a ResNet, VGG or ConvNeXt.

        Raises:
            UserError: the model is of another family.
        """
        stages = stages_of(self.model)
        if stages is None:
            raise UserError(
                f"{TORCHVISION} {type(self.model).__name__} cannot be cut into stages, between which a callosum would "
                "connect it; allowed are torchvision's ResNet, VGG and ConvNeXt, and all backbones of this project."
            )
        return stages

    def read_out(self, maps: Tensor) -> Tensor:
        """Turn the maps of the last stage (B, C, h, w) into features (B, num_features)."""
        return read_out_of(self.model, maps)


def names() -> list[str]:
    """List all classification models of the installed torchvision."""
    return torchvision.models.list_models(module=torchvision.models)


def builder(arch: str) -> Builder:
    """Give the function that builds `torchvision:NAME`.

    Raises:
        UserError: torchvision has no such model, or it fits one image size only.
    """
    name = arch.removeprefix(TORCHVISION)
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=3)
        hint = f" (did you mean {', '.join(close)}?)" if close else ""
        raise UserError(
            f"arch {arch!r}: torchvision {torchvision.__version__} has no classification model {name!r}{hint}."
        )
    if name.startswith(ONE_SIZE):
        raise UserError(
            f"arch {arch!r}: this model takes images of 224 x 224 pixels alone, for which its position codes are "
            f"made; allowed are those that take any size, such as {TORCHVISION}swin_t or {TORCHVISION}convnext_tiny."
        )
    return partial(build, name)


def build(name: str, *, width: float = 1.0, pretrained: bool = False) -> TorchvisionModel:
    """The model called `name`.

    Raises:
        UserError: `width` is not 1.
    """
    if width != 1:
        raise UserError(
            f"width is {width:g}, but {TORCHVISION}{name} comes in one width alone: give {setting('width', '1')}."
        )
    return TorchvisionModel(name=name, pretrained=pretrained)


def named_weights(arch: str, name: str) -> Any:
    """Look up torchvision's weights of a model by their name; DEFAULT is the best of them.

    Raises:
        UserError: the backbone is not torchvision's, or has no such weights.
    """
    if not arch.startswith(TORCHVISION):
        raise UserError(
            f"{setting('pretrained', name)} names weights of torchvision, and the backbone is {arch}; allowed for it: "
            "a file of its weights, or null."
        )
    known = torchvision.models.get_model_weights(arch.removeprefix(TORCHVISION)).__members__
    if name not in known:
        raise UserError(
            f"{setting('pretrained', name)}: {arch} has no such weights in torchvision {torchvision.__version__}; "
            f"allowed: {', '.join(['DEFAULT', *(one for one in known if one != 'DEFAULT')])}, or a file of weights."
        )
    return known[name]


def download(arch: str, name: str) -> dict[str, Tensor]:
    """Give torchvision's weights of a model, without its classifier, from torch's cache or the network.

    Raises:
        UserError: see `named_weights`, or they cannot be had.
    """
    weights = named_weights(arch, name)
    try:
        model = torchvision.models.get_model(arch.removeprefix(TORCHVISION), weights=weights)
    # No network, another hash than that in the file's name, or a damaged file in the cache.
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{setting('pretrained', name)}: {weights.url} could not be downloaded to {cache} ({reason}); give a "
            "network, put the file there by hand, or give a file of weights."
        ) from error
    remove_classifier(model)
    return dict(model.state_dict())


def remove_classifier(model: nn.Module) -> tuple[int, str]:
    """Replace the last linear layer, or convolution, and the dropout before it by the identity.

    Heads bring a dropout of their own. Gives the number of features that the layer took, and where it was.
    """
    layers = [(path, layer) for path, layer in model.named_modules() if not [*layer.children()]]
    last = max(i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear | nn.Conv2d))
    (before_path, before), (path, classifier) = layers[last - 1 : last + 1]
    if isinstance(before, nn.Dropout):
        remove(model, before_path)
    remove(model, path)
    linear = isinstance(classifier, nn.Linear)
    return (classifier.in_features if linear else classifier.in_channels), path


def remove(model: nn.Module, path: str) -> None:
    """Replace a layer by the identity."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Identity())


def adapt_stem(model: nn.Module) -> None:
    """Give the first convolution stride 1 and remove the first max-pool, as the rule above says."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    if max(first.stride) == 1 or first.stride == first.kernel_size:
        return
    first.stride = (1, 1)
    for path, layer in model.named_modules():
        if isinstance(layer, nn.MaxPool2d):
            remove(model, path)
            return
