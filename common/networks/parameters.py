"""The parameters of a hemisphere: what each may be, and the config keys that give it. Imports no torch.

One hemisphere takes ``hparams.<name>``; two take a key each, which `Parameter.spelled` gives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from common.networks.backbone_names import TORCHVISION, backbone_names
from common.settings.levels import SIDES
from common.settings.schema import ALWAYS, key

C = TypeVar("C", bound=type)

# Names of torchvision's weights, such as DEFAULT or IMAGENET1K_V2; anything else is a file.
WEIGHTS_NAME = "[A-Z][A-Z0-9_]*"


@dataclass(frozen=True)
class Parameter:
    """A parameter of a hemisphere.

    ``kind`` is its type, ``keys`` are its spellings for the left and the right hemisphere, ``rule`` holds further
    arguments of `common.settings.schema.key`.
    """

    kind: Any
    default: Any
    help: str
    keys: tuple[str, str]
    rule: dict[str, Any]

    def spelled(self, name: str, side: str | None) -> str:
        """Give its key for one side of two hemispheres, or for the only one."""
        return name if side is None else self.keys[SIDES.index(side)]


def _parameter(kind: Any, default: Any, name: str, help: str, **rule: Any) -> Parameter:
    return Parameter(kind, default, help, (f"fine_{name}", f"coarse_{name}"), rule)


PARAMETERS = {
    "arch": Parameter(
        str,
        "resnet9",
        "backbone; torchvision:NAME is any classification model of torchvision",
        ("farch", "carch"),
        {"choices": backbone_names(), "prefix": TORCHVISION, "neutral": ALWAYS},
    ),
    "width": _parameter(
        float,
        "${dataset.width}",
        "width",
        "multiplies the channels of the backbone",
        above=0,
        high=16,
    ),
    "k": _parameter(
        float | None,
        None,
        "k",
        "share of each feature map that survives winner-take-all; 1: dense; null: the backbone's own",
        above=0,
        high=1,
    ),
    "per_k": _parameter(
        float | None,
        None,
        "per_k",
        "share of a training batch for which each feature survives; 1: all; null: the backbone's own",
        above=0,
        high=1,
    ),
    "plasticity": _parameter(
        float,
        1.0,
        "plasticity",
        "multiplies the learning rate of the hemisphere, not of its heads",
        above=0,
        high=1000,
    ),
    "low_pass": _parameter(
        float | None,
        None,
        "low_pass",
        "highest spatial frequency that the hemisphere sees, in cycles per image; null: no limit",
        low=1,
        high=1e4,
    ),
    "high_pass": _parameter(
        float | None,
        None,
        "high_pass",
        "lowest spatial frequency that the hemisphere sees, in cycles per image; null: no limit",
        above=0,
        high=1e4,
    ),
    "residual": _parameter(
        bool, True, "residual", "residual (long) connections, where the backbone has some"
    ),
    "pretrained": _parameter(
        str | None,
        None,
        "pretrained",
        "weights to start from where no checkpoint is loaded: a name of torchvision's, or a file of weights of the "
        "same backbone; null: random ones",
        path=True,
        unless=WEIGHTS_NAME,
        words="a name such as DEFAULT or IMAGENET1K_V2, a path to a file, or null",
    ),
}


def hemisphere_keys(*sides: str) -> Callable[[C], C]:
    """Add the keys of every parameter to a schema, before it becomes a dataclass.

    Args:
        sides: "left" and "right" for two hemispheres; none for one.
    """

    def add(schema: C) -> C:
        # Fingerprints of runs depend on this order: arch and width of both, then what is left of each.
        first = ("arch", "width")
        rest = [name for name in PARAMETERS if name not in first]
        whose = sides or (None,)
        places = [(n, s) for n in first for s in whose] + [(n, s) for s in whose for n in rest]
        for name, side in places:
            parameter = PARAMETERS[name]
            spelled = parameter.spelled(name, side)
            help = f"of the {side} hemisphere: {parameter.help}" if side else parameter.help
            schema.__annotations__[spelled] = parameter.kind
            setattr(schema, spelled, key(parameter.default, help, **parameter.rule))
        return schema

    return add


def setting(parameter: str, value: str) -> str:
    """Say how to give a parameter, for errors of networks that do not know which side they are."""
    left, right = PARAMETERS[parameter].keys
    return f"hparams.{parameter}={value} (with two hemispheres hparams.{left} or hparams.{right})"
