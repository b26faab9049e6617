"""What happens inside a hemisphere: activations of its layers, and how dissimilar pictures are to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from torch import Tensor, nn

from common.networks.hemisphere import Hemisphere
from common.networks.macro import Network
from common.settings.suggestions import closest
from common.system.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the last layer is called: the features that the heads read.
FEATURES = "features"


@torch.no_grad()
def layer_names(network: Network, side: str, image: Tensor) -> tuple[str, ...]:
    """Name the layers of a hemisphere that give a tensor, in the order in which they are defined, `FEATURES` last.

    Others hold layers, such as a list of stages, and are never asked themselves.

    Args:
        network: in evaluation mode.
        side: of the hemisphere, a name in its ``sides``.
        image: any normalised one (1, 3, H, W), on its device.
    """
    layers = _layers(network.sides[side])
    found: dict[str, Any] = {}
    with watched(layers, found.__setitem__):
        network.features(image)
    return (*(name for name in layers if isinstance(found.get(name), Tensor)), FEATURES)


def _layers(hemisphere: Hemisphere) -> dict[str, nn.Module]:
    return {name: layer for name, layer in hemisphere.backbone.named_modules() if name}


@contextmanager
def watched(layers: Mapping[str, nn.Module], keep: Callable[[str, Any], None]) -> Iterator[None]:
    """Hand each layer's name and output to ``keep`` when it runs; not where a function alone takes its weights."""

    def hook(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        keep(name, output)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(partial(hook, name)).remove)
        yield


@torch.no_grad()
def activations(
    network: Network, side: str, batches: Iterator[Tensor], layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Compute what layers of a hemisphere give for images: by name, float32 (B, ...), B over all batches.

    The whole network sees the images, so that a connected hemisphere hears what crosses the callosum.

    Args:
        network: in evaluation mode.
        side: of the hemisphere, a name in its ``sides``.
        batches: normalised images (b, 3, H, W), on its device.
        layers: their names in the backbone, or `FEATURES`; one that is used more than once in a pass gives its last
            output.

    Raises:
        UserError: there is no such layer, or it gives no tensor.
    """
    modules = _layers(network.sides[side])
    known = (*modules, FEATURES)
    for name in layers:
        if not isinstance(name, str):
            raise UserError(f"A layer is {name!r}; allowed: a name of `layers`.")
        if name not in known:
            near = closest(name, known) or known[-1:]
            raise UserError(
                f"There is no layer {name!r}; did you mean {near[0]}? `layers` has all."
            )
    kept: dict[str, list[Tensor]] = {name: [] for name in layers}
    seen: dict[str, Any] = {}

    def keep(name: str, output: Any) -> None:
        # A copy: the layer behind may write over it, as a ReLU in place does.
        seen[name] = output.clone() if isinstance(output, Tensor) else output

    with watched({name: modules[name] for name in layers if name != FEATURES}, keep):
        for images in batches:
            seen[FEATURES] = network.split(network.features(images))[side]
            for name in layers:
                if not isinstance(seen.get(name), Tensor):
                    raise UserError(f"Layer {name!r} gives no tensor for these pictures.")
                kept[name].append(seen[name].float().cpu())
    return {name: torch.cat(parts).numpy() for name, parts in kept.items()}


def dissimilarity(values: np.ndarray, *, measure: str = "correlation") -> np.ndarray:
    """Compute a representational dissimilarity matrix: float (B, B), 0 on the diagonal.

    1 minus the correlation of the activations of each pair of pictures (Kriegeskorte et al. 2008, Representational
    similarity analysis, section "Representational dissimilarity matrix").

    Args:
        values: activations (B, ...) of B pictures, at least two.
        measure: another one that `scipy.spatial.distance.pdist` knows, such as "euclidean" or "cosine".

    Raises:
        UserError: fewer than two pictures, or no such measure.
    """
    if len(values) < 2:
        raise UserError(
            f"A dissimilarity matrix takes two pictures or more; there are {len(values)}."
        )
    try:
        return squareform(pdist(values.reshape(len(values), -1).astype(np.float64), measure))
    except (ValueError, TypeError) as error:
        raise UserError(f"measure is {measure!r}: {error}") from error


def plot_dissimilarity(matrices: Mapping[str, np.ndarray], *, label: str) -> "Figure":
    """Draw the dissimilarity matrices of hemispheres side by side, on one scale.

    Args:
        matrices: float (B, B) by hemisphere.
        label: of the scale.
    """
    # Imported late: matplotlib takes a second.
    from common.system.notebook import NotebookFigure

    figure = NotebookFigure(figsize=(3.4 * len(matrices) + 0.8, 3.4), layout="compressed")
    all_axes = figure.subplots(1, len(matrices), squeeze=False)[0]
    highest = max(float(np.nanmax(one)) for one in matrices.values())
    for axes, (side, matrix) in zip(all_axes, matrices.items(), strict=True):
        image = axes.imshow(matrix, vmin=0, vmax=highest, cmap="viridis")
        axes.set_title(f"{side} hemisphere")
        axes.set_xlabel("picture")
    all_axes[0].set_ylabel("picture")
    figure.colorbar(image, ax=list(all_axes), label=label)
    return figure
