"""Load weights that were trained elsewhere, torchvision's by name or those of a file, completely or not at all."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from common.checkpoints.files import RECORD, digest, is_complete, plain_content
from common.networks.backbones import Backbone
from common.networks.backbones.torchvision_models import download, named_weights
from common.networks.hemisphere import HemisphereConfig
from common.networks.parameters import WEIGHTS_NAME, setting
from common.system.errors import UserError
from common.system.words import some

# Under these names training scripts keep the weights among other things.
INSIDE = ("state_dict", "model")
# BatchNorm's count of batches, which older files lack and nothing reads: its momentum is fixed.
COUNT = "num_batches_tracked"
SHOWN = 3  # names of tensors in a sentence, before "and N more"


def load_pretrained(backbone: Backbone, config: HemisphereConfig) -> bool:
    """Load the weights that a configuration names into its backbone; say whether it names some.

    Raises:
        UserError: they cannot be had, do not fit, or are not finite.
    """
    if config.pretrained is None:
        return False
    value = config.pretrained
    weights = download(config.arch, value) if is_name(value) else read_weights(Path(value))
    weights = _fitting(weights, backbone, config.arch, setting("pretrained", value))
    backbone.load_state_dict(weights, strict=True)
    return True


def refuse_other_weights(config: HemisphereConfig) -> None:
    """Refuse weights that do not fit the backbone of a configuration; nothing is downloaded.

    Raises:
        UserError: names what is not there or does not fit.
    """
    value = config.pretrained
    if value is None:
        return
    if is_name(value):
        named_weights(config.arch, value)
    else:
        _fitting(
            read_weights(Path(value)), config.backbone(), config.arch, setting("pretrained", value)
        )


def identity_of(arch: str, pretrained: str | None) -> str | None:
    """Give what equal weights share: the full name of torchvision's, or a digest of a file's tensors.

    Raises:
        UserError: there is no such name, or no such file.
    """
    if pretrained is None:
        return None
    if is_name(pretrained):
        return str(named_weights(arch, pretrained))
    return digest(read_weights(Path(pretrained)))


def is_name(pretrained: str) -> bool:
    """Say whether weights are given by a name of torchvision's, and not as a file."""
    return re.fullmatch(WEIGHTS_NAME, pretrained) is not None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file: safetensors by its ending, else what torch has saved of plain containers.

    Raises:
        UserError: no such file, damaged, or holding anything else.
    """
    given = setting("pretrained", str(path))
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UserError(
            f"{given} {what}; allowed: a file of weights, or the name of some of torchvision's, such as DEFAULT."
        )
    content = _content(path)
    for name in INSIDE:
        if (
            isinstance(content, dict)
            and RECORD not in content
            and isinstance(content.get(name), dict)
        ):
            content = content[name]
    if isinstance(content, dict) and RECORD in content:
        raise UserError(
            f"{given} is a checkpoint of this project, which hparams.model_path_fine and hparams.model_path_coarse of "
            "arch_dual_head take; allowed: a file of weights alone."
        )
    if not isinstance(content, dict) or not content or not all(map(is_complete, content.values())):
        raise UserError(f"{given} holds something else than named tensors; allowed: a state_dict.")
    return content


def _content(path: Path) -> Any:
    """Read a file of either kind."""
    remedy = "fetch it anew, or name another one"
    if path.suffix != ".safetensors":
        return plain_content(path, kind="file of weights", remedy=remedy, older=True)
    try:
        # As bytes, not mapped: the file may be written anew while its tensors are in use. Sorted, because their order
        # is another one each time.
        return dict(sorted(safetensors.torch.load(path.read_bytes()).items()))
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or not a file of weights; {remedy}.") from error


def _fitting(
    weights: Mapping[str, Tensor], backbone: Backbone, arch: str, given: str
) -> dict[str, Tensor]:
    """Give the weights by their names in a backbone, without those of a classifier.

    Raises:
        UserError: some are missing, left over, of another shape or not finite.
    """
    prefix, expected = backbone.prefix, backbone.state_dict()
    held = {name.removeprefix(prefix): w for name, w in weights.items()}
    found = {
        prefix + name: w for name, w in held.items() if not name.startswith(backbone.classifiers)
    }
    faults = {
        "it lacks {}": [n for n in expected if n not in found and not n.endswith(COUNT)],
        "it holds {}, which the backbone has not": [n for n in found if n not in expected],
        "it holds {}": [
            f"{name} {tuple(found[name].shape)} in place of {tuple(w.shape)}"
            for name, w in expected.items()
            if name in found and found[name].shape != w.shape
        ],
        "it holds numbers that are not finite in {}": [
            name for name, w in found.items() if name in expected and not w.isfinite().all()
        ],
    }
    said = [
        what.format(some([name.removeprefix(prefix) for name in names], SHOWN))
        for what, names in faults.items()
        if names
    ]
    if said:
        raise UserError(f"{given} does not fit {arch}: {'; '.join(said)}.")
    return {name: found.get(name, torch.zeros_like(w)) for name, w in expected.items()}
