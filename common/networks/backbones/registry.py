"""Backbones by name: the name in a config is the name of the function that builds it."""

import inspect
import math
from typing import Any, NamedTuple, TypeVar

from common.networks.backbone_names import TORCHVISION
from common.networks.backbones.backbone import Backbone, Builder
from common.networks.backbones.sparsity import make_sparse
from common.networks.backbones.torchvision_models import builder as torchvision_builder
from common.networks.num_features import refuse_unsaid
from common.networks.parameters import setting
from common.system.errors import UserError, blaming, place_of

B = TypeVar("B", bound=Builder)


class Entry(NamedTuple):
    """A builder, and the sparsity of its backbone where nobody asks for another."""

    build: Builder
    k: float
    per_k: float


_entries: dict[str, Entry] = {}


def register(builder: B, *, k: float = 1.0, per_k: float = 1.0) -> B:
    """Make `builder(*, width)` available under its own name.

    One that takes `residual` too can be built without its residual connections; one that takes `pretrained` is told
    whether pretrained weights will be loaded. `k` and `per_k` are its sparsity where nobody asks for another one.

    Raises:
        UserError: another one has the name.
    """
    name = builder.__name__
    if name in _entries:
        raise UserError(
            f"two backbones are called {name!r}: {place_of(_entries[name].build)} and {place_of(builder)}; allowed: "
            "names that no other backbone has."
        )
    _entries[name] = Entry(builder, k, per_k)
    return builder


def registered() -> tuple[str, ...]:
    """List the names of all backbones, sorted; those of torchvision come on top, by their prefix."""
    return tuple(sorted(_entries))


def entry(arch: str) -> Entry:
    """Look up what is registered under a name.

    Raises:
        UserError: nothing is.
    """
    if arch.startswith(TORCHVISION):
        return Entry(torchvision_builder(arch), k=1.0, per_k=1.0)
    if arch not in _entries:
        raise UserError(
            f"arch {arch!r} is unknown; known are {', '.join(registered())} and {TORCHVISION}NAME"
        )
    return _entries[arch]


def own_sparsity(arch: str) -> dict[str, float]:
    """Look up the `k` and `per_k` of a backbone where a configuration leaves them open."""
    _, k, per_k = entry(arch)
    return {"k": k, "per_k": per_k}


def build_backbone(
    arch: str,
    *,
    width: float = 1.0,
    k: float | None = None,
    per_k: float | None = None,
    residual: bool = True,
    pretrained: bool = False,
) -> Backbone:
    """Build the backbone called `arch`.

    Args:
        arch: its name.
        width: multiplies all its channels.
        k: share of each feature map that survives (`common.networks.backbones.sparsity`); None: the backbone's own.
        per_k: share of a training batch for which each feature survives; None: the backbone's own.
        residual: whether residual connections, where the backbone has some, are there.
        pretrained: whether pretrained weights will be loaded into it; no function of it is then adapted.

    Raises:
        UserError: there is no such backbone, it cannot be built so, or what is built is no backbone.
    """
    builder, own_k, own_per_k = entry(arch)
    if not 0 < width < math.inf:
        raise UserError(f"width {width} of {arch} must be a number above 0")
    options: dict[str, Any] = {}
    if not residual:
        if "residual" not in inspect.signature(builder).parameters:
            raise UserError(
                f"{arch} has no residual connections that could be left out: give {setting('residual', 'true')}."
            )
        options["residual"] = False
    if pretrained and "pretrained" in inspect.signature(builder).parameters:
        options["pretrained"] = True
    backbone = _built(arch, builder, width=width, **options)
    backbone.arch = arch
    make_sparse(
        backbone,
        arch=arch,
        k=own_k if k is None else k,
        per_k=own_per_k if per_k is None else per_k,
    )
    return backbone


def _built(arch: str, builder: Builder, **options: Any) -> Backbone:
    """Call a builder.

    Raises:
        UserError: it fails, or what it gives is no whole backbone.
    """
    try:
        inspect.signature(builder).bind(**options)
    except TypeError as error:
        raise UserError(
            f"{place_of(builder)} cannot be called ({error}); allowed: "
            f"{arch}(*, width: float = 1.0), and `residual` or `pretrained` beside `width`."
        ) from error
    with blaming(builder):
        backbone = builder(**options)
    if not isinstance(backbone, Backbone):
        raise UserError(
            f"{place_of(builder)} gives {type(backbone).__name__}; allowed: a Backbone, which it must return."
        )
    refuse_unsaid(backbone)
    kind = type(backbone)
    if kind.forward is Backbone.forward and (
        kind.stages is Backbone.stages or kind.read_out is Backbone.read_out
    ):
        raise UserError(
            f"{place_of(backbone)} computes nothing: give `forward`, or `stages` and `read_out`."
        )
    return backbone
